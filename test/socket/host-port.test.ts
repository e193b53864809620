/** A program in the stack's own thread: its waits are turns of the stack. */
import { expect } from 'chai';
import { EIO } from '../../src/net/errno.js';
import { createSys, type Sys } from '../../src/socket/sys.js';
import {
  AF_INET,
  EFD_NONBLOCK,
  EPOLL_CTL_ADD,
  EPOLLIN,
  SOCK_STREAM,
} from '../../src/socket/uapi/constants.js';
import { becomeHost, hostOf, type StackHost } from '../../src/socket/uapi/host.js';
import { HostPort } from '../../src/socket/uapi/host-port.js';
import {
  COMMAND_SLOTS,
  G_STOP,
  OP_CLOSE,
  OP_THREAD_GONE,
  T_HOST,
  T_SLEEPING,
  threadAt,
} from '../../src/socket/uapi/layout.js';
import { reserveThread, setArena } from '../../src/socket/uapi/shared.js';
import { type InlineStack, inlineStack } from '../stack/inline-stack.js';

const ONE = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);

/** A stack whose turns are those that a program in its thread makes. */
class Hosted implements StackHost {
  readonly queue = 0;
  readonly arena: Uint8Array = new Uint8Array(0);
  readonly inline: InlineStack = inlineStack();
  readonly port: HostPort;
  readonly sys: Sys;
  readonly rests: number[] = [];
  turns = 0;
  onRest: () => void = () => {};

  constructor() {
    this.inline.held = true;
    const { shared } = this.inline;
    const number = reserveThread(shared.ctl, shared.layout);
    this.port = new HostPort(shared, number, () => {}, this);
    this.sys = createSys(this.port);
  }

  turn(): boolean {
    this.turns++;
    const { syscalls } = this.inline;
    const count = syscalls.runCommands();
    syscalls.flush();
    return count > 0;
  }

  rest(mostMs: number): void {
    this.rests.push(mostMs);
    this.onRest();
  }

  word(word: number): number {
    const { ctl, layout } = this.inline.shared;
    return ctl[threadAt(layout, this.port.number) + word]!;
  }
}

describe('socket/host-port', () => {
  it('a call is answered by one turn', () => {
    const hosted = new Hosted();
    expect(hosted.sys.socket(AF_INET, SOCK_STREAM, 0)).to.be.above(0);
    expect(hosted.turns).to.equal(1);
    expect(hosted.rests).to.deep.equal([]);
  });

  it('a full command ring is emptied by a turn', () => {
    const hosted = new Hosted();
    for (let i = 0; i < COMMAND_SLOTS; i++) hosted.port.post(OP_CLOSE, 0);
    expect(hosted.turns).to.equal(0);
    expect(hosted.port.post(OP_CLOSE, 0)).to.equal(true);
    expect(hosted.turns).to.equal(1);
  });

  it('epoll_wait runs a turn even when it finds something or may not wait', () => {
    const { hosted, events, epfd } = watched();
    hosted.turns = 0;
    expect(hosted.sys.epoll_wait(epfd, events, 8, 0)).to.equal(0);
    expect(hosted.turns).to.equal(1);
    hosted.sys.write(events[0]!.data, ONE);
    for (const turns of [2, 3]) {
      expect(hosted.sys.epoll_wait(epfd, events, 8, -1)).to.equal(1);
      expect(hosted.turns).to.equal(turns);
    }
    expect(hosted.rests).to.deep.equal([]);
  });

  it('epoll_wait rests after turns that found nothing, and ends when something is ready', () => {
    const { hosted, events, epfd } = watched();
    const fd = events[0]!.data;
    const other = hosted.inline.thread().sys;
    hosted.onRest = () => {
      expect(hosted.word(T_SLEEPING)).to.be.above(0);
      if (hosted.rests.length === 3) other.write(fd, ONE);
    };
    expect(hosted.sys.epoll_wait(epfd, events, 8, -1)).to.equal(1);
    expect(events[0]).to.deep.equal({ events: EPOLLIN, data: fd });
    expect(hosted.rests).to.deep.equal([Infinity, Infinity, Infinity]);
    expect(hosted.word(T_SLEEPING)).to.equal(0);
  });

  it('epoll_wait with a time-out rests no longer than that', () => {
    const { hosted, events, epfd } = watched();
    expect(hosted.sys.epoll_wait(epfd, events, 8, 5)).to.equal(0);
    expect(hosted.rests.length).to.be.above(0);
    for (const ms of hosted.rests) expect(ms).to.be.within(0, 5);
  });

  it('calls fail once the stack has been asked to end', () => {
    const { hosted, events, epfd } = watched();
    hosted.onRest = () => Atomics.store(hosted.inline.shared.ctl, G_STOP, 1);
    expect(hosted.sys.epoll_wait(epfd, events, 8, -1)).to.equal(-EIO);
    expect(hosted.port.alive).to.equal(false);
    expect(hosted.sys.socket(AF_INET, SOCK_STREAM, 0)).to.equal(-EIO);
  });

  it('what a turn throws reaches the program', () => {
    const hosted = new Hosted();
    hosted.turn = () => {
      throw new Error('broken');
    };
    expect(() => hosted.sys.socket(AF_INET, SOCK_STREAM, 0)).to.throw('broken');
  });

  it('its region says whose thread it is, until it is gone', () => {
    const hosted = new Hosted();
    expect(hosted.word(T_HOST)).to.equal(1);
    const { port } = hosted.inline.thread();
    hosted.inline.held = false;
    expect(port.call(OP_THREAD_GONE, 0, hosted.port.number)).to.equal(0);
    expect(hosted.word(T_HOST)).to.equal(0);
  });
});

describe('socket/host', () => {
  it('a thread is the host of one stack, found by where its arena is', () => {
    const [mine, other] = [new Hosted(), new Hosted()];
    setArena(mine.inline.shared.ctl, 0x7f00_0000_1000, 4096);
    setArena(other.inline.shared.ctl, 0x7f00_0000_2000, 4096);
    becomeHost(mine, mine.inline.shared.ctl);
    expect(hostOf(mine.inline.shared.ctl)).to.equal(mine);
    expect(hostOf(other.inline.shared.ctl)).to.equal(null);
    becomeHost(null, mine.inline.shared.ctl);
    expect(hostOf(mine.inline.shared.ctl)).to.equal(null);
  });
});

/** An eventfd in an epoll instance of a hosted program; `events[0].data` is the eventfd. */
function watched(): {
  hosted: Hosted;
  epfd: number;
  events: { events: number; data: number }[];
} {
  const hosted = new Hosted();
  const epfd = hosted.sys.epoll_create1(0);
  const fd = hosted.sys.eventfd(0, EFD_NONBLOCK);
  expect(hosted.sys.epoll_ctl(epfd, EPOLL_CTL_ADD, fd, { events: EPOLLIN, data: fd })).to.equal(0);
  return { hosted, epfd, events: [{ events: 0, data: fd }] };
}
