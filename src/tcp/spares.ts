/**
 * Objects of sockets that have ended, to be used again: what lives for a few round trips would
 * otherwise be most of the stack thread's garbage, and what lives for a minute, as time-wait
 * sockets do, the dearest part of it, for a generational collector moves it several times. The next
 * user gets an object whose fields are all as in a new one (fields.ts). Owns no socket that is in a
 * table.
 */
import { type Fill, fillLike } from './fields.js';
import type { TcpSock } from './sock.js';

/** Objects that wait for a user; what is above is garbage. */
const SPARE_MOST = 4096;

export class Spares<T extends TcpSock> {
  private readonly spare: T[] = [];
  /** Of this turn: whoever ended them may still look at them. */
  private readonly retired: T[] = [];
  private readonly without: readonly string[];
  private fill: Fill | null = null;

  /** @param without fields that `renew` leaves alone */
  constructor(without: readonly string[]) {
    this.without = without;
  }

  /** An object with any values in its fields; undefined = there is none. */
  take(): T | undefined {
    return this.spare.pop();
  }

  /** Makes `sock` like a new one, which `make` shows at the first time. */
  renew(sock: T, make: () => T): void {
    this.fill ??= fillLike(make(), this.without);
    this.fill(sock);
  }

  /** `sock` is in no table any more: from the next turn on it may be another's. */
  retire(sock: T): void {
    if (sock.retired) return;
    sock.retired = true;
    this.retired.push(sock);
  }

  /** `sock` may be another's at once. */
  add(sock: T): void {
    if (this.spare.length >= SPARE_MOST) return;
    sock.retired = true;
    this.spare.push(sock);
  }

  /** The end of a turn: nobody looks at what was retired in it, unless it still has to be sent. */
  reclaim(): void {
    for (let sock = this.retired.pop(); sock !== undefined; sock = this.retired.pop()) {
      sock.retired = false;
      // Whoever was put back into a table after all, or waits for output, is left out.
      if (!sock.dirty && sock.ehashSlot < 0 && sock.timerIndex < 0) this.add(sock);
    }
  }
}
