/**
 * What a stack asks of the stacks of the device's other queues, when there are any. The stack of
 * queue 0 has all that has a name: listeners, requests, time-wait sockets, ports, and every socket
 * that no handshake of a listener's has made. A connection that is established through a listener
 * is given to the stack of its flow's queue; its Tcb stays in the tables of queue 0 as a sign of
 * where it went (Tcb.away), and goes when the connection ends. How it travels is hand-over.ts; the
 * rings between the threads are stack/queue-link.ts.
 */
import type { Skb } from '../net/skb.js';
import type { Tcb } from './tcb.js';

export interface TcpQueues {
  /** Queue that the packets of a flow are to come in by; addresses and ports as in a packet. */
  queueOf(saddr: number, sport: number, daddr: number, dport: number): number;
  /**
   * Queue 0: `child` is established and waits for nobody yet. True: another stack has it from now
   * on, and here it is `away`.
   */
  give(child: Tcb): boolean;
  /** Queue 0: nobody will accept `child`, which is away. It is reset there. */
  abandon(child: Tcb): void;
  /** Queue 0: a packet for `tcb`, which is away: [skb.start, skb.end). */
  forward(tcb: Tcb, skb: Skb): void;
  /**
   * Another queue: a time-wait socket is to take the place of `tcb`. True: queue 0 has made it, and
   * `tcb` has left the tables. Queue 0 answers false.
   */
  leaveTimewait(tcb: Tcb, substate: number, timeoutUs: number): boolean;
  /** Another queue: `tcb` has left the tables. */
  unhashed(tcb: Tcb): void;
  /** Another queue: nothing is left of `tcb`. True: queue 0 frees its descriptor. */
  freed(tcb: Tcb): boolean;
}
