/** What a load generator is told to do, and what it says when it has done it. Types only. */

interface Target {
  readonly address: string;
}

interface Timed extends Target {
  readonly seconds: number;
}

export type LoadJob =
  /** GET /bytes/N again and again on each connection, until the time is over. */
  | (Timed & { readonly job: 'bulk-out'; readonly connections: number; readonly block: number })
  /** Bytes to the discard port until the time is over and the server has seen the end. */
  | (Timed & { readonly job: 'bulk-in'; readonly connections: number })
  /** Bytes to the echo port and back, both ways at once. */
  | (Timed & { readonly job: 'echo' })
  /** One byte there and back, again and again. */
  | (Timed & { readonly job: 'ping-pong' })
  /** Connections that say nothing, from this address, until it is ended. */
  | (Target & { readonly job: 'hold'; readonly count: number; readonly source: string })
  /** SYNs from addresses that answer nobody, as fast as they are answered. */
  | (Timed & { readonly job: 'flood'; readonly device: string })
  /** Connections with one request each at a steady rate. */
  | (Timed & { readonly job: 'good'; readonly perSecond: number });

/** Bytes that have gone through, and how long that took. */
export interface BulkResult {
  readonly bytes: number;
  readonly seconds: number;
}

/** Round trips and their times, µs. */
export interface PingPongResult {
  readonly rounds: number;
  readonly p50: number;
  readonly p99: number;
}

export interface FloodResult {
  readonly sent: number;
  readonly seconds: number;
}

/** Connections of the steady rate; `p99Ms` from SYN to end of the answer. */
export interface GoodResult {
  readonly begun: number;
  readonly failed: number;
  readonly p99Ms: number;
  /** Why the first one failed. */
  readonly reason: string | null;
}
