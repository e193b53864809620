/** src/tcp/hand-over.ts: a connection that goes to another stack is the same there. */
import { expect } from 'chai';
import { BLOCK_KIND, BLOCK_WORDS, KIND_TCP } from '../../src/net/sockmem.js';
import { CUBIC } from '../../src/tcp/cong/cubic.js';
import { RENO } from '../../src/tcp/cong/reno.js';
import { HandOver } from '../../src/tcp/hand-over.js';
import { PENDING_ACK, PENDING_OUTPUT } from '../../src/tcp/sock.js';
import { RareOptions } from '../../src/tcp/sockopt/rare.js';
import type { Tcb } from '../../src/tcp/tcb.js';
import { MemoryStack, Peer } from '../../src/testing/index.js';

const IPPROTO_TCP = 6;
const SOL_SOCKET = 1;
const SO_KEEPALIVE = 9;
const SO_LINGER = 13;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const TCP_USER_TIMEOUT = 18;

/** A connection of a listener with options of all kinds, and its stack. */
function accepted(): { host: MemoryStack; peer: Peer; tcb: Tcb } {
  const host = new MemoryStack();
  const fd = host.listen(80);
  const { stack } = host;
  for (const [level, name, value] of [
    [SOL_SOCKET, SO_KEEPALIVE, 1],
    [IPPROTO_TCP, TCP_NODELAY, 1],
    [IPPROTO_TCP, TCP_KEEPIDLE, 77],
    [IPPROTO_TCP, TCP_USER_TIMEOUT, 5000],
  ] as const) {
    expect(stack.setsockopt(fd, level, name, value, 0)).to.equal(0);
  }
  expect(stack.setsockopt(fd, SOL_SOCKET, SO_LINGER, 1, 9)).to.equal(0);
  const peer = new Peer(host);
  peer.in('S 0:0(0) win 4000 <mss 1000,sackOK,nop,wscale 7>');
  peer.out('S. 0:0(0) ack 1 win 64240 <mss 1460,nop,nop,sackOK,nop,wscale 10>');
  host.advance(30);
  peer.in('. 1:1(0) ack 1 win 100');
  const child = host.accept(fd);
  expect(child).to.be.above(0);
  return { host, peer, tcb: stack.sock(child)! };
}

/** Numbers that only mean something in one stack, and objects, which are looked at apart. */
const OWN = ['fd', 'at', 'rcvRing', 'sndRing', 'ehashSlot', 'hash', 'bindIndex', 'timerIndex'];

/** `tcb` in a stack of its own. */
function moved(from: HandOver, tcb: Tcb): { host: MemoryStack; copy: Tcb } {
  const words = new Float64Array(from.size + 5);
  from.write(tcb, words, 5);
  const host = new MemoryStack({ seed: 9 });
  host.advance(60);
  for (let fd = 3; fd < 8; fd++) host.stack.mem.allocFd(KIND_TCP);
  // The block of the descriptor is shared.
  const { mem } = host.stack;
  mem.ctl.set(tcb.tcp.ctl.subarray(tcb.at, tcb.at + BLOCK_WORDS), mem.blockAt(7));
  const to = new HandOver(host.stack.tcp);
  expect(to.size).to.equal(from.size);
  const copy = to.adopt(7, words, 5);
  return { host, copy };
}

describe('tcp/hand-over', () => {
  it('every number and truth value of a connection goes along', () => {
    const { host, tcb } = accepted();
    const from = new HandOver(host.stack.tcp);
    expect(from.movable(tcb)).to.equal(true);
    tcb.congestion = RENO;
    const { copy } = moved(from, tcb);
    const fields = (of: Tcb): object =>
      Object.fromEntries(
        Object.entries(of).filter(
          ([name, value]) => typeof value !== 'object' && !OWN.includes(name),
        ),
      );
    expect(fields(copy)).to.deep.equal(fields(tcb));
    expect(Object.keys(fields(tcb)).length).to.be.above(100);
    expect(copy.counts).to.deep.equal(tcb.counts);
    expect(copy.congestion).to.equal(RENO);
    expect(copy.fd).to.equal(7);
    tcb.congestion = CUBIC;
    expect(moved(from, tcb).copy.congestion).to.equal(CUBIC);
  });

  it('the connection goes on where it is now, timers and all', () => {
    const { host, peer, tcb } = accepted();
    const { host: there, copy } = moved(new HandOver(host.stack.tcp), tcb);
    expect(there.stack.mem.ctl[copy.at + BLOCK_KIND]).to.equal(KIND_TCP);
    there.inject(peer.bytes('P. 1:6(5) ack 1 win 100', 'hello'));
    expect(copy.rcvNxt).to.equal((tcb.rcvNxt + 5) | 0);
    there.sent.length = 0;
    // Keep-alive, after 77 s without a sign of life.
    there.advance(76_000);
    expect(there.sent).to.have.lengthOf(0);
    there.advance(2000);
    expect(there.sent).to.have.lengthOf(1);
  });

  it('what is more than numbers stays', () => {
    const cases: readonly ((tcb: Tcb) => void)[] = [
      (tcb) => Object.assign(tcb, { rare: new RareOptions({ flags: 1 }) }),
      (tcb) => Object.assign(tcb, { savedSyn: new Uint8Array(40) }),
      (tcb) => Object.assign(tcb, { congestionState: {} }),
      (tcb) => Object.assign(tcb, { orphan: true }),
      (tcb) => Object.assign(tcb, { error: 104 }),
      (tcb) => Object.assign(tcb, { dupAcksOwed: 1 }),
      (tcb) => Object.assign(tcb, { pending: PENDING_ACK }),
      (tcb) => Object.assign(tcb, { fastopenKeys: new Int32Array(4) }),
    ];
    for (const change of cases) {
      const { host, tcb } = accepted();
      const over = new HandOver(host.stack.tcp);
      tcb.pending = PENDING_OUTPUT;
      expect(over.movable(tcb)).to.equal(true);
      change(tcb);
      expect(over.movable(tcb), String(change)).to.equal(false);
    }
  });

  it('nor does one go that has text, or room for it', () => {
    const read = accepted();
    read.peer.in('P. 1:6(5) ack 1 win 100', 'hello');
    expect(new HandOver(read.host.stack.tcp).movable(read.tcb)).to.equal(false);
    const written = accepted();
    expect(written.host.stack.attachSendRing(written.tcb.fd)).to.equal(0);
    expect(new HandOver(written.host.stack.tcp).movable(written.tcb)).to.equal(false);
  });
});
