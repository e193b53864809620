/**
 * The simulator: two hundred seeds, that one seed is one run, that a stack or a network that cheats
 * is found, and that a failing run is made smaller.
 */
import { expect } from 'chai';
import { runSim, type SimIo } from '../../src/sim/command.js';
import { Coverage } from '../../src/sim/coverage.js';
import { SimHost } from '../../src/sim/host.js';
import {
  FAULTS,
  formatParameters,
  parametersOf,
  parseFaults,
  type SimParameters,
} from '../../src/sim/parameters.js';
import { runOnce, shrink } from '../../src/sim/shrink.js';

/** Runs the command line; what it printed. */
function sim(...argv: string[]): { code: number; out: string; err: string } {
  const text = { out: '', err: '' };
  let ms = 0;
  const io: SimIo = {
    out: (part) => {
      text.out += part;
    },
    err: (part) => {
      text.err += part;
    },
    clockMs: () => ms++,
  };
  return { code: runSim(argv, io), ...text };
}

/** Replaces a method of every simulated host while `run` runs. */
function withHost<K extends 'write' | 'read' | 'poll' | 'takePackets'>(
  name: K,
  replace: (original: SimHost[K]) => SimHost[K],
  run: () => void,
): void {
  const original = SimHost.prototype[name];
  SimHost.prototype[name] = replace(original) as (typeof SimHost.prototype)[K];
  try {
    run();
  } finally {
    SimHost.prototype[name] = original;
  }
}

/** A run with enough in it and nothing wrong with its network. */
const PLAIN: SimParameters = {
  seed: 4,
  hosts: 3,
  calls: 30,
  bytes: 50_000,
  timeMs: 2000,
  faults: new Set(),
};

/** What two hundred seeds must have brought about, beside every state: else it is a stub. */
const REACHED = [
  ...['lost', 'lostInBursts', 'swallowed', 'delayed', 'jittered', 'overtaking', 'duplicated'],
  ...['corrupted', 'queued', 'queueFull', 'tooLarge', 'tooLargeUntold', 'fragments', 'segments'],
  ...['superPackets', 'marked', 'bleached', 'errorsSent', 'delivered'],
].map((name) => `link ${name}`);
const CALLS = [
  ...['connect', 'accept', 'close', 'abort', 'disconnect', 'drain', 'launch', 'listen'],
  ...['shutdown 0', 'shutdown 1', 'shutdown 2', 'setsockopt', 'getsockopt', 'nonsense', 'peek'],
  'setsockopt rare',
  ...['write more', 'write urgent', 'read urgent', 'pass over', 'end of stream'],
  ...['error 32', 'error 104', 'error 110', 'error 111', 'error 113'],
].map((name) => `call ${name}`);
const COUNTERS = [
  ...['TcpRetransSegs', 'TCPFastRetrans', 'TCPTimeouts', 'TCPLossProbes', 'TCPSackRecovery'],
  ...['TCPRenoRecovery', 'TCPDSACKUndo', 'TCPSpuriousRTOs', 'TCPWinProbe', 'TCPSACKReorder'],
  ...['TCPChallengeACK', 'TCPOFOQueue', 'TCPRcvQDrop', 'TCPHystartTrainDetect', 'PAWSEstab'],
  ...['SyncookiesRecv', 'ListenOverflows', 'TCPFastOpenActive', 'TCPFastOpenPassive', 'TW'],
  ...['TCPDeliveredCE', 'IpReasmOKs', 'IpReasmFails', 'TcpInCsumErrors', 'OutOfWindowIcmps'],
  ...['TCPAbortOnTimeout', 'TCPAbortOnMemory', 'TCPAbortOnData', 'TCPAbortOnClose'],
  ...['TCPMTUPSuccess', 'TCPMinTTLDrop'],
].map((name) => `mib ${name}`);
const TRANSITIONS = [
  ...['UNCONN > LISTEN', 'UNCONN > SYN-SENT', 'UNCONN > SYN-RECV', 'SYN-SENT > ESTAB'],
  ...['SYN-SENT > SYN-RECV', 'SYN-RECV > ESTAB', 'SYN-RECV > FIN-WAIT-1', 'SYN-RECV > UNCONN'],
  ...['ESTAB > FIN-WAIT-1', 'ESTAB > CLOSE-WAIT', 'FIN-WAIT-1 > FIN-WAIT-2'],
  ...['FIN-WAIT-1 > CLOSING', 'FIN-WAIT-2 > TIME-WAIT', 'CLOSING > TIME-WAIT'],
  ...['CLOSE-WAIT > LAST-ACK', 'LAST-ACK > UNCONN', 'TIME-WAIT > UNCONN', 'LISTEN > UNCONN'],
].map((name) => `state ${name}`);
const HOSTS = ['hosts 2', 'hosts 20', 'host dies', 'host reboots'];
const PATHS = ['path black hole', 'path other MTU'];

