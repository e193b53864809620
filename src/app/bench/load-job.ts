/** What a load generator is told to do, and what it says when it has done it. Types only. */

interface Target {
  readonly address: string;
  readonly seconds: number;
}

export type LoadJob =
  /** GET /bytes/N again and again on each connection, until the time is over. */
  | (Target & { readonly job: 'bulk-out'; readonly connections: number; readonly block: number })
  /** Bytes to the discard port until the time is over and the server has seen the end. */
  | (Target & { readonly job: 'bulk-in'; readonly connections: number })
  /** Bytes to the echo port and back, both ways at once. */
  | (Target & { readonly job: 'echo' });

/** Bytes that have gone through, and how long that took. */
export interface BulkResult {
  readonly bytes: number;
  readonly seconds: number;
}
