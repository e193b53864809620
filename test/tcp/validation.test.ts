/**
 * What happens to a segment before its ACK field counts: PAWS, window, RST, SYN and the limits of
 * the answers, for connections and for requests.
 */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { MemoryStack, Peer } from '../../src/testing/index.js';
import {
  conversation,
  type Enter,
  established,
  FULL_SYN,
  fullEstablished,
  fullSynReceived,
  moved,
  stateOf,
  stateTable,
  synReceived,
  ts,
} from './state-table.js';

const fullSyn = (seq: number, val: number): string =>
  `S ${seq}:${seq}(0) <mss 1460,sackOK,TS val ${val} ecr 0,nop,wscale 7>`;
const ECHO = ts(1000, 1_000_000);
const OLD = { profile: '5.0' } as const;
const synReceived50: Enter = (c) => {
  c.listener = c.host.listen(80, 8);
  c.peer.in(FULL_SYN);
  c.peer.out('S. 0:0(0) ack 1 win 65160 <mss 1460,sackOK,TS val 1000 ecr 1000000,nop,wscale 7>');
};
const established50: Enter = (c) => {
  synReceived50(c);
  c.peer.in(`. 1:1(0) ack 1 win 512 ${ts(1_000_001, 1000)}`);
  c.fd = c.host.accept(c.listener);
};

// RFC 7323 5.3.
describe('tcp: PAWS', () => {
  stateTable(
    'of a connection: one tick of tolerance, none for SYN, RST is exempt',
    [fullEstablished],
    `
P. 1:6(5) ack 1 win 512 ${ts(999_999, 1000)} | . 1:1(0) ack 1 | ESTAB | PAWSEstab
P. 1:6(5) ack 1 win 512 ${ts(1_000_000, 1000)} | . 1:1(0) ack 6 | ESTAB | -
P. 1:6(5) ack 1 win 512 | . 1:1(0) ack 6 | ESTAB | -
F. 1:1(0) ack 1 win 512 ${ts(999_990, 1000)} | . 1:1(0) ack 1 | ESTAB | PAWSEstab
. 1:1(0) ack 1 win 512 ${ts(999_990, 1000)} | - | ESTAB | -
. 1:1(0) ack 1 win 400 ${ts(999_990, 1000)} | - | ESTAB | -
. 1:1(0) ack 1 win 600 ${ts(999_990, 1000)} | . 1:1(0) ack 1 | ESTAB | PAWSEstab
. 1:1(0) ack 1 win 512 ${ts(990_000, 1000)} | . 1:1(0) ack 1 | ESTAB | PAWSEstab
. 0:0(0) ack 1 win 512 ${ts(999_990, 1000)} | - | ESTAB | PAWSOldAck
. 5:5(0) ack 1 win 512 ${ts(999_990, 1000)} | . 1:1(0) ack 1 | ESTAB | PAWSEstab
R 1:1(0) ${ts(999_990, 1000)} | - | gone | TcpEstabResets
${fullSyn(1, 999_990)} | . 1:1(0) ack 1 | ESTAB | TcpInErrs challenge
`,
  );
  stateTable(
    'of a connection, as kernels before 6.15 do it',
    [established50],
    `
. 0:0(0) ack 1 win 512 ${ts(999_990, 1000)} | . 1:1(0) ack 1 | ESTAB | PAWSEstab
`,
    OLD,
  );
  stateTable(
    'of a request: no tolerance',
    [fullSynReceived],
    `
. 1:1(0) ack 1 ${ts(999_999, 1000)} | . 1:1(0) ack 1 win 63 ${ECHO} | SYN-RECV | PAWSEstab
${fullSyn(0, 999_999)} | . 1:1(0) ack 1 | SYN-RECV | PAWSEstab
R 1:1(0) ${ts(999_999, 0)} | - | SYN-RECV | PAWSEstab
R 1:1(0) ${ts(1_000_000, 0)} | - | gone | embryonic
. 1:1(0) ack 1 win 512 | - | ESTAB | TcpPassiveOpens
`,
  );

  // RFC 7323 5.5.
  it('a timestamp proves nothing after 24 days', () => {
    const c = conversation();
    fullEstablished(c);
    const { host, peer } = c;
    host.advance(23 * 86_400_000);
    peer.in(`P. 1:6(5) ack 1 win 512 ${ts(999_000, 1000)}`);
    peer.out('. 1:1(0) ack 1');
    host.advance(86_400_000 + 1);
    peer.in(`P. 1:6(5) ack 1 win 512 ${ts(999_000, 1000)}`);
    peer.out('. 1:1(0) ack 6 win 64 <nop,nop,TS val 2073601001 ecr 999000>');
  });

  it('a zero timestamp in the SYN is none to compare with', () => {
    const { host, peer } = conversation();
    const listener = host.listen(80);
    peer.in('S 0:0(0) <mss 1460,nop,nop,TS val 0 ecr 0>');
    peer.out('S. 0:0(0) ack 1 win 65160 <mss 1460,nop,nop,TS val 1000 ecr 0>');
    peer.in(`P. 1:4(3) ack 1 ${ts(0x9000_0000, 1000)}`);
    peer.out('. 1:1(0) ack 4 win 65157 <nop,nop,TS val 1000 ecr 2415919104>');
    expect(host.accept(listener)).to.be.greaterThan(2);
  });

  it('acknowledges repeated old segments without text at most every 500 ms', () => {
    const c = conversation();
    fullEstablished(c);
    const { host, peer } = c;
    const stale = `. 1:1(0) ack 1 win 512 ${ts(990_000, 1000)}`;
    peer.in(stale);
    peer.out('. 1:1(0) ack 1');
    host.advance(499);
    peer.in(stale);
    peer.quiet();
    expect(host.counter(Mib.TCPACKSkippedPAWS)).to.equal(1);
    host.advance(1);
    peer.in(stale);
    peer.out('. 1:1(0) ack 1');
  });
});

