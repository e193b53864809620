/**
 * Properties of the kernel's own tests that need a whole stack and have no better place:
 * reuseport_bpf with text in the SYN, reuseport_bpf_cpu, select_reuseport (bpf) and
 * sk_bind_sendto_listen. The others stand beside what they are about: reuseport/dual-stack,
 * bind-conflict, get-port, tcp/incoming-cpu, many-listeners, ports, migrate-chain and
 * selector-option.
 */
import { expect } from 'chai';
import { EINPROGRESS, ENOENT } from '../../src/net/errno.js';
import { reciprocalScale } from '../../src/net/hash.js';
import { Mib } from '../../src/net/mib.js';
import { BLOCK_SLOT } from '../../src/net/sockmem.js';
import type { Selector, SelectorRequest } from '../../src/reuseport/selector-request.js';
import { ipv4, MemoryStack, Peer } from '../../src/testing/index.js';

const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_DETACH_REUSEPORT_BPF = 68;
const SO_ATTACH_REUSEPORT_SELECTOR = 0x7401;
const IPPROTO_TCP = 6;
const TCP_FASTOPEN = 23;
const BACKLOG = 64;
/** Fast Open of a server that wants no cookies. */
const NO_COOKIE = { 'net.ipv4.tcp_fastopen': 0x202 };

function start(sysctl: Record<string, number> = {}): MemoryStack {
  return new MemoryStack({ arenaBytes: 16 << 20, sysctl });
}

function group(host: MemoryStack, members: number, address = 0): number[] {
  return Array.from({ length: members }, () =>
    host.listen(80, BACKLOG, { reuseport: true, address }),
  );
}

/** Gives the group of `fd` the selector, as if it had been read from a file. */
function attach(host: MemoryStack, fd: number, selector: Selector | string): void {
  const name = typeof selector === 'string' ? selector : '/srv/mine.js';
  if (typeof selector !== 'string') host.stack.tcp.loadSelector = () => selector;
  const error = host.stack.setsockoptText(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_SELECTOR, name);
  expect(error).to.equal(0);
}

const detach = (host: MemoryStack, fd: number): number =>
  host.stack.setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0, 0);

/** Takes the only connection that waits at one of `listeners`: which, and its descriptor. */
function taken(host: MemoryStack, listeners: number[]): [index: number, child: number] {
  const found: [number, number][] = [];
  for (const [index, listener] of listeners.entries()) {
    for (let fd = host.accept(listener); fd >= 0; fd = host.accept(listener)) {
      found.push([index, fd]);
    }
  }
  expect(found).to.have.length(1);
  return found[0]!;
}

/** A handshake from `port`; the index of the listener that has it. */
function connected(host: MemoryStack, listeners: number[], port: number, cpu = 0): number {
  const peer = new Peer(host, { port, ingress: { cpu } });
  peer.in('S 0:0(0)');
  peer.out('S. 0:0(0) ack 1');
  peer.in('. 1:1(0) ack 1');
  return taken(host, listeners)[0];
}

describe('tcp: selftest reuseport_bpf, text in the SYN', () => {
  /** A SYN with text from `port`: the index of who can read it before the third ACK. */
  function opened(host: MemoryStack, listeners: number[], port: number): number {
    const peer = new Peer(host, { port });
    peer.in('S 0:5(5) <mss 1460>', 'hello');
    peer.out('S. 0:0(0) ack 6 <...>');
    const [index, child] = taken(host, listeners);
    expect(host.readText(child)).to.equal('hello');
    expect(host.mem.ctl[host.mem.blockAt(child) + BLOCK_SLOT]).to.equal(index);
    peer.in('. 6:6(0) ack 1');
    return index;
  }

  for (const members of [10, 20]) {
    it(`src_port % n names the place in listen() order: ${members} members`, () => {
      const host = start(NO_COOKIE);
      const listeners = group(host, members);
      for (const fd of listeners) {
        expect(host.stack.setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, 4, 0)).to.equal(0);
      }
      for (const modulus of [members, members / 2]) {
        attach(host, listeners[modulus % 3]!, (request) => request.sport % modulus);
        const first = 30_000 + modulus * 100;
        for (let port = first; port < first + 2 * members; port++) {
          expect(opened(host, listeners, port)).to.equal(port % modulus);
        }
      }
      expect(host.counter(Mib.TCPFastOpenPassive)).to.equal(4 * members);
    });
  }
});