describe('sim: two hundred seeds', function () {
  this.timeout(60_000);
  const coverage = new Coverage();
  for (let first = 1; first <= 200; first += 20) {
    it(`seeds ${first} to ${first + 19}`, () => {
      for (let seed = first; seed < first + 20; seed++) {
        const outcome = runOnce(parametersOf(seed), null, coverage);
        if (!outcome.ok) expect.fail(`npm run sim -- --seed ${seed}\n${outcome.message}`);
      }
    });
  }

  it('everything that can go wrong has gone wrong', () => {
    const names = [...REACHED, ...CALLS, ...COUNTERS, ...TRANSITIONS, ...HOSTS, ...PATHS];
    expect(names.filter((name) => coverage.count(name) === 0)).to.deep.equal([]);
  });
});

describe('sim: what a run is', () => {
  it('one seed is one run, packet for packet', () => {
    for (const seed of [3, 8]) {
      const [one, other] = [runOnce(parametersOf(seed)), runOnce(parametersOf(seed))];
      expect(one).to.deep.equal(other);
      expect(one.ok).to.equal(true);
    }
  });

  it('carries data over connections between all hosts', () => {
    const outcome = runOnce(PLAIN);
    if (!outcome.ok) expect.fail(outcome.message);
    const { connections, bytes, packets, checks, lost } = outcome.result;
    expect(connections).to.be.greaterThan(20);
    expect(bytes).to.be.greaterThan(100_000);
    expect(packets).to.be.greaterThan(150);
    expect(checks).to.be.greaterThan(1000);
    expect(lost).to.equal(0);
  });

  it('leaving a fault out leaves the calls as they are', () => {
    const rough = { ...PLAIN, faults: parseFaults('loss,reorder')! };
    const outcome = runOnce(rough);
    if (!outcome.ok) expect.fail(outcome.message);
    expect(outcome.result.lost).to.be.greaterThan(0);
    expect(outcome.result.endUs).to.be.greaterThan(PLAIN.timeMs * 1000);
  });

  it('every fault alone, and all at once', function () {
    this.timeout(20_000);
    for (const faults of [...FAULTS.map((fault) => new Set([fault])), new Set(FAULTS)]) {
      const outcome = runOnce({ ...PLAIN, calls: 15, faults });
      if (!outcome.ok) expect.fail(`${[...faults]}: ${outcome.message}`);
    }
  });
});

describe('sim: what is wrong is found', () => {
  const kindOf = (parameters: SimParameters): string => {
    const outcome = runOnce(parameters);
    return outcome.ok ? 'nothing' : outcome.kind;
  };

  it('a byte that arrives changed', () => {
    const spoil = (read: SimHost['read']): SimHost['read'] =>
      function (this: SimHost, fd, target, most) {
        const count = read.call(this, fd, target, most);
        if (count > 100) target[50]! ^= 1;
        return count;
      };
    withHost('read', spoil, () => expect(kindOf(PLAIN)).to.equal('data'));
  });

  it('bytes that never arrive although the stream ends', () => {
    const swallow = (read: SimHost['read']): SimHost['read'] =>
      function (this: SimHost, fd, target, most) {
        const count = read.call(this, fd, target, most);
        return count > 2 && this.index === 0 ? count - 1 : count;
      };
    withHost('read', swallow, () => expect(kindOf(PLAIN)).to.be.oneOf(['data', 'eof']));
  });

  it('a wake-up that is lost', () => {
    let calls = 0;
    const deaf = (poll: SimHost['poll']): SimHost['poll'] =>
      function (this: SimHost, nowUs) {
        poll.call(this, nowUs);
        if (calls++ % 3 === 0) this.ready.length = 0;
      };
    const busy = { ...PLAIN, bytes: 1_000_000 };
    // A listener that does not hear of its connections lets those that follow time out.
    withHost('poll', deaf, () => expect(kindOf(busy)).to.be.oneOf(['stuck', 'error']));
  });

  it('a packet that is counted twice', () => {
    const recount = (take: SimHost['takePackets']): SimHost['takePackets'] =>
      function (this: SimHost, nowUs) {
        take.call(this, nowUs);
        if (nowUs > 1_500_000 && this.index === 1) this.link.received++;
      };
    withHost('takePackets', recount, () => {
      expect(kindOf(PLAIN)).to.equal('counter InReceives');
    });
  });

  it('an exception of the stack', () => {
    const explode = (): SimHost['poll'] =>
      function (this: SimHost) {
        throw new RangeError('boom');
      };
    withHost('poll', explode, () => expect(kindOf(PLAIN)).to.equal('throw boom'));
  });
});

