/** The entry of a thread of `serve` that is a worker of Node's; `workerData` is its order. */
import { parentPort, workerData } from 'node:worker_threads';
import { main } from './worker.js';
import type { WorkerOrder } from './worker-message.js';

main(workerData as WorkerOrder, parentPort!);
