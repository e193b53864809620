/**
 * What a listener has beyond a socket: both of its queues' limits and the SYN queue's counts
 * (Linux: request_sock_queue).
 */
export interface ListenState {
  /** sk_max_ack_backlog: limit of the SYN queue and of the accept queue. */
  backlog: number;
  /** Requests in the SYN queue, and those of them whose SYN-ACK was never repeated. */
  reqs: number;
  young: number;
  /**
   * When a SYN cookie was last sent, µs (Linux: synq_overflow_ts); in a group the group's counts.
   */
  overflowUs: number;
}
