/**
 * What a listener has beyond a socket: both of its queues' limits, the SYN queue's counts (Linux:
 * request_sock_queue), and how many connections came through it. Numbers only; who moves them is
 * minisocks.ts, migrate.ts and set-state.ts.
 */
export class ListenState {
  /** sk_max_ack_backlog: limit of the SYN queue and of the accept queue. */
  backlog: number;
  /**
   * Requests whose listener this is, and those of them whose SYN-ACK was never repeated. They may
   * outlive the listener.
   */
  reqs = 0;
  young = 0;
  /**
   * When a SYN cookie was last sent, µs (Linux: synq_overflow_ts); in a group the group's counts.
   */
  overflowUs: number = -Infinity;
  /**
   * Connections that came through this listener or were moved to it and are not gone yet, those
   * that wait in the accept queue included.
   */
  children = 0;
  /**
   * Fast Open children that wait for their third ACK, and until when those that were reset instead
   * go on counting as such, µs.
   */
  fastopenLen = 0;
  readonly fastopenResets: number[] = [];
  /** SO_DRAIN: no new SYNs. */
  draining = false;

  constructor(backlog: number) {
    this.backlog = backlog;
  }

  /** Nothing that could still become a connection is on its way. */
  get drained(): boolean {
    return this.draining && this.reqs === 0;
  }
}
