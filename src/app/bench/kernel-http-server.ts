/**
 * node:http on the kernel's stack, a program of its own in one thread. Says {"pid"} when it
 * listens; ends with its parent.
 */
import { createServer } from 'node:http';
import { answerOk, HTTP_BACKLOG, HTTP_PORT } from './http-answer.js';

process.once('disconnect', () => process.exit(0));
process.once('SIGTERM', () => process.exit(0));
createServer(answerOk).listen({ port: HTTP_PORT, backlog: HTTP_BACKLOG }, () => {
  process.stdout.write(`${JSON.stringify({ pid: process.pid })}\n`);
});
