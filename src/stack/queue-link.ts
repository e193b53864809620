/**
 * A ring of messages from one stack thread to another: one writer, one reader, records of eight
 * words and perhaps a payload in the arena, cursors among the control words. There is one each way
 * between queue 0 and every other queue. What is said must not be lost, so it waits in a list of
 * the writer's while the ring is full; packets are lost then, as on any link. What the messages
 * mean is first-queue.ts and other-queue.ts.
 */
import { PAGE_BYTES, type SocketMemory } from '../net/sockmem.js';

/** Words of a record: its length in bytes, kind, four arguments, two to spare. */
const M_BYTES = 0;
const M_KIND = 1;
const M_ARGUMENTS = 2;
const HEAD_BYTES = 32;
/** Kind of the rest of the ring when the next record does not fit before its end. */
const SKIPPED = 0;

/** Sixteen super-packets. */
export const LINK_BYTES: number = 1 << 20;

/** Control words of a link. */
export interface LinkWords {
  readonly ctl: Int32Array;
  /** The queue at the other end. */
  readonly queue: number;
  /** First page of its memory, LINK_BYTES. */
  readonly page: number;
  /** Words with the cursors: bytes written and read, modulo 2^32. */
  readonly tailAt: number;
  readonly headAt: number;
}

interface Waiting {
  readonly kind: number;
  readonly fd: number;
  readonly a: number;
  readonly payload: Float64Array | null;
}

export class LinkWriter {
  /** The queue of the reader. */
  readonly queue: number;
  private readonly words: LinkWords;
  private readonly mem: SocketMemory;
  private readonly doubles: Float64Array;
  private tail: number;
  private readonly waiting: Waiting[] = [];
  /** Something has been written since the reader was last woken. */
  dirty = false;

  constructor(mem: SocketMemory, words: LinkWords) {
    this.mem = mem;
    this.words = words;
    this.doubles = new Float64Array(mem.bytes.buffer, mem.bytes.byteOffset, mem.words.length >> 1);
    this.queue = words.queue;
    this.tail = Atomics.load(words.ctl, words.tailAt);
  }

  /** Messages that wait for room. */
  get backlog(): number {
    return this.waiting.length;
  }

  /**
   * Says `kind` about `fd`, at once or when there is room.
   * @param fill writes `count` doubles of payload to the array at the index it is given
   */
  say(kind: number, fd: number, a = 0, count = 0, fill: Fill | null = null): void {
    if (this.waiting.length === 0 && this.tell(kind, fd, a, count, fill)) return;
    const payload = fill === null ? null : new Float64Array(count);
    if (payload !== null) fill?.(payload, 0);
    this.waiting.push({ kind, fd, a, payload });
  }

  /** The same if there is room now; else false and nothing is said. */
  tell(kind: number, fd: number, a: number, count: number, fill: Fill | null): boolean {
    if (this.waiting.length > 0 && !this.flushWaiting()) return false;
    return this.put(kind, fd, a, count, fill);
  }

  private put(kind: number, fd: number, a: number, count: number, fill: Fill | null): boolean {
    const at = this.begin(kind, fd, a, 0, 0, count * 8);
    if (at < 0) return false;
    if (fill !== null) fill(this.doubles, at >>> 3);
    this.publish();
    return true;
  }

  /** A packet, `bytes` of the arena from `from` on. False: it is lost. */
  packet(kind: number, from: number, bytes: number, a: number, b: number, c: number): boolean {
    if (this.waiting.length > 0 && !this.flushWaiting()) return false;
    const at = this.begin(kind, bytes, a, b, c, bytes);
    if (at < 0) return false;
    this.mem.bytes.copyWithin(at, from, from + bytes);
    this.publish();
    return true;
  }

