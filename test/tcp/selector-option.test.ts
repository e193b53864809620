/**
 * SO_ATTACH_REUSEPORT_SELECTOR and SO_DETACH_REUSEPORT_BPF through the whole stack: who may attach
 * and when, as the kernel's selftest reuseport_bpf has it, and what a selector then sees.
 */
import { expect } from 'chai';
import { EADDRINUSE, EBADF, EINVAL, ENOENT, ENOPROTOOPT } from '../../src/net/errno.js';
import { BLOCK_SLOT } from '../../src/net/sockmem.js';
import type { Selector } from '../../src/reuseport/selector-request.js';
import { MemoryStack as Memory, type MemoryStack, Peer } from '../../src/testing/index.js';

const SOL_SOCKET = 1;
const SO_REUSEPORT = 15;
const SO_DETACH_REUSEPORT_BPF = 68;
const SO_ATTACH_REUSEPORT_SELECTOR = 0x7401;

/** `src_port % n`, the program of the selftest. */
const byPort =
  (n: number): Selector =>
  (request) =>
    request.sport % n;

interface Rig {
  host: MemoryStack;
  said: string[];
  /** Modules by path; a string is the code of an error. */
  modules: Map<string, Selector | string>;
}

function rig(profile: '5.0' | '6.18' = '6.18'): Rig {
  const said: string[] = [];
  const trace = { selector: (message: string) => said.push(message) };
  const host = new Memory({ arenaBytes: 16 << 20, profile, trace });
  const modules = new Map<string, Selector | string>();
  host.stack.tcp.loadSelector = (path) => {
    const found = modules.get(path) ?? 'ENOENT';
    if (typeof found !== 'string') return found;
    throw Object.assign(new Error(`cannot read it (${found})`), { code: found });
  };
  return { host, said, modules };
}

const attach = (host: MemoryStack, fd: number, name: string): number =>
  host.stack.setsockoptText(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_SELECTOR, name);
const detach = (host: MemoryStack, fd: number): number =>
  host.stack.setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0, 0);
const nameOf = (host: MemoryStack, fd: number): string | number =>
  host.stack.getsockoptText(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_SELECTOR);

function stateOf(host: MemoryStack, fd: number): number {
  const out = new Int32Array(4);
  expect(host.stack.getsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_SELECTOR, out)).to.equal(1);
  return out[0]!;
}

/** socket(), with SO_REUSEPORT unless told otherwise. */
function socket(host: MemoryStack, reuseport = true): number {
  const fd = host.stack.socket(0);
  if (reuseport) host.stack.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1, 0);
  return fd;
}

function group(host: MemoryStack, members: number): number[] {
  return Array.from({ length: members }, () => host.listen(80, 100, { reuseport: true }));
}

/** Index of the listener that gets a connection from `port`, and the slot that the child names. */
function taker(host: MemoryStack, listeners: number[], port: number): [number, number] {
  const peer = new Peer(host, { port });
  peer.in('S 0:0(0)');
  peer.out('S. 0:0(0) ack 1');
  peer.in('. 1:1(0) ack 1');
  for (const [index, listener] of listeners.entries()) {
    const fd = host.accept(listener);
    if (fd < 0) continue;
    const slot = host.mem.ctl[host.mem.blockAt(fd) + BLOCK_SLOT]!;
    host.stack.abort(fd);
    host.poll();
    peer.out('R. 1:1(0) ack 1');
    return [index, slot];
  }
  throw new Error(`nobody got the connection from ${port}`);
}

