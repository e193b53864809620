/**
 * What goes between the master of `serve` and its threads: the order it gives at the start, the
 * words they send back.
 */

import type { Profile } from '../net/sysctl.js';
import type { SharedStack } from '../socket/open.js';

/** workerData of every thread. */
export interface WorkerOrder {
  role: 'worker' | 'acceptor';
  shared: SharedStack;
  /** Number of the worker, from 0; -1 for the acceptor. */
  worker: number;
  workers: number;
  /** Buffer of WorkerCounters. */
  counters: SharedArrayBuffer;
  /**
   * Listener to accept from; -1 = make one (worker, own) or take from the queue (worker, dispatch).
   */
  listenFd: number;
  /** The listener is this worker's alone. */
  own: boolean;
  port: number;
  backlog: number;
  /** eventfd that is readable once this thread is to leave. */
  stopFd: number;
  /** Model A: the acceptor's queues and one eventfd per worker; null in the others. */
  queues: SharedArrayBuffer | null;
  wakeFds: readonly number[];
  services: boolean;
  /** Real directory to serve, null = none. */
  root: string | null;
  strace: boolean;
  profile: Profile;
  /** Offers /debug/throw. */
  debug: boolean;
}

/**
 * `ready`: its loop runs and its listeners listen. `draining`: it takes no new connections any
 * more.
 */
export type WorkerMessage = 'ready' | 'draining';
