/** When connections hold ring memory: attached on demand, grown under load, taken back if idle. */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { RING_CAPACITY, RING_LOCK, RING_PAGE, RING_TAIL } from '../../src/net/ring.js';
import { growRing, ringCapacityFor } from '../../src/tcp/ring-memory.js';
import { pattern, type Rig, readAll, rig } from './rig.js';

const APPLICATION = 7;

const rcvPage = (r: Rig) => r.host.mem.ctl[r.tcb.rcvRing + RING_PAGE]!;
const sndPage = (r: Rig) => r.host.mem.ctl[r.tcb.sndRing + RING_PAGE]!;
const lock = (r: Rig, ring: number, holder = APPLICATION) => {
  Atomics.store(r.host.mem.ctl, ring + RING_LOCK, holder);
};

function text(r: Rig, at: number, length: number): void {
  r.peer.in(`P. ${at + 1}:${at + length + 1}(${length}) ack ${ackOf(r)}`, pattern(length, at));
  r.host.sent.length = 0;
}

/** What the peer has got of ours, as a text offset. */
const ackOf = (r: Rig) => (r.tcb.sndNxt - r.peer.localIsn!) >>> 0;

/** Takes all arena memory; call the result to give it back. */
function exhaust(r: Rig): () => void {
  const { mem } = r.host;
  const taken: [number, number][] = [];
  for (let size = 16 << 20; size >= 4096; size >>= 1) {
    for (let page = mem.allocRing(size); page !== 0; page = mem.allocRing(size)) {
      taken.push([page, size]);
    }
  }
  return () => {
    for (const [page, size] of taken) mem.freeRing(page, size);
  };
}

