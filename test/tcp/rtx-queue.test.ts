/** The records of what is under way, against a plain list; the filter for the smallest RTT. */
import { expect } from 'chai';
import fc from 'fast-check';
import { MinFilter } from '../../src/tcp/min-filter.js';
import {
  FINAL,
  LOST,
  NONE,
  PUSHED,
  RtxTable,
  rtxAppend,
  rtxFind,
  rtxPurge,
  rtxSentAgain,
  rtxSplit,
  rtxUnlink,
  segmentsIn,
  unlinkSent,
} from '../../src/tcp/rtx-queue.js';
import { type Sender, senderOf } from '../../src/tcp/sender.js';
import { Tcb } from '../../src/tcp/tcb.js';
import { MemoryStack } from '../../src/testing/index.js';

const MSS = 100;

function fresh(seq: number): { s: Sender; tcb: Tcb } {
  const host = new MemoryStack({ arenaBytes: 1 << 20 });
  const tcb = new Tcb(host.stack.tcp, host.stack.socket(0));
  tcb.sndUna = tcb.sndNxt = seq;
  return { s: senderOf(tcb), tcb };
}

/** [seq, end) of each record, by sequence number and by time of transmission. */
function lists(t: RtxTable, s: Sender): { bySeq: number[][]; byTime: number[] } {
  const bySeq: number[][] = [];
  for (let i = s.rtxHead; i !== NONE; i = t.next[i]!) {
    bySeq.push([t.seq[i]!, t.end[i]!]);
    const next = t.next[i]!;
    if (next === NONE) expect(s.rtxTail).to.equal(i);
    else expect(t.prev[next]).to.equal(i);
  }
  const byTime: number[] = [];
  for (let i = s.sentHead; i !== NONE; i = t.sentNext[i]!) {
    byTime.push(t.seq[i]!);
    if (t.sentNext[i] === NONE) expect(s.sentTail).to.equal(i);
  }
  return { bySeq, byTime };
}

type Step = ['append' | 'cut' | 'drop' | 'again' | 'sack', number];
const steps = fc.array(
  fc.tuple(fc.constantFrom('append', 'cut', 'drop', 'again', 'sack'), fc.nat(1000)),
  { maxLength: 60 },
) as fc.Arbitrary<Step[]>;

/** The same records as plain lists. */
class Model {
  /** [seq, end) of each, by sequence number, and `seq` of each by time of transmission. */
  bySeq: number[][] = [];
  byTime: number[] = [];
  end: number;

  constructor(start: number) {
    this.end = start;
  }

  append(bytes: number): void {
    const seq = this.end;
    this.end = (seq + bytes) | 0;
    this.bySeq.push([seq, this.end]);
    this.byTime.push(seq);
  }

  cut(place: number, at: number): void {
    const [seq, last] = this.bySeq[place] as [number, number];
    this.bySeq.splice(place, 1, [seq, at], [at, last]);
    if (this.byTime.includes(seq)) this.byTime.splice(this.byTime.indexOf(seq) + 1, 0, at);
  }

  drop(place: number): void {
    this.untime(place);
    this.bySeq.splice(place, 1);
  }

  again(place: number): void {
    this.untime(place);
    this.byTime.push(this.bySeq[place]![0]!);
  }

  untime(place: number): void {
    const seq = this.bySeq[place]![0]!;
    this.byTime = this.byTime.filter((one) => one !== seq);
  }
}

/** One step on a record that exists, on both; false: what is left has a gap. */
function step(t: RtxTable, s: Sender, model: Model, what: Step[0], n: number): boolean {
  const place = n % model.bySeq.length;
  const [seq, last] = model.bySeq[place] as [number, number];
  const index = rtxFind(t, s, seq);
  expect([t.seq[index], t.end[index]]).to.deep.equal([seq, last]);
  expect(rtxFind(t, s, (last - 1) | 0)).to.equal(index);
  const length = (last - seq) | 0;
  if (what === 'cut' && length > 1) {
    const bytes = 1 + (n % (length - 1));
    expect(rtxSplit(t, s, index, bytes)).to.equal(true);
    model.cut(place, (seq + bytes) | 0);
  } else if (what === 'drop') {
    rtxUnlink(t, s, index);
    model.drop(place);
    return place === 0 || place === model.bySeq.length;
  } else if (what === 'again') {
    rtxSentAgain(t, s, index, n);
    model.again(place);
  } else if (what === 'sack') {
    unlinkSent(t, s, index);
    unlinkSent(t, s, index);
    model.untime(place);
  }
  return true;
}

