/** The load generators as functions: wrk, and our own programs (load.ts), as child processes. */
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { FailedError } from '../command.js';
import type { LoadJob } from './load-job.js';
import type { Bench, Side } from './measure.js';

const LOAD: string = fileURLToPath(new URL('./load.js', import.meta.url));
const GIGABIT = 1e9;

/** Runs one job of load.ts; what it printed. */
export async function runLoad<T>({ children }: Bench, job: LoadJob): Promise<T> {
  const text = await children.output([process.execPath, LOAD, JSON.stringify(job)], true);
  return JSON.parse(text) as T;
}

/** Starts a job that lasts until it is stopped; it is under way when this resolves. */
export async function startLoad({ children }: Bench, job: LoadJob): Promise<ChildProcess> {
  const argv = [process.execPath, LOAD, JSON.stringify(job)];
  return (await children.ready<object>(argv)).child;
}

/** What wrk counted. */
export interface WrkResult {
  readonly requests: number;
  readonly perSecond: number;
}

/** The words of wrk's summary as numbers. Throws when the server answered with errors. */
export function parseWrk(text: string, connections: number): WrkResult {
  const total = /(\d+) requests in /.exec(text);
  const rate = /Requests\/sec:\s*([\d.]+)/.exec(text);
  const wrong = /Non-2xx or 3xx responses: \d+/.exec(text);
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  const failures = (errors ?? []).slice(1).reduce((all, count) => all + Number(count), 0);
  if (total === null || rate === null || wrong !== null || failures > connections) {
    throw new FailedError(`wrk: ${text}`, '');
  }
  return { requests: Number(total[1]), perSecond: Number(rate[1]) };
}

/**
 * GET /ok over `connections` connections with wrk, one thread of it.
 * @param fields header fields of each request
 */
export async function wrk(
  side: Side,
  { children, sizes }: Bench,
  connections: number,
  fields: readonly string[] = [],
): Promise<WrkResult> {
  // wrk counts in whole seconds.
  const seconds = Math.max(1, Math.round(sizes.seconds));
  const load = ['-t', '1', '-c', String(connections), '-d', `${seconds}s`];
  const head = fields.flatMap((field) => ['-H', field]);
  const argv = ['wrk', ...load, ...head, `http://${side.address}/ok`];
  return parseWrk(await children.output(argv), connections);
}

export function gbitPerSecond(bytes: number, seconds: number): number {
  return (bytes * 8) / GIGABIT / seconds;
}