describe('sim: shrinking', () => {
  it('takes away what is not needed for the failure', () => {
    const big = { ...parametersOf(1), hosts: 12, calls: 60, faults: new Set(FAULTS) };
    const smaller = shrink(big, 'any', 500, ({ hosts, calls, faults }) => {
      return hosts >= 4 && calls >= 7 && faults.has('mtu');
    });
    expect(smaller.hosts).to.equal(4);
    expect(smaller.calls).to.be.within(7, 9);
    expect([...smaller.faults]).to.deep.equal(['mtu']);
    expect(smaller.bytes).to.be.below(10);
    expect(smaller.timeMs).to.be.below(10);
  });

  it('keeps a run that cannot be made smaller, and stops after so many tries', () => {
    expect(shrink(PLAIN, 'any', 100, () => false)).to.equal(PLAIN);
    let tries = 0;
    shrink({ ...PLAIN, hosts: 20 }, 'any', 5, () => ++tries > 0);
    expect(tries).to.equal(5);
  });
});

describe('sim: the command', () => {
  it('prints the sums, and with one seed how to replay it', () => {
    const { code, out } = sim('--seed', '5', '--calls', '5', '--bytes', '1000', '--hosts', '2');
    expect(code).to.equal(0);
    expect(out).to.match(/npm run sim -- --seed 5 --hosts 2 --calls 5 --bytes 1000 --time \d+ /);
    expect(out).to.match(/1 passed, 0 failed\n$/);
  });

  it('--coverage tells what has happened, and what never has', () => {
    const argv = ['--seed', '1', '--calls', '5', '--hosts', '2', '--faults', 'none', '--coverage'];
    const { out } = sim(...argv);
    expect(out).to.match(/^state SYN-SENT > ESTAB +[1-9]/m);
    expect(out).to.match(/^hosts 2 +1$/m);
    expect(out).to.match(/^never: .*link lost.*TCPTimeouts/m);
    const { coverage } = JSON.parse(sim(...argv, '--json').out.split('\n')[1]!);
    expect(coverage['link taken']).to.be.greaterThan(10);
  });

  it('replays what it prints', () => {
    const { out } = sim('--seed', '6');
    const argv = /npm run sim -- (.*)/.exec(out)![1]!.split(' ');
    expect(sim(...argv).out).to.equal(out);
  });

  it('as JSON: one object a run and the sums', () => {
    const { out } = sim('--seed', '1', '--runs', '2', '--json', '--calls', '3', '--hosts', '2');
    const [first, second, sums] = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect([first.seed, second.seed]).to.deep.equal([1, 2]);
    expect(first.ok).to.equal(true);
    expect(sums).to.include({ runs: 2, failed: 0 });
  });

  it('--verbose tells packets and what applications do', () => {
    const { err } = sim('--seed', '4', '--verbose', '--hosts', '2', '--calls', '5');
    expect(err).to.match(/h\d in +198\.18\.1\.\d>198\.18\.1\.\d \d+>80 \[S\] seq \d+:0/);
    expect(err).to.match(/h\d fd \d+ close: 198/);
  });

  it('a failing run: exit code 1, the way to replay it, and a smaller one', () => {
    const explode = (): SimHost['poll'] =>
      function (this: SimHost) {
        throw new RangeError('boom');
      };
    withHost('poll', explode, () => {
      const { code, out } = sim('--seed', '2');
      expect(code).to.equal(1);
      expect(out).to.match(/FAILED RangeError: boom/);
      expect(out).to.match(/replay: npm run sim -- --seed 2 --hosts/);
      expect(out).to.match(/shrunk: npm run sim -- --seed 2 --hosts 2 --calls 0 .*--faults none/);
      expect(out).to.match(/0 passed, 1 failed/);
      const json = JSON.parse(sim('--seed', '2', '--json').out.split('\n')[0]!);
      expect(json).to.include({ seed: 2, ok: false, kind: 'throw boom' });
      expect(sim('--seed', '2', '--no-shrink').out).to.not.match(/shrunk/);
    });
  });

  it('refuses what it does not know with exit code 2', () => {
    for (const argv of [
      ['--sede', '1'],
      ['--seed'],
      ['--seed', 'x'],
      ['--hosts', '1'],
      ['--hosts', '21'],
      ['--runs', '0'],
      ['--faults', 'loss,lots'],
      ['--fuzz', 'windows'],
    ]) {
      const { code, err } = sim(...argv);
      expect(code, argv.join(' ')).to.equal(2);
      expect(err).to.match(new RegExp(`^sim: .*${argv[0]}`));
    }
    expect(sim('--help').out).to.match(/^npm run sim/);
  });

  it('parameters survive their own text', () => {
    for (const seed of [1, 2, 3, 4]) {
      const { faults } = parametersOf(seed);
      const list = /--faults (.*)/.exec(formatParameters(parametersOf(seed)))![1]!;
      expect(parseFaults(list)).to.deep.equal(faults);
    }
    expect(parseFaults('all')!.size).to.equal(FAULTS.length);
  });
});
