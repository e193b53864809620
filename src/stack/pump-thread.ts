/**
 * The entry of the worker that is the stack thread; `workerData` is PumpOptions, it posts
 * PumpMessage.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { type PumpOptions, runStackThread } from './stack-thread.js';

const port = parentPort!;
runStackThread(workerData as PumpOptions, (message, transfer) =>
  port.postMessage(message, transfer),
);