describe('tcp: records of what is under way', () => {
  it('are a list by sequence number and one by time (model)', () => {
    fc.assert(
      fc.property(steps, fc.integer(), (script, start) => {
        const t = new RtxTable();
        const { s } = fresh(start | 0);
        const model = new Model(start | 0);
        for (const [what, n] of script) {
          if (what === 'append') {
            const seq = model.end;
            model.append(1 + n);
            const pcount = segmentsIn(1 + n, MSS);
            expect(rtxAppend(t, s, seq, model.end, MSS, pcount, n)).to.equal(true);
          } else if (model.bySeq.length > 0 && !step(t, s, model, what, n)) return;
          const { bySeq, byTime } = model;
          expect(lists(t, s)).to.deep.equal({ bySeq, byTime });
        }
        expect(t.inUse).to.equal(model.bySeq.length);
        rtxPurge(t, s);
        expect(t.inUse).to.equal(0);
        expect(lists(t, s)).to.deep.equal({ bySeq: [], byTime: [] });
      }),
      { numRuns: 200 },
    );
  });

  it('a full table refuses, and nothing has changed', () => {
    const t = new RtxTable(2);
    const { s } = fresh(0);
    expect(rtxAppend(t, s, 0, 500, MSS, 5, 0)).to.equal(true);
    expect(rtxAppend(t, s, 500, 600, MSS, 1, 0)).to.equal(true);
    expect(rtxAppend(t, s, 600, 700, MSS, 1, 0)).to.equal(false);
    expect(rtxSplit(t, s, s.rtxHead, 100)).to.equal(false);
    expect(lists(t, s).bySeq).to.deep.equal([
      [0, 500],
      [500, 600],
    ]);
    rtxUnlink(t, s, s.rtxTail);
    s.packetsOut = 5;
    expect(rtxSplit(t, s, s.rtxHead, 100)).to.equal(true);
  });

  it('a cut keeps the marks, PSH at the end, and counts again', () => {
    const t = new RtxTable();
    const { s } = fresh(0);
    rtxAppend(t, s, 0, 250, MSS, 3, 0);
    s.packetsOut = s.lostOut = 3;
    t.marks[s.rtxHead] = LOST | PUSHED;
    // Not at a multiple of the segment size: one segment more.
    rtxSplit(t, s, s.rtxHead, 130);
    expect([t.marks[s.rtxHead], t.marks[s.rtxTail]]).to.deep.equal([LOST, LOST | PUSHED]);
    expect([t.pcount[s.rtxHead], t.pcount[s.rtxTail]]).to.deep.equal([2, 2]);
    expect([s.packetsOut, s.lostOut]).to.deep.equal([4, 4]);
  });

  it('a FIN goes with the end of what is cut, and is no segment', () => {
    const t = new RtxTable();
    const { s } = fresh(0);
    rtxAppend(t, s, 0, 301, MSS, 3, 0);
    s.packetsOut = 3;
    t.marks[s.rtxHead] = FINAL;
    rtxSplit(t, s, s.rtxHead, 100);
    expect([t.marks[s.rtxHead], t.marks[s.rtxTail]]).to.deep.equal([0, FINAL]);
    expect([t.pcount[s.rtxHead], t.pcount[s.rtxTail], s.packetsOut]).to.deep.equal([1, 2, 3]);
  });

  it('finds nothing outside', () => {
    const t = new RtxTable();
    const { s } = fresh(0);
    expect(rtxFind(t, s, 0)).to.equal(NONE);
    rtxAppend(t, s, 0, 100, MSS, 1, 0);
    expect(rtxFind(t, s, -1)).to.equal(NONE);
    expect(rtxFind(t, s, 100)).to.equal(NONE);
  });

  it('the hint does not survive its record', () => {
    const t = new RtxTable();
    const { s } = fresh(0);
    rtxAppend(t, s, 0, 100, MSS, 1, 0);
    s.retransmitHint = s.rtxHead;
    rtxUnlink(t, s, s.rtxHead);
    expect(s.retransmitHint).to.equal(NONE);
  });

  it('without SACK duplicate ACKs never stand for more than what is out', () => {
    const { s } = fresh(0);
    s.packetsOut = 5;
    s.sackedOut = 2;
    s.adjustPcount(0, 3, false);
    expect([s.packetsOut, s.sackedOut]).to.deep.equal([2, 0]);
  });
});

describe('tcp: smallest RTT of the last minutes', () => {
  it('is never above the newest sample, never below the smallest of the window', () => {
    const sample = fc.tuple(
      fc.integer({ min: 0, max: 4_000_000 }),
      fc.integer({ min: 1, max: 99 }),
    );
    fc.assert(
      fc.property(fc.array(sample, { minLength: 1, maxLength: 80 }), (samples) => {
        const filter = new MinFilter();
        const seen: [number, number][] = [];
        let nowUs = 0;
        for (const [gap, value] of samples) {
          nowUs += gap;
          filter.update(10, nowUs, value);
          seen.push([nowUs, value]);
          const window = seen.filter(([at]) => nowUs - at <= 10_000_000).map(([, v]) => v);
          expect(filter.value).to.be.at.most(value);
          expect(filter.value).to.be.at.least(Math.min(...window));
        }
      }),
      { numRuns: 300 },
    );
  });

  it('forgets an old minimum for the best since', () => {
    const filter = new MinFilter();
    const at = (seconds: number, value: number): number => {
      filter.update(10, seconds * 1e6, value);
      return filter.value;
    };
    expect([at(0, 5), at(3, 8), at(6, 9), at(9, 9)]).to.deep.equal([5, 5, 5, 5]);
    expect(at(10.5, 20)).to.equal(8);
    expect(at(13.5, 30)).to.equal(9);
    expect(at(40, 50)).to.equal(50);
  });
});
