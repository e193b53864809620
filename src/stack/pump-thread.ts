/**
 * The entry of the worker that is the stack thread; `workerData` is PumpOptions, it posts
 * PumpMessage, and is sent GuestOrder.
 */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { GuestOrder } from './inline-host.js';
import { type PumpOptions, runStackThread } from './stack-thread.js';

const port = parentPort!;
void runStackThread(
  workerData as PumpOptions,
  (message, transfer) => port.postMessage(message, transfer),
  // A thread that never comes back to its event loop hears of messages otherwise: G_GUESTS.
  () => receiveMessageOnPort(port)!.message as GuestOrder,
);