  /** Gives what waits another try. True: nothing waits any more. */
  flushWaiting(): boolean {
    const { waiting } = this;
    let done = 0;
    for (; done < waiting.length; done++) {
      const { kind, fd, a, payload } = waiting[done]!;
      const fill: Fill | null = payload === null ? null : (out, at) => out.set(payload, at);
      if (!this.put(kind, fd, a, payload?.length ?? 0, fill)) break;
    }
    waiting.splice(0, done);
    return waiting.length === 0;
  }

  /** Room for a record with its head filled in: offset of the payload in the arena, or -1. */
  private begin(
    kind: number,
    first: number,
    a: number,
    b: number,
    c: number,
    payload: number,
  ): number {
    const { words, mem } = this;
    const bytes = HEAD_BYTES + ((payload + 7) & ~7);
    const used = (this.tail - Atomics.load(words.ctl, words.headAt)) | 0;
    const at = this.tail & (LINK_BYTES - 1);
    const skip = at + bytes > LINK_BYTES ? LINK_BYTES - at : 0;
    if (used + skip + bytes > LINK_BYTES) return -1;
    const base = words.page * PAGE_BYTES;
    if (skip > 0) {
      mem.words[(base + at) >>> 2] = skip;
      mem.words[((base + at) >>> 2) + M_KIND] = SKIPPED;
      this.tail = (this.tail + skip) | 0;
    }
    const offset = base + (this.tail & (LINK_BYTES - 1));
    const word = offset >>> 2;
    mem.words[word + M_BYTES] = bytes;
    mem.words[word + M_KIND] = kind;
    mem.words[word + M_ARGUMENTS] = first;
    mem.words[word + M_ARGUMENTS + 1] = a;
    mem.words[word + M_ARGUMENTS + 2] = b;
    mem.words[word + M_ARGUMENTS + 3] = c;
    this.tail = (this.tail + bytes) | 0;
    return offset + HEAD_BYTES;
  }

  private publish(): void {
    Atomics.store(this.words.ctl, this.words.tailAt, this.tail);
    this.dirty = true;
  }
}

/** Writes doubles to `out` from index `at` on. */
export type Fill = (out: Float64Array, at: number) => void;

export class LinkReader {
  /** The queue of the writer. */
  readonly queue: number;
  readonly doubles: Float64Array;
  private readonly words: LinkWords;
  private readonly mem: SocketMemory;
  private head: number;
  /** `next` goes as far as this. */
  private limit: number;
  /** Word of the record that `next` found. */
  private word = 0;

  constructor(mem: SocketMemory, words: LinkWords) {
    this.mem = mem;
    this.words = words;
    this.doubles = new Float64Array(mem.bytes.buffer, mem.bytes.byteOffset, mem.words.length >> 1);
    this.head = Atomics.load(words.ctl, words.headAt);
    this.limit = this.head;
    this.queue = words.queue;
  }

  /** What has been said by now is what `next` finds. */
  begin(): void {
    this.limit = Atomics.load(this.words.ctl, this.words.tailAt);
  }

  get empty(): boolean {
    return Atomics.load(this.words.ctl, this.words.tailAt) === this.head;
  }

  /** Kind of the oldest message, 0 = there is none. It stays until `done`. */
  next(): number {
    const { mem, words } = this;
    while (this.head !== this.limit) {
      this.word = (words.page * PAGE_BYTES + (this.head & (LINK_BYTES - 1))) >>> 2;
      const kind = mem.words[this.word + M_KIND]!;
      if (kind !== SKIPPED) return kind;
      this.done();
    }
    return 0;
  }

  /** Argument 0..3 of the message: descriptor or bytes of the packet, then the others. */
  argument(index: number): number {
    return this.mem.words[this.word + M_ARGUMENTS + index]!;
  }

  /** Offset of its payload in the arena. */
  get payload(): number {
    return this.word * 4 + HEAD_BYTES;
  }

  /** The message has been dealt with: its room is the writer's again. */
  done(): void {
    this.head = (this.head + this.mem.words[this.word + M_BYTES]!) | 0;
    Atomics.store(this.words.ctl, this.words.headAt, this.head);
  }
}
