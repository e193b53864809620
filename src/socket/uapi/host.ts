/**
 * A stack thread seen by the program that runs in it ("inline"): turns of the stack, which happen
 * while the program waits, and the sleep of both. A thread is the host of one stack at most; who
 * attaches to that very stack there finds its host here. The one that there is, is
 * stack/inline-host.ts.
 */
import { arenaOf } from './shared.js';

export interface StackHost {
  /** Whose stack thread this is. */
  readonly queue: number;
  /** The payload arena as this thread sees it. */
  readonly arena: Uint8Array;
  /**
   * One turn of the stack. Throws when it is called from within one.
   * @returns true when there was something to do
   */
  turn(): boolean;
  /**
   * Sleeps after a turn that found nothing: until a packet, a doorbell or a timer of the stack, at
   * most `mostMs` (Infinity allowed). May return early.
   */
  rest(mostMs: number): void;
}

let present: { readonly host: StackHost; readonly address: number } | null = null;

/** From now on this thread is the host of the stack with these control words; null = of none. */
export function becomeHost(host: StackHost | null, ctl: Int32Array): void {
  present = host === null ? null : { host, address: arenaOf(ctl).address };
}

/** The host of the stack with these control words when it is this thread, else null. */
export function hostOf(ctl: Int32Array): StackHost | null {
  // Where the arena is mapped tells stacks of a process apart.
  return present !== null && present.address === arenaOf(ctl).address ? present.host : null;
}
