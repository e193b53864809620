/** ECN beyond the packet scripts: counters, and when a window counts as another one. */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import type { Profile } from '../../src/net/sysctl.js';
import { CA_CWR, CA_OPEN, CA_RECOVERY } from '../../src/tcp/ca-state.js';
import { type MemoryStack, Peer } from '../../src/testing/index.js';
import { start, tcbOf } from './migrate-rig.js';

const ECT0 = 2;
const CE = 3;

/** A connection with ECN that has `segments` of 1000 bytes in flight. */
function flying(segments: number, profile: Profile = '6.18') {
  const host = start({ profile });
  const listener = host.listen(80);
  const peer = new Peer(host);
  peer.in('SEW 0:0(0) win 65535 <mss 1000,sackOK,nop,nop>');
  peer.out('SE. 0:0(0) ack 1 <...>');
  peer.in('. 1:1(0) ack 1');
  const fd = host.accept(listener);
  host.write(fd, new Uint8Array(segments * 1000));
  for (let i = 0; i < segments; i++) take(host, peer, ECT0);
  return { host, peer, fd, tcb: tcbOf(host, fd) };
}

/** The next packet, whatever it is; its mark is `mark`. */
function take(host: MemoryStack, peer: Peer, mark: number): void {
  const packet = host.sent.shift()!;
  expect(packet[1]! & 3, `mark of a packet for port ${peer.port}`).to.equal(mark);
}

describe('tcp: ECN', () => {
  it('counts marked packets, and what was delivered with marks', () => {
    const { host, peer } = flying(4);
    host.inject(peer.bytes('P. 1:5(4) ack 1', 'text', { tos: CE }));
    peer.out('E. 4001:4001(0) ack 5');
    expect(host.counter(Mib.IpExtInCEPkts)).to.equal(1);
    host.inject(peer.bytes('P. 5:9(4) ack 1', 'text', { tos: ECT0 }));
    expect(host.counter(Mib.IpExtInECT0Pkts)).to.equal(1);
    peer.in('E. 9:9(0) ack 2001');
    expect(host.counter(Mib.TCPDeliveredCE)).to.equal(2);
    peer.in('. 9:9(0) ack 4001');
    expect(host.counter(Mib.TCPDeliveredCE)).to.equal(2);
  });

  it('CWR on a pure ACK ends the echo, but not for kernels of old', () => {
    for (const [profile, flags] of [
      ['6.18', '.'],
      ['5.0', 'E.'],
    ] as const) {
      const { host, peer } = flying(0, profile);
      host.inject(peer.bytes('P. 1:5(4) ack 1', 'text', { tos: CE }));
      peer.out('E. 1:1(0) ack 5');
      peer.in('W. 5:5(0) ack 1');
      host.inject(peer.bytes('P. 5:9(4) ack 1', 'text', { tos: ECT0 }));
      peer.out(`${flags} 1:1(0) ack 9`);
    }
  });

  it('the mark of the first text leaves its quick ACKs as they are', () => {
    const { host, peer, tcb } = flying(0);
    host.inject(peer.bytes('P. 1:5(4) ack 1', 'text', { tos: CE }));
    peer.out('E. 1:1(0) ack 5');
    expect(tcb.quickAcks).to.equal(15);
  });

  it('reduces once per window of data, and ends when that is acknowledged', () => {
    const { peer, tcb } = flying(10);
    peer.in('E. 1:1(0) ack 1001');
    expect([tcb.caState, tcb.sender!.highSeq]).to.deep.equal([CA_CWR, (tcb.iss + 10_001) | 0]);
    const { ssthresh } = tcb;
    peer.in('E. 1:1(0) ack 5001');
    expect([tcb.caState, tcb.ssthresh]).to.deep.equal([CA_CWR, ssthresh]);
    peer.in('. 1:1(0) ack 10001');
    // Not before something that was sent later is acknowledged.
    expect(tcb.caState).to.equal(CA_CWR);
  });

  it('a new window may be reduced again', () => {
    const { host, peer, fd, tcb } = flying(10);
    peer.in('E. 1:1(0) ack 10001');
    const { ssthresh } = tcb;
    host.write(fd, new Uint8Array(2000));
    host.sent.length = 0;
    peer.in('. 1:1(0) ack 12001');
    expect([tcb.caState, tcb.cwnd]).to.deep.equal([CA_OPEN, 7]);
    host.write(fd, new Uint8Array(2000));
    host.sent.length = 0;
    peer.in('E. 1:1(0) ack 14001');
    expect(tcb.caState).to.equal(CA_CWR);
    expect(tcb.ssthresh).to.be.below(ssthresh);
  });

  it('a loss during CWR reduces no further', () => {
    const { peer, tcb } = flying(10);
    peer.in('E. 1:1(0) ack 1001');
    const { ssthresh } = tcb;
    for (let i = 0; i < 4; i++) peer.in(`. 1:1(0) ack 1001 <nop,nop,sack 2001:${3001 + i * 1000}>`);
    expect(tcb.caState).to.equal(CA_RECOVERY);
    expect(tcb.ssthresh).to.equal(ssthresh);
  });
});