describe('tcp: the third ACK', () => {
  stateTable(
    'must echo a timestamp that a SYN-ACK carried, or 0',
    [fullSynReceived, ({ host }) => host.advance(30)],
    `
. 1:1(0) ack 1 win 512 ${ts(1_000_001, 999)} | . 1:1(0) ack 1 | SYN-RECV | TSEcrRejected
. 1:1(0) ack 1 win 512 ${ts(1_000_001, 1001)} | . 1:1(0) ack 1 | SYN-RECV | TSEcrRejected
. 1:1(0) ack 1 win 512 ${ts(1_000_001, 1000)} | - | ESTAB | TcpPassiveOpens
. 1:1(0) ack 1 win 512 ${ts(1_000_001, 0)} | - | ESTAB | TcpPassiveOpens
R. 1:1(0) ack 1 win 512 ${ts(1_000_001, 999)} | - | SYN-RECV | TSEcrRejected
. 1:1(0) ack 1 win 512 ${ts(999_999, 999)} | . 1:1(0) ack 1 | SYN-RECV | PAWSEstab
`,
  );
  stateTable(
    'is not asked for its echo by kernels before 6.15; any RST in the window ends the request',
    [synReceived50],
    `
. 1:1(0) ack 1 win 512 ${ts(1_000_001, 999)} | - | ESTAB | TcpPassiveOpens
R 101:101(0) | - | gone | embryonic
R 70001:70001(0) | - | SYN-RECV | -
`,
    OLD,
  );

  it('may echo any of the repeated SYN-ACKs', () => {
    for (const echo of [1000, 1700, 2000]) {
      const c = conversation();
      fullSynReceived(c);
      c.host.advance(1000);
      c.peer.out('S. 0:0(0) ack 1 <...>');
      c.peer.in(`. 1:1(0) ack 1 win 512 ${ts(1_000_001, echo)}`);
      expect(stateOf(c.host, c.peer), `${echo}`).to.equal('ESTAB');
    }
  });

  it('with the SYN in front is challenged, and leaves a child that is half-open', () => {
    for (const again of ['SP. 0:3(3) ack 1', 'SF. 0:0(0) ack 1']) {
      const c = conversation();
      synReceived(c);
      c.peer.in(again);
      c.peer.out('. 1:1(0) ack 1');
      expect(c.host.counter(Mib.TCPSYNChallenge)).to.equal(1);
      const child = c.host.accept(c.listener);
      expect(c.host.readText(child)).to.equal('');
      c.peer.in('P. 1:4(3) ack 1', 'abc');
      c.peer.out('. 1:1(0) ack 4');
      expect(c.host.readText(child)).to.equal('abc');
    }
  });

  it('partly before the window gives only what is new', () => {
    const c = conversation();
    synReceived(c);
    c.peer.in('P. 0:4(4) ack 1', '-abc');
    c.peer.out('. 1:1(0) ack 4');
    expect(c.host.readText(c.host.accept(c.listener))).to.equal('abc');
  });

  it('answers for one request at most every 500 ms, but for text always', () => {
    const c = conversation();
    synReceived(c);
    const { host, peer } = c;
    peer.in('. 70000:70000(0) ack 1');
    peer.out('. 1:1(0) ack 1 win 64240');
    host.advance(499);
    peer.in('. 70000:70000(0) ack 1');
    peer.in('R 101:101(0)');
    peer.quiet();
    expect(host.counter(Mib.TCPACKSkippedSynRecv)).to.equal(1);
    expect(host.counter(Mib.TCPACKSkippedChallenge)).to.equal(1);
    expect(host.counter(Mib.TCPChallengeACK)).to.equal(0);
    peer.in('P. 70000:70001(1) ack 1');
    peer.out('. 1:1(0) ack 1');
    host.advance(1);
    peer.in('R 101:101(0)');
    peer.out('. 1:1(0) ack 1');
    expect(host.counter(Mib.TCPChallengeACK)).to.equal(1);
  });
});

