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
   * The worker takes its own once; whenever it opens again later it makes one.
   */
  listenFd: number;
  /** The listener is this worker's alone. */
  own: boolean;
  port: number;
  backlog: number;
  /** Selector of the group, as ServeOptions has it. */
  select: string;
  /** eventfd that is readable once this thread is to leave. */
  stopFd: number;
  /** eventfd of this worker: its cell DRAIN of the counters has changed; -1 for the acceptor. */
  drainFd: number;
  /** Model A: the acceptor's queues and one eventfd per worker; null in the others. */
  queues: SharedArrayBuffer | null;
  wakeFds: readonly number[];
  /** Model A: eventfd that tells the acceptor of workers that come and go, else -1. */
  rosterFd: number;
  /** Model A: owner of the connections in the queues, as fcntl(F_SETOWN) takes it. */
  queueOwner: number;
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
