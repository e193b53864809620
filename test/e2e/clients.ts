/** Clients on the kernel's own stack that talk to ours. No checks here; the tests do those. */
import { createCipheriv, createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** What GET /whoami answers. */
export interface Whoami {
  worker: number;
  slot: number | null;
  members: number;
  hash: string | null;
  remoteAddress: string;
  remotePort: number;
  localAddress: string;
  localPort: number;
}

/**
 * One request on a connection of its own; the whole answer as text. Rejects when the connection is
 * reset.
 */
export async function exchange(address: string, port: number, path: string): Promise<string> {
  const socket = connect({ host: address, port });
  socket.end(`GET ${path} HTTP/1.1\r\nHost: ${address}\r\nConnection: close\r\n\r\n`);
  return (await buffer(socket)).toString('latin1');
}

/** `count` connections, `atOnce` at a time, each asking /whoami. */
export async function whoamis(
  address: string,
  port: number,
  count: number,
  atOnce = 32,
): Promise<Whoami[]> {
  const answers: Whoami[] = [];
  let begun = 0;
  const client = async (): Promise<void> => {
    while (begun++ < count) {
      const text = await exchange(address, port, '/whoami');
      if (!text.startsWith('HTTP/1.1 200')) throw new Error(text.slice(0, 200));
      answers.push(JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4)) as Whoami);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, client));
  return answers;
}

/** Connections per worker. */
export function shares(answers: readonly Whoami[], workers: number): number[] {
  const counts = new Array<number>(workers).fill(0);
  for (const { worker } of answers) counts[worker]!++;
  return counts;
}

/** Pearson's statistic against equal shares. */
export function chiSquare(counts: readonly number[]): number {
  const expected = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

/** SHA-256 of what GET /bytes/N sends: byte i is i % 251. */
export function patternSha256(bytes: number): string {
  const block = Buffer.alloc(251 * 4096);
  for (let i = 0; i < block.length; i++) block[i] = i % 251;
  const hash = createHash('sha256');
  for (let left = bytes; left > 0; left -= block.length) {
    hash.update(left < block.length ? block.subarray(0, left) : block);
  }
  return hash.digest('hex');
}

/** Writes `bytes` pseudo-random bytes to `path`; their SHA-256. */
export async function randomFile(path: string, bytes: number): Promise<string> {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16, 3));
  const zeros = Buffer.alloc(1 << 20);
  const hash = createHash('sha256');
  const file = await open(path, 'w');
  for (let left = bytes; left > 0; left -= zeros.length) {
    const block = cipher.update(left < zeros.length ? zeros.subarray(0, left) : zeros);
    hash.update(block);
    await file.write(block);
  }
  await file.close();
  return hash.digest('hex');
}

/** An open connection, established. */
export async function connected(address: string, port: number): Promise<Socket> {
  const socket = connect({ host: address, port });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve).once('error', reject);
  });
  return socket;
}

/** Reads exactly `bytes` bytes. */
export async function readExactly(socket: Socket, bytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let got = 0;
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk as Buffer);
    got += (chunk as Buffer).length;
    if (got >= bytes) break;
  }
  return Buffer.concat(chunks).subarray(0, bytes);
}
