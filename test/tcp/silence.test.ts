/**
 * A peer that falls silent, in every state: when the stack gives back what the connection had, with
 * Linux's defaults. The order of segments and the times were compared with Linux 6.18 in
 * test/oracle/silence.e2e.test.ts; a kernel's timers are up to 8 % later.
 */
import { expect } from 'chai';
import { PAGE_BYTES } from '../../src/net/sockmem.js';
import { MemoryStack, Peer } from '../../src/testing/index.js';
import { ts } from './state-table.js';

const SHUT_WR = 1;
const SOL_SOCKET = 1;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;
const TCP_DEFER_ACCEPT = 9;
const TCP_LINGER2 = 8;
const TCP_USER_TIMEOUT = 18;
const TCP_FASTOPEN = 23;
const EINPROGRESS = 115;
/** Long enough to be called for ever: a month, seconds. */
const FOREVER = 30 * 86_400;
const SYN = 'S 0:0(0) <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>';

interface Scene {
  readonly host: MemoryStack;
  readonly peer: Peer;
  fd: number;
}

type Step = (scene: Scene) => void;

/** Level, name and value of an option, of the listener or of the socket that connects. */
type Setting = readonly [level: number, name: number, value: number];

const KEEP_ALIVE: Setting = [SOL_SOCKET, SO_KEEPALIVE, 1];

function listener({ host }: Scene, ...options: Setting[]): number {
  const fd = host.listen(80);
  for (const [level, name, value] of options) {
    expect(host.stack.setsockopt(fd, level, name, value, 0)).to.equal(0);
  }
  return fd;
}

/** Accepted, or left to wait for it. */
function open(accepts: boolean, ...options: Setting[]): Step {
  return (scene) => {
    const { host, peer } = scene;
    const fd = listener(scene, ...options);
    peer.in(SYN);
    peer.out('S. 0:0(0) ack 1 <...>');
    peer.in(`. 1:1(0) ack 1 win 500 ${ts(101, 1000)}`);
    if (accepts) scene.fd = host.accept(fd);
  };
}

const established = open(true);
const alive = open(true, KEEP_ALIVE);
const write: Step = ({ host, fd }) => expect(host.write(fd, 'hello')).to.equal(5);
const shut: Step = ({ host, fd }) => expect(host.shutdown(fd, SHUT_WR)).to.equal(0);
const close: Step = ({ host, fd }) => expect(host.close(fd)).to.equal(0);
const fin: Step = ({ peer }) => peer.in(`F. 1:1(0) ack 1 win 500 ${ts(101, 1000)}`);
const finAcked: Step = ({ peer }) => peer.in(`. 1:1(0) ack 2 win 500 ${ts(101, 1000)}`);
const finBoth: Step = ({ peer }) => peer.in(`F. 1:1(0) ack 2 win 500 ${ts(101, 1000)}`);
const windowShut: Step = ({ peer }) => peer.in(`. 1:1(0) ack 1 win 0 ${ts(101, 1000)}`);
const finAtShutWindow: Step = ({ peer }) => peer.in(`F. 1:1(0) ack 1 win 0 ${ts(101, 1000)}`);

/** Our SYN is out. */
function connecting(...options: Setting[]): Step {
  return (scene) => {
    const { host, peer } = scene;
    const { stack } = host;
    const fd = stack.socket(0);
    scene.fd = fd;
    for (const [level, name, value] of options) stack.setsockopt(fd, level, name, value, 0);
    expect(stack.bind(fd, host.address, 80)).to.equal(0);
    expect(stack.connect(fd, peer.address, peer.port)).to.equal(-EINPROGRESS);
    host.poll();
  };
}

const synOnly: Step = (scene) => {
  listener(scene);
  scene.peer.in(SYN);
};
const deferred = open(false, [IPPROTO_TCP, TCP_DEFER_ACCEPT, 3]);
const crossing: Step = (scene) => {
  connecting()(scene);
  scene.peer.in(SYN);
};
const fastOpen: Step = (scene) => {
  const fd = listener(scene, [IPPROTO_TCP, TCP_FASTOPEN, 5]);
  scene.peer.in(SYN.replace('0:0(0)', '0:3(3)'), 'abc');
  scene.fd = scene.host.accept(fd);
};

