/** The stack's end of the command rings, fed with good and hostile commands. */
import { expect } from 'chai';
import fc from 'fast-check';
import * as errno from '../../src/net/errno.js';
import { RING_LOCK, RING_NOTICE } from '../../src/net/ring.js';
import { BLOCK_RCV, BLOCK_SND } from '../../src/net/sockmem.js';
import type { Sys } from '../../src/socket/sys.js';
import {
  AF_INET,
  EPOLL_CTL_ADD,
  EPOLLIN,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from '../../src/socket/uapi/constants.js';
import {
  C_A,
  C_FD,
  C_OP,
  COMMAND_SLOTS,
  COMMAND_WORDS,
  commandAt,
  MAX_THREADS,
  OP_BIND,
  OP_CLOSE,
  OP_CONNECT,
  OP_EPOLL_CTL,
  OP_FTRUNCATE,
  OP_NOTICE,
  OP_PUBLISHED,
  OP_SETSOCKOPT_TEXT,
  OP_SHUTDOWN,
  OP_SOCKET,
  OP_THREAD_GONE,
  T_CMD_HEAD,
  T_CMD_TAIL,
  T_STATE,
  T_TEXT,
  T_TEXT_MAX_BYTES,
  THREAD_FREE,
  threadAt,
} from '../../src/socket/uapi/layout.js';
import { reserveThread } from '../../src/socket/uapi/shared.js';
import type { ThreadPort } from '../../src/socket/uapi/thread-port.js';
import { type InlineStack, inlineStack } from './inline-stack.js';

const ADDRESS = '198.18.0.1';

describe('stack/syscalls', () => {
  let inline: InlineStack;
  let sys: Sys;
  let port: ThreadPort;

  beforeEach(() => {
    inline = inlineStack();
    ({ sys, port } = inline.thread());
  });

  function listener(of: Sys, number: number): number {
    const fd = of.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    of.bind(fd, { address: ADDRESS, port: number });
    expect(of.listen(fd, 16)).to.equal(0);
    return fd;
  }

  function client(of: Sys, number: number): number {
    const fd = of.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    of.connect(fd, { address: ADDRESS, port: number });
    return fd;
  }

  /** All that is on the ready ring of instance 0. */
  function taken(of: ThreadPort): number[] {
    const fds = new Int32Array(8);
    return [...fds.subarray(0, of.takeReady(0, fds))];
  }

  describe('words that no port writes', () => {
    it('an unknown command is -ENOSYS, a bad descriptor -EBADF', () => {
      const fd = sys.socket(AF_INET, SOCK_STREAM, 0);
      for (const op of [0, -1, OP_FTRUNCATE + 1, 0x7fffffff]) {
        for (const on of [fd, 0, 99, -5]) expect(port.call(op, on), `${op} ${on}`).to.equal(-38);
      }
      for (const on of [0, 2, 77, 255, 256, -1, 0x7fffffff]) {
        expect(port.call(OP_CLOSE, on)).to.equal(-errno.EBADF);
        expect(port.call(OP_BIND, on)).to.equal(-errno.EBADF);
        expect(port.call(OP_EPOLL_CTL, on)).to.equal(-errno.EBADF);
      }
    });

    it('a text has the length that its region has, or is refused', () => {
      const fd = sys.socket(AF_INET, SOCK_STREAM, 0);
      for (const bytes of [-1, T_TEXT_MAX_BYTES + 1, 0x7fffffff, -0x80000000]) {
        expect(port.call(OP_SETSOCKOPT_TEXT, fd, 1, 2, bytes)).to.equal(-errno.EINVAL);
      }
      expect(inline.stack.texts.size).to.equal(0);
      // Bytes that are no UTF-8 arrive as what a decoder makes of them.
      inline.shared.ctl[threadAt(inline.shared.layout, 0) + T_TEXT] = 0x41ff41ff;
      expect(port.call(OP_SETSOCKOPT_TEXT, fd, 1, 2, 4)).to.equal(0);
      expect(inline.stack.texts.get(`${fd}:2`)).to.equal('\ufffdA\ufffdA');
    });

    it('arguments out of range are refused here', () => {
      const fd = sys.socket(AF_INET, SOCK_STREAM, 0);
      expect(port.call(OP_BIND, fd, 0, 65536)).to.equal(-errno.EINVAL);
      expect(port.call(OP_CONNECT, fd, 0, -1)).to.equal(-errno.EINVAL);
      expect(port.call(OP_SHUTDOWN, fd, 3)).to.equal(-errno.EINVAL);
      expect(port.call(OP_THREAD_GONE, 0, MAX_THREADS)).to.equal(-errno.EINVAL);
      expect(port.call(OP_THREAD_GONE, 0, -1)).to.equal(-errno.EINVAL);
      // A thread cannot bury itself.
      expect(port.call(OP_THREAD_GONE, 0, port.number)).to.equal(-errno.EINVAL);
    });

    it('who begins to watch a file that another thread has just closed is woken', () => {
      const fd = sys.socket(AF_INET, SOCK_STREAM, 0);
      const epfd = sys.epoll_create1(0);
      const other = inline.thread();
      const watch = (): boolean =>
        port.post(OP_EPOLL_CTL, fd, EPOLL_CTL_ADD << 16, EPOLLIN, 0, EPOLLIN);
      // Its command comes behind the close, or between the close and what that does.
      inline.held = true;
      other.sys.close(fd);
      watch();
      inline.held = false;
      inline.turn();
      expect(taken(port)).to.deep.equal([fd]);
      watch();
      expect(taken(port)).to.deep.equal([fd]);
      expect(taken(port)).to.deep.equal([]);
      // Not in an instance of somebody else.
      other.port.post(OP_EPOLL_CTL, fd, EPOLL_CTL_ADD << 16, EPOLLIN, 0, EPOLLIN);
      expect(taken(port)).to.deep.equal([]);
      expect(epfd).to.be.greaterThan(0);
    });

    it('an epoll instance must exist and be the thread’s own', () => {
      const fd = sys.socket(AF_INET, SOCK_STREAM, 0);
      const epfd = sys.epoll_create1(0);
      const other = inline.thread();
      const to = (index: number, op: number) => index | (op << 16);
      expect(port.call(OP_EPOLL_CTL, fd, to(1, 1), 1)).to.equal(-errno.EBADF);
      expect(port.call(OP_EPOLL_CTL, fd, to(0xffff, 1), 1)).to.equal(-errno.EBADF);
      expect(other.port.call(OP_EPOLL_CTL, fd, to(0, 1), 1)).to.equal(-errno.EBADF);
      expect(port.call(OP_EPOLL_CTL, epfd, to(0, 1), 1)).to.equal(-errno.EINVAL);
      expect(port.call(OP_EPOLL_CTL, fd, to(0, 9), 1)).to.equal(-errno.EINVAL);
      expect(port.call(OP_EPOLL_CTL, fd, to(0, 2), 1)).to.equal(-errno.ENOENT);
      expect(port.call(OP_EPOLL_CTL, fd, to(0, 3), 1)).to.equal(-errno.ENOENT);
      expect(port.call(OP_EPOLL_CTL, fd, to(0, 1), 1)).to.equal(0);
      expect(port.call(OP_EPOLL_CTL, fd, to(0, 1), 1)).to.equal(-errno.EEXIST);
    });

    it('calls for sockets on something else are -ENOTSOCK', () => {
      const fd = sys.eventfd(0, 0);
      expect(port.call(OP_PUBLISHED, fd)).to.equal(-errno.ENOTSOCK);
      expect(port.call(OP_BIND, fd)).to.equal(-errno.ENOTSOCK);
      const tcp = sys.socket(AF_INET, SOCK_STREAM, 0);
      expect(port.call(OP_NOTICE, tcp)).to.equal(0);
    });

    it('a command for an earlier file of that number is -EBADF', () => {
      const fd = sys.socket(AF_INET, SOCK_STREAM, 0);
      inline.held = true;
      port.post(OP_BIND, fd, 1, 1);
      const tail = inline.shared.ctl[threadAt(inline.shared.layout, 0) + T_CMD_TAIL]!;
      expect(tail).to.be.greaterThan(0);
      const other = inline.thread();
      other.sys.close(fd);
      inline.held = false;
      const late = inline.thread();
      expect(late.sys.socket(AF_INET, SOCK_STREAM, 0)).to.equal(fd);
    });

    it('a torn cursor is skipped', () => {
      const { ctl, layout } = inline.shared;
      const at = threadAt(layout, port.number);
      Atomics.add(ctl, at + T_CMD_TAIL, COMMAND_SLOTS + 5);
      inline.turn();
      expect(ctl[at + T_CMD_HEAD]).to.equal(ctl[at + T_CMD_TAIL]);
      Atomics.sub(ctl, at + T_CMD_TAIL, 3);
      inline.turn();
      expect(ctl[at + T_CMD_HEAD]).to.equal(ctl[at + T_CMD_TAIL]);
      expect(sys.socket(AF_INET, SOCK_STREAM, 0)).to.equal(3);
    });

    it('nothing throws, whatever the words', () => {
      const word = fc.oneof(fc.integer({ min: -3, max: 20 }), fc.integer());
      const command = fc.array(word, { minLength: COMMAND_WORDS, maxLength: COMMAND_WORDS });
      fc.assert(
        fc.property(fc.array(command, { minLength: 1, maxLength: 60 }), (commands) => {
          const fresh = inlineStack(64);
          const threads = [fresh.thread(), fresh.thread()];
          const { ctl, layout, mem } = fresh.shared;
          threads[0]!.sys.epoll_create1(0);
          listener(threads[0]!.sys, 80);
          client(threads[1]!.sys, 80);
          threads[1]!.sys.eventfd(1, 0);
          commands.forEach((words, i) => {
            const at = threadAt(layout, i & 1);
            const slot = commandAt(at, ctl[at + T_CMD_TAIL]!);
            words.forEach((value, j) => {
              ctl[slot + j] = value;
            });
            // Half of the commands are for the present file, so that more of them go through.
            const fd = words[C_FD]!;
            if (i % 4 < 2 && fd > 0 && fd < 64) ctl[slot + 7] = ctl[mem.blockAt(fd)]!;
            Atomics.add(ctl, at + T_CMD_TAIL, 1);
          });
          fresh.turn();
          expect(fresh.syscalls.pending()).to.equal(false);
        }),
        { numRuns: 40 },
      );
    });
  });

  it('is told of what a thread writes once, until it has taken that', () => {
    listener(sys, 80);
    const fd = client(sys, 80);
    const other = inline.thread();
    const { ctl, mem } = inline.shared;
    const notice = mem.blockAt(fd) + BLOCK_SND + RING_NOTICE;
    const told = (writes: () => void): number => {
      inline.held = true;
      writes();
      inline.held = false;
      inline.turn();
      return inline.stack.log.splice(0).filter((call) => call === `published ${fd}`).length;
    };
    const write = (): number => sys.write(fd, new Uint8Array(1));
    write();
    inline.stack.log.length = 0;
    for (let round = 0; round < 3; round++) {
      expect(told(() => [write(), write(), write()])).to.equal(1);
    }
    // Another thread cannot know of this one's: it tells again, and then so does this one.
    const both = (): number[] => [write(), other.sys.write(fd, new Uint8Array(1)), write()];
    expect(told(both)).to.be.within(2, 3);
    // Whatever the word says, nothing is lost.
    for (const cursor of [0, 1, -1, ctl[notice]!, ctl[notice]! + 1, 0x7fffffff, -0x80000000]) {
      ctl[notice] = cursor;
      expect(told(write), `${cursor}`).to.equal(1);
    }
  });

  it('puts a descriptor on a ready ring once, until it is taken', () => {
    const epfd = sys.epoll_create1(0);
    const fds = [0, 1, 2].map(() => sys.socket(AF_INET, SOCK_STREAM, 0));
    for (const fd of fds) sys.epoll_ctl(epfd, EPOLL_CTL_ADD, fd, { events: EPOLLIN, data: fd });
    expect(taken(port)).to.deep.equal([]);
    const ready = (...which: number[]): void => {
      for (const one of which) inline.syscalls.ready(fds[one]!, EPOLLIN);
    };
    ready(1, 0, 1, 1, 0);
    expect(taken(port)).to.deep.equal([fds[1], fds[0]]);
    ready(1);
    ready(2, 1);
    expect(port.takeReady(0, new Int32Array(1))).to.equal(1);
    ready(2, 1);
    expect(taken(port)).to.deep.equal([fds[2], fds[1]]);
    // Far beyond the slots that there are.
    for (let i = 0; i < 1000; i++) {
      ready(i % 3, 0, i % 3);
      expect(taken(port)).to.deep.equal(i % 3 === 0 ? [fds[0]] : [fds[i % 3], fds[0]]);
    }
  });

  it('takes turns: 256 commands of a thread, then the next thread’s', () => {
    const other = inline.thread();
    inline.held = true;
    for (let i = 0; i < 300; i++) port.post(OP_SOCKET, 0, 0);
    for (let i = 0; i < 3; i++) other.port.post(OP_SOCKET, 0, 0);
    expect(inline.syscalls.pending()).to.equal(true);
    expect(inline.syscalls.runCommands()).to.equal(259);
    expect(inline.syscalls.runCommands()).to.equal(44);
    expect(inline.syscalls.pending()).to.equal(false);
    expect(inline.syscalls.runCommands()).to.equal(0);
  });

  describe('the end of a thread', () => {
    it('what it said before counts, then its files end and its number is free', () => {
      const gone = inline.thread();
      const listening = listener(gone.sys, 80);
      const mine = client(sys, 80);
      const queued = client(sys, 80);
      const child = gone.sys.accept4(listening, 0);
      const epfd = gone.sys.epoll_create1(0);
      gone.sys.epoll_ctl(epfd, EPOLL_CTL_ADD, child, { events: EPOLLIN, data: 0 });
      const counter = gone.sys.eventfd(0, 0);
      gone.sys.write(child, new Uint8Array([8]));
      inline.held = true;
      // Sent but not yet known to the stack when the thread dies; and it dies while it copies.
      gone.sys.write(child, new Uint8Array([9]));
      inline.held = false;
      const { ctl, mem, layout } = inline.shared;
      ctl[mem.blockAt(mine) + BLOCK_RCV + RING_LOCK] = gone.port.holder;
      expect(port.call(OP_THREAD_GONE, 0, gone.port.number)).to.equal(0);
      const into = new Uint8Array(4);
      expect(sys.read(mine, into)).to.equal(2);
      expect(sys.read(mine, into)).to.equal(-errno.ECONNRESET);
      expect(sys.read(queued, into)).to.equal(-errno.ECONNRESET);
      for (const fd of [listening, child, epfd, counter]) {
        expect(sys.close(fd), `${fd}`).to.equal(-errno.EBADF);
      }
      expect(mem.fdsInUse).to.equal(2);
      expect(ctl[threadAt(layout, gone.port.number) + T_STATE]).to.equal(THREAD_FREE);
      expect(reserveThread(ctl, layout)).to.equal(gone.port.number);
    });

    it('leaves other threads’ files alone, and files being closed to their own end', () => {
      const gone = inline.thread();
      const mine = listener(sys, 80);
      const theirs = client(gone.sys, 80);
      inline.held = true;
      gone.sys.close(theirs);
      inline.held = false;
      const into = new Uint8Array(4);
      const child = sys.accept4(mine, SOCK_NONBLOCK);
      expect(port.call(OP_THREAD_GONE, 0, gone.port.number)).to.equal(0);
      // Closed in order, not reset: it said so before it died.
      expect(sys.read(child, into)).to.equal(0);
      expect(sys.close(mine)).to.equal(0);
    });

    it('two threads that bury each other do no harm', () => {
      const [one, two] = [inline.thread(), inline.thread()];
      inline.held = true;
      one.port.post(OP_THREAD_GONE, 0, two.port.number);
      one.port.post(OP_SOCKET, 0, 0);
      two.port.post(OP_THREAD_GONE, 0, one.port.number);
      two.port.post(OP_SOCKET, 0, 0);
      inline.held = false;
      inline.turn();
      expect(inline.syscalls.pending()).to.equal(false);
      expect(inline.shared.mem.fdsInUse).to.be.lessThan(3);
    });
  });

  it('the numbers of commands and words are where both sides look', () => {
    const { ctl, layout } = inline.shared;
    const at = threadAt(layout, port.number);
    const tail = ctl[at + T_CMD_TAIL]!;
    port.call(OP_BIND, 77, 5, 6);
    const slot = commandAt(at, tail);
    expect([ctl[slot + C_OP], ctl[slot + C_FD], ctl[slot + C_A]]).to.deep.equal([OP_BIND, 77, 5]);
  });
});
