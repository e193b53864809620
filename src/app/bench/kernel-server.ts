/**
 * The kernel's side of the comparison, a program of its own: Node's `net` on the kernel's stack as
 * a raw responder, in one thread. Port 80 parses requests with the parser of our demo server,
 * shortcuts included, and answers `/ok` and `/bytes/N` with the same heads; port 7 echoes, port 9
 * discards. Says {"pid"} when it listens; ends with its parent. Its argument is the backlog.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { TEXT } from '../demo-server/answer.js';
import {
  HEAD_COMPLETE,
  HEAD_INCOMPLETE,
  type HeadProgress,
  RequestHead,
} from '../http/request-head.js';
import { ResponseHeads } from '../http/response.js';

const BACKLOG = Number(process.argv[2]);
const BODY = 'OK';
const BYTES_PREFIX = '/bytes/';
const BLOCK: Buffer = Buffer.alloc(1 << 20, 'kernel');

const heads = new ResponseHeads(() => Date.now());
const head = new RequestHead();
const progress: HeadProgress = { scanned: 0, lineStart: 0 };

/** The last head of an answer, and the answer: nobody writes into what has been made. */
let lastHead: Uint8Array = new Uint8Array(0);
let lastAnswer: Uint8Array = lastHead;

function withOk(bytes: Uint8Array): Uint8Array {
  if (bytes !== lastHead) {
    lastHead = bytes;
    lastAnswer = Buffer.concat([bytes, Buffer.from(BODY)]);
  }
  return lastAnswer;
}

/** One HTTP connection: what it has of an unfinished head, and the bodies it still has to send. */
class Connection {
  private readonly socket: Socket;
  private kept: Buffer | null = null;
  /** Bytes of bodies not written yet; requests that follow wait in `kept`. */
  private left = 0;
  private closing = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => this.take(chunk));
    socket.on('drain', () => this.more());
    socket.on('error', () => socket.destroy());
  }

  private take(chunk: Buffer): void {
    const bytes = this.kept === null ? chunk : Buffer.concat([this.kept, chunk]);
    this.kept = null;
    let at = 0;
    while (at < bytes.length && this.left === 0 && !this.closing) {
      if (!head.findAgain(bytes, at, bytes.length)) {
        progress.scanned = 0;
        progress.lineStart = 0;
        const found = head.find(bytes, at, bytes.length, progress);
        if (found === HEAD_INCOMPLETE) break;
        if (found !== HEAD_COMPLETE || head.parse(bytes, at) !== 0) {
          this.socket.destroy();
          return;
        }
      }
      at += head.length;
      this.socket.write(this.answer());
    }
    if (at < bytes.length) this.kept = bytes.subarray(at);
    if (this.left > 0) this.more();
    else if (this.closing) this.socket.end();
  }

  private answer(): Uint8Array {
    const { target, minor, keepAlive } = head;
    this.closing = !keepAlive;
    if (!target.startsWith(BYTES_PREFIX)) {
      return withOk(heads.bytes(200, TEXT, 2, minor, keepAlive, ''));
    }
    this.left = Number(target.slice(BYTES_PREFIX.length));
    return heads.bytes(200, 'application/octet-stream', this.left, minor, keepAlive, '');
  }

  /** Goes on with a body, a block at a time, as fast as the socket takes them. */
  private more(): void {
    if (this.left === 0) return;
    while (this.left > 0) {
      const length = Math.min(this.left, BLOCK.length);
      this.left -= length;
      const room = this.socket.write(length === BLOCK.length ? BLOCK : BLOCK.subarray(0, length));
      if (!room && this.left > 0) return;
    }
    if (this.closing) this.socket.end();
    else if (this.kept !== null) this.take(Buffer.alloc(0));
  }
}

function echo(socket: Socket): void {
  socket.on('error', () => socket.destroy());
  socket.on('drain', () => socket.resume());
  socket.on('data', (chunk) => {
    if (!socket.write(chunk)) socket.pause();
  });
}

function discard(socket: Socket): void {
  socket.on('error', () => socket.destroy());
  socket.on('data', () => {});
}

function listen(port: number, serve: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ noDelay: true }, serve);
  return new Promise((resolve) => server.listen({ port, backlog: BACKLOG }, () => resolve(server)));
}

process.once('disconnect', () => process.exit(0));
process.once('SIGTERM', () => process.exit(0));
await Promise.all([
  listen(80, (socket) => void new Connection(socket)),
  listen(7, echo),
  listen(9, discard),
]);
process.stdout.write(`${JSON.stringify({ pid: process.pid })}\n`);
