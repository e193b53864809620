/**
 * A connection as numbers, so that the stack of another queue can go on with it: which may go, what
 * is written of it and how it is made again. Whatever a field of Tcb is called, it goes along
 * unless it says where the connection is in tables of its stack. Connections go when they are
 * established and nothing has been sent or received yet: rings, ranges and records of sent segments
 * have nothing in them. When and where to is stack/first-queue.ts.
 */
import { RING_PAGE } from '../net/ring.js';
import { inetEhashInsert } from '../reuseport/ehash.js';
import { CUBIC } from './cong/cubic.js';
import { RENO } from './cong/reno.js';
import { PENDING_OUTPUT } from './sock.js';
import { NO_RARE_OPTIONS } from './sockopt/rare.js';
import { TCP_ESTABLISHED } from './state.js';
import { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';
import { armTimer } from './timer-arm.js';

/** Fields that mean something to one stack only. */
const STAYS: ReadonlySet<string> = new Set<keyof Tcb>([
  ...(['kind', 'fd', 'at', 'rcvRing', 'sndRing', 'ringedIndex', 'away'] as const),
  ...(['hash', 'ehashSlot', 'lhash2Slot', 'bindIndex', 'reuseportSlot', 'reuseportKey'] as const),
  ...(['timerIndex', 'pending', 'dirty'] as const),
]);

/** What a time-wait socket is made from (minisocks.ts: timewaitOf), if it may have changed. */
const LAST_WORDS = [
  ...(['rcvNxt', 'sndNxt', 'rcvWup', 'rcvWnd', 'rcvWscale', 'tsOk', 'tsRecent'] as const),
  ...(['tsRecentUs', 'tsOffset', 'tos', 'ttl', 'boundDevIf', 'reuse', 'reuseport'] as const),
  ...(['srttUs', 'backoff'] as const),
] as const;

/** Doubles of the end of a connection. */
export const LAST_WORDS_COUNT: number = LAST_WORDS.length;

type Fields = Record<string, unknown>;
/** Both copy all fields of `object`, from or to `words` at `at` on, and return where that ends. */
type Copy = (object: object, words: Float64Array, at: number) => number;

/** The numbers and truth values of objects that look like `sample`. */
class Columns {
  readonly count: number;
  readonly write: Copy;
  readonly read: Copy;

  /**
   * The functions name each field, as those of record.ts do and for the same reason. Whole numbers
   * come back as such, for a field that once was a double is slower for ever.
   */
  constructor(sample: object, all: readonly string[]) {
    const fields = sample as Fields;
    const names = all.filter((name) => /^(?:number|boolean)$/.test(typeof fields[name]));
    this.count = names.length;
    const gets = names.map((name) => `w[at++] = +o.${name};`);
    const sets = names.map((name) => {
      const value = typeof fields[name] === 'boolean' ? 'v !== 0' : '(v | 0) === v ? v | 0 : v';
      return `v = w[at++]; o.${name} = ${value};`;
    });
    const body = (lines: string[]): string => `let v = 0; ${lines.join('\n')} return at;`;
    this.write = new Function('o', 'w', 'at', body(gets)) as Copy;
    this.read = new Function('o', 'w', 'at', body(sets)) as Copy;
  }
}

export class HandOver {
  private readonly tcp: Tcp;
  private readonly fields: Columns;
  private readonly counts: Columns;
  private readonly lastWords: Columns;

  constructor(tcp: Tcp) {
    this.tcp = tcp;
    // Of a socket that is none: only its shape counts.
    const sample = new Tcb(tcp, 0);
    const names = Object.keys(sample).filter((name) => !STAYS.has(name));
    this.fields = new Columns(sample, names);
    this.counts = new Columns(sample.counts, Object.keys(sample.counts));
    this.lastWords = new Columns(sample, LAST_WORDS);
  }

  /** Doubles of a connection. */
  get size(): number {
    return this.fields.count + this.counts.count + 1;
  }

  /** Is there nothing in `tcb` but numbers? */
  movable(tcb: Tcb): boolean {
    const { ctl } = this.tcp;
    if (tcb.state !== TCP_ESTABLISHED || tcb.orphan || tcb.error !== 0) return false;
    if ((tcb.pending & ~PENDING_OUTPUT) !== 0 || tcb.dupAcksOwed !== 0) return false;
    if (ctl[tcb.rcvRing + RING_PAGE] !== 0 || ctl[tcb.sndRing + RING_PAGE] !== 0) return false;
    if (tcb.rare !== NO_RARE_OPTIONS || tcb.fastopenKeys !== null) return false;
    const parts = [tcb.ofo, tcb.sender, tcb.congestionState, tcb.mtuSearch, tcb.savedSyn];
    return parts.every((part) => part === null) && tcb.tfo === null && tcb.fastopenQueue === null;
  }

  /** Writes `tcb` to `out` at `at`: `size` doubles. */
  write(tcb: Tcb, out: Float64Array, at: number): void {
    at = this.fields.write(tcb, out, at);
    at = this.counts.write(tcb.counts, out, at);
    out[at] = tcb.congestion === CUBIC ? 1 : 0;
  }

  /** The connection with descriptor `fd` that was written to `words` at `at`, in our tables. */
  adopt(fd: number, words: Float64Array, at: number): Tcb {
    const { tcp } = this;
    const tcb = tcp.parking.newTcb(fd);
    at = this.fields.read(tcb, words, at);
    at = this.counts.read(tcb.counts, words, at);
    tcb.congestion = words[at] === 0 ? RENO : CUBIC;
    // Descriptors come in any order; an array without holes stays fast.
    while (tcp.socks.length <= fd) tcp.socks.push(null);
    tcp.socks[fd] = tcb;
    inetEhashInsert(tcp.hashinfo, tcb, null);
    armTimer(tcp, tcb);
    tcp.parking.stir();
    return tcb;
  }

  /** Writes what a time-wait socket in the place of `tcb` must know: LAST_WORDS_COUNT doubles. */
  writeLastWords(tcb: Tcb, out: Float64Array, at: number): void {
    this.lastWords.write(tcb, out, at);
  }

  /** Reads that into `tcb`, which is away. */
  readLastWords(tcb: Tcb, words: Float64Array, at: number): void {
    this.lastWords.read(tcb, words, at);
  }
}
