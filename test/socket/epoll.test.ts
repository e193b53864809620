/** epoll on shared memory: level, edge, one-shot, reuse of descriptors. */
import { expect } from 'chai';
import * as errno from '../../src/net/errno.js';
import type { Sys } from '../../src/socket/sys.js';
import {
  AF_INET,
  EFD_NONBLOCK,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLERR,
  EPOLLET,
  EPOLLEXCLUSIVE,
  EPOLLHUP,
  EPOLLIN,
  EPOLLONESHOT,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  SHUT_WR,
  SOCK_STREAM,
} from '../../src/socket/uapi/constants.js';
import { declareDead } from '../../src/socket/uapi/shared.js';
import { SLOW_PORT } from '../stack/fake-stack.js';
import { type InlineStack, inlineStack } from '../stack/inline-stack.js';
import { epollRig } from './epoll-rig.js';

const byte = (): Uint8Array => new Uint8Array([1]);

describe('socket/epoll', () => {
  const { fresh, listener, client, pair, add, ready } = epollRig();
  let inline: InlineStack;
  let sys: Sys;
  let epfd: number;

  beforeEach(() => {
    ({ inline, sys, epfd } = fresh());
  });

  describe('epoll_ctl', () => {
    it('answers as Linux', () => {
      const [fd] = pair();
      const event = { events: EPOLLIN, data: 0 };
      expect(sys.epoll_ctl(epfd, EPOLL_CTL_MOD, fd, event)).to.equal(-errno.ENOENT);
      expect(sys.epoll_ctl(epfd, EPOLL_CTL_DEL, fd)).to.equal(-errno.ENOENT);
      expect(add(fd, EPOLLIN)).to.equal(0);
      expect(add(fd, EPOLLIN)).to.equal(-errno.EEXIST);
      expect(sys.epoll_ctl(epfd, EPOLL_CTL_MOD, fd, event)).to.equal(0);
      expect(sys.epoll_ctl(epfd, EPOLL_CTL_DEL, fd)).to.equal(0);
      expect(sys.epoll_ctl(epfd, 4, fd, event)).to.equal(-errno.EINVAL);
      expect(sys.epoll_ctl(epfd, EPOLL_CTL_ADD, fd, null)).to.equal(-errno.EINVAL);
      expect(add(99, EPOLLIN)).to.equal(-errno.EBADF);
      expect(add(epfd, EPOLLIN)).to.equal(-errno.EINVAL);
      expect(add(sys.epoll_create1(0), EPOLLIN)).to.equal(-errno.EPERM);
      expect(sys.epoll_ctl(fd, EPOLL_CTL_ADD, fd, event)).to.equal(-errno.EINVAL);
      expect(sys.epoll_ctl(77, EPOLL_CTL_ADD, fd, event)).to.equal(-errno.EBADF);
      expect(sys.epoll_wait(fd, [], 1, 0)).to.equal(-errno.EINVAL);
      expect(sys.epoll_wait(77, [], 1, 0)).to.equal(-errno.EBADF);
      expect(sys.epoll_wait(epfd, [], 0, 0)).to.equal(-errno.EINVAL);
      expect(sys.epoll_create1(1)).to.equal(-errno.EINVAL);
    });

    it('EPOLLEXCLUSIVE goes with few others and is for ever', () => {
      const [fd] = pair();
      expect(add(fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT)).to.equal(-errno.EINVAL);
      expect(add(fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLPRI)).to.equal(-errno.EINVAL);
      expect(add(fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLET)).to.equal(0);
      const plain = { events: EPOLLIN, data: 0 };
      expect(sys.epoll_ctl(epfd, EPOLL_CTL_MOD, fd, plain)).to.equal(-errno.EINVAL);
      const exclusive = { events: EPOLLIN | EPOLLEXCLUSIVE, data: 0 };
      expect(sys.epoll_ctl(epfd, EPOLL_CTL_MOD, fd, exclusive)).to.equal(-errno.EINVAL);
    });

    it('an instance is of use to its own thread only', () => {
      const other = inline.thread().sys;
      const [fd] = pair();
      const event = { events: EPOLLIN, data: 0 };
      expect(other.epoll_ctl(epfd, EPOLL_CTL_ADD, fd, event)).to.equal(-errno.EINVAL);
      expect(other.epoll_wait(epfd, [], 1, 0)).to.equal(-errno.EINVAL);
    });
  });

  describe('level-triggered', () => {
    it('reports as long as it is so, with fresh bits', () => {
      const [fd, child] = pair();
      expect(add(child, EPOLLIN | EPOLLOUT | EPOLLRDHUP)).to.equal(0);
      expect(ready()).to.deep.equal([[child, EPOLLOUT]]);
      sys.write(fd, byte());
      expect(ready()).to.deep.equal([[child, EPOLLIN | EPOLLOUT]]);
      expect(ready()).to.deep.equal([[child, EPOLLIN | EPOLLOUT]]);
      sys.read(child, byte());
      expect(ready()).to.deep.equal([[child, EPOLLOUT]]);
      sys.shutdown(fd, SHUT_WR);
      expect(ready()).to.deep.equal([[child, EPOLLIN | EPOLLOUT | EPOLLRDHUP]]);
      sys.shutdown(child, SHUT_WR);
      expect(ready()).to.deep.equal([[child, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP]]);
    });

    it('finds what was ready before it was added', () => {
      const [fd, child] = pair();
      sys.write(fd, byte());
      inline.held = true;
      add(child, EPOLLIN);
      expect(ready()).to.deep.equal([[child, EPOLLIN]]);
    });

    it('takes turns when more are ready than fit', () => {
      const fds: number[] = [];
      for (let i = 0; i < 5; i++) {
        const [fd, child] = pair();
        add(child, EPOLLIN);
        sys.write(fd, byte());
        fds.push(child);
      }
      const seen = [ready(2), ready(2), ready(2)].flat().map(([fd]) => fd);
      expect(seen).to.deep.equal([...fds, fds[0]]);
    });

    it('reports errors without being asked', () => {
      const fd = client(SLOW_PORT);
      add(fd, 0);
      expect(ready()).to.deep.equal([]);
      inline.stack.establish(fd);
      expect(ready()).to.deep.equal([[fd, EPOLLERR | EPOLLHUP]]);
    });

    it('a connect in progress becomes writable', () => {
      listener(81);
      const fd = client(SLOW_PORT);
      add(fd, EPOLLOUT);
      expect(ready()).to.deep.equal([]);
      inline.stack.establish(fd, 81);
      expect(ready()).to.deep.equal([[fd, EPOLLOUT]]);
    });

    it('a listener is readable while connections wait', () => {
      const fd = listener(81);
      add(fd, EPOLLIN);
      expect(ready()).to.deep.equal([]);
      client(81);
      expect(ready()).to.deep.equal([[fd, EPOLLIN]]);
      sys.accept4(fd, 0);
      expect(ready()).to.deep.equal([]);
    });

    it('a fresh socket hangs up, as on Linux', () => {
      const fd = sys.socket(AF_INET, SOCK_STREAM, 0);
      add(fd, EPOLLOUT);
      expect(ready()).to.deep.equal([[fd, EPOLLOUT | EPOLLHUP]]);
    });

    it('stops after EPOLL_CTL_DEL, also what is already queued', () => {
      const [fd, child] = pair();
      add(child, EPOLLIN);
      sys.write(fd, byte());
      sys.epoll_ctl(epfd, EPOLL_CTL_DEL, child);
      expect(ready()).to.deep.equal([]);
      sys.write(fd, byte());
      expect(ready()).to.deep.equal([]);
      // On the list of those that were ready, then deleted.
      add(child, EPOLLIN);
      expect(ready()).to.deep.equal([[child, EPOLLIN]]);
      sys.epoll_ctl(epfd, EPOLL_CTL_DEL, child);
      expect(ready()).to.deep.equal([]);
    });

    it('reuses the event objects it is given', () => {
      const [, child] = pair();
      add(child, EPOLLOUT, 7);
      const event = { events: 0, data: 0 };
      expect(sys.epoll_wait(epfd, [event], 1, 0)).to.equal(1);
      expect(event).to.deep.equal({ events: EPOLLOUT, data: 7 });
    });
  });

  describe('edge-triggered', () => {
    it('reports each arrival once', () => {
      const [fd, child] = pair();
      add(child, EPOLLIN | EPOLLET);
      expect(ready()).to.deep.equal([]);
      sys.write(fd, byte());
      expect(ready()).to.deep.equal([[child, EPOLLIN]]);
      expect(ready()).to.deep.equal([]);
      sys.write(fd, byte());
      expect(ready()).to.deep.equal([[child, EPOLLIN]]);
      sys.read(child, new Uint8Array(9));
      expect(ready()).to.deep.equal([]);
    });

    it('what is ready when added is one edge, not two', () => {
      const [fd, child] = pair();
      sys.write(fd, byte());
      add(child, EPOLLIN | EPOLLOUT | EPOLLET);
      expect(ready()).to.deep.equal([[child, EPOLLIN | EPOLLOUT]]);
      expect(ready()).to.deep.equal([]);
    });

    it('loses nothing that comes between epoll_ctl and the stack seeing it', () => {
      const [fd, child] = pair();
      sys.write(fd, byte());
      inline.held = true;
      add(child, EPOLLIN | EPOLLET);
      expect(ready()).to.deep.equal([[child, EPOLLIN]]);
      sys.read(child, new Uint8Array(9));
      // The peer's byte is taken over before the interest is known: no wake-up comes of it.
      sys.write(fd, byte());
      inline.stack.published(fd);
      expect(ready()).to.deep.equal([]);
      inline.held = false;
      inline.turn();
      expect(ready()).to.deep.equal([[child, EPOLLIN]]);
    });

    it('EPOLLOUT comes when a third of a full ring is free', () => {
      const [fd, child] = pair();
      add(fd, EPOLLOUT | EPOLLET);
      expect(ready()).to.deep.equal([[fd, EPOLLOUT]]);
      const much = new Uint8Array(9000);
      while (sys.write(fd, much) > 0);
      expect(ready()).to.deep.equal([]);
      sys.read(child, much, 0, 1000);
      expect(ready()).to.deep.equal([]);
      sys.read(child, much, 0, 1048);
      expect(ready()).to.deep.equal([[fd, EPOLLOUT]]);
      expect(ready()).to.deep.equal([]);
    });

    it('EPOLL_CTL_MOD looks again', () => {
      const [fd, child] = pair();
      add(child, EPOLLIN | EPOLLET);
      sys.write(fd, byte());
      expect(ready()).to.have.length(1);
      expect(ready()).to.have.length(0);
      const event = { events: EPOLLIN | EPOLLET, data: 5 };
      sys.epoll_ctl(epfd, EPOLL_CTL_MOD, child, event);
      expect(ready()).to.deep.equal([[5, EPOLLIN]]);
      expect(ready()).to.have.length(0);
    });
  });

  describe('EPOLLONESHOT', () => {
    it('fires once, then waits for EPOLL_CTL_MOD', () => {
      const [fd, child] = pair();
      add(child, EPOLLIN | EPOLLONESHOT);
      sys.write(fd, byte());
      expect(ready()).to.deep.equal([[child, EPOLLIN]]);
      sys.write(fd, byte());
      expect(ready()).to.deep.equal([]);
      sys.write(fd, byte());
      expect(ready()).to.deep.equal([]);
      const event = { events: EPOLLIN | EPOLLONESHOT, data: 9 };
      expect(sys.epoll_ctl(epfd, EPOLL_CTL_MOD, child, event)).to.equal(0);
      expect(ready()).to.deep.equal([[9, EPOLLIN]]);
      expect(ready()).to.deep.equal([]);
      sys.read(child, new Uint8Array(9));
      sys.epoll_ctl(epfd, EPOLL_CTL_MOD, child, event);
      expect(ready()).to.deep.equal([]);
      sys.write(fd, byte());
      expect(ready()).to.deep.equal([[9, EPOLLIN]]);
    });
  });

  describe('reused descriptors', () => {
    it('a new file with an old number has no interest and no old events', () => {
      const [fd, child] = pair();
      add(child, EPOLLIN);
      sys.write(fd, byte());
      const other = inline.thread().sys;
      expect(other.close(child)).to.equal(0);
      const again = sys.socket(AF_INET, SOCK_STREAM, 0);
      expect(again).to.equal(child);
      expect(sys.epoll_ctl(epfd, EPOLL_CTL_DEL, again)).to.equal(-errno.ENOENT);
      expect(ready()).to.deep.equal([]);
      expect(add(again, EPOLLOUT)).to.equal(0);
      expect(ready()).to.deep.equal([[again, EPOLLOUT | EPOLLHUP]]);
    });

    it('an interest that was ready when its file was closed and replaced is gone', () => {
      const [fd, child] = pair();
      add(child, EPOLLIN);
      sys.write(fd, byte());
      expect(ready()).to.have.length(1);
      inline.thread().sys.close(child);
      expect(ready()).to.deep.equal([]);
      sys.socket(AF_INET, SOCK_STREAM, 0);
      expect(add(child, EPOLLOUT)).to.equal(0);
    });

    it('a command for the earlier file does not reach the later one', () => {
      const [, child] = pair();
      inline.held = true;
      add(child, EPOLLIN);
      const late = inline.thread();
      // The other thread's close and socket are taken first.
      late.sys.close(child);
      inline.held = false;
      inline.syscalls.runCommands();
      expect(sys.socket(AF_INET, SOCK_STREAM, 0)).to.equal(child);
      expect(ready()).to.deep.equal([]);
    });
  });

  it('watches thousands of descriptors, in several instances each', () => {
    const wide = inlineStack(4096);
    const one = wide.thread().sys;
    const two = wide.thread().sys;
    const [first, second] = [one.epoll_create1(0), two.epoll_create1(0)];
    const fds: number[] = [];
    for (let i = 0; i < 1500; i++) {
      const fd = one.eventfd(0, EFD_NONBLOCK);
      fds.push(fd);
      expect(one.epoll_ctl(first, EPOLL_CTL_ADD, fd, { events: EPOLLIN, data: fd })).to.equal(0);
      expect(two.epoll_ctl(second, EPOLL_CTL_ADD, fd, { events: EPOLLIN, data: -fd })).to.equal(0);
    }
    const eight = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);
    for (const fd of fds) one.write(fd, eight);
    expect(ready(2000, first, one).map(([data]) => data)).to.deep.equal(fds);
    // One that is not the first of its list ends; the others go on.
    one.close(first);
    expect(ready(2000, second, two).map(([data]) => -data)).to.deep.equal(fds);
    for (const fd of fds) expect(one.close(fd)).to.equal(0);
    expect(ready(2000, second, two)).to.deep.equal([]);
  });

  it('epoll_ctl and closed instances when the stack is dead, or another thread closed it', () => {
    const [, child] = pair();
    const other = inline.thread().sys;
    expect(other.close(epfd)).to.equal(0);
    expect(add(child, EPOLLIN)).to.equal(0);
    const next = sys.epoll_create1(0);
    declareDead(inline.shared.ctl, inline.shared.layout, 'x');
    const event = { events: EPOLLIN, data: 0 };
    expect(sys.epoll_ctl(next, EPOLL_CTL_ADD, child, event)).to.equal(-errno.EIO);
  });

  it('has room for 200 instances', () => {
    let fd = 0;
    for (let i = 1; i < 200; i++) fd = sys.epoll_create1(0);
    expect(sys.epoll_create1(0)).to.equal(-errno.EMFILE);
    sys.close(fd);
    expect(sys.epoll_create1(0)).to.equal(fd);
  });

  it('an instance whose region was used before starts empty', () => {
    const [fd, child] = pair();
    const second = sys.epoll_create1(0);
    sys.epoll_ctl(second, EPOLL_CTL_ADD, child, { events: EPOLLIN | EPOLLET, data: 1 });
    sys.write(fd, byte());
    sys.close(second);
    const third = sys.epoll_create1(0);
    expect(ready(4, third)).to.deep.equal([]);
    sys.epoll_ctl(third, EPOLL_CTL_ADD, child, { events: EPOLLIN | EPOLLET, data: 1 });
    expect(ready(4, third)).to.have.length(1);
    sys.write(fd, byte());
    expect(ready(4, third)).to.have.length(1);
  });
});
