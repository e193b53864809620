/**
 * Sending sides of connections that have ended, to be used again: with its filter of round trips
 * and boxed numbers one is a kilobyte, more than all other garbage of a short connection. The next
 * user gets one whose fields are all as in a new one (fields.ts).
 */
import { type Fill, fillLike } from './fields.js';
import { MinFilter } from './min-filter.js';
import { Sender } from './sender.js';
import type { Tcb } from './tcb.js';

/** Senders that wait for a user; what is above is garbage. */
const SPARE_MOST = 1024;

const clearFilter: Fill = fillLike(new MinFilter());

export class SpareSenders {
  private readonly spare: Sender[] = [];
  /** Of this turn: whoever ended their connections may still look at them. */
  private readonly retired: Sender[] = [];
  private clear: Fill | null = null;

  /** The sending side of `tcb`, in an object that is spare or a new one. */
  take(tcb: Tcb): Sender {
    const s = this.spare.pop();
    if (s === undefined) return new Sender(tcb);
    this.clear ??= fillLike(new Sender(tcb), ['minRtt']);
    this.clear(s);
    clearFilter(s.minRtt);
    s.begin(tcb);
    return s;
  }

  /** The connection of `s` has ended: from the next turn on it may be another's. */
  retire(s: Sender): void {
    if (this.spare.length + this.retired.length < SPARE_MOST) this.retired.push(s);
  }

  /** The end of a turn. */
  reclaim(): void {
    for (let s = this.retired.pop(); s !== undefined; s = this.retired.pop()) this.spare.push(s);
  }
}
