/**
 * What every connection has been given to carry, known from outside: each direction is a half,
 * named by its sender's addresses and initial sequence number, and its bytes are a function of that
 * name and their place. So what arrives can be checked without keeping it. Owns no behaviour of the
 * applications: those are endpoint.ts's.
 */
import { mix } from './dice.js';
import { must, SimFailure } from './failure.js';

/** A prime, so that a shift by a ring's size shows. */
const PERIOD = 65_521;
/** Most bytes that one stretch of the pattern may have. */
export const STRETCH_MAX: number = 65_536;

/** The pattern twice and more, so that every stretch is in one piece. */
const PATTERN: Uint8Array = (() => {
  const bytes = new Uint8Array(PERIOD + STRETCH_MAX);
  for (let i = 0; i < bytes.length; i++) bytes[i] = mix(i % PERIOD) & 0xff;
  return bytes;
})();

/** Whoever holds one end of a connection. */
export interface HalfOwner {
  /** The descriptor is closed, or the host with it has died. */
  readonly gone: boolean;
  /** It has shut down both ways: text that comes now resets the connection (RFC 1122 4.2.2.13). */
  readonly deaf: boolean;
  /** What it takes for the other direction. */
  readonly peer: Half | null;
}

/** One direction of a connection. */
export class Half {
  readonly name: string;
  /** The same without its number. */
  readonly way: string;
  /** Who writes it; null = its connection has never been accepted. */
  owner: HalfOwner | null = null;
  /** Bytes that the sender's stack has taken. */
  written = 0;
  /** The sender has said that this is all. */
  finished = false;
  /**
   * Its connection was begun anew with the same number, as a SYN cookie allows: what the first one
   * has sent may count, too.
   */
  reborn = false;
  /** Which bytes it has cannot be told: see Ledger.distrust. */
  unknown = false;
  /** Places of its urgent bytes, which a reader may pass over. */
  readonly urgent: Set<number> = new Set();
  /**
   * One was written so far ahead of what was acknowledged that no urgent pointer reaches it: until
   * it does, receivers see a mark at the end of what it reaches (as with Linux).
   */
  vague = false;
  private readonly phase: number;

  constructor(way: string, iss: number, phase: number) {
    this.way = way;
    this.name = `${way}#${iss >>> 0}`;
    this.phase = phase;
  }

  /** `owner` writes it from now on. Fails when somebody else still does. */
  adopt(owner: HalfOwner): void {
    if (this.owner !== null && this.owner !== owner) {
      if (!this.owner.gone) throw new SimFailure('twice', `${this.name} has two owners`);
      this.reborn = true;
      this.written = 0;
      this.finished = false;
    }
    this.owner = owner;
  }

  /** The bytes from `position` on, at most STRETCH_MAX. */
  bytes(position: number, length: number): Uint8Array {
    const from = (this.phase + position) % PERIOD;
    return PATTERN.subarray(from, from + length);
  }

  /** Fails unless reading may pass over `count` bytes from `position` on: urgent ones. */
  passOver(count: number, position: number): void {
    if (this.unknown || this.vague) return;
    for (let at = position; at < position + count; at++) {
      const known = this.urgent.has(at) || this.reborn;
      must(known, 'data', () => `${this.name}: byte ${at} is passed over`);
    }
  }

  /** Fails unless `byte` is one of the urgent ones. */
  verifyUrgent(byte: number): void {
    if (this.unknown || this.vague || this.reborn) return;
    const known = [...this.urgent].some((at) => this.bytes(at, 1)[0] === byte);
    must(known, 'data', () => `${this.name}: urgent byte ${byte}`);
  }

  /** Fails unless `count` bytes of `got` are those from `position` on. */
  verify(got: Uint8Array, count: number, position: number): void {
    if (this.unknown) return;
    if (position + count > this.written && !this.reborn) {
      const sentence = `${this.name}: byte ${position + count} of ${this.written} arrived`;
      throw new SimFailure('data', sentence);
    }
    for (let done = 0; done < count; ) {
      const size = Math.min(count - done, STRETCH_MAX);
      const wanted = this.bytes(position + done, size);
      for (let i = 0; i < size; i++) {
        if (got[done + i] === wanted[i]) continue;
        const at = `${this.name}: byte ${position + done + i}`;
        throw new SimFailure('data', `${at} is ${got[done + i]}, not ${wanted[i]}`);
      }
      done += size;
    }
  }
}

/** int32 → '198.18.1.1'. */
export function quad(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.');
}

function wayBack(half: Half): string {
  return half.way.split('>').reverse().join('>');
}

export class Ledger {
  private readonly halves = new Map<string, Half>();

  /** The half that `address`:`port` sends to the peer, with initial sequence number `iss`. */
  half(address: number, port: number, peer: number, peerPort: number, iss: number): Half {
    const way = `${quad(address)}:${port}>${quad(peer)}:${peerPort}`;
    const name = `${way}#${iss >>> 0}`;
    let half = this.halves.get(name);
    if (half === undefined) {
      const phase = (mix(address, port, peer, peerPort, iss) >>> 0) % PERIOD;
      half = new Half(way, iss, phase);
      this.halves.set(name, half);
    }
    return half;
  }

  /**
   * A connection with the addresses of `half` has begun in the midst of another one's numbers, as a
   * SYN cookie allows. Nothing more can be said of the bytes that either side gets. False: there
   * has never been another one.
   */
  distrust(half: Half): boolean {
    const back = wayBack(half);
    let known = false;
    for (const other of this.halves.values()) {
      if (other.way !== half.way && other.way !== back) continue;
      other.reborn = other.unknown = true;
      known ||= other.way === half.way && other.owner !== null;
    }
    return known;
  }

  /** Has somebody had the other end of `half`, and ended it? */
  hasEnded(half: Half): boolean {
    const back = wayBack(half);
    return [...this.halves.values()].some((other) => other.way === back && other.owner?.gone);
  }

  /** Bytes that all senders' stacks have taken. */
  bytesWritten(): number {
    let sum = 0;
    for (const half of this.halves.values()) sum += half.written;
    return sum;
  }
}
