/**
 * Values of options that hardly any socket sets: sockets share one object of defaults until they
 * do, and children share their listener's (Linux: sk_clone copies them). Which numbers the options
 * have, and which values they take, is kept.ts and the files of the levels.
 */
import type { Tcb } from '../tcb.js';

export class RareOptions {
  /** Bits of the options of kept.ts. */
  readonly flags: number;
  /** SO_MAX_PACING_RATE, bytes a second. */
  readonly maxPacingRate: number;
  /** SO_BUSY_POLL, µs. */
  readonly busyPollUs: number;
  /** SO_BUSY_POLL_BUDGET, packets; 0 = nobody has asked. */
  readonly busyPollBudget: number;
  /** TCP_SAVE_SYN: 0 = off; 2 asks for a link header, too, which a TUN does not have. */
  readonly saveSyn: number;
  /** SO_TXREHASH is off. There is no hash of a way out to be changed. */
  readonly noTxRehash: boolean;

  constructor(values: Partial<RareOptions> = {}) {
    this.flags = values.flags ?? 0;
    this.maxPacingRate = values.maxPacingRate ?? Infinity;
    this.busyPollUs = values.busyPollUs ?? 0;
    this.busyPollBudget = values.busyPollBudget ?? 0;
    this.saveSyn = values.saveSyn ?? 0;
    this.noTxRehash = values.noTxRehash ?? false;
  }
}

/** Nothing has been set. */
export const NO_RARE_OPTIONS: RareOptions = new RareOptions();

/** Sets some of them for `tcb` alone. */
export function setRare(tcb: Tcb, values: Partial<RareOptions>): void {
  tcb.rare = new RareOptions({ ...tcb.rare, ...values });
}
