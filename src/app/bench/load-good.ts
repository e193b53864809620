/**
 * Connections at a steady rate, one GET /ok each, begun on time whether or not the ones before are
 * done: what a server's ordinary clients do while it is under attack.
 */
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { GoodResult } from './load-job.js';

const REQUEST = 'GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
/** Longer than four repetitions of a lost SYN take (1 + 2 + 4 + 8 s). */
const PATIENCE_MS = 20_000;

/** One connection; how long it took, ms. Rejects unless it was answered with 200 and closed. */
function once(address: string): Promise<number> {
  const startedMs = performance.now();
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect({ host: address, port: 80, noDelay: true });
    socket.setEncoding('latin1');
    socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error('no answer in time')));
    socket.once('connect', () => socket.write(REQUEST));
    socket.on('data', (more: string) => {
      text += more;
    });
    socket.once('error', reject);
    socket.once('close', () => {
      const isAnswered = text.startsWith('HTTP/1.1 200 ') && text.endsWith('OK');
      if (isAnswered) resolve(performance.now() - startedMs);
      else reject(new Error(`answered with ${JSON.stringify(text.slice(0, 40))}`));
    });
  });
}

export async function goodConnections(
  address: string,
  perSecond: number,
  seconds: number,
): Promise<GoodResult> {
  const total = Math.max(1, Math.round(perSecond * seconds));
  const startedMs = performance.now();
  const under: Promise<number>[] = [];
  for (let i = 0; i < total; i++) {
    const dueMs = startedMs + (i * 1000) / perSecond - performance.now();
    if (dueMs > 1) await delay(dueMs);
    const attempt = once(address);
    attempt.catch(() => {}); // looked at below
    under.push(attempt);
  }
  const ends = await Promise.allSettled(under);
  const times = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
  const reasons = ends.flatMap((end) => (end.status === 'rejected' ? [String(end.reason)] : []));
  const sorted = Float64Array.from(times).sort();
  return {
    begun: total,
    failed: reasons.length,
    p99Ms: sorted[Math.floor((sorted.length - 1) * 0.99)] ?? 0,
    reason: reasons[0] ?? null,
  };
}
