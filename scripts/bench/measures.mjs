/**
 * What is measured, each as one number per server: { unit, ours: which of ours takes part, better,
 * take(target, options) }. Clients: wrk for requests and connections, a Node client that reads into
 * one buffer for bulk.
 */
import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const GIBIBYTE = 2 ** 30;
const IDLE_CONNECTIONS = 10_000;
const IDLE_AT_ONCE = 200;
/** Until the garbage of connecting is collected and the counters have settled. */
const SETTLE_MS = 1500;

function output(argv) {
  const child = spawn(argv[0], argv.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0 ? resolve(text) : reject(new Error(`${argv.join(' ')} ended with ${code}`)),
    );
  });
}

/** Requests a second by wrk. */
async function wrk(target, options, connections, ...extra) {
  const seconds = options.quick ? 2 : 5;
  const load = ['-t', '1', '-c', String(connections), '-d', `${seconds}s`];
  const text = await output(['wrk', ...load, ...extra, `${target.url}ok`]);
  if (/Non-2xx/.test(text)) throw new Error(`${target.name} answered with errors:\n${text}`);
  return Number(/Requests\/sec:\s*([\d.]+)/.exec(text)[1]);
}

function gbitPerSecond(bytes, startedMs) {
  return (bytes * 8) / 1e6 / (performance.now() - startedMs);
}

/** Gbit/s from the server: GET /bytes/N read into one buffer. */
function bulkOut(target, options, bytes) {
  const wanted = options.quick ? bytes / 2 : bytes;
  return new Promise((resolve, reject) => {
    let got = 0;
    const startedMs = performance.now();
    const onread = {
      buffer: Buffer.alloc(1 << 20),
      callback: (length) => {
        got += length;
        if (got >= wanted) socket.destroy();
        return true;
      },
    };
    const socket = connect({ host: target.address, port: 80, onread });
    socket.write(`GET /bytes/${wanted} HTTP/1.1\r\nHost: x\r\n\r\n`);
    socket.once('error', reject);
    socket.once('close', () =>
      got >= wanted
        ? resolve(gbitPerSecond(got, startedMs))
        : reject(new Error(`${target.name}: ${got} of ${wanted} bytes`)),
    );
  });
}

/** Gbit/s to the server: bytes to the discard port until it has seen the end. */
function bulkIn(target, options, bytes) {
  const block = Buffer.alloc(1 << 20, 'client');
  let left = options.quick ? bytes / 2 : bytes;
  const total = left;
  return new Promise((resolve, reject) => {
    const startedMs = performance.now();
    const socket = connect({ host: target.address, port: 9 });
    const more = () => {
      while (left > 0) {
        left -= block.length;
        if (!socket.write(block)) return;
      }
      socket.off('drain', more);
      socket.end();
    };
    socket.once('error', reject);
    socket.on('drain', more);
    socket.once('connect', more);
    socket.resume();
    socket.once('close', () => resolve(gbitPerSecond(total, startedMs)));
  });
}

/** Opens `count` connections and leaves them idle. */
async function openIdle(target, count) {
  const sockets = [];
  let begun = 0;
  const opener = async () => {
    while (begun++ < count) {
      const socket = connect({ host: target.address, port: 80 });
      await new Promise((resolve, reject) => {
        socket.once('connect', resolve);
        socket.once('error', reject);
      });
      socket.on('error', () => {});
      sockets.push(socket);
    }
  };
  await Promise.all(Array.from({ length: IDLE_AT_ONCE }, opener));
  return sockets;
}

/**
 * Bytes of resident memory that the server needs for one idle connection (kernel memory is not in
 * it).
 */
async function idleBytes(target) {
  const count = IDLE_CONNECTIONS;
  for (const socket of await openIdle(target, IDLE_AT_ONCE)) socket.resetAndDestroy();
  await delay(SETTLE_MS);
  const before = target.residentBytes();
  const sockets = await openIdle(target, count);
  await delay(SETTLE_MS);
  const after = target.residentBytes();
  for (const socket of sockets) socket.resetAndDestroy();
  return (after - before) / count;
}

const perSecond = (connections, ...extra) => ({
  unit: '1/s',
  take: (target, options) => wrk(target, options, connections, ...extra),
});
const CLOSE = ['-H', 'Connection: close'];

/** By name; the names are those of the `bench` command. `-plain` = packet by packet. */
export const MEASURES = {
  // First and once: memory that a process has used before it does not ask for again.
  'idle-bytes': { unit: 'bytes', ours: 'ours', once: true, take: idleBytes },
  keepalive: { ours: 'ours', ...perSecond(64) },
  'keepalive-plain': { ours: 'plain', ...perSecond(64) },
  'connections-64': { ours: 'ours', ...perSecond(64, ...CLOSE) },
  'connections-64-plain': { ours: 'plain', ...perSecond(64, ...CLOSE) },
  'bulk-out-1': {
    unit: 'Gbit/s',
    ours: 'ours',
    take: (target, options) => bulkOut(target, options, 4 * GIBIBYTE),
  },
  'bulk-in-1': {
    unit: 'Gbit/s',
    ours: 'ours',
    take: (target, options) => bulkIn(target, options, 4 * GIBIBYTE),
  },
  'plain-out-1500': {
    unit: 'Gbit/s',
    ours: 'plain',
    take: (target, options) => bulkOut(target, options, GIBIBYTE),
  },
  'plain-in-1500': {
    unit: 'Gbit/s',
    ours: 'plain',
    take: (target, options) => bulkIn(target, options, GIBIBYTE),
  },
};
