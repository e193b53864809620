/** src/reuseport/selectors: what each built-in does with its members. */
import { expect } from 'chai';
import fc from 'fast-check';
import { reciprocalScale } from '../../src/net/hash.js';
import { Mib } from '../../src/net/mib.js';
import { reuseportAttachSelector, reuseportDetachSock } from '../../src/reuseport/group.js';
import type { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import { reuseportSelectSock } from '../../src/reuseport/select.js';
import type { MemberState, Selector } from '../../src/reuseport/selector-request.js';
import { builtinSelector, SELECTOR_NAMES } from '../../src/reuseport/selectors/builtin.js';
import { HUNG_AFTER_MS } from '../../src/reuseport/selectors/load.js';
import type { SockCommon } from '../../src/reuseport/sock-common.js';
import { seededRandom } from '../net/fixtures.js';
import { ip, listener, makeTables, packet } from './fixtures.js';

const US = ip('198.18.0.1');
const PEER = ip('198.18.0.254');

/** 99.9 % points of the chi-square distribution by degrees of freedom. */
const CRITICAL: Readonly<Record<number, number>> = { 1: 10.83, 2: 13.82, 3: 16.27, 9: 27.88 };

/** What a member has to do; absent = nothing. */
interface Load {
  connections?: number;
  queue?: number;
  busy?: number;
  ageMs?: number;
}

/** A group of `loads.length` members under one selector. */
class Rig {
  readonly tables: InetHashinfo;
  /** Members by the order in which they joined. */
  readonly socks: SockCommon[];
  readonly loads: Load[];
  private readonly dice = seededRandom(7);

  constructor(selector: string | Selector, loads: Load[], seed = 1) {
    this.tables = makeTables({ seed });
    this.loads = loads;
    this.socks = loads.map(() => listener(this.tables, US, 80));
    const of =
      (what: keyof Load) =>
      (sk: SockCommon): number =>
        loads[this.socks.indexOf(sk)]![what] ?? 0;
    const state: MemberState = {
      connections: of('connections'),
      queueLength: of('queue'),
      utilisation: of('busy'),
      heartbeatAgeMs: of('ageMs'),
    };
    this.tables.selectorRequest.state = state;
    const chosen = typeof selector === 'string' ? builtinSelector(selector)! : selector;
    expect(reuseportAttachSelector(this.tables, this.socks[0]!, chosen)).to.equal(0);
  }

  /** Which member gets the flow with this hash. */
  pick(hash: number = this.dice.u32(), cpu = 0): number {
    const alive = this.socks.find((sk) => sk.reuseportCb !== null)!;
    const skb = packet(cpu);
    const sk = reuseportSelectSock(this.tables, alive, hash | 0, PEER, 40_000, US, 80, skb);
    return this.socks.indexOf(sk!);
  }

  counts(picks: number): number[] {
    const counts = this.loads.map(() => 0);
    for (let i = 0; i < picks; i++) counts[this.pick()]!++;
    return counts;
  }
}

const idle = (members: number): Load[] => Array.from({ length: members }, () => ({}));

function chiSquare(counts: readonly number[], expected: readonly number[]): number {
  return counts.reduce((sum, count, i) => sum + (count - expected[i]!) ** 2 / expected[i]!, 0);
}

/** Fails when `counts` are not equal shares. */
function expectEven(counts: readonly number[]): void {
  const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  const statistic = chiSquare(
    counts,
    counts.map(() => mean),
  );
  expect(statistic, counts.join(' ')).to.be.below(CRITICAL[counts.length - 1]!);
}

describe('reuseport/selectors: by name', () => {
  it('are the seven of the contract, and nothing else', () => {
    expect(SELECTOR_NAMES).to.deep.equal([
      ...['hash', 'random', 'rr', 'least', 'p2c', 'consistent', 'cpu'],
    ]);
    for (const name of ['', 'HASH', 'lru', 'toString', '__proto__', '/p2c']) {
      expect(builtinSelector(name), name).to.equal(null);
    }
  });

  for (const name of SELECTOR_NAMES) {
    it(`${name} names a member of every group, also of one, and never strays`, () => {
      for (const members of [1, 2, 3, 17, 130]) {
        const rig = new Rig(name, idle(members));
        for (let i = 0; i < 50; i++) expect(rig.pick(undefined, i)).to.be.within(0, members - 1);
        expect(rig.tables.net.mib[Mib.TunSelectorFallback]).to.equal(0);
        expect(rig.tables.net.mib[Mib.TunSelectorDetached]).to.equal(0);
      }
    });

    it(`${name} remembers nothing of a dry run`, () => {
      const load = [{ connections: 1 }, {}, {}, { busy: 1 }, { ageMs: 5000 }];
      const [asked, quiet] = [new Rig(name, load), new Rig(name, load)];
      for (let i = 0; i < 40; i++) {
        asked.tables.selectorRequest.dryRun = true;
        for (let dry = 0; dry < i % 4; dry++) expect(asked.pick(i * 0x01234567)).to.be.at.least(0);
        asked.tables.selectorRequest.dryRun = false;
        expect(asked.pick(i * 0x6543211)).to.equal(quiet.pick(i * 0x6543211));
      }
      expect(asked.tables.net.random.u32()).to.equal(quiet.tables.net.random.u32());
    });
  }
});

describe('reuseport/selectors: without looking at the load', () => {
  it('hash is what a group without selector does', () => {
    const rig = new Rig('hash', idle(5));
    for (let i = 0; i < 100; i++) {
      const hash = Math.imul(i, 0x9e3779b1);
      expect(rig.pick(hash)).to.equal(reciprocalScale(hash, 5));
    }
  });

  it('random shares evenly, whatever the hash', () => {
    for (const seed of [1, 2, 3]) {
      const rig = new Rig('random', idle(4), seed);
      const counts = [0, 0, 0, 0];
      for (let i = 0; i < 2000; i++) counts[rig.pick(7)]!++;
      expectEven(counts);
    }
  });

  it('rr takes one after the other, also when members come and go', () => {
    const rig = new Rig('rr', idle(3));
    const picks = (count: number): number[] => Array.from({ length: count }, () => rig.pick());
    expect(picks(7)).to.deep.equal([0, 1, 2, 0, 1, 2, 0]);
    // The last fills the hole: the order is now 2, 1; the next index is 1.
    reuseportDetachSock(rig.socks[0]!);
    expect(picks(4)).to.deep.equal([1, 2, 1, 2]);
    rig.loads.push({});
    rig.socks.push(listener(rig.tables, US, 80));
    expect(picks(4)).to.deep.equal([1, 3, 2, 1]);
  });

  it('rr has a round of its own for each group', () => {
    const [a, b] = [new Rig('rr', idle(3)), new Rig('rr', idle(3))];
    expect([a.pick(), a.pick(), b.pick(), a.pick(), b.pick()]).to.deep.equal([0, 1, 0, 2, 1]);
  });

  it('cpu takes the member of the queue, the hash what has none', () => {
    const rig = new Rig('cpu', idle(4));
    for (let cpu = 0; cpu < 4; cpu++) expect(rig.pick(5, cpu)).to.equal(cpu);
    const hash = 0xc0000000;
    expect(rig.pick(hash, 4)).to.equal(reciprocalScale(hash, 4));
    expect(rig.pick(hash, 255)).to.equal(reciprocalScale(hash, 4));
  });
});

describe('reuseport/selectors: least', () => {
  it('takes the fewest connections, then the shortest queue, then the least busy', () => {
    const cases: [Load[], number][] = [
      [[{ connections: 3 }, { connections: 2 }, { connections: 4 }], 1],
      [[{ connections: 1, queue: 2 }, { connections: 1, queue: 1 }, { connections: 2 }], 1],
      [[{ busy: 1 }, { busy: 0.5 }, { busy: 0 }], 2],
      [[{ connections: 0, queue: 9, busy: 1 }, { connections: 1 }], 0],
      [
        [
          { queue: 0, busy: 1 },
          { queue: 1, busy: 0 },
        ],
        0,
      ],
    ];
    for (const [loads, winner] of cases) {
      const rig = new Rig('least', loads);
      for (let i = 0; i < 10; i++) expect(rig.pick(), JSON.stringify(loads)).to.equal(winner);
    }
  });

  it('breaks ties by a fair die, wherever the equals stand', () => {
    const busy = { connections: 1 };
    for (const equals of [
      [0, 1, 2, 3],
      [1, 3, 4],
      [0, 4],
      [2, 3, 5],
    ]) {
      const loads = Array.from({ length: 6 }, (_, i) => (equals.includes(i) ? {} : busy));
      const counts = new Rig('least', loads).counts(2000);
      expectEven(equals.map((i) => counts[i]!));
      for (const [i, count] of counts.entries()) if (!equals.includes(i)) expect(count).to.equal(0);
    }
  });

  it('is fair among the idle ones, be they one in fifty or nearly all', () => {
    for (const idleEvery of [1, 2, 10, 50]) {
      const loads = Array.from({ length: 100 }, (_, i) =>
        i % idleEvery === 0 ? {} : { connections: 1 + (i % 3) },
      );
      const counts = new Rig('least', loads).counts(4000);
      const idleOnes = counts.filter((_, i) => i % idleEvery === 0);
      const mean = 4000 / idleOnes.length;
      // Every choice is one of them; five standard deviations.
      expect(idleOnes.reduce((sum, count) => sum + count, 0)).to.equal(4000);
      const least = Math.max(mean - 5 * Math.sqrt(mean), 0);
      for (const count of idleOnes) expect(count).to.be.within(least, mean + 5 * Math.sqrt(mean));
    }
  });

  it('a thread that is busy without a connection is not idle', () => {
    expect(
      new Rig('least', [{ busy: 1 }, { busy: 1 }, {}, { ageMs: 9e9 }]).counts(50),
    ).to.deep.equal([0, 0, 50, 0]);
  });

  it('does not let noise in the utilisation decide between idle members', () => {
    const loads = [{ busy: 0.001 }, { busy: 0.03 }, { busy: 0 }, { busy: 0.05 }];
    expectEven(new Rig('least', loads).counts(2000));
  });
});

describe('reuseport/selectors: p2c', () => {
  it('shares evenly among equals', () => {
    for (const members of [2, 3, 4, 10]) {
      expectEven(new Rig('p2c', idle(members), members).counts(3000));
    }
  });

  it('never takes the most loaded of two, and of n only what two draws give', () => {
    const loads = [{ connections: 5 }, { connections: 1 }, { connections: 3 }, { connections: 2 }];
    expect(new Rig('p2c', loads.slice(0, 2)).counts(200)).to.deep.equal([0, 200]);
    const counts = new Rig('p2c', loads).counts(6000);
    // Member with rank r (0 = most loaded) wins the pairs with the r members above it: r of 6.
    expect(counts[0]).to.equal(0);
    const rest = [counts[2]!, counts[3]!, counts[1]!];
    expect(chiSquare(rest, [1000, 2000, 3000])).to.be.below(CRITICAL[2]!);
  });

  it('keeps the fullest member nearer to the mean than a single die does', () => {
    const fullest = (name: string): number => {
      const loads: Required<Pick<Load, 'connections'>>[] = Array.from({ length: 10 }, () => ({
        connections: 0,
      }));
      const rig = new Rig(name, loads);
      for (let i = 0; i < 2000; i++) loads[rig.pick()]!.connections++;
      return Math.max(...loads.map(({ connections }) => connections)) - 200;
    };
    expect(fullest('least')).to.equal(0);
    expect(fullest('p2c')).to.be.within(0, 4);
    expect(fullest('random')).to.be.above(fullest('p2c') * 2);
  });
});

describe('reuseport/selectors: hung members', () => {
  const hung = { ageMs: HUNG_AFTER_MS + 1 };
  const gone = { ageMs: Number.POSITIVE_INFINITY };
  const justAlive = { ageMs: HUNG_AFTER_MS, connections: 1000, queue: 100, busy: 1 };

  for (const name of ['least', 'p2c']) {
    it(`${name} gives them nothing while another lives, however loaded that is`, () => {
      for (const loads of [
        [hung, justAlive],
        [justAlive, gone, hung],
        [gone, hung, hung, hung, hung, justAlive, hung, hung, hung],
      ] as Load[][]) {
        const alive = loads.indexOf(justAlive);
        const expected = loads.map((_, i) => (i === alive ? 300 : 0));
        expect(new Rig(name, loads).counts(300)).to.deep.equal(expected);
      }
    });

    it(`${name} shares among the living`, () => {
      const counts = new Rig(name, [hung, {}, {}, gone, {}]).counts(3000);
      expect([counts[0], counts[3]]).to.deep.equal([0, 0]);
      expectEven([counts[1]!, counts[2]!, counts[4]!]);
    });

    it(`${name} does as if none hung when all do`, () => {
      expectEven(new Rig(name, [hung, gone, hung, hung]).counts(2000));
      const loads = [{ ...hung, connections: 1 }, hung];
      expect(new Rig(name, loads).counts(100)).to.deep.equal([0, 100]);
    });
  }
});

/** Flows with hashes that nobody chose. */
function flows(count: number): number[] {
  const dice = seededRandom(99);
  return Array.from({ length: count }, () => dice.u32());
}

describe('reuseport/selectors: consistent', () => {
  it('shares evenly', () => {
    for (const members of [2, 3, 4, 10]) {
      expectEven(new Rig('consistent', idle(members)).counts(3000));
    }
  });

  it('removing one of n moves exactly its flows; the hash moves about half', () => {
    const hashes = flows(300);
    const moved = { consistent: 0, hash: 0 };
    let flowsSeen = 0;
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 24 }), fc.nat(), (members, which) => {
        const leaver = which % members;
        for (const name of ['consistent', 'hash'] as const) {
          const rig = new Rig(name, idle(members));
          const before = hashes.map((hash) => rig.pick(hash));
          reuseportDetachSock(rig.socks[leaver]!);
          const after = hashes.map((hash) => rig.pick(hash));
          for (const [i, member] of before.entries()) {
            const moves = member !== after[i];
            // Nobody goes to the leaver, and whoever was his must go.
            expect(after[i]).not.to.equal(leaver);
            if (name === 'consistent') expect(moves).to.equal(member === leaver);
            if (moves && member !== leaver) moved[name]++;
            if (name === 'hash') flowsSeen++;
          }
        }
      }),
      { numRuns: 60, seed: 5 },
    );
    expect(moved.consistent).to.equal(0);
    // The first of n leaves: n-1 wider ranges and the last in his place; in the mean nearly half.
    expect(moved.hash / flowsSeen).to.be.within(0.3, 0.6);
  });

  it('adding one takes 1/(n+1) of everybody, and one in a leaver’s place gets his flows', () => {
    const hashes = flows(4000);
    const rig = new Rig('consistent', idle(4));
    const before = hashes.map((hash) => rig.pick(hash));
    const join = (): void => {
      rig.loads.push({});
      rig.socks.push(listener(rig.tables, US, 80));
    };
    join();
    const after = hashes.map((hash) => rig.pick(hash));
    const taken = after.filter((member) => member === 4).length;
    expect(taken / hashes.length).to.be.closeTo(1 / 5, 0.03);
    after.forEach((member, i) => {
      if (member !== 4) expect(member).to.equal(before[i]);
    });
    reuseportDetachSock(rig.socks[1]!);
    join();
    const restarted = hashes.map((hash) => rig.pick(hash));
    restarted.forEach((member, i) => {
      expect(member).to.equal(after[i] === 1 ? 5 : after[i]);
    });
  });
});