describe('tcp/selector-option: as the selftest reuseport_bpf', () => {
  for (const members of [10, 20]) {
    it(`the index is the place in listen() order: ${members} members`, () => {
      const { host, modules } = rig();
      const listeners = group(host, members);
      modules.set('/srv/n.js', byPort(members)).set('/srv/half.js', byPort(members / 2));
      expect(attach(host, listeners[0]!, '/srv/n.js')).to.equal(0);
      for (let port = 30_000; port < 30_000 + 2 * members; port++) {
        const index = port % members;
        expect(taker(host, listeners, port)).to.deep.equal([index, index]);
      }
      // Another one takes effect at once, attached through any member.
      expect(attach(host, listeners[members - 1]!, '/srv/half.js')).to.equal(0);
      for (let port = 30_100; port < 30_100 + 2 * members; port++) {
        expect(taker(host, listeners, port)[0]).to.equal(port % (members / 2));
      }
    });
  }

  it('attached before bind it founds a group that no second socket can bind to', () => {
    const { host } = rig();
    const [a, b] = [socket(host), socket(host)];
    expect(attach(host, a!, 'rr')).to.equal(0);
    expect(attach(host, b!, 'rr')).to.equal(0);
    expect(host.stack.bind(a!, host.address, 80)).to.equal(0);
    expect(host.stack.bind(b!, host.address, 80)).to.equal(-EADDRINUSE);
    expect(host.stack.listen(a!, 8)).to.equal(0);
    expect(nameOf(host, a!)).to.equal('rr');
    // One without a group of its own joins, and is under the same selector.
    const c = socket(host);
    expect(host.stack.bind(c, host.address, 80)).to.equal(0);
    expect(host.stack.listen(c, 8)).to.equal(0);
    expect(nameOf(host, c)).to.equal('rr');
    const takers = [0, 1, 2, 3].map((i) => taker(host, [a!, c], 40_000 + i)[0]);
    expect(takers).to.deep.equal([0, 1, 0, 1]);
  });

  it('a socket that is in no group and cannot found one is -EINVAL', () => {
    const { host, modules, said } = rig();
    let loaded = 0;
    modules.set('/srv/n.js', byPort(1));
    const { loadSelector } = host.stack.tcp;
    host.stack.tcp.loadSelector = (path) => {
      loaded++;
      return loadSelector!(path);
    };
    const plain = socket(host, false);
    const bound = socket(host, false);
    host.stack.bind(bound, host.address, 81);
    const listening = host.listen(82);
    const late = host.listen(83);
    host.stack.setsockopt(late, SOL_SOCKET, SO_REUSEPORT, 1, 0);
    for (const fd of [plain, bound, listening, late]) {
      for (const name of ['p2c', '/srv/n.js']) expect(attach(host, fd, name)).to.equal(-EINVAL);
      expect(stateOf(host, fd)).to.equal(0);
      expect(nameOf(host, fd)).to.equal('');
    }
    expect(loaded).to.equal(0);
    expect(said).to.deep.equal([]);
    expect(attach(host, 999, 'p2c')).to.equal(-EBADF);
  });

  it('detaches once; without a group, or a selector, there is nothing to detach', () => {
    const { host } = rig();
    const listeners = group(host, 3);
    expect(detach(host, listeners[0]!)).to.equal(-ENOENT);
    expect(attach(host, listeners[0]!, 'rr')).to.equal(0);
    expect([stateOf(host, listeners[2]!), nameOf(host, listeners[1]!)]).to.deep.equal([1, 'rr']);
    expect(detach(host, listeners[2]!)).to.equal(0);
    expect(detach(host, listeners[0]!)).to.equal(-ENOENT);
    expect([stateOf(host, listeners[0]!), nameOf(host, listeners[0]!)]).to.deep.equal([0, '']);
    expect(detach(host, socket(host))).to.equal(-ENOENT);
    expect(detach(host, socket(host, false))).to.equal(-EINVAL);
  });

  it('detaching came after 5.0', () => {
    const { host } = rig('5.0');
    const [a] = group(host, 2);
    expect(attach(host, a!, 'rr')).to.equal(0);
    expect(detach(host, a!)).to.equal(-ENOPROTOOPT);
    expect(nameOf(host, a!)).to.equal('rr');
  });

  it('lives as long as the group does', () => {
    const { host } = rig();
    const [a, b] = group(host, 2);
    attach(host, a!, 'least');
    host.stack.close(a!);
    const [c] = group(host, 1);
    expect([nameOf(host, b!), nameOf(host, c!)]).to.deep.equal(['least', 'least']);
    host.stack.close(b!);
    host.stack.close(c!);
    const [d] = group(host, 1);
    expect([stateOf(host, d!), nameOf(host, d!)]).to.deep.equal([0, '']);
  });
});

