/** One listener of our-http-server.ts: node:http on a listener of the group, for ever. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { attach, type SharedStack } from '../../index.js';
import { serve } from '../../socket/http.js';
import { answerOk, HTTP_BACKLOG, HTTP_PORT } from './http-answer.js';

/** Says `listening` to `port`, and goes on until the listener is closed. */
export async function main(
  shared: SharedStack,
  port: { postMessage(message: string): void },
): Promise<void> {
  const { net } = attach(shared);
  const listener = net.createServer().listen({
    port: HTTP_PORT,
    backlog: HTTP_BACKLOG,
    reusePort: true,
  });
  serve(createServer(answerOk), listener);
  await once(listener, 'listening');
  port.postMessage('listening');
  await once(listener, 'close');
}
