/**
 * One transfer by a socket of the kernel whose congestion control is chosen (TCP_CONGESTION):
 * `GET /bytes/N` or `PUT /sink`, timed, with the SHA-256 of what has arrived at the other side.
 */
import { createCipheriv, createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { libc } from '../oracle/kernel-sockets.js';

const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;
const NAME_BYTES = 16;

export interface Transfer {
  bytes: number;
  /** From the first byte asked for to the last one known to be there, ms. */
  ms: number;
  sha256: string;
}

/** Congestion controls that the kernel has loaded, of `wanted`. */
export function available(wanted: readonly string[]): string[] {
  const text = readFileSync('/proc/sys/net/ipv4/tcp_available_congestion_control', 'utf8');
  const loaded = text.trim().split(' ');
  return wanted.filter((name) => loaded.includes(name));
}

/** TCP_CONGESTION of a connected socket, set and read back. */
export function chooseCongestion(socket: Socket, name: string): void {
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  const calls = libc();
  const bytes = new TextEncoder().encode(name);
  if (calls.setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, bytes, bytes.length) !== 0) {
    throw new Error(`TCP_CONGESTION ${name}: errno ${calls.errno()}`);
  }
  const back = new Uint8Array(NAME_BYTES);
  calls.getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, back, Int32Array.of(NAME_BYTES));
  const text = new TextDecoder().decode(back.subarray(0, back.indexOf(0)));
  if (text !== name) throw new Error(`TCP_CONGESTION is ${text}, not ${name}`);
}

async function open(url: URL, congestion: string): Promise<Socket> {
  const socket = connect({ host: url.hostname, port: Number(url.port || 80) });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve).once('error', reject);
  });
  chooseCongestion(socket, congestion);
  return socket;
}

/** Reads an answer to the end of the connection: its body, through `take`. */
async function readBody(socket: Socket, take: (chunk: Buffer) => void): Promise<void> {
  let head = '';
  let inBody = false;
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    if (inBody) {
      take(chunk);
      continue;
    }
    const before = head.length;
    head += chunk.toString('latin1');
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) continue;
    inBody = true;
    if (!head.startsWith('HTTP/1.1 200')) throw new Error(head.slice(0, end));
    take(chunk.subarray(end + 4 - before));
  }
}

const HEAD = 'Host: x\r\nConnection: close\r\n';

/** Fetches `bytes` bytes of the pattern. */
export async function download(base: string, bytes: number, congestion: string): Promise<Transfer> {
  const url = new URL(`/bytes/${bytes}`, base);
  const socket = await open(url, congestion);
  const begun = performance.now();
  socket.write(`GET ${url.pathname} HTTP/1.1\r\n${HEAD}\r\n`);
  const hash = createHash('sha256');
  let got = 0;
  let ms = 0;
  await readBody(socket, (chunk) => {
    hash.update(chunk);
    got += chunk.length;
    ms = performance.now() - begun;
  });
  return { bytes: got, ms, sha256: hash.digest('hex') };
}

/** Pseudo-random bytes, always the same. */
export function noise(bytes: number): Buffer {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16, 3));
  return cipher.update(Buffer.alloc(bytes));
}

/** Sends `body`; what the server says that it has got. */
export async function upload(base: string, body: Buffer, congestion: string): Promise<Transfer> {
  const socket = await open(new URL(base), congestion);
  const begun = performance.now();
  socket.write(`PUT /sink HTTP/1.1\r\n${HEAD}Content-Length: ${body.length}\r\n\r\n`);
  socket.write(body);
  let text = '';
  await readBody(socket, (chunk) => {
    text += chunk.toString('latin1');
  });
  const ms = performance.now() - begun;
  return { ...(JSON.parse(dechunk(text)) as Omit<Transfer, 'ms'>), ms };
}

/** The JSON object in an answer, chunked or not. */
function dechunk(text: string): string {
  return text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1);
}