describe('tcp/selector-option: names and modules', () => {
  it('a name that nobody knows, and a path that is not absolute', () => {
    const { host, said } = rig();
    const [a] = group(host, 1);
    for (const name of ['', 'P2C', 'mine.js', './mine.js', '../x']) {
      expect(attach(host, a!, name), name).to.equal(-EINVAL);
      expect(said.pop()).to.equal(
        `selector ${name} refused: it is none of hash, random, rr, least, p2c, consistent, cpu ` +
          'and no absolute path',
      );
    }
    host.stack.tcp.loadSelector = null;
    expect(attach(host, a!, '/srv/mine.js')).to.equal(-EINVAL);
    expect(said).to.have.length(1);
  });

  it('a module that is missing is -ENOENT, one that is no good -EINVAL, with the reason', () => {
    const { host, said, modules } = rig();
    const [a] = group(host, 1);
    modules.set('/srv/bad.js', 'ERR_BAD');
    expect(attach(host, a!, '/srv/none.js')).to.equal(-ENOENT);
    expect(attach(host, a!, '/srv/bad.js')).to.equal(-EINVAL);
    host.stack.tcp.loadSelector = () => {
      throw null;
    };
    expect(attach(host, a!, '/srv/odd.js')).to.equal(-EINVAL);
    expect(said).to.deep.equal([
      'selector /srv/none.js refused: cannot read it (ENOENT)',
      'selector /srv/bad.js refused: cannot read it (ERR_BAD)',
      'selector /srv/odd.js refused: null',
    ]);
    expect(stateOf(host, a!)).to.equal(0);
  });

  it('a refused one leaves the present selector where it is', () => {
    const { host } = rig();
    const [a] = group(host, 1);
    attach(host, a!, 'rr');
    attach(host, a!, '/srv/none.js');
    expect(nameOf(host, a!)).to.equal('rr');
  });

  it('one that failed says so, until another is attached', () => {
    const { host, said, modules } = rig();
    const listeners = group(host, 2);
    modules.set('/srv/bad.js', () => {
      throw new Error('oh');
    });
    attach(host, listeners[0]!, '/srv/bad.js');
    taker(host, listeners, 40_000);
    expect([stateOf(host, listeners[1]!), nameOf(host, listeners[1]!)]).to.deep.equal([2, '']);
    expect(said).to.deep.equal([
      'selector /srv/bad.js detached: it threw Error: oh; the hash chooses from now on',
    ]);
    expect(attach(host, listeners[1]!, 'rr')).to.equal(0);
    expect(stateOf(host, listeners[0]!)).to.equal(1);
  });

  it('the budget is for modules: a built-in keeps its place however slow the machine is', () => {
    const { host, said, modules } = rig();
    const listeners = group(host, 2);
    let nowUs = 0;
    host.stack.tcp.hashinfo.selectorClock = () => {
      nowUs += 60_000;
      return nowUs;
    };
    modules.set('/srv/n.js', byPort(2));
    for (const name of ['least', 'consistent', '/srv/n.js']) {
      expect(attach(host, listeners[0]!, name)).to.equal(0);
      for (let port = 41_000; port < 41_004; port++) taker(host, listeners, port);
      expect(nameOf(host, listeners[1]!)).to.equal(name === '/srv/n.js' ? '' : name);
    }
    expect(said).to.have.length(1);
    expect(said[0]).to.match(/^selector \/srv\/n\.js detached: it is too slow/);
  });

  it('other texts and levels are not for it', () => {
    const { host } = rig();
    const fd = socket(host);
    expect(host.stack.setsockoptText(fd, 6, SO_ATTACH_REUSEPORT_SELECTOR, 'rr')).to.equal(
      -ENOPROTOOPT,
    );
    expect(host.stack.setsockoptText(fd, SOL_SOCKET, 51, 'rr')).to.equal(-ENOPROTOOPT);
  });
});

describe('tcp/selector-option: what least sees of a stack', () => {
  it('connections, accepted ones, waiting ones and half-open ones, count against a member', () => {
    const { host } = rig();
    const listeners = group(host, 3);
    attach(host, listeners[0]!, 'least');
    const peers = Array.from({ length: 9 }, (_, i) => new Peer(host, { port: 40_000 + i }));
    const open = listeners.map(() => 0);
    const slotOf = (): number[] =>
      listeners.map((fd) => host.stack.sock(fd)!.listen!.reqs + open[listeners.indexOf(fd)]!);
    // A burst of SYNs, all half open: nobody gets two more than another.
    for (const peer of peers.slice(0, 6)) {
      peer.in('S 0:0(0)');
      peer.out('S. 0:0(0) ack 1');
    }
    expect(slotOf()).to.deep.equal([2, 2, 2]);
    for (const peer of peers.slice(0, 6)) peer.in('. 1:1(0) ack 1');
    // One member accepts and closes what it has: the next three go to it.
    const fds = [host.accept(listeners[1]!), host.accept(listeners[1]!)];
    for (const fd of fds) host.stack.abort(fd);
    host.poll();
    host.sent.length = 0; // two resets
    expect(slotOf()).to.deep.equal([0, 0, 0]);
    for (const peer of peers.slice(6, 8)) {
      peer.in('S 0:0(0)');
      peer.out('S. 0:0(0) ack 1');
    }
    expect(slotOf()).to.deep.equal([0, 2, 0]);
  });
});
