/** The search for the path MTU without ICMP: when it probes, waits, and begins again. */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { syncMss } from '../../src/tcp/mss.js';
import { pattern, type Rig, type RigOptions, rig } from './rig.js';

const MTU_PROBING = 'net.ipv4.tcp_mtu_probing';
const RENO = { 'net.ipv4.tcp_congestion_control': 'reno' };
/** Middle of the base, 1064 bytes, and of 1500, less headers. */
const FIRST_PROBE = 1242;

/** A connection whose cwnd is 20, with nothing under way. */
function searching(options: RigOptions = {}): Rig {
  const { sysctl, ...others } = options;
  const r = rig({
    syn: '<mss 1460,nop,nop,sackOK>',
    sysctl: { ...RENO, [MTU_PROBING]: 2, ...sysctl },
    rttMs: 100,
    ...others,
  });
  r.host.write(r.fd, pattern(14_600));
  r.host.advance(100);
  r.host.sent.length = 0;
  r.peer.in(`. 1:1(0) ack 14601 win ${options.win ?? 65_535}`);
  expect([r.tcb.cwnd, r.tcb.sender!.packetsOut]).to.deep.equal([20, 0]);
  return r;
}

/** Writes `bytes`; the text of each packet that leaves, by its length. */
function written(r: Rig, bytes: number): number[] {
  r.host.write(r.fd, pattern(bytes));
  return lengths(r);
}

function lengths(r: Rig): number[] {
  return r.host.sent.splice(0).map((packet) => packet.length - 40);
}

const acked = (r: Rig): void => {
  r.peer.in(`. 1:1(0) ack ${(r.tcb.sndNxt - r.peer.localIsn!) >>> 0}`);
};

// RFC 4821 7.4, 7.6, 7.7.
describe('tcp: search for the path MTU (RFC 4821)', () => {
  it('a probe needs enough text behind it', () => {
    const enough = FIRST_PROBE + 4 * 1460;
    expect(written(searching(), enough - 1)[0]).to.equal(1460);
    expect(written(searching(), enough)[0]).to.equal(FIRST_PROBE);
  });

  it('one at a time; cwnd stays the same in bytes when it has arrived', () => {
    const r = searching();
    expect(written(r, 20_000).filter((bytes) => bytes === FIRST_PROBE).length).to.equal(1);
    expect([r.tcb.cwnd, r.tcb.sndMss]).to.deep.equal([19, 1460]);
    r.peer.in(`. 1:1(0) ack ${14_601 + FIRST_PROBE}`);
    // 19 segments of 1500 bytes are 22 of 1282, and slow start adds one.
    expect([r.tcb.cwnd, r.tcb.sndMss]).to.deep.equal([23, FIRST_PROBE]);
    expect(r.host.counter(Mib.TCPMTUPSuccess)).to.equal(1);
  });

  it('waits for cwnd and for the window, if something is under way that opens them', () => {
    const cwnd = searching();
    written(cwnd, 18 * 1460);
    cwnd.tcb.mtuSearch!.probeSize = 0;
    expect(cwnd.tcb.sender!.inFlight + 2).to.be.greaterThan(cwnd.tcb.cwnd);
    expect(written(cwnd, 20_000)).to.deep.equal([]);
    const window = searching({ win: 15_000 });
    written(window, 6000);
    written(window, 4000);
    expect(window.tcb.mtuSearch!.probeSize).to.equal(0);
    // What is left of the window takes segments, but not a probe with what must follow it.
    expect(written(window, 20_000)).to.deep.equal([]);
    acked(window);
    expect(lengths(window)[0]).to.equal(FIRST_PROBE);
  });

  it('does not probe while the peer sends out of order', () => {
    const r = searching();
    r.peer.in('. 11:21(10) ack 14601', pattern(10));
    r.host.sent.length = 0;
    expect(written(r, 20_000)[0]).to.equal(1460);
  });

  it('ends when the size is known well enough, and begins again after tcp_probe_interval', () => {
    const r = searching({
      sysctl: { 'net.ipv4.tcp_probe_interval': 10, 'net.ipv4.tcp_slow_start_after_idle': 0 },
    });
    const sizes = [];
    for (let round = 0; round < 12; round++) {
      sizes.push(written(r, 20_000)[0]!);
      // What is under way never takes long.
      for (let n = 0; n < 20 && r.tcb.sndUna !== r.tcb.sndNxt; n++) {
        r.host.advance(100);
        acked(r);
        r.host.sent.length = 0;
      }
    }
    expect(sizes.slice(0, 6)).to.deep.equal([1242, 1351, 1405, 1432, 1446, 1453]);
    expect(r.host.counter(Mib.TCPMTUPSuccess)).to.equal(6);
    expect(r.tcb.sndMss).to.equal(1453);
    const { high, low } = r.tcb.mtuSearch!;
    expect([high, low]).to.deep.equal([1500, 1493]);
    r.tcb.mtuSearch!.high = 1496;
    r.host.advance(10_000);
    r.host.sent.length = 0;
    written(r, 10_000);
    expect(r.tcb.mtuSearch!.high).to.equal(1500);
  });

  it('is one packet where the link cuts larger ones', () => {
    const r = searching({ gsoMaxBytes: 65_535 });
    r.tcb.sndMss = 1000;
    expect(written(r, 20_000)[0]).to.equal(FIRST_PROBE);
    expect(r.tcb.sender!.packetsOut).to.equal(19);
  });

  it('cannot be told from repetitions: a time-out forgets it', () => {
    const r = searching();
    written(r, 20_000);
    expect(r.tcb.mtuSearch!.probeSize).to.equal(FIRST_PROBE + 40);
    r.host.advance(1000);
    expect(r.tcb.mtuSearch!.probeSize).to.equal(0);
    r.peer.in(`. 1:1(0) ack ${14_601 + FIRST_PROBE}`);
    const { TCPMTUPFail, TCPMTUPSuccess } = Mib;
    expect([TCPMTUPFail, TCPMTUPSuccess].map((mib) => r.host.counter(mib))).to.deep.equal([0, 0]);
  });

  it('the base is what a segment has without timestamps; whoever accepts begins larger', () => {
    const r = rig({
      syn: '<mss 1460,nop,nop,TS val 1 ecr 0>',
      ack: '<nop,nop,TS val 1 ecr 0>',
      sysctl: { [MTU_PROBING]: 2, 'net.ipv4.tcp_base_mss': 500 },
    });
    expect(r.tcb.mtuSearch!.low).to.equal(552);
    expect(r.tcb.sndMss).to.equal(1448);
    syncMss(r.host.stack.tcp, r.tcb, r.tcb.mssClamp);
    expect(r.tcb.sndMss).to.equal(500);
  });
});
