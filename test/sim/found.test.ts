/**
 * What the simulator and the fuzzers have found in the stack, each as small as it could be made:
 * packet tables where a peer played by hand can show it, seeds where only a run can.
 */
import { expect } from 'chai';
import { RING_HEAD } from '../../src/net/ring.js';
import { BLOCK_RCV } from '../../src/net/sockmem.js';
import { type Fault, parseFaults } from '../../src/sim/parameters.js';
import { runOnce } from '../../src/sim/shrink.js';
import { MemoryStack, type MemoryStackOptions, Peer } from '../../src/testing/index.js';

interface Rig {
  host: MemoryStack;
  listener: number;
  peer: Peer;
}

function rig(options: MemoryStackOptions = {}): Rig {
  const host = new MemoryStack({ arenaBytes: 8 << 20, ...options });
  return { host, listener: host.listen(80), peer: new Peer(host) };
}

/** Descriptors, memory, timers and orphans are back. */
function expectNothingLeft({ host, listener }: Rig): void {
  host.close(listener);
  host.advance(1_000_000);
  const { net, tcp } = host.stack;
  const left = {
    fds: host.mem.fdsInUse,
    orphans: tcp.orphans,
    timers: net.timers.size,
    ehash: tcp.hashinfo.ehash.size,
  };
  expect(left).to.deep.equal({ fds: 0, orphans: 0, timers: 0, ehash: 0 });
}

describe('found by the simulator', () => {
  const found: [string, number, number, number, number, number, string][] = [
    [
      'a head that is forced out while it is under way counts once',
      1823,
      4,
      41,
      7038,
      1550,
      'mtu,rate',
    ],
    [
      'a FIN that is not sent ends in a RST when orphans are forbidden',
      24,
      4,
      10,
      1,
      1,
      'sysctl,rude',
    ],
    ['text of a SYN that crosses is sent again', 146, 4, 0, 1, 1, 'options,fastopen'],
    [
      'a FIN behind the text of a SYN that crosses',
      2563,
      2,
      21,
      1,
      7072,
      'blackhole,options,rude,fastopen',
    ],
    [
      'a path MTU is learnt before the third ACK of a Fast Open child',
      22_400,
      4,
      37,
      19_060,
      792,
      'loss,corrupt,mtu,rude,fastopen',
    ],
    ['what is corked goes out in the end', 878, 3, 108, 165_835, 197, 'options,fastopen'],
    ['a child of Fast Open is reset before its SYN-ACK', 4800, 3, 2, 1, 1, 'rude,fastopen'],
  ];
  for (const [name, seed, hosts, calls, bytes, timeMs, list] of found) {
    it(name, () => {
      const faults = parseFaults(list) as Set<Fault>;
      const outcome = runOnce({ seed, hosts, calls, bytes, timeMs, faults });
      if (!outcome.ok) expect.fail(outcome.message);
    });
  }

  it('tcp_max_orphans: the peer is told, though both sides have shut down', () => {
    const it = rig({ sysctl: { 'net.ipv4.tcp_max_orphans': 0 } });
    const { host, listener, peer } = it;
    const fd = peer.establish(listener);
    peer.in('F. 1:1(0) ack 1');
    host.advance(1000);
    peer.out('. 1:1(0) ack 2');
    // In one batch: our FIN has had no chance to leave.
    host.stack.shutdown(fd, 1);
    host.stack.close(fd);
    host.poll();
    peer.out('R. 1:1(0) ack 2');
    peer.quiet();
    expectNothingLeft(it);
  });

  it('SO_LINGER 0: the same, as long as something has not left', () => {
    const it = rig();
    const { host, listener, peer } = it;
    const fd = peer.establish(listener);
    peer.in('F. 1:1(0) ack 1');
    host.advance(1000);
    peer.out('. 1:1(0) ack 2');
    host.stack.setsockopt(fd, 1, 13, 1, 0);
    host.stack.shutdown(fd, 1);
    host.stack.close(fd);
    host.poll();
    peer.out('R. 1:1(0) ack 2');
    expectNothingLeft(it);
  });
});

describe('found by packets', () => {
  it('of two FINs past a hole the first in sequence is the end of the stream', () => {
    const { host, listener, peer } = rig();
    const fd = peer.establish(listener);
    peer.in('F. 11:11(0) ack 1');
    peer.in('F. 21:21(0) ack 1');
    peer.in('P. 1:11(10) ack 1', 'abcdefghij');
    expect(host.readText(fd)).to.equal('abcdefghij');
    expect(host.read(fd)).to.deep.equal(new Uint8Array(0));
    expect(host.stack.sock(fd)!.rcvNxt).to.equal((peer.isn + 12) | 0);
  });

  it('a child whose third ACK was no good still has timers when it is closed', () => {
    for (const win of [1, 65_535]) {
      const it = rig();
      const { host, listener, peer } = it;
      peer.in('S 0:0(0) win 65535 <mss 1460>');
      peer.out('S. 0:0(0) ack 1 <...>');
      peer.in(`S. 0:10(10) ack 1 win ${win}`);
      const fd = host.accept(listener);
      expect(fd).to.be.greaterThan(0);
      host.close(fd);
      expectNothingLeft(it);
    }
  });
});

describe('found by a hostile thread', () => {
  it('a head of the accept ring that no accept() leaves there does not keep the stack busy', () => {
    for (const head of [-0x80000000, -1, 2, 0x7fffffff]) {
      const it = rig();
      const { host, listener, peer } = it;
      peer.in('S 0:0(0) win 65535 <mss 1460>');
      peer.out('S. 0:0(0) ack 1 <...>');
      peer.in('. 1:1(0) ack 1');
      host.mem.ctl[host.mem.blockAt(listener) + BLOCK_RCV + RING_HEAD] = head;
      host.close(listener);
      expect(host.stack.sock(listener)).to.equal(null);
    }
  });

  it('a connection that is seen twice in the accept ring is no orphan twice', () => {
    const it = rig();
    const { host, listener, peer } = it;
    const fd = peer.establish(listener);
    host.close(fd);
    expect(host.stack.orphans).to.equal(1);
    const head = host.mem.blockAt(listener) + BLOCK_RCV + RING_HEAD;
    host.mem.ctl[head] = host.mem.ctl[head]! - 1;
    expectNothingLeft(it);
  });
});
