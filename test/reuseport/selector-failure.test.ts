/** src/reuseport/select.ts: selectors that throw, dawdle or are asked for the sake of asking. */
import { expect } from 'chai';
import { reciprocalScale } from '../../src/net/hash.js';
import { Mib } from '../../src/net/mib.js';
import { reuseportAttachSelector } from '../../src/reuseport/group.js';
import type { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import {
  PICKED_BY_HASH,
  PICKED_BY_SELECTOR,
  reuseportSelectSock,
  SELECTOR_ARREARS_MAX_US,
  SELECTOR_BUDGET_US,
} from '../../src/reuseport/select.js';
import type { Selector } from '../../src/reuseport/selector-request.js';
import type { SockCommon } from '../../src/reuseport/sock-common.js';
import { ip, listener, makeTables, packet } from './fixtures.js';

const US = ip('198.18.0.1');
const PEER = ip('198.18.0.254');
const MEMBERS = 4;
const HASH = 0x89abcdef;

interface Rig {
  tables: InetHashinfo;
  socks: SockCommon[];
  said: string[];
  /** Microseconds that the next calls of the selector take. */
  costUs: number;
  calls: number;
  pick(): number;
}

/** Four members under `answer`, which takes `costUs` of a clock that nothing else moves. */
function rig(answer: Selector = () => 2): Rig {
  const said: string[] = [];
  const tables = makeTables({ trace: { selector: (message) => said.push(message) } });
  const socks = Array.from({ length: MEMBERS }, () => listener(tables, US, 80));
  let nowUs = 1000;
  tables.selectorClock = () => nowUs;
  const made: Rig = {
    tables,
    socks,
    said,
    costUs: 1,
    calls: 0,
    pick: () =>
      socks.indexOf(
        reuseportSelectSock(tables, socks[0]!, HASH | 0, PEER, 40_000, US, 80, packet())!,
      ),
  };
  const selector: Selector = (request) => {
    made.calls++;
    nowUs += made.costUs;
    return answer(request);
  };
  reuseportAttachSelector(tables, socks[0]!, selector, false, '/srv/mine.js');
  return made;
}

const BY_HASH = reciprocalScale(HASH | 0, MEMBERS);

describe('reuseport/select: a selector that throws', () => {
  const anything: [unknown, string][] = [
    [new Error('no such worker'), 'Error: no such worker'],
    [new TypeError('x is\n  not a function'), 'TypeError: x is not a function'],
    ['a text', '"a text"'],
    [undefined, 'undefined'],
    [null, 'null'],
    [Object.create(null), 'something that has no text'],
    [new Error('long '.repeat(200)), 'long long'],
  ];

  for (const [thrown, text] of anything) {
    it(`is detached with one message: ${text}`, () => {
      const made = rig(() => {
        throw thrown;
      });
      for (let i = 0; i < 5; i++) expect(made.pick()).to.equal(BY_HASH);
      expect(made.calls).to.equal(1);
      expect(made.said).to.have.length(1);
      expect(made.said[0]).to.match(/^selector \/srv\/mine\.js detached: it threw /);
      expect(made.said[0]).to.contain(text);
      expect(made.said[0]).to.match(/; the hash chooses from now on$/);
      expect(made.said[0]!.length).to.be.below(300);
      expect(made.tables.net.mib[Mib.TunSelectorDetached]).to.equal(1);
      expect(made.socks[0]!.reuseportCb!.selectorError).to.contain(text);
    });
  }

  it('is detached likewise when it is an async function, and says what it is', () => {
    const made = rig((async () => 2) as unknown as Selector);
    for (let i = 0; i < 5; i++) expect(made.pick()).to.equal(BY_HASH);
    expect(made.calls).to.equal(1);
    expect(made.said).to.deep.equal([
      'selector /srv/mine.js detached: it answered a promise, which a SYN cannot wait for; ' +
        'the hash chooses from now on',
    ]);
  });

  it('a slow stray answer is one message, not two', () => {
    const made = rig(() => 99);
    made.costUs = SELECTOR_ARREARS_MAX_US;
    for (let i = 0; i < 5; i++) expect(made.pick()).to.equal(BY_HASH);
    expect(made.said).to.have.length(2);
    expect(made.said[0]).to.contain('answered 99');
    expect(made.said[1]).to.contain('too slow');
    expect(made.tables.net.mib[Mib.TunSelectorFallback]).to.equal(made.calls - 1);
  });

  it('may be replaced, and the next one counts for itself', () => {
    const made = rig(() => {
      throw new Error('once');
    });
    made.pick();
    reuseportAttachSelector(made.tables, made.socks[3]!, () => 3);
    expect([made.pick(), made.pick()]).to.deep.equal([3, 3]);
    expect(made.socks[0]!.reuseportCb!.selectorError).to.equal(null);
    expect(made.said).to.have.length(1);
  });

  it('loses nothing in a dry run, where a stray answer is not counted either', () => {
    const made = rig(() => {
      throw new Error('asked by explain');
    });
    made.tables.selectorRequest.dryRun = true;
    expect(made.pick()).to.equal(BY_HASH);
    expect(made.socks[0]!.reuseportCb!.selector).not.to.equal(null);
    const stray = rig(() => 77);
    stray.tables.selectorRequest.dryRun = true;
    expect(stray.pick()).to.equal(BY_HASH);
    expect(made.said.concat(stray.said)).to.deep.equal([]);
    expect(stray.tables.net.mib[Mib.TunSelectorFallback]).to.equal(0);
  });
});

describe('reuseport/select: the budget', () => {
  it('is kept for ever by a selector that takes exactly as long', () => {
    const made = rig();
    made.costUs = SELECTOR_BUDGET_US;
    for (let i = 0; i < 3000; i++) expect(made.pick()).to.equal(2);
    expect(made.tables.pickedBy).to.equal(PICKED_BY_SELECTOR);
    expect(made.said).to.deep.equal([]);
  });

  it('detaches one that is slower with one message, after the allowance and not before', () => {
    const made = rig();
    made.costUs = 1000;
    const last = SELECTOR_ARREARS_MAX_US / (1000 - SELECTOR_BUDGET_US);
    for (let i = 0; i < Math.floor(last); i++) expect(made.pick()).to.equal(2);
    expect(made.said).to.deep.equal([]);
    // The call that breaks the allowance has answered all the same.
    expect(made.pick()).to.equal(2);
    expect(made.said).to.deep.equal([
      'selector /srv/mine.js detached: it is too slow (its last call took 1.0 ms, ' +
        'it may take 50 µs); the hash chooses from now on',
    ]);
    for (let i = 0; i < 5; i++) expect(made.pick()).to.equal(BY_HASH);
    expect(made.tables.pickedBy).to.equal(PICKED_BY_HASH);
    expect(made.calls).to.equal(Math.floor(last) + 1);
    expect(made.tables.net.mib[Mib.TunSelectorDetached]).to.equal(1);
    expect(made.said).to.have.length(1);
  });

  it('one microsecond too slow is too slow in the end', () => {
    const made = rig();
    made.costUs = SELECTOR_BUDGET_US + 1;
    for (let i = 0; i < SELECTOR_ARREARS_MAX_US; i++) made.pick();
    expect(made.said).to.deep.equal([]);
    made.pick();
    expect(made.said).to.have.length(1);
    expect(made.said[0]).to.contain('took 51 µs');
  });

  it('forgives a pause of the machine, however long, and what is paid back', () => {
    const made = rig();
    for (let pause = 0; pause < 20; pause++) {
      made.costUs = 3_000_000;
      expect(made.pick()).to.equal(2);
      made.costUs = 1;
      for (let i = 0; i < SELECTOR_ARREARS_MAX_US / (2 * (SELECTOR_BUDGET_US - 1)) + 1; i++) {
        made.pick();
      }
    }
    expect(made.said).to.deep.equal([]);
    made.costUs = 3_000_000;
    for (let i = 0; i < 3; i++) made.pick();
    expect(made.said).to.have.length(1);
  });

  it('is not measured without a clock nor in a dry run', () => {
    for (const free of ['clock', 'dry'] as const) {
      const made = rig();
      made.costUs = 1_000_000;
      if (free === 'clock') made.tables.selectorClock = null;
      else made.tables.selectorRequest.dryRun = true;
      for (let i = 0; i < 100; i++) expect(made.pick()).to.equal(2);
      expect(made.said).to.deep.equal([]);
    }
  });

  it('a new selector owes nothing', () => {
    const made = rig();
    made.costUs = 1000;
    for (let i = 0; i < 15; i++) made.pick();
    expect(made.socks[0]!.reuseportCb!.selectorArrearsUs).to.be.above(10_000);
    reuseportAttachSelector(made.tables, made.socks[0]!, () => 1);
    expect(made.socks[0]!.reuseportCb!.selectorArrearsUs).to.equal(0);
  });
});