describe('tcp: selftest reuseport_bpf_cpu', () => {
  it('the member of the CPU gets it, in whatever order the CPUs send', () => {
    const cpus = 6;
    const up = Array.from({ length: cpus }, (_, cpu) => cpu);
    const even = up.filter((cpu) => cpu % 2 === 0);
    const odd = up.filter((cpu) => cpu % 2 === 1);
    const orders = [up, [...up].reverse(), [...even, ...odd], [...odd, ...even]];
    for (const selector of ['cpu', (request: SelectorRequest) => request.cpu]) {
      const host = start();
      const listeners = group(host, cpus);
      attach(host, listeners[0]!, selector);
      let port = 20_000;
      for (const order of orders) {
        for (const cpu of order) {
          expect(connected(host, listeners, port++, cpu)).to.equal(cpu);
        }
      }
    }
  });
});

describe('tcp: selftest select_reuseport', () => {
  it('the selector sees the flow, its hash and whether the group is at any address', () => {
    for (const address of [0, ipv4('198.18.0.1')]) {
      const host = start();
      const listeners = group(host, 3, address);
      const seen: unknown[] = [];
      attach(host, listeners[0]!, (request) => {
        const { saddr, sport, daddr, dport, hash, group: asked } = request;
        seen.push([saddr, sport, daddr, dport, hash, asked.bindInany]);
        return 2;
      });
      expect(connected(host, listeners, 41_000)).to.equal(2);
      const phash = host.stack.tcp.hashinfo.phash >>> 0;
      const flow = [ipv4('198.18.0.254') >>> 0, 41_000, ipv4('198.18.0.1') >>> 0, 80];
      expect(seen).to.deep.equal([[...flow, phash, address === 0]]);
    }
  });

  it('each index can be reached; one that is none leaves it to the hash', () => {
    const host = start();
    const listeners = group(host, 4);
    let index = 0;
    attach(host, listeners[0]!, () => index);
    let port = 42_000;
    for (index = 0; index < 4; index++) {
      expect(connected(host, listeners, port++)).to.equal(index);
    }
    for (index of [4, 5, -1, 1e9]) {
      for (let i = 0; i < 8; i++) {
        const got = connected(host, listeners, port++);
        expect(got).to.equal(reciprocalScale(host.stack.tcp.hashinfo.phash, 4));
      }
    }
  });

  it('the SYN that got a cookie and its ACK may go to two members', () => {
    const host = start({ 'net.ipv4.tcp_syncookies': 2 });
    const listeners = group(host, 2);
    let asked = 0;
    attach(host, listeners[0]!, () => asked++ % 2);
    for (let port = 43_000; port < 43_008; port++) {
      expect(connected(host, listeners, port)).to.equal(1);
    }
    expect(asked).to.equal(16);
    expect(host.counter(Mib.SyncookiesRecv)).to.equal(8);
  });

  it('once detached it is not asked any more, and cannot be detached again', () => {
    const host = start();
    const listeners = group(host, 4);
    let asked = 0;
    attach(host, listeners[0]!, () => {
      asked++;
      return 3;
    });
    expect(connected(host, listeners, 44_000)).to.equal(3);
    expect([detach(host, listeners[1]!), detach(host, listeners[1]!)]).to.deep.equal([0, -ENOENT]);
    const got = Array.from({ length: 24 }, (_, i) => connected(host, listeners, 44_001 + i));
    expect(new Set(got).size).to.equal(4);
    expect(asked).to.equal(1);
  });
});

describe('tcp: selftest sk_bind_sendto_listen', () => {
  it('of two SO_REUSEADDR sockets one connects to itself, the other can still listen', () => {
    const [client, NO_COOKIE_ASKED] = [1, 4];
    const host = start({ 'net.ipv4.tcp_fastopen': client | NO_COOKIE_ASKED });
    const { stack } = host;
    const [a, b] = [0, 1].map(() => {
      const fd = stack.socket(0);
      stack.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1, 0);
      expect(stack.bind(fd, 0, 8000)).to.equal(0);
      return fd;
    });
    // sendto() with MSG_FASTOPEN: connect with text to come, then the text.
    expect(stack.connect(a!, ipv4('127.0.0.1'), 8000, true)).to.be.oneOf([0, -EINPROGRESS]);
    expect(host.write(a!, 'x')).to.equal(1);
    expect(stack.listen(b!, 8)).to.equal(0);
    host.advance(100);
    for (const fd of [a!, b!]) expect(host.close(fd)).to.equal(0);
    host.advance(200_000);
    expect(stack.tcp.hashinfo.bhash.ports).to.equal(0);
    expect(host.mem.fdsInUse).to.equal(0);
  });
});
