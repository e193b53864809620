/**
 * Load by plain blocking system calls (device/kernel-socket.ts), where an event loop of the client
 * would be what is measured: the round trip of a byte, connections that only exist, and a flood of
 * SYNs from addresses that nobody has.
 */
import { readFileSync } from 'node:fs';
import { KernelSocket } from '../../device/kernel-socket.js';
import { mmapArena } from '../../device/native.js';
import { SYN } from '../../net/layout.js';
import type { FloodResult, PingPongResult } from './load-job.js';
import { SegmentWriter } from './segment.js';

const ECHO_PORT = 7;
const HTTP_PORT = 80;
const PAGE_BYTES = 4096;
const TIMEOUT_MS = 10_000;
const ROUNDS_MAX = 1 << 20;
/** Rounds before those that count. */
const WARM_UP_ROUNDS = 500;

/** One byte to the echo port and back until the time is over. */
export function pingPong(address: string, seconds: number): PingPongResult {
  const socket = KernelSocket.connect(address, ECHO_PORT, TIMEOUT_MS);
  const buffer = mmapArena(PAGE_BYTES).address;
  const micros = new Float64Array(ROUNDS_MAX);
  let rounds = 0;
  let endMs = Number.POSITIVE_INFINITY;
  for (let round = -WARM_UP_ROUNDS; rounds < ROUNDS_MAX; round++) {
    const startMs = performance.now();
    if (round === 0) endMs = startMs + seconds * 1000;
    if (startMs > endMs) break;
    socket.write(buffer, 1);
    if (socket.read(buffer, 1) !== 1) throw new Error('the server closed the connection');
    if (round >= 0) micros[rounds++] = (performance.now() - startMs) * 1000;
  }
  socket.close();
  const sorted = micros.subarray(0, rounds).sort();
  return {
    rounds,
    p50: sorted[Math.floor((rounds - 1) * 0.5)]!,
    p99: sorted[Math.floor((rounds - 1) * 0.99)]!,
  };
}

/** Opens connections and leaves them; they end with this process. */
export function hold(address: string, count: number, source: string): { readonly held: number } {
  for (let i = 0; i < count; i++) {
    KernelSocket.connect(address, HTTP_PORT, TIMEOUT_MS, source);
  }
  return { held: count };
}

/** SYNs under way: fewer than the device's queue holds, so that the good ones find room. */
const WINDOW = 512;
/** SYNs between two looks at how many have been answered. */
const BURST = 32;
/** No answer for so long: what was under way is lost. */
const STALL_MS = 250;

const PAUSE_MS = 0.1;
const NEVER = new Int32Array(new SharedArrayBuffer(4));

/** Packets that the device has received in this network namespace. */
function received(device: string): number {
  const line = readFileSync('/proc/net/dev', 'latin1')
    .split('\n')
    .find((text) => text.trim().startsWith(`${device}:`));
  return Number(line!.trim().split(/[:\s]+/)[2]);
}

/** The i-th: addresses of 10/8, ports and sequence numbers all different from the one before. */
function writeSyn(syn: SegmentWriter, i: number): number {
  const saddr = (10 << 24) | (Math.imul(i, 0x9e3779b1) & 0xffffff);
  return syn.write(saddr, 1024 + (i % 60_000), SYN, Math.imul(i, 0x85ebca6b), 0);
}

/** As many SYNs as are answered, WINDOW of them ahead. */
export function flood(address: string, device: string, seconds: number): FloodResult {
  const socket = KernelSocket.raw(address);
  const { address: packet, bytes } = mmapArena(PAGE_BYTES);
  const destination = address.split('.').reduce((sum, part) => (sum << 8) | Number(part), 0);
  const syn = new SegmentWriter(bytes, destination, HTTP_PORT);
  const startMs = performance.now();
  let sent = 0;
  let ahead = 0;
  let seen = received(device);
  let movedMs = startMs;
  for (let nowMs = startMs; nowMs < startMs + seconds * 1000; nowMs = performance.now()) {
    if (ahead + BURST <= WINDOW) {
      for (let i = 0; i < BURST; i++) {
        socket.tryWrite(packet, writeSyn(syn, sent + i));
      }
      sent += BURST;
      ahead += BURST;
    } else {
      Atomics.wait(NEVER, 0, 0, PAUSE_MS); // the server may need this core
    }
    const now = received(device);
    if (now !== seen) movedMs = nowMs;
    ahead = Math.max(0, ahead - (now - seen));
    seen = now;
    if (nowMs - movedMs > STALL_MS) {
      ahead = 0;
      movedMs = nowMs;
    }
  }
  socket.close();
  return { sent, seconds: (performance.now() - startMs) / 1000 };
}
