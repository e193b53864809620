/**
 * A thread's sign of life and how busy it was of late, for selectors to look at: two words of its
 * region, written whenever it goes to wait or has waited, read by stack/live-members.ts. Neither
 * end needs a timer: between two writes the reader knows from T_SLEEPING whether the thread waits
 * or works.
 */
import { T_BEAT, T_BUSY, T_SLEEPING } from './layout.js';
import { monotonicOffsetMs } from './monotonic.js';

/** A stretch of this length counts as much as everything before it, ms. */
export const BUSY_MEMORY_MS = 1000;
/** An event loop is asked at most this often how much of its time it was idle, ms. */
const LOOP_SAMPLE_MS = 50;

/** The average of `share` and what was before, when it was `share` for the last `forMs`. */
export function blendShare(before: number, share: number, forMs: number): number {
  return before + ((share - before) * forMs) / (BUSY_MEMORY_MS + forMs);
}

/** Milliseconds from a T_BEAT to `nowMs` of the same clock; 0 when the beat is the newer one. */
export function beatAgeMs(beat: number, nowMs: number): number {
  const ageMs = ((nowMs | 0) - beat) >>> 0;
  return ageMs > FUTURE_MS ? 0 : ageMs;
}

/** Above this an age is a beat that came after `nowMs` was read. */
const FUTURE_MS = 0xffff0000;

/**
 * Stamps the ring of the sleeper with the thread region at `at`: whatever it does from now on, it
 * was awake since `nowMs`. To be called before T_SLEEPING is cleared.
 */
export function stampRing(ctl: Int32Array, at: number, nowMs: number): void {
  const restedMs = beatAgeMs(Atomics.load(ctl, at + T_BEAT), nowMs);
  const share = blendShare(Atomics.load(ctl, at + T_BUSY) / 1000, 0, restedMs);
  Atomics.store(ctl, at + T_BUSY, Math.round(share * 1000));
  Atomics.store(ctl, at + T_BEAT, nowMs | 0);
}

/**
 * How busy the thread with the region at `at` was of late, seen at `nowMs`: 0 to 1. Read plainly:
 * the three words belong to no one moment anyway, and selectors ask this often.
 */
export function busyShare(ctl: Int32Array, at: number, nowMs: number): number {
  const sinceMs = beatAgeMs(ctl[at + T_BEAT]!, nowMs);
  const works = ctl[at + T_SLEEPING] === 0 ? 1 : 0;
  return blendShare(ctl[at + T_BUSY]! / 1000, works, sinceMs);
}

/** What a heartbeat asks of `performance`. */
export interface LoopClock {
  /** Milliseconds. */
  now(): number;
  /** Milliseconds that the event loop has waited so far. */
  eventLoopUtilization(): { readonly idle: number };
}

export class Heartbeat {
  private readonly ctl: Int32Array;
  private readonly at: number;
  private readonly clock: LoopClock;
  private readonly offsetMs: number = monotonicOffsetMs();
  /** When the present stretch of work or waiting began, by the clock. */
  private edgeMs: number;
  private share = 0;
  /** The thread lives on its event loop, which knows best how idle it was: ms idle so far. */
  private loopIdleMs = -1;

  /** @param at first word of the thread's region */
  constructor(ctl: Int32Array, at: number, clock: LoopClock = performance) {
    this.ctl = ctl;
    this.at = at;
    this.clock = clock;
    this.edgeMs = clock.now();
    Atomics.store(ctl, at + T_BUSY, 0);
    Atomics.store(ctl, at + T_BEAT, (this.edgeMs + this.offsetMs) | 0);
  }

  /** The thread runs, and has worked since the last call. @returns the clock's now */
  worked(): number {
    return this.beat(1);
  }

  /** The thread runs, and has waited since the last call. @returns the clock's now */
  waited(): number {
    return this.beat(0);
  }

  /** The thread lives on its event loop from now on: that is asked instead. */
  livesOnLoop(): void {
    if (this.loopIdleMs >= 0) return;
    this.worked();
    this.loopIdleMs = this.clock.eventLoopUtilization().idle;
  }

  private beat(share: number): number {
    const nowMs = this.clock.now();
    const forMs = nowMs - this.edgeMs;
    if (this.loopIdleMs < 0) {
      this.edgeMs = nowMs;
      this.publish(blendShare(this.share, share, forMs));
    } else if (forMs >= LOOP_SAMPLE_MS) {
      const { idle } = this.clock.eventLoopUtilization();
      const idleShare = Math.min(1, Math.max(0, (idle - this.loopIdleMs) / forMs));
      this.loopIdleMs = idle;
      this.edgeMs = nowMs;
      this.publish(blendShare(this.share, 1 - idleShare, forMs));
    }
    Atomics.store(this.ctl, this.at + T_BEAT, (nowMs + this.offsetMs) | 0);
    return nowMs;
  }

  private publish(share: number): void {
    this.share = share;
    Atomics.store(this.ctl, this.at + T_BUSY, Math.round(share * 1000));
  }
}
