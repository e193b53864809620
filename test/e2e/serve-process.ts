/**
 * One `serve` as a child process in the network namespace of the tests: started as a person would
 * start it, ready when it says so, stopped by process id. Each has a control socket of its own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ROOT } from '../repository.js';
import { type Ended, ended, onSuiteEnd, run, scratchDirectory } from './machine.js';

/** The first line of `serve --json`. */
export interface Ready {
  event: 'ready';
  url: string;
  tun: string;
  workers: number;
  control: string;
  address: string;
  port: number;
  peer: string;
  mtu: number;
  profile: '5.0' | '6.18';
  hash: { secret: number; profile: '5.0' | '6.18'; localAddress: string };
  pid: number;
}

/** The last line of `serve --json`. */
export interface Summary {
  event: 'summary';
  connections: number[];
  bytes: { in: number; out: number };
  retransmits: number;
  drops: number;
  failed: number[];
  failures: { name: string; worker: number | null; times: number; connections: number }[];
}

export const RUN: readonly string[] = [process.execPath, join(ROOT, 'scripts', 'run.mjs')];
export const TUNSTACK: readonly string[] = [
  process.execPath,
  join(ROOT, 'scripts', 'tunstack.mjs'),
];

/** How long a test waits for what comes within a second or two: less than a test may take. */
const PATIENCE_MS = 60_000;

const alive = new Set<ServeProcess>();

export class ServeProcess {
  readonly child: ChildProcess;
  readonly control: string;
  /** Resolves when the process is gone. */
  readonly end: Promise<Ended>;
  ready!: Ready;
  stderr = '';

  constructor(child: ChildProcess, control: string) {
    this.child = child;
    this.control = control;
    this.end = ended(child);
    child.stderr!.on('data', (text: string) => {
      this.stderr += text;
    });
  }

  /** Sends `signal` and waits for the end; throws, and kills it, when that does not come. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    this.child.kill(signal);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.child.kill('SIGKILL');
    }, PATIENCE_MS);
    const result = await this.end;
    clearTimeout(timer);
    alive.delete(this);
    if (late) throw new Error(`serve has not ended after ${signal}; it said:\n${this.stderr}`);
    return result;
  }

  /** Waits until stderr matches, so many times; throws with what it said instead. */
  async said(pattern: RegExp, times = 1): Promise<void> {
    const every = new RegExp(pattern, 'g');
    const signal = AbortSignal.timeout(PATIENCE_MS);
    while ([...this.stderr.matchAll(every)].length < times) {
      await once(this.child.stderr!, 'data', { signal }).catch(() => {
        throw new Error(`serve has not said ${pattern} but:\n${this.stderr}`);
      });
    }
  }

  /** `http://ADDRESS:PORT` + path. */
  at(path: string): string {
    return new URL(path, this.ready.url).href;
  }

  /** Runs `tunstack COMMAND ARGS` against this process. */
  command(...args: string[]): Promise<Ended> {
    return run([...TUNSTACK, ...args, '--control', this.control]);
  }

  /** The JSON that `tunstack COMMAND ARGS --json` prints. */
  async json<T>(...args: string[]): Promise<T> {
    const { code, stdout, stderr } = await this.command(...args, '--json');
    if (code !== 0) throw new Error(`${args.join(' ')}: exit ${code}\n${stderr}`);
    return JSON.parse(stdout) as T;
  }

  /** The body of a GET, as JSON. */
  async get<T>(path: string): Promise<T> {
    const response = await fetch(this.at(path), { headers: { connection: 'close' } });
    return (await response.json()) as T;
  }
}

export interface StartOptions {
  env?: NodeJS.ProcessEnv;
  /** Commands in front of node: setpriv, npm, … */
  argv?: readonly string[];
  control?: string;
}

/** TUNSTACK_QUEUES=N runs every serve with N queues that does not say how many it wants. */
function queuesOf(args: readonly string[]): readonly string[] {
  const queues = process.env['TUNSTACK_QUEUES'];
  const said = args.includes('--queues') || args.includes('--inline');
  return queues === undefined || said ? [] : ['--queues', queues];
}

/**
 * Starts `serve --json ARGS` and waits for its ready line; throws with its stderr when it ends
 * before.
 */
export async function startServe(
  args: readonly string[] = [],
  { env = {}, argv = [...RUN, 'serve'], control }: StartOptions = {},
): Promise<ServeProcess> {
  const path = control ?? join(scratchDirectory(), 'control.sock');
  const [command, ...front] = argv;
  const all = [...front, '--json', '--control', path, ...queuesOf(args), ...args];
  const child = spawn(command!, all, {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const serve = new ServeProcess(child, path);
  alive.add(serve);
  const lines = createInterface({ input: child.stdout! });
  const [first] = (await Promise.race([once(lines, 'line'), serve.end.then(() => [''])])) as [
    string,
  ];
  if (!first.startsWith('{')) {
    const { code, stderr } = await serve.end;
    alive.delete(serve);
    throw new Error(`serve ${args.join(' ')} ended with ${code} before it was ready:\n${stderr}`);
  }
  serve.ready = JSON.parse(first) as Ready;
  return serve;
}

/**
 * Starts a serve, gives it to `body`, stops it whatever happens; throws when it does not stop
 * cleanly.
 */
export async function withServe(
  args: readonly string[],
  body: (serve: ServeProcess) => Promise<void>,
  options: StartOptions = {},
): Promise<Summary> {
  const serve = await startServe(args, options);
  let stopped: Ended;
  try {
    await body(serve);
  } finally {
    stopped = await serve.stop();
  }
  if (stopped.code !== 0) throw new Error(`serve ended with ${stopped.code}\n${stopped.stderr}`);
  return summaryOf(stopped);
}

/** The summary line of a serve that has ended. */
export function summaryOf({ stdout }: Ended): Summary {
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Summary;
}

function killAll(): void {
  for (const serve of alive) serve.child.kill('SIGKILL');
  alive.clear();
}

// A test that failed in between leaves no process behind: neither to the next suite, whose serve
// would find the device taken, nor at the end.
onSuiteEnd(killAll);
process.once('exit', killAll);
