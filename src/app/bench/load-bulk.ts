/**
 * Bulk in each direction and both ways at once, as a client of Node's on the kernel's sockets: it
 * reads into one buffer and writes one block again and again, so that its own cost is a copy and a
 * system call for up to a mebibyte.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { BulkResult } from './load-job.js';

const BUFFER_BYTES = 1 << 20;
/** Requests under way on a connection: the next is there when the one before is answered. */
const REQUESTS_AHEAD = 2;
const HTTP_PORT = 80;
const ECHO_PORT = 7;
const DISCARD_PORT = 9;

/** Connects, and calls `onBytes` with the length of each stretch that arrives, and its bytes. */
async function open(
  host: string,
  port: number,
  onBytes: (length: number, bytes: Uint8Array, socket: Socket) => void,
): Promise<Socket> {
  const onread = {
    buffer: new Uint8Array(BUFFER_BYTES),
    callback: (length: number, bytes: Uint8Array): boolean => {
      onBytes(length, bytes, socket);
      return true;
    },
  };
  const socket = connect({ host, port, onread, noDelay: true });
  await once(socket, 'connect');
  return socket;
}

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0);

/** Runs `flow` on each connection from one start; what they moved, until the last was done. */
async function together(
  sockets: readonly Socket[],
  flow: (socket: Socket, startedMs: number) => Promise<number>,
): Promise<BulkResult> {
  const startedMs = performance.now();
  const bytes = await Promise.all(sockets.map((socket) => flow(socket, startedMs)));
  return { bytes: sum(bytes), seconds: (performance.now() - startedMs) / 1000 };
}

function failed(socket: Socket): Promise<never> {
  return new Promise((_, reject) => {
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the server closed the connection')));
  });
}

/** How many bytes of a response are still to come: its head counts by its length. */
class ResponseCounter {
  /** Bytes of bodies received. */
  bytes = 0;
  private left = 0;
  private text = '';
  private readonly block: number;

  constructor(block: number) {
    this.block = block;
  }

  /** @returns how many responses ended in this stretch */
  take(length: number, bytes: Uint8Array): number {
    let at = 0;
    let ended = 0;
    while (at < length) {
      if (this.left === 0) {
        at = this.takeHead(length, bytes, at);
        continue;
      }
      const step = Math.min(this.left, length - at);
      at += step;
      this.left -= step;
      this.bytes += step;
      if (this.left === 0) ended++;
    }
    return ended;
  }

  private takeHead(length: number, bytes: Uint8Array, at: number): number {
    const before = this.text.length;
    this.text += Buffer.from(bytes.buffer, at, Math.min(length - at, 4096)).toString('latin1');
    const end = this.text.indexOf('\r\n\r\n');
    if (end < 0) return length;
    if (!this.text.startsWith('HTTP/1.1 200 ')) throw new Error(this.text.slice(0, end));
    this.text = '';
    this.left = this.block;
    return at + end + 4 - before;
  }
}

/**
 * Bytes of bodies of `GET /bytes/block`, on each connection until the time is over.
 * @param block bytes of one response
 */
export async function bulkOut(
  address: string,
  seconds: number,
  connections: number,
  block: number,
): Promise<BulkResult> {
  const request = `GET /bytes/${block} HTTP/1.1\r\nHost: x\r\n\r\n`;
  const counters = new Map<Socket, ResponseCounter>();
  const waiting = new Map<Socket, (ended: number) => void>();
  const opening = Array.from({ length: connections }, () =>
    open(address, HTTP_PORT, (length, bytes, socket) => {
      const ended = counters.get(socket)!.take(length, bytes);
      if (ended > 0) waiting.get(socket)!(ended);
    }),
  );
  const flow = (socket: Socket, startedMs: number): Promise<number> => {
    const counter = new ResponseCounter(block);
    counters.set(socket, counter);
    let under = REQUESTS_AHEAD;
    const done = new Promise<number>((resolve) => {
      waiting.set(socket, (ended) => {
        under -= ended;
        const isOver = performance.now() - startedMs >= seconds * 1000;
        for (let i = 0; i < ended && !isOver; i++, under++) socket.write(request);
        if (under === 0) resolve(counter.bytes);
      });
    });
    for (let i = 0; i < REQUESTS_AHEAD; i++) socket.write(request);
    return Promise.race([done, failed(socket)]);
  };
  return together(await Promise.all(opening), flow);
}

/** Writes `block` until the time is over, never more than the socket takes. @returns bytes */
function writeFor(socket: Socket, seconds: number, startedMs: number): Promise<number> {
  const block = Buffer.alloc(BUFFER_BYTES, 'client');
  let written = 0;
  return new Promise((resolve) => {
    const more = (): void => {
      while (performance.now() - startedMs < seconds * 1000) {
        written += block.length;
        if (!socket.write(block)) return;
      }
      socket.off('drain', more);
      resolve(written);
    };
    socket.on('drain', more);
    more();
  });
}

/** Bytes that the discard service has read: it closes when it has seen our end. */
export async function bulkIn(
  address: string,
  seconds: number,
  connections: number,
): Promise<BulkResult> {
  const opening = Array.from({ length: connections }, () => open(address, DISCARD_PORT, () => {}));
  const flow = async (socket: Socket, startedMs: number): Promise<number> => {
    const closed = once(socket, 'close'); // rejects on an error
    const written = await writeFor(socket, seconds, startedMs);
    socket.end();
    await closed;
    return written;
  };
  return together(await Promise.all(opening), flow);
}

/** Bytes that have gone to the echo service and come back on one connection. */
export async function echo(address: string, seconds: number): Promise<BulkResult> {
  let received = 0;
  const socket = await open(address, ECHO_PORT, (length) => {
    received += length;
  });
  const flow = async (_: Socket, startedMs: number): Promise<number> => {
    const closed = once(socket, 'close');
    const written = await writeFor(socket, seconds, startedMs);
    socket.end();
    await closed;
    if (received !== written) throw new Error(`${received} of ${written} bytes came back`);
    return received;
  };
  return together([socket], flow);
}
