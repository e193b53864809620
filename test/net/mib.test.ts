/** src/net/mib.ts: indices, names. */
import { expect } from 'chai';
import { MIB_COUNT, MIB_NAMES, Mib, nstatName } from '../../src/net/mib.js';

describe('net/mib', () => {
  it('has every index once, in order', () => {
    expect(Object.values(Mib)).to.deep.equal(Array.from({ length: MIB_COUNT }, (_, i) => i));
    expect(MIB_NAMES[Mib.ListenOverflows]).to.equal('ListenOverflows');
    expect(MIB_NAMES[Mib.TcpOutRsts]).to.equal('TcpOutRsts');
  });

  it('prints as nstat does', () => {
    expect(nstatName(Mib.TcpInSegs)).to.equal('TcpInSegs');
    expect(nstatName(Mib.SyncookiesSent)).to.equal('TcpExtSyncookiesSent');
    expect(nstatName(Mib.TCPMigrateReqSuccess)).to.equal('TcpExtTCPMigrateReqSuccess');
    expect(nstatName(Mib.UdpInDatagrams)).to.equal('UdpInDatagrams');
    expect(nstatName(Mib.IpExtInNoRoutes)).to.equal('IpExtInNoRoutes');
    expect(nstatName(Mib.TunTxDropped)).to.equal('TunTxDropped');
    expect(nstatName(MIB_COUNT)).to.equal('');
  });

  it('the four ECN counters stand in the order of the ECN bits', () => {
    const first = Mib.IpExtInNoECTPkts;
    expect([Mib.IpExtInECT1Pkts, Mib.IpExtInECT0Pkts, Mib.IpExtInCEPkts]).to.deep.equal([
      first + 1,
      first + 2,
      first + 3,
    ]);
  });

  it('Linux’s names of old are all known', () => {
    const names = new Set(MIB_NAMES);
    const old = `IpInReceives IpInDelivers IpReasmOKs IpFragCreates IcmpInEchos IcmpOutEchoReps
      TcpActiveOpens TcpPassiveOpens TcpAttemptFails TcpEstabResets TcpCurrEstab TcpInSegs
      TcpOutSegs TcpRetransSegs TcpInErrs TcpOutRsts TcpInCsumErrors UdpNoPorts SyncookiesSent
      SyncookiesRecv SyncookiesFailed EmbryonicRsts TW TWRecycled PAWSActive PAWSEstab
      DelayedACKs ListenOverflows ListenDrops TCPHPHits TCPPureAcks TCPTimeouts TCPLossProbes
      TCPAbortOnData TCPBacklogDrop TCPReqQFullDoCookies TCPReqQFullDrop TCPChallengeACK
      TCPSYNChallenge IpExtInOctets IpExtOutOctets`.split(/\s+/);
    expect(old.filter((name) => !names.has(name))).to.deep.equal([]);
  });
});
