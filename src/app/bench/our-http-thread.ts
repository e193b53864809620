/** The entry of a worker thread of our-http-server.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import type { SharedStack } from '../../index.js';
import { main } from './our-http-worker.js';

await main(workerData as SharedStack, parentPort!);