describe('tcp: challenge ACKs and other answers to what is invalid', () => {
  it('one per connection in 500 ms, whatever the reason', () => {
    const c = conversation();
    established(c);
    const { host, peer } = c;
    const before = Float64Array.from(host.stack.net.mib);
    peer.in('R 100:100(0)');
    peer.out('. 1:1(0) ack 1');
    peer.in('R 100:100(0)');
    peer.in('S 1:1(0)');
    host.advance(499);
    peer.in('SP 80000:80003(3)');
    peer.quiet();
    host.advance(1);
    peer.in('R 101:101(0)');
    peer.out('. 1:1(0) ack 1');
    expect(moved(host, before)).to.deep.equal([
      'TCPACKSkippedChallenge+3',
      'TCPChallengeACK+2',
      'TCPSYNChallenge+2',
      'TcpInErrs+2',
    ]);
  });

  it('a child whose third packet has a SYN and no window answers from behind our SYN', () => {
    const c = conversation();
    synReceived(c);
    // Linux: tcp_create_openreq_child starts at ISS + 1, so that is where the window ends.
    c.peer.in('S. 0:3(3) ack 1 win 0');
    c.peer.out('. 1:1(0) ack 1');
    expect(c.host.counter(Mib.TCPSYNChallenge)).to.equal(1);
  });

  it('out of the window: segments without text are limited, with text or FIN not', () => {
    const c = conversation();
    established(c);
    const { host, peer } = c;
    const before = Float64Array.from(host.stack.net.mib);
    peer.in('. 0:0(0) ack 1');
    peer.out('. 1:1(0) ack 1');
    peer.in('. 80000:80000(0) ack 1');
    peer.quiet();
    for (const text of ['P. 80000:80003(3) ack 1', 'F. 80000:80000(0) ack 1', 'P. 0:1(1) ack 1']) {
      peer.in(text);
      peer.out('. 1:1(0) ack 1');
    }
    expect(moved(host, before)).to.deep.equal([
      'BeyondWindow+3',
      'DelayedACKLost',
      'TCPACKSkippedSeq',
    ]);
  });

  it('tcp_invalid_ratelimit 0 lifts the limit', () => {
    const c = conversation({ sysctl: { 'net.ipv4.tcp_invalid_ratelimit': 0 } });
    established(c);
    for (let i = 0; i < 5; i++) {
      c.peer.in('R 100:100(0)');
      c.peer.out('. 1:1(0) ack 1');
    }
  });

  // RFC 5961 7.
  it('tcp_challenge_ack_limit bounds all connections together, about so many a second', () => {
    const limit = 10;
    const { host } = conversation({ sysctl: { 'net.ipv4.tcp_challenge_ack_limit': limit } });
    const listener = host.listen(80, 40);
    const all = Array.from({ length: 32 }, (_, i) => new Peer(host, { port: 40_000 + i }));
    for (const peer of all) {
      peer.in('S 0:0(0)');
      peer.out('S. 0:0(0) ack 1');
      peer.in('. 1:1(0) ack 1');
      expect(host.accept(listener)).to.be.greaterThan(2);
    }
    const perSecond: number[] = [];
    for (let second = 0; second < 20; second++) {
      host.advance(1000);
      for (const peer of all) peer.in('R 100:100(0)');
      perSecond.push(host.sent.splice(0).length);
    }
    expect(Math.min(...perSecond)).to.be.at.least(limit / 2);
    expect(Math.max(...perSecond)).to.be.at.most(limit / 2 + limit - 1);
    expect(new Set(perSecond).size, 'no fixed number').to.be.greaterThan(1);
    const total = perSecond.reduce((sum, n) => sum + n, 0);
    expect(host.counter(Mib.TCPChallengeACK)).to.equal(total);
  });

  it('tcp_challenge_ack_limit 0 sends none', () => {
    const c = conversation({ sysctl: { 'net.ipv4.tcp_challenge_ack_limit': 0 } });
    established(c);
    c.peer.in('R 100:100(0)');
    c.peer.quiet();
    expect(c.host.counter(Mib.TCPChallengeACK)).to.equal(0);
  });

  it('an ACK of what was never sent is not answered by 5.0 while established, but later', () => {
    const c = conversation(OLD);
    established50(c);
    const { host, peer } = c;
    peer.in(`. 1:1(0) ack 100 win 512 ${ts(1_000_002, 1000)}`);
    peer.quiet();
    host.shutdown(c.fd, 1);
    peer.out('F. 1:1(0) ack 1');
    peer.in(`. 1:1(0) ack 100 win 512 ${ts(1_000_002, 1000)}`);
    peer.out('. 2:2(0) ack 1');
  });
});

