/** What goes between the command `iperf3` and its worker thread. */
import type { SharedStack } from '../socket/open.js';
import type { Outcome } from './iperf3-test.js';

/** workerData. */
export interface Iperf3Order {
  shared: SharedStack;
  port: number;
  /** eventfd that is readable once the thread is to leave. */
  stopFd: number;
  intervalMs: number;
  json: boolean;
  oneOff: boolean;
}

export type Iperf3Message =
  /** Clients are answered. */
  | { event: 'ready' }
  /** A line for stdout, or for stderr. */
  | { event: 'say'; line: string }
  | { event: 'warn'; line: string }
  | { event: 'test'; outcome: Outcome };
