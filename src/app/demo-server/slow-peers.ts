/**
 * Which connections keep a worker waiting in the middle of something, and for how long: a request
 * that has begun must be there within a minute (a body must go on), and a response must be taken.
 * nginx's client_header_timeout, client_body_timeout and send_timeout, with its 60 s. An idle
 * connection is not waited for. What is done with the overdue is http-protocol.ts's.
 */

/** As long may a peer take, ms. */
export const SLOW_PEER_MS = 60_000;

export class SlowPeers {
  /** When the wait began, ms; in that order, for a wait that begins anew goes to the end. */
  private readonly since = new Map<number, number>();

  get size(): number {
    return this.since.size;
  }

  /** `fd` keeps us waiting; the wait goes on unless it is to begin `anew`. */
  waits(fd: number, nowMs: number, anew: boolean): void {
    if (anew) this.since.delete(fd);
    if (!this.since.has(fd)) this.since.set(fd, nowMs);
  }

  /** `fd` has done what we waited for, or is closed. */
  settled(fd: number): void {
    this.since.delete(fd);
  }

  /** A connection that has had its minute, waited for no longer; -1 = none has. */
  takeOverdue(nowMs: number): number {
    for (const [fd, sinceMs] of this.since) {
      if (nowMs < sinceMs + SLOW_PEER_MS) return -1;
      this.since.delete(fd);
      return fd;
    }
    return -1;
  }

  /** When the next one has had its minute, ms; Infinity = nobody is waited for. */
  nextMs(): number {
    for (const sinceMs of this.since.values()) return sinceMs + SLOW_PEER_MS;
    return Number.POSITIVE_INFINITY;
  }
}
