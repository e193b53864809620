/**
 * What the threads of `serve` do: a worker of the demo server, or the acceptor of model A. It takes
 * over what the master has prepared, runs its blocking event loop until it is told to leave, and
 * ends. What it throws reaches the master as the `error` event of its thread (worker-thread.ts), or
 * of the program that runs in a stack thread (`main`, serve --inline).
 */
// The global of that name is a getter, which costs more than reading the clock.
import { performance } from 'node:perf_hooks';
import { attachParts, type ThreadParts } from '../socket/attach.js';
import { straced } from '../socket/strace.js';
import type { Sys } from '../socket/sys-table.js';
import { F_SETOWN } from '../socket/uapi/constants.js';
import { Acceptor } from './demo-server/acceptor.js';
import { PatternSource } from './demo-server/body-source.js';
import { DispatchQueues } from './demo-server/dispatch-queue.js';
import { Endpoints } from './demo-server/endpoints.js';
import { FilesEndpoint } from './demo-server/files.js';
import { HttpProtocol } from './demo-server/http-protocol.js';
import { makeListeners } from './demo-server/listeners.js';
import type { Protocol } from './demo-server/protocol.js';
import { ServerLoop } from './demo-server/server-loop.js';
import { StackView } from './demo-server/stack-view.js';
import {
  CHARGEN_PORT,
  ChargenService,
  DISCARD_PORT,
  DiscardService,
  ECHO_PORT,
  EchoService,
} from './demo-server/stream-services.js';
import { WorkerCounters } from './demo-server/worker-counters.js';
import { writeStderr } from './process-io.js';
import type { WorkerMessage, WorkerOrder } from './worker-message.js';

/** Tells the master. */
type Say = (message: WorkerMessage) => void;

function runWorker(order: WorkerOrder, parts: ThreadParts, sys: Sys, say: Say): void {
  const counters = new WorkerCounters(order.workers, order.counters);
  const view = new StackView(order, parts, counters);
  const loop = new ServerLoop({
    sys,
    counters: counters.row(order.worker),
    nowMs: () => performance.now(),
    onDraining: () => say('draining'),
  });
  const files = new FilesEndpoint(order.root);
  const endpoints = new Endpoints(view, files, order.debug, new PatternSource(sys));
  const http = new HttpProtocol(loop, endpoints, wallClock(loop));
  if (order.queues !== null) {
    const queues = new DispatchQueues(order.workers, order.queues);
    loop.serveQueue(queues, order.worker, order.wakeFds[order.worker]!, http);
  }
  const streams = order.services ? streamServices(loop) : [];
  let first = true;
  loop.watchDrain(order.drainFd, () => {
    if (order.queues === null) loop.serve(takeListener(order, sys, first), http, order.own);
    for (const [port, protocol] of streams) {
      loop.serve(makeListeners(sys, port, order.backlog, 1, true)[0]!, protocol, true);
    }
    first = false;
  });
  loop.watchStop(order.stopFd);
  say('ready');
  loop.run();
}

/** Wall clock, ms since 1970, read once for each batch of events. */
function wallClock(loop: ServerLoop): () => number {
  let batch = -1;
  let nowMs = 0;
  return () => {
    if (loop.batches !== batch) {
      batch = loop.batches;
      nowMs = Date.now();
    }
    return nowMs;
  };
}

/**
 * The listener that all share; the one that the master has made for this worker (its own from now
 * on) when it opens for the `first` time; one made here otherwise.
 */
function takeListener(order: WorkerOrder, sys: Sys, first: boolean): number {
  if (!order.own) return order.listenFd;
  if (!first || order.listenFd < 0) {
    return makeListeners(sys, order.port, order.backlog, 1, true, order.select)[0]!;
  }
  sys.fcntl(order.listenFd, F_SETOWN, 0); // closed with this thread, should it fail
  return order.listenFd;
}

function streamServices(loop: ServerLoop): readonly (readonly [number, Protocol])[] {
  return [
    [ECHO_PORT, new EchoService(loop)],
    [DISCARD_PORT, new DiscardService(loop)],
    [CHARGEN_PORT, new ChargenService(loop)],
  ];
}

function runAcceptor(order: WorkerOrder, sys: Sys, say: Say): void {
  const acceptor = new Acceptor({
    sys,
    queues: new DispatchQueues(order.workers, order.queues!),
    listenFd: order.listenFd,
    stopFd: order.stopFd,
    rosterFd: order.rosterFd,
    wakeFds: order.wakeFds,
    queueOwner: order.queueOwner,
  });
  say('ready');
  acceptor.run();
  say('draining');
}

/** Until it has left. `port` is its line to the master. */
export function main(
  order: WorkerOrder,
  port: { postMessage(message: WorkerMessage): void },
): void {
  const parts = attachParts(order.shared);
  const say: Say = (message) => port.postMessage(message);
  const name = order.role === 'worker' ? `worker ${order.worker}` : 'acceptor';
  const sys = order.strace ? straced(parts.sys, writeStderr, { pid: name }) : parts.sys;
  if (order.role === 'worker') runWorker(order, parts, sys, say);
  else runAcceptor(order, sys, say);
}