/** Name, way into it, and seconds until the stack has forgotten it. */
const TABLE: readonly (readonly [name: string, steps: readonly Step[], seconds: number])[] = [
  ['SYN-RECEIVED of a listener', [synOnly], 63],
  ['SYN-RECEIVED, TCP_DEFER_ACCEPT, acknowledged', [deferred], 63],
  ['SYN-RECEIVED of Fast Open', [fastOpen], 127],
  ['SYN-SENT', [connecting()], 131],
  ['SYN-SENT, TCP_SYNCNT 1', [connecting([IPPROTO_TCP, 7, 1])], 3],
  ['SYN-SENT, TCP_SYNCNT 3', [connecting([IPPROTO_TCP, 7, 3])], 19],
  ['SYN-SENT, a user timeout', [connecting([IPPROTO_TCP, TCP_USER_TIMEOUT, 2500])], 2.5],
  ['SYN-RECEIVED of crossing SYNs', [crossing], 127],
  ['ESTABLISHED, idle', [established], FOREVER],
  ['ESTABLISHED, idle, keep-alive', [alive], 7200 + 9 * 75],
  ['ESTABLISHED, not accepted, keep-alive', [open(false, KEEP_ALIVE)], 7200 + 9 * 75],
  ['ESTABLISHED, text under way', [established, write], 924.8],
  ['ESTABLISHED, text under way, keep-alive', [alive, write], 924.8],
  ['ESTABLISHED, closed window', [established, windowShut, write], 924.6],
  ['CLOSE-WAIT, idle', [established, fin], FOREVER],
  ['CLOSE-WAIT, idle, keep-alive', [alive, fin], 7200 + 9 * 75],
  ['CLOSE-WAIT, text under way', [established, fin, write], 924.8],
  ['FIN-WAIT-1', [established, shut], 924.8],
  ['FIN-WAIT-1, orphan', [established, close], 102.4],
  ['FIN-WAIT-1, orphan, text under way', [established, write, close], 102.2],
  ['FIN-WAIT-1, orphan, closed window', [established, windowShut, write, close], 102.2],
  ['FIN-WAIT-2', [established, shut, finAcked], FOREVER],
  ['FIN-WAIT-2, keep-alive', [alive, shut, finAcked], 7200 + 9 * 75],
  ['FIN-WAIT-2, orphan', [established, close, finAcked], 60],
  [
    'FIN-WAIT-2, orphan, TCP_LINGER2 5',
    [open(true, [IPPROTO_TCP, TCP_LINGER2, 5]), close, finAcked],
    5,
  ],
  ['CLOSING', [established, shut, fin], 924.8],
  ['CLOSING, orphan', [established, close, fin], 102.4],
  ['LAST-ACK, not closed', [established, fin, shut], 924.8],
  ['LAST-ACK', [established, fin, close], 102.4],
  ['LAST-ACK, closed window', [established, finAtShutWindow, write, close], 102.2],
  ['TIME-WAIT', [established, close, finBoth], 60],
];

/** Everything that a connection may have of the stack. */
function held({ host }: Scene): Record<string, number> {
  const { stack, mem } = host;
  const { net, tcp } = stack;
  const pools = [net.inputSkbs, net.outputSkbs];
  const packets = pools.reduce((sum, pool) => sum + (pool.made * pool.capacity) / PAGE_BYTES, 0);
  return {
    connections: tcp.hashinfo.ehash.size,
    orphans: tcp.orphans,
    records: tcp.rtx.inUse,
    timers: net.timers.size,
    rings: mem.pagesInUse - packets,
    packets: net.outputSkbs.out,
  };
}

const NOTHING = { connections: 0, orphans: 0, records: 0, timers: 0, rings: 0, packets: 0 };

describe('tcp: a peer that falls silent', () => {
  for (const [name, steps, seconds] of TABLE) {
    const told = seconds === FOREVER ? 'stays' : `${seconds} s`;
    it(`${name}: ${told}`, () => {
      const host = new MemoryStack({
        fds: 32,
        arenaBytes: 4 << 20,
        // A Fast Open SYN needs no cookie.
        sysctl: { 'net.ipv4.tcp_ehash_entries': 64, 'net.ipv4.tcp_fastopen': 0x203 },
      });
      const peer = new Peer(host, { relativeTimestamps: true });
      const scene: Scene = { host, peer, fd: -1 };
      for (const step of steps) step(scene);
      host.advance(1);
      expect(host.stack.tcp.hashinfo.ehash.size).to.equal(1);
      // TIME-WAIT and FIN-WAIT-2 of an orphan begin when the last segment has come.
      host.advance(seconds * 1000 - 1 - 150);
      expect(host.stack.tcp.hashinfo.ehash.size, 'too early').to.equal(1);
      if (seconds === FOREVER) return;
      host.advance(300);
      const orphan = scene.fd < 0 || host.stack.sock(scene.fd) === null;
      if (!orphan) host.close(scene.fd);
      // The listener, and whoever waits there, goes last.
      for (let fd = 3; fd < 32; fd++) if (host.stack.sock(fd) !== null) host.close(fd);
      // Memory of rings is given back within a second.
      host.advance(1500);
      expect(held(scene)).to.deep.equal(NOTHING);
      expect(host.mem.fdsInUse).to.equal(0);
    });
  }
});
