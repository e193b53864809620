/**
 * A server on the kernel's own stack that answers the demo server's `GET /bytes/N` and `PUT /sink`,
 * to be measured and asked beside ours: `node kernel-server.js PORT CONGESTION`. Says one line on
 * stdout when it listens; SIGTERM ends it.
 */
import { createHash } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';
import { chooseCongestion } from './transfer.js';

/** As the demo server: byte i is i % 251. */
const BLOCK: Buffer = Buffer.alloc(251 * 1024).map((_byte, i) => i % 251) as Buffer;

function sendBytes(response: ServerResponse, bytes: number): void {
  response.writeHead(200, { 'content-length': bytes });
  let left = bytes;
  const more = (): void => {
    while (left > 0) {
      const length = Math.min(left, BLOCK.length);
      left -= length;
      if (!response.write(BLOCK.subarray(0, length)) && left > 0) {
        response.once('drain', more);
        return;
      }
    }
    response.end();
  };
  more();
}

const [port, congestion] = process.argv.slice(2);
const server = createServer((request, response) => {
  const bytes = /^\/bytes\/(\d+)$/.exec(request.url!)?.[1];
  if (bytes !== undefined) {
    sendBytes(response, Number(bytes));
    return;
  }
  const hash = createHash('sha256');
  let got = 0;
  request.on('data', (chunk: Buffer) => {
    hash.update(chunk);
    got += chunk.length;
  });
  request.on('end', () => {
    response.end(JSON.stringify({ bytes: got, sha256: hash.digest('hex') }));
  });
});
server.on('connection', (socket) => chooseCongestion(socket, congestion!));
server.listen({ port: Number(port) }, () => process.stdout.write('{"event":"ready"}\n'));
process.once('SIGTERM', () => process.exit(0));
