/** Options that calls of an application thread look at themselves: SO_PEEK_OFF, TCP_SAVED_SYN. */
import { expect } from 'chai';
import * as errno from '../../src/net/errno.js';
import * as c from '../../src/socket/uapi/constants.js';
import { ADDRESS, VirtualWorld } from '../stack/virtual-thread.js';

describe('socket: rare options', () => {
  let world: VirtualWorld;

  beforeEach(() => {
    world = new VirtualWorld();
  });

  /** A connection: both ends non-blocking. `options` are the listener's. */
  function pair(options: readonly (readonly [number, number, number])[] = []): [number, number] {
    const { sys, other } = world;
    const listener = other.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, 0);
    for (const [level, name, value] of options) other.setsockopt(listener, level, name, value);
    const to = { address: ADDRESS, port: 80 };
    other.bind(listener, to);
    other.listen(listener, 5);
    const fd = sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
    expect(sys.connect(fd, to)).to.equal(0);
    sys.fcntl(fd, c.F_SETFL, c.O_NONBLOCK);
    return [fd, other.accept4(listener, c.SOCK_NONBLOCK)];
  }

  it('SO_PEEK_OFF: a look begins where the last one ended, a read moves that back', () => {
    const [fd, peer] = pair();
    const { sys, other } = world;
    const look = (length: number): number[] => {
      const into = new Uint8Array(length);
      const count = sys.recvfrom(fd, into, c.MSG_PEEK);
      return count < 0 ? [count] : [...into.subarray(0, count)];
    };
    const offset = (): number => {
      const out = new Int32Array(1);
      expect(sys.getsockopt(fd, c.SOL_SOCKET, c.SO_PEEK_OFF, out)).to.equal(1);
      return out[0]!;
    };
    expect(offset()).to.equal(-1);
    other.write(peer, new Uint8Array([1, 2, 3, 4, 5, 6]));
    expect(look(2)).to.deep.equal([1, 2]);
    expect(offset()).to.equal(-1);
    sys.setsockopt(fd, c.SOL_SOCKET, c.SO_PEEK_OFF, 1);
    expect(look(2)).to.deep.equal([2, 3]);
    expect(look(2)).to.deep.equal([4, 5]);
    expect(offset()).to.equal(5);
    expect(sys.recvfrom(fd, new Uint8Array(2), 0)).to.equal(2);
    expect(offset()).to.equal(3);
    expect(look(9)).to.deep.equal([6]);
    expect(look(9)).to.deep.equal([-errno.EAGAIN]);
    expect(sys.recvfrom(fd, new Uint8Array(9), 0)).to.equal(4);
    expect(offset()).to.equal(0);
    sys.setsockopt(fd, c.SOL_SOCKET, c.SO_PEEK_OFF, 3);
    expect(sys.connect(fd, { family: c.AF_UNSPEC, address: 0, port: 0 })).to.equal(0);
    expect(offset()).to.equal(-1);
  });

  it('MSG_ERRQUEUE: nothing is ever in that queue, whatever waits in the other', () => {
    const [fd, peer] = pair();
    world.other.write(peer, new Uint8Array(3));
    const into = new Uint8Array(9);
    expect(world.sys.recvfrom(fd, into, c.MSG_ERRQUEUE)).to.equal(-errno.EAGAIN);
    expect(world.sys.recvmsg(fd, { iov: [into] }, c.MSG_ERRQUEUE)).to.equal(-errno.EAGAIN);
    expect(world.sys.recvfrom(fd, into, 0)).to.equal(3);
  });

  it('TCP_SAVED_SYN: the headers of the SYN, once, when there is room for all of them', () => {
    const { sys, other } = world;
    const [fd, child] = pair([[c.SOL_TCP, c.TCP_SAVE_SYN, 1]]);
    const name = { family: 0, address: '', port: 0 };
    sys.getsockname(fd, name);
    expect(sys.getsockopt(fd, c.SOL_TCP, c.TCP_SAVED_SYN, new Uint8Array(200))).to.equal(0);
    const small = new Uint8Array(30);
    expect(other.getsockopt(child, c.SOL_TCP, c.TCP_SAVED_SYN, small)).to.equal(-errno.EINVAL);
    const syn = new Uint8Array(200);
    expect(other.getsockopt(child, c.SOL_TCP, c.TCP_SAVED_SYN, syn)).to.equal(60);
    const view = new DataView(syn.buffer);
    // IPv4 with five words, 60 bytes; then the port, the flags, and the MSS option.
    expect([syn[0], view.getUint16(2), view.getUint16(20), syn[33]]).to.deep.equal([
      ...[0x45, 60, name.port, 2],
    ]);
    expect(syn.subarray(40, 42)).to.deep.equal(new Uint8Array([2, 4]));
    expect(other.getsockopt(child, c.SOL_TCP, c.TCP_SAVED_SYN, syn)).to.equal(0);
  });
});