describe('tcp: text that runs over the right edge of the window', () => {
  const withUnread: Enter = ({ peer }) => {
    peer.in('P. 1:6(5) ack 1');
    peer.out('. 1:1(0) ack 6');
  };
  const beyond = 'P. 64000:66000(2000) ack 1';
  stateTable(
    'is forgiven while nothing waits to be read',
    [established],
    `${beyond} | . 1:1(0) ack 1 | ESTAB | TCPOFOQueue`,
  );
  stateTable(
    'is refused while something waits',
    [established, withUnread],
    `
${beyond} | . 1:1(0) ack 6 | ESTAB | BeyondWindow
F. 70000:70000(0) ack 1 | . 1:1(0) ack 6 | ESTAB | BeyondWindow
`,
  );

  it('5.0 never refuses it', () => {
    const host = new MemoryStack(OLD);
    const listener = host.listen(80);
    const peer = new Peer(host);
    peer.establish(listener);
    peer.in('P. 1:6(5) ack 1');
    peer.out('. 1:1(0) ack 6');
    peer.in(beyond);
    peer.out('. 1:1(0) ack 6');
    expect(host.counter(Mib.BeyondWindow)).to.equal(0);
    expect(host.counter(Mib.TCPOFOQueue)).to.equal(1);
  });
});

describe('tcp: RST', () => {
  it('at the end of the highest SACK block kills, but only where SACK was agreed on', () => {
    for (const [syn, state] of [
      ['S 0:0(0) <mss 1460,nop,nop,sackOK>', 'gone'],
      ['S 0:0(0) <mss 1460>', 'ESTAB'],
    ] as const) {
      const { host, peer } = conversation();
      const listener = host.listen(80);
      peer.in(syn);
      peer.out('S. 0:0(0) ack 1');
      peer.in('. 1:1(0) ack 1');
      expect(host.accept(listener)).to.be.greaterThan(2);
      peer.in('P. 11:21(10) ack 1');
      peer.out('. 1:1(0) ack 1');
      peer.in('P. 31:41(10) ack 1');
      peer.out('. 1:1(0) ack 1');
      peer.in('R 21:21(0)');
      peer.out('. 1:1(0) ack 1');
      expect(stateOf(host, peer)).to.equal('ESTAB');
      host.advance(600);
      peer.in('R 41:41(0)');
      expect(stateOf(host, peer)).to.equal(state);
    }
  });
});
