/**
 * The control of `bench lookup`: the memory that an operation on the tables must read, with nothing
 * else done. Plain arrays of the same sizes stand for the tables, filled with the same chains, and
 * the control follows them in the same order: each read says where the next one is, as in the real
 * walk, and no walk begins before the one before has ended, or the processor would wait for many of
 * them at once, which it cannot do with the work of a packet in between. What this costs grows with
 * the tables because caches do not; what the real operation costs beyond it is ours. The real thing
 * is bench-lookup.ts.
 */
import type { Ehash } from '../reuseport/ehash.js';
import type { SockCommon } from '../reuseport/sock-common.js';

/** As in reuseport/ehash.ts: words of a row, and where its successor stands. */
const ROW_WORDS = 8;
const NEXT = 5;
const NIL = -1;
/** A reference takes 8 bytes in V8's arrays. */
const REFERENCE_WORDS = 2;

/** Row numbers are far below 2^30: 0 for each, but neither compiler nor processor know before. */
const ALL_OF_IT = 30;

/** What the control of established connections walks. */
export class ConnectionReads {
  private readonly heads: Int32Array;
  private readonly rows: Int32Array;
  private readonly references: Int32Array;
  private readonly buckets: Int32Array;
  private readonly wanted: Int32Array;

  /**
   * @param ehash a table with all of `socks` in it
   * @param asked to which of them each walk of a round goes; null = to the end of a chain
   * @param hashes the hash of each of `asked`
   */
  constructor(
    ehash: Ehash,
    socks: readonly SockCommon[],
    asked: readonly (SockCommon | null)[],
    hashes: Int32Array,
  ) {
    this.heads = new Int32Array(ehash.buckets).fill(NIL);
    this.rows = new Int32Array(socks.length * ROW_WORDS);
    this.references = new Int32Array(socks.length * REFERENCE_WORDS);
    const rowOf = new Map<SockCommon, number>();
    for (const [row, sk] of socks.entries()) {
      const bucket = ehash.bucketOf(sk.hash);
      this.rows[row * ROW_WORDS + NEXT] = this.heads[bucket]!;
      this.heads[bucket] = row;
      this.references[row * REFERENCE_WORDS] = row;
      rowOf.set(sk, row);
    }
    this.buckets = hashes.map((hash) => ehash.bucketOf(hash));
    this.wanted = Int32Array.from(asked, (sk) => (sk === null ? NIL : rowOf.get(sk)!));
  }

  /** A walk for each of `asked`. */
  round(): void {
    const { heads, rows, references, buckets, wanted } = this;
    let after = 0;
    for (let i = 0; i < buckets.length; i++) {
      let row = heads[buckets[i]! + after]!;
      while (row !== NIL && row !== wanted[i]) row = rows[row * ROW_WORDS + NEXT]!;
      after = row === NIL ? row - NIL : references[row * REFERENCE_WORDS]! >>> ALL_OF_IT;
    }
  }
}

/** What the control of a group reads: a reference of its array, and the member behind it. */
export class MemberReads {
  private readonly references: Int32Array;
  private readonly members: Int32Array;
  private readonly slots: Int32Array;

  /**
   * @param slots which member each read of a round goes to
   * @param memberWords size of a member's object, words of 4 bytes
   */
  constructor(members: number, slots: Int32Array, memberWords: number) {
    this.references = new Int32Array(members * REFERENCE_WORDS);
    this.members = Int32Array.from({ length: members * memberWords }, (_, i) => i);
    for (let i = 0; i < members; i++) this.references[i * REFERENCE_WORDS] = i * memberWords;
    this.slots = slots;
  }

  /** A read for each of `slots`. */
  round(): void {
    const { references, members, slots } = this;
    let after = 0;
    for (let i = 0; i < slots.length; i++) {
      after = members[references[slots[i]! * REFERENCE_WORDS + after]!]! >>> ALL_OF_IT;
    }
  }
}