describe('tcp: ring memory', () => {
  it('capacities are powers of two of at least a page', () => {
    expect([1, 4096, 4097, 65_536, 100_000, 16 << 20, 17 << 20].map(ringCapacityFor)).to.deep.equal(
      [4096, 4096, 8192, 65_536, 131_072, 16 << 20, 16 << 20],
    );
  });

  it('what the application may write at first is what tcp_wmem says, at least 64 KiB', () => {
    for (const [wmem, limit, capacity] of [
      ['4096 16384 4194304', 65_536, 65_536],
      ['4096 100000 4194304', 100_000, 131_072],
      ['4096 16384 30000', 30_000, 32_768],
    ] as const) {
      const r = rig({ sysctl: { 'net.ipv4.tcp_wmem': wmem } });
      expect(r.host.write(r.fd, pattern(200_000))).to.equal(limit);
      expect(r.host.mem.ctl[r.tcb.sndRing + RING_CAPACITY]).to.equal(capacity);
    }
  });

  it('a tail that a thread has moved beyond the memory costs the stack nothing', () => {
    for (const [pages, beyond] of [
      [0, 1],
      [0, 100],
      [0, 100_000],
      [1, 100_000],
    ] as const) {
      for (const seed of [1, 2, 3, 4]) {
        const r = rig({ seed, gsoMaxBytes: 65_535 });
        const { mem, stack } = r.host;
        const { ctl } = mem;
        // At the end of the arena.
        ctl[r.tcb.sndRing + RING_PAGE] = pages === 0 ? 0 : (mem.bytes.length >>> 12) - 1;
        ctl[r.tcb.sndRing + RING_CAPACITY] = pages * 4096;
        ctl[r.tcb.sndRing + RING_TAIL]! += beyond;
        const places: number[] = [];
        stack.net.outputSkbs.alloc = ((alloc) => () => {
          const skb = alloc();
          if (skb !== null) {
            const add = skb.addFragment.bind(skb);
            skb.addFragment = (place, bytes) => {
              places.push(place, place + bytes);
              return add(place, bytes);
            };
          }
          return skb;
        })(stack.net.outputSkbs.alloc.bind(stack.net.outputSkbs));
        stack.published(r.fd);
        r.host.poll();
        expect(r.host.sent.length).to.be.above(0);
        if (beyond === 100_000) expect(places.length).to.be.above(0);
        for (const place of places) expect(place).to.be.within(0, mem.bytes.length);
        ctl[r.tcb.sndRing + RING_PAGE] = 0;
      }
    }
  });

  it('comes with the first byte, goes after a second of idling', () => {
    const r = rig();
    const { net, tcp } = r.host.stack;
    expect([rcvPage(r), sndPage(r), tcp.ringed.length]).to.deep.equal([0, 0, 0]);
    const first = rig();
    first.host.write(first.fd, 'hello');
    expect(sndPage(first)).to.be.greaterThan(0);
    expect(rcvPage(first)).to.equal(0);
    text(r, 0, 100);
    expect(rcvPage(r)).to.be.greaterThan(0);
    // Who is spoken to will answer.
    expect(sndPage(r)).to.be.greaterThan(0);
    r.host.write(r.fd, 'hello');
    expect(r.host.mem.ctl[r.tcb.sndRing + RING_CAPACITY]).to.equal(65_536);
    expect(r.host.mem.ctl[r.tcb.rcvRing + RING_CAPACITY]).to.equal(131_072);
    // Not while there is something in them.
    r.host.advance(150);
    r.peer.in('. 101:101(0) ack 6');
    r.host.advance(3000);
    expect(rcvPage(r)).to.be.greaterThan(0);
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(100));
    r.host.advance(2100);
    expect([rcvPage(r), sndPage(r), tcp.ringed.length]).to.deep.equal([0, 0, 0]);
    const idle = r.host.mem.pagesInUse;
    r.host.write(r.fd, 'hello');
    r.peer.in('. 101:101(0) ack 11');
    expect(r.host.mem.pagesInUse).to.equal(idle + 16);
    r.host.advance(2100);
    expect(r.host.mem.pagesInUse).to.equal(idle);
    expect(net.timers.size).to.equal(0);
    expect(r.host.stack.nextDeadlineUs()).to.equal(Infinity);
  });

  it('comes back with the stream intact in both directions', () => {
    const r = rig({ peer: { isn: 0xfffff000 } });
    let at = 0;
    let sent = 0;
    for (let n = 0; n < 5; n++) {
      text(r, at, 1000);
      expect(readAll(r.host, r.fd)).to.deep.equal(pattern(1000, at));
      at += 1000;
      r.host.write(r.fd, pattern(1000, sent));
      const packet = r.peer.out(`P. ${sent + 1}:${sent + 1001}(1000) ack ${at + 1}`);
      expect(packet.payload).to.deep.equal(pattern(1000, sent));
      sent += 1000;
      r.peer.in(`. ${at + 1}:${at + 1}(0) ack ${sent + 1}`);
      r.host.advance(2500);
      expect([rcvPage(r), sndPage(r)]).to.deep.equal([0, 0]);
      expect(r.host.ready(r.fd) & 5).to.equal(4);
    }
  });

  it('stays while text waits out of order', () => {
    const r = rig();
    text(r, 100, 100);
    r.host.advance(5000);
    expect(rcvPage(r)).to.be.greaterThan(0);
    text(r, 0, 100);
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(200));
  });

  it('is left alone while an application thread has the lock', () => {
    for (const which of ['rcvRing', 'sndRing'] as const) {
      const r = rig();
      text(r, 0, 10);
      r.host.read(r.fd);
      r.host.write(r.fd, 'hello');
      r.peer.in('. 11:11(0) ack 6');
      lock(r, r.tcb[which]);
      r.host.advance(5000);
      expect(r.host.mem.ctl[r.tcb[which] + RING_PAGE]).to.be.greaterThan(0);
      expect(r.host.stack.tcp.ringed.length).to.equal(1);
      lock(r, r.tcb[which], 0);
      r.host.advance(1100);
      expect([rcvPage(r), sndPage(r)]).to.deep.equal([0, 0]);
      expect(r.host.stack.tcp.ringed.length).to.equal(0);
    }
  });

  it('a sweep looks at every connection in turn, however many there are', () => {
    const r = rig({ fds: 16 });
    const { tcp } = r.host.stack;
    text(r, 0, 10);
    r.host.read(r.fd);
    // Many others that are in use, behind the one that is idle.
    const busy = rig();
    const others = Array.from({ length: 10_000 }, () => ({ ...busy.tcb, lastActiveUs: Infinity }));
    for (const other of others) tcp.ringed.push(other as unknown as (typeof tcp.ringed)[0]);
    for (let n = 0; n < 3; n++) r.host.advance(1100);
    expect(rcvPage(r)).to.equal(0);
    tcp.ringed.length = 0;
  });

  it('of a closed connection: late, when a thread is still copying', () => {
    const r = rig();
    const { tcp } = r.host.stack;
    const used = r.host.mem.fdsInUse;
    r.host.write(r.fd, 'hello');
    lock(r, r.tcb.sndRing);
    expect(r.host.stack.abort(r.fd)).to.equal(0);
    expect(tcp.lateDetach.length).to.equal(1);
    expect(r.host.mem.fdsInUse).to.equal(used);
    r.host.advance(3000);
    expect(tcp.lateDetach.length).to.equal(1);
    lock(r, r.tcb.sndRing, 0);
    r.host.advance(1100);
    expect(tcp.lateDetach.length).to.equal(0);
    expect(tcp.ringed.length).to.equal(0);
    expect(r.host.mem.fdsInUse).to.equal(used - 1);
  });

  it('does not grow under a lock, and does when that is gone; nothing is lost', () => {
    const r = rig();
    const { tcp } = r.host.stack;
    expect(growRing(tcp, r.tcb.rcvRing, 1 << 18, 0)).to.equal(false);
    text(r, 0, 1000);
    text(r, 2000, 1000);
    lock(r, r.tcb.rcvRing);
    expect(growRing(tcp, r.tcb.rcvRing, 1 << 18, 3000)).to.equal(false);
    lock(r, r.tcb.rcvRing, 0);
    expect(growRing(tcp, r.tcb.rcvRing, 1 << 17, 3000)).to.equal(false);
    expect(growRing(tcp, r.tcb.rcvRing, 1 << 25, 3000)).to.equal(false);
    expect(growRing(tcp, r.tcb.rcvRing, 1 << 18, 3000)).to.equal(true);
    expect(r.host.mem.ctl[r.tcb.rcvRing + RING_LOCK]).to.equal(0);
    text(r, 1000, 1000);
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(3000));
  });

  it('grows wrapped content in the right order', () => {
    const r = rig();
    let at = 0;
    for (; at < 125_000; at += 1000) {
      text(r, at, 1000);
      expect(readAll(r.host, r.fd)).to.deep.equal(pattern(1000, at));
    }
    // The next 40,000 bytes wrap somewhere, whatever the ISN.
    for (let n = 0; n < 40; n++) text(r, at + n * 1000, 1000);
    expect(growRing(r.host.stack.tcp, r.tcb.rcvRing, 1 << 18, 40_000)).to.equal(true);
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(40_000, at));
  });

  it('exhausted: text is dropped and counted, the connection lives and goes on later', () => {
    const r = rig({ arenaBytes: 4 << 20 });
    const giveBack = exhaust(r);
    r.peer.in('P. 1:101(100) ack 1', pattern(100));
    r.peer.out('. 1:1(0) ack 1');
    expect(r.host.counter(Mib.TCPRcvQDrop)).to.equal(1);
    r.peer.in('P. 101:201(100) ack 1', pattern(100, 100));
    r.peer.out('. 1:1(0) ack 1');
    expect(r.host.counter(Mib.TCPRcvQDrop)).to.equal(2);
    expect(r.host.counter(Mib.TCPOFODrop)).to.equal(1);
    expect(r.host.write(r.fd, 'x')).to.equal(-105);
    r.peer.in('F. 201:201(0) ack 1');
    r.peer.out('. 1:1(0) ack 1');
    giveBack();
    r.peer.in('P. 1:101(100) ack 1', pattern(100));
    r.peer.out('. 1:1(0) ack 101');
    r.peer.in('FP. 101:201(100) ack 1', pattern(100, 100));
    r.host.advance(40);
    r.peer.out('. 1:1(0) ack 202');
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(200));
  });

  it('exhausted while growing: the ring stays as it is', () => {
    const r = rig({ syn: '<mss 1460,nop,wscale 7>' });
    text(r, 0, 1000);
    r.host.write(r.fd, 'x');
    r.peer.in('. 1001:1001(0) ack 2');
    exhaust(r);
    expect(growRing(r.host.stack.tcp, r.tcb.rcvRing, 1 << 20, 1000)).to.equal(false);
    expect(r.host.mem.ctl[r.tcb.rcvRing + RING_LOCK]).to.equal(0);
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(1000));
  });

  it('a full ring takes what fits and says so at once', () => {
    const r = rig({ profile: '5.0', listenerOptions: [[1, 8, 2304]] });
    // 4608 bytes of ring for 2304 of window: 8192. Profile 5.0 takes text beyond the edge.
    expect(r.host.mem.ctl[r.tcb.rcvRing + RING_CAPACITY]).to.equal(0);
    r.peer.in('P. 1:9001(9000) ack 1', pattern(9000));
    r.peer.out('. 1:1(0) ack 8193 win 0');
    r.peer.in('P. 8193:8194(1) ack 1', 'x');
    r.peer.out('. 1:1(0) ack 8193 win 0');
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(8192));
    r.peer.out('. 1:1(0) ack 8193');
    r.peer.in('FP. 8193:9001(808) ack 1', pattern(808, 8192));
    r.host.advance(40);
    r.peer.out('. 1:1(0) ack 9002');
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(808, 8192));
  });
});
