/** Short forms of the fuzzers, that they reach what they say, and that they find what is wrong. */
import { expect } from 'chai';
import { runSim } from '../../src/sim/command.js';
import { Dice } from '../../src/sim/dice.js';
import { fuzzHostileThread } from '../../src/sim/fuzz/hostile-thread.js';
import { compareCuts, fuzzHttp, transcriptOf } from '../../src/sim/fuzz/http.js';
import { fuzzPackets } from '../../src/sim/fuzz/packets.js';
import { SimHost } from '../../src/sim/host.js';

describe('fuzz: packets', function () {
  this.timeout(60_000);

  it('a hundred thousand, into every state', () => {
    const { packets, answers, epochs, coverage } = fuzzPackets(1, 100_000);
    expect(packets).to.be.at.least(100_000);
    expect(answers).to.be.greaterThan(20_000);
    expect(epochs).to.be.greaterThan(30);
    const states = [
      ...['LISTEN', 'NEW-SYN-RECV', 'SYN-SENT', 'SYN-RECV', 'ESTAB', 'FIN-WAIT-1', 'FIN-WAIT-2'],
      ...['CLOSE-WAIT', 'CLOSING', 'LAST-ACK orphan', 'TIME-WAIT minisock'],
      ...['FIN-WAIT-2 minisock', 'FIN-WAIT-1 orphan', 'FIN-WAIT-1 orphan Fast Open'],
      'reopens TIME-WAIT',
    ].map((name) => `packet ${name}`);
    const counters = [
      ...['TCPChallengeACK', 'SyncookiesRecv', 'SyncookiesFailed', 'TCPFastOpenPassive'],
      ...['TCPFastOpenCookieReqd', 'IcmpInDestUnreachs', 'IcmpOutEchoReps', 'TcpInCsumErrors'],
      ...['IpReasmFails', 'IpInHdrErrors', 'IpInAddrErrors', 'TCPSACKDiscard', 'TCPOFOQueue'],
      ...['TCPFastRetrans', 'TCPTimeouts', 'ListenOverflows', 'TCPDSACKRecv', 'TCPLossUndo'],
      ...['PAWSActive', 'PAWSEstab', 'PAWSTimewait', 'TSEcrRejected', 'TWRecycled'],
      ...['TCPKeepAlive', 'OutOfWindowIcmps', 'TCPACKSkippedTimeWait', 'TCPMigrateReqSuccess'],
      ...['TCPAbortOnData', 'TCPAbortOnClose', 'TCPAbortOnTimeout', 'TCPSYNChallenge'],
      ...['TCPAbortOnLinger', 'TCPMinTTLDrop', 'TCPHystartDelayDetect', 'TCPHystartTrainDetect'],
      ...['TCPFullUndo', 'TCPPartialUndo', 'TCPDSACKUndo', 'TCPFastOpenActive'],
      ...['TCPFastOpenActiveFail', 'TCPFastOpenBlackhole'],
    ].map((name) => `mib ${name}`);
    const blind = [...states, ...counters].filter((name) => coverage.count(name) === 0);
    expect(blind).to.deep.equal([]);
  });

  it('one seed is one run', () => {
    expect(fuzzPackets(7, 5000)).to.deep.equal(fuzzPackets(7, 5000));
  });

  it('finds a packet buffer that is not given back, and says how to see it again', () => {
    const { takePackets, input } = SimHost.prototype;
    let count = 0;
    SimHost.prototype.input = function (bytes, ipSummed, gsoSize) {
      input.call(this, bytes, ipSummed, gsoSize);
      if (count++ === 100) this.stack.net.outputSkbs.alloc();
    };
    try {
      expect(() => fuzzPackets(3, 3000)).to.throw(/--fuzz packets --seed 3: .*output pool/);
    } finally {
      SimHost.prototype.input = input;
      SimHost.prototype.takePackets = takePackets;
    }
  });
});

describe('fuzz: a hostile thread', function () {
  this.timeout(60_000);

  it('any words in the shared memory: no throw, no stall, no leak', () => {
    const { turns, commands, scribbles, connections } = fuzzHostileThread(1, 8000, () => {
      return performance.now();
    });
    expect(turns).to.be.at.least(8000);
    expect(commands).to.be.greaterThan(5000);
    expect(scribbles).to.be.greaterThan(1000);
    expect(connections).to.be.greaterThan(50);
  });

  it('finds a piece of work that takes too long', () => {
    let ms = 0;
    const clock = (): number => (ms += 1000);
    expect(() => fuzzHostileThread(5, 10, clock)).to.not.throw();
    const slow = (): number => (ms += 4000);
    expect(() => fuzzHostileThread(5, 10, slow)).to.throw(/--fuzz threads --seed 5: stall/);
  });
});

describe('fuzz: HTTP', function () {
  this.timeout(60_000);

  it('two thousand streams, each cut everywhere', () => {
    const { streams, requests, refused } = fuzzHttp(1, 2000);
    expect(streams).to.equal(2000);
    expect(requests).to.be.greaterThan(1000);
    expect(refused).to.be.within(500, 1700);
  });

  it('a transcript tells requests, bodies and refusals', () => {
    const bytes = Buffer.from(
      'POST /sink HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n' +
        'GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\nnonsense\n',
    );
    const lines = compareCuts(bytes, new Dice(1)).split('\n');
    expect(lines[0]).to.match(/^\["POST","\/sink",1,true,-1,true,/);
    expect(lines[1]).to.match(/^body 3 /);
    expect(lines[2]).to.match(/^\["GET","\/",0,true,/);
    expect(lines[4]).to.equal('refused 400');
    expect(transcriptOf(bytes.subarray(0, 10), [])).to.equal('');
  });
});

describe('fuzz: the command', () => {
  it('runs each and prints one object', () => {
    for (const fuzz of ['packets', 'threads', 'http']) {
      let out = '';
      const io = { out: (text: string) => (out += text), err: () => {}, clockMs: () => 0 };
      expect(runSim(['--fuzz', fuzz, '--seed', '9', '--runs', '200'], io)).to.equal(0);
      expect(JSON.parse(out.trim().split('\n').at(-1)!)).to.include({ fuzz, seed: 9, ok: true });
      if (fuzz === 'packets') expect(out).to.match(/^packet LISTEN +[1-9]/m);
    }
  });
});
