/**
 * Quick ACKs that wait a moment for an answer to ride on. Linux sends the ACK of a request that
 * comes first on a connection before its program can have answered; here the program runs beside
 * the stack, and while the stack thread is busy with other packets an answer is often there before
 * it has nothing left to do. What waits goes out at the latest before the thread sleeps, and within
 * HOLD_MOST_US: far below any delay that RFC 9293 3.8.6.3 allows. Which ACKs may wait is
 * ack-policy.ts's.
 */
import { PENDING_ACK, PENDING_HELD_ACK } from './sock.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** A tick of a kernel with HZ=250: a tenth of the shortest time that Linux delays an ACK for. */
export const HOLD_MOST_US = 4000;

export class HeldAcks {
  /** False: nothing is held. */
  on = false;
  private readonly tcp: Tcp;
  private readonly held: Tcb[] = [];
  private sinceUs = 0;

  constructor(tcp: Tcp) {
    this.tcp = tcp;
  }

  /** When what is held goes out at the latest, µs; Infinity = nothing is. */
  get dueUs(): number {
    return this.held.length === 0 ? Infinity : this.sinceUs + HOLD_MOST_US;
  }

  /** `tcb` owes an ACK, with its next segment or when `release` is called. */
  hold(tcb: Tcb): void {
    const { tcp, held } = this;
    // The sender of a second segment is not made to wait.
    if (!this.on || (tcb.pending & (PENDING_ACK | PENDING_HELD_ACK)) !== 0) {
      tcp.mark(tcb, PENDING_ACK);
      return;
    }
    tcb.pending |= PENDING_HELD_ACK;
    if (held.length === 0) this.sinceUs = tcp.net.nowUs;
    held.push(tcb);
  }

  /** What is still owed goes out with the next output. @returns true when there was any */
  release(): boolean {
    const { tcp, held } = this;
    let any = false;
    for (let i = 0; i < held.length; i++) {
      const tcb = held[i]!;
      // Has it gone out with an answer, or the connection ended?
      if ((tcb.pending & PENDING_HELD_ACK) === 0) continue;
      tcb.pending &= ~PENDING_HELD_ACK;
      tcp.mark(tcb, PENDING_ACK);
      any = true;
    }
    held.length = 0;
    return any;
  }
}
