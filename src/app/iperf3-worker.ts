/**
 * Entry point of the thread of `iperf3`: one listener, and the worker's event loop with
 * iperf3-service.ts on it. Blocks until it is told to leave or its one test is over; what it has to
 * say it posts, which arrives though its own event loop never turns.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { attachParts } from '../socket/attach.js';
import { makeListeners } from './demo-server/listeners.js';
import { ServerLoop } from './demo-server/server-loop.js';
import { WorkerCounters } from './demo-server/worker-counters.js';
import type { Iperf3Message, Iperf3Order } from './iperf3-message.js';
import { Iperf3Service } from './iperf3-service.js';

const BACKLOG = 256;

function post(message: Iperf3Message): void {
  parentPort!.postMessage(message);
}

function run(order: Iperf3Order): void {
  const { sys } = attachParts(order.shared);
  const loop = new ServerLoop({
    sys,
    counters: new WorkerCounters(1).row(0),
    nowMs: () => performance.now(),
    onDraining: () => {},
  });
  const listenFd = makeListeners(sys, order.port, BACKLOG, 1, false)[0]!;
  const service = new Iperf3Service(loop, {
    names: sys,
    listenFd,
    cpu: () => process.cpuUsage(),
    wallMs: () => Date.now(),
    port: order.port,
    intervalMs: order.intervalMs,
    json: order.json,
    oneOff: order.oneOff,
    say: (line) => post({ event: 'say', line }),
    warn: (line) => post({ event: 'warn', line }),
    finished: (outcome) => post({ event: 'test', outcome }),
    last: () => sys.write(order.stopFd, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]), 0, 8),
  });
  loop.serve(listenFd, service, true);
  loop.watchStop(order.stopFd);
  post({ event: 'ready' });
  loop.run();
}

run(workerData as Iperf3Order);
