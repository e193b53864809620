/**
 * Notices workers that do not come back from their work: awake, and no sign of life
 * (socket/uapi/heartbeat.ts) for long. It only tells. Ending such a worker would reset connections
 * that it may still serve, and a long computation looks the same.
 */
import { beatAgeMs } from '../socket/uapi/heartbeat.js';
import { T_BEAT, T_SLEEPING, threadAt } from '../socket/uapi/layout.js';
import { layoutOf } from '../socket/uapi/shared.js';

/** Without a sign of life for this long a worker is worth a line. */
export const HUNG_MS = 5000;

export class HungWorkers {
  private readonly ctl: Int32Array;
  private readonly say: (line: string) => void;
  /** Threads that a line was said about, with their age then, ms. */
  private readonly known = new Map<number, number>();

  /** @param ctl control words of the stack; @param say receives lines for people */
  constructor(ctl: Int32Array, say: (line: string) => void) {
    this.ctl = ctl;
    this.say = say;
  }

  /**
   * Looks at the thread `thread`, called `name`. @param nowMs the clock of the heartbeats:
   * performance.now() + monotonicOffsetMs()
   */
  look(thread: number, name: string, nowMs: number): void {
    const { ctl, known } = this;
    const at = threadAt(layoutOf(ctl), thread);
    const waits = Atomics.load(ctl, at + T_SLEEPING) !== 0;
    const ageMs = beatAgeMs(Atomics.load(ctl, at + T_BEAT), nowMs);
    if (!waits && ageMs >= HUNG_MS) {
      if (!known.has(thread)) {
        const seconds = Math.floor(ageMs / 1000);
        this.say(`tunstack: ${name} has not looked at its connections for ${seconds} s`);
      }
      known.set(thread, ageMs);
      return;
    }
    const hungMs = known.get(thread);
    if (hungMs === undefined) return;
    known.delete(thread);
    this.say(
      `tunstack: ${name} looks at its connections again, after ${Math.ceil(hungMs / 1000)} s`,
    );
  }

  /** The thread has ended; its number may be another's soon. */
  forget(thread: number): void {
    this.known.delete(thread);
  }
}
