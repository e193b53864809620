/** One worker thread of our-http-server.ts: node:http on a listener of the group. */
import { createServer } from 'node:http';
import { parentPort, workerData } from 'node:worker_threads';
import { attach, type SharedStack } from '../../index.js';
import { serve } from '../../socket/http.js';
import { answerOk, HTTP_BACKLOG, HTTP_PORT } from './http-answer.js';

const { net } = attach(workerData as SharedStack);
const listener = net.createServer().listen({
  port: HTTP_PORT,
  backlog: HTTP_BACKLOG,
  reusePort: true,
});
serve(createServer(answerOk), listener);
listener.once('listening', () => parentPort!.postMessage('listening'));
