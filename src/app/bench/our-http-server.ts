/**
 * node:http over our `net`-shaped API, a program of its own: opens a stack as `serve` would (the
 * same flags) and starts the worker threads that listen on it as one group (our-http-worker.ts).
 * Says {"pid"} when all of them listen; ends with its parent.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { openStack } from '../../index.js';
import { parseServeOptions } from '../serve-options.js';
import { StopSignals } from '../stop-signals.js';

const ENTRY = new URL('./our-http-worker.js', import.meta.url);

const signals = new StopSignals(() => process.exit(1));
const { tun, address, peer, mtu, offload, sysctl, workers } = parseServeOptions(
  process.argv.slice(2),
);
const stack = await openStack({ tun, address, peer, mtu, offload, sysctl });
const threads = Array.from(
  { length: workers },
  () => new Worker(ENTRY, { workerData: stack.share(), name: 'http' }),
);
await Promise.all(threads.map((thread) => once(thread, 'message')));
process.stdout.write(`${JSON.stringify({ pid: process.pid })}\n`);
await signals.asked;
await Promise.all(threads.map((thread) => thread.terminate()));
await stack.close();
process.exit(0);
