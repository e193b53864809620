/**
 * The kernel's side of the comparison: the least that Node's `net` can do for the same requests.
 * Port 80 answers `GET /ok` and `GET /bytes/N` without a parser worth the name, port 9 discards.
 * Says {"pid"} when it listens.
 */
import { createServer } from 'node:net';

const OK = Buffer.from(
  'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nOK',
);
const BLOCK = Buffer.alloc(1 << 20, 'kernel');
const END = '\r\n\r\n';

/** Sends `bytes` bytes, a block at a time, as fast as the socket takes them. */
function sendBytes(socket, bytes) {
  socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`);
  let left = bytes;
  const more = () => {
    while (left > 0) {
      const length = Math.min(left, BLOCK.length);
      left -= length;
      if (!socket.write(length === BLOCK.length ? BLOCK : BLOCK.subarray(0, length))) {
        socket.once('drain', more);
        return;
      }
    }
  };
  more();
}

function answer(socket, head) {
  const bytes = /^GET \/bytes\/(\d+) /.exec(head);
  if (bytes !== null) sendBytes(socket, Number(bytes[1]));
  else socket.write(OK);
  if (head.includes('Connection: close')) socket.end();
}

const http = createServer({ noDelay: true }, (socket) => {
  let pending = '';
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    pending += chunk.latin1Slice();
    for (let at = pending.indexOf(END); at >= 0; at = pending.indexOf(END)) {
      answer(socket, pending.slice(0, at));
      pending = pending.slice(at + END.length);
    }
  });
});

const discard = createServer({ allowHalfOpen: false }, (socket) => {
  socket.on('error', () => socket.destroy());
  socket.on('data', () => {});
});

http.listen({ port: 80, backlog: 511 }, () => {
  discard.listen({ port: 9, backlog: 511 }, () => {
    process.stdout.write(`${JSON.stringify({ pid: process.pid })}\n`);
  });
});
process.on('SIGTERM', () => process.exit(0));
