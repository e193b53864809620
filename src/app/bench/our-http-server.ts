/**
 * node:http over our `net`-shaped API, a program of its own: opens a stack as `serve` would (the
 * same flags) and starts what listens on it as one group (our-http-worker.ts): worker threads, or
 * with --inline programs in the stack threads. Says {"pid"} when all of them listen; ends with its
 * parent.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { openStack } from '../../index.js';
import { parseServeOptions } from '../serve-options.js';
import { StopSignals } from '../stop-signals.js';

const THREAD = new URL('./our-http-thread.js', import.meta.url);
const PROGRAM = new URL('./our-http-worker.js', import.meta.url);

const signals = new StopSignals(() => process.exit(1));
const { tun, address, peer, mtu, offload, sysctl, workers, queues, inline } = parseServeOptions(
  process.argv.slice(2),
);
const stack = await openStack({ tun, address, peer, mtu, offload, sysctl, queues });
const listeners = Array.from({ length: workers }, (_, queue) =>
  inline
    ? stack.runInline(PROGRAM, { data: stack.share(), queue })
    : new Worker(THREAD, { workerData: stack.share(), name: 'http' }),
);
await Promise.all(listeners.map((listener) => once(listener, 'message')));
process.stdout.write(`${JSON.stringify({ pid: process.pid })}\n`);
await signals.asked;
await Promise.all(listeners.map((listener) => listener instanceof Worker && listener.terminate()));
await stack.close();
process.exit(0);
