/**
 * What node:http answers on both sides: the same function, so that only what is below it differs.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

const FIELDS = { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': 2 };

export function answerOk(_: IncomingMessage, response: ServerResponse): void {
  response.writeHead(200, FIELDS);
  response.end('OK');
}

export const HTTP_PORT = 80;
export const HTTP_BACKLOG = 4096;
