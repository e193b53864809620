/**
 * A path between two network namespaces with delay and loss: a TUN device in each, and this process
 * that carries packets from one to the other, one packet at a time (no offload: what is lost is one
 * segment). The second namespace is made here, forwards, and has a server on the kernel's own stack
 * and, when asked for, `serve` behind it, so that both are reached by the same path.
 *
 *     client ─ near0 ══ relay ══ far0 ─ kernel's server
 *                                  └── tunstack0 ─ serve
 *
 * Runs as a child process: `node relay.js OPTIONS`, one JSON line on stdout when all is ready, one
 * on stdin for a new loss (`{"loss":1,"seed":2}`), the end of stdin ends it. sch_netem would do as
 * much, but few kernels of virtual machines have it.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { IFF_NO_PI, IFF_TUN, IfReq, SIOCSIFTXQLEN } from '../../src/device/ifreq.js';
import { mmapArena, native, O_CLOEXEC, O_NONBLOCK, O_RDWR } from '../../src/device/native.js';
import { pollWait } from '../../src/device/wait.js';
import { seededRandom } from '../../src/testing/index.js';
import { enterFreshNamespace } from '../oracle/kernel-sockets.js';
import { ROOT } from '../repository.js';

export interface RelayOptions {
  /** One way, ms. */
  delayMs: number;
  /** Packets of 100 that are lost, each way. */
  loss: number;
  seed: number;
  /** Arguments of `serve`, or null for none. */
  serve: readonly string[] | null;
  /** Congestion control of the kernel's server. */
  congestion: string;
}

/** What the relay says when it is ready: where the servers are, seen from the client. */
export interface RelayReady {
  kernel: string;
  ours: string | null;
}

/** New loss. */
export interface RelayOrder {
  loss: number;
  seed: number;
}

const NEAR = '10.71.0.1';
const FAR = '10.72.0.1';
const OURS = '198.18.0.1';
export const KERNEL_PORT = 8080;
const PACKET_BYTES = 65_536;
/** Packets on their way in one direction; more are lost, as in a router. */
const QUEUE_MAX = 20_000;
const TXQUEUELEN = 10_000;
/** Longest sleep, ms: orders come in between. */
const NAP_MS = 5;
const BURST = 64;

/** A TUN device without offload. */
class End {
  readonly fd: number;

  constructor(name: string, cidr: string) {
    const calls = native();
    this.fd = calls.open('/dev/net/tun', O_RDWR | O_NONBLOCK | O_CLOEXEC, 0);
    const request = new IfReq(name);
    if (this.fd < 0 || request.attach(this.fd, IFF_TUN | IFF_NO_PI) < 0) {
      throw new Error(`${name}: cannot make a TUN device`);
    }
    request.setInt(SIOCSIFTXQLEN, TXQUEUELEN);
    request.close();
    execFileSync('ip', ['addr', 'add', cidr, 'dev', name]);
    execFileSync('ip', ['link', 'set', name, 'up']);
  }
}

/** One direction: packets wait for their time, then are written. */
class Direction {
  lost = 0;
  carried = 0;
  private readonly waiting: { dueMs: number; bytes: Uint8Array }[] = [];
  private readonly memory = mmapArena(PACKET_BYTES);
  private random = seededRandom(1);
  private lossOf2_32 = 0;

  private readonly from: End;
  private readonly to: End;
  private readonly delayMs: number;

  constructor(from: End, to: End, delayMs: number) {
    this.from = from;
    this.to = to;
    this.delayMs = delayMs;
  }

  setLoss(loss: number, seed: number): void {
    this.random = seededRandom(seed);
    this.lossOf2_32 = (loss / 100) * 2 ** 32;
  }

  /** Takes what waits at the one end. */
  take(nowMs: number): void {
    const { address, bytes } = this.memory;
    for (let i = 0; i < BURST; i++) {
      const length = native().read(this.from.fd, address, PACKET_BYTES);
      if (length <= 0) return;
      if (this.random.u32() < this.lossOf2_32 || this.waiting.length >= QUEUE_MAX) this.lost++;
      else this.waiting.push({ dueMs: nowMs + this.delayMs, bytes: bytes.slice(0, length) });
    }
  }

  /** Hands over what is due; when the next one is, ms. */
  give(nowMs: number): number {
    const { address, bytes } = this.memory;
    let given = 0;
    while (given < this.waiting.length && this.waiting[given]!.dueMs <= nowMs) {
      const packet = this.waiting[given++]!.bytes;
      bytes.set(packet);
      native().write(this.to.fd, address, packet.length);
    }
    this.carried += given;
    this.waiting.splice(0, given);
    return this.waiting[0]?.dueMs ?? Infinity;
  }
}

/** A child that says one line of JSON when it is ready. */
async function startReady(argv: readonly string[]): Promise<ChildProcess> {
  const [command, ...args] = argv;
  const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout! });
  await Promise.race([
    once(lines, 'line'),
    once(child, 'exit').then(([code]) => {
      throw new Error(`${argv.join(' ')} ended with ${code}`);
    }),
  ]);
  return child;
}

/** The servers behind the path, started in the namespace of this thread. */
async function startServers({ serve, congestion }: RelayOptions): Promise<ChildProcess[]> {
  const server = fileURLToPath(new URL('./kernel-server.js', import.meta.url));
  const children = [await startReady([process.execPath, server, String(KERNEL_PORT), congestion])];
  if (serve !== null) {
    const run = join(ROOT, 'scripts', 'run.mjs');
    children.push(await startReady([process.execPath, run, 'serve', '--json', ...serve]));
  }
  return children;
}

function ip(...args: string[]): void {
  execFileSync('ip', args);
}

/** Carries packets until `stopped()`; other events of this process get their turn in between. */
async function carry(a: End, b: End, ways: Direction[], stopped: () => boolean): Promise<void> {
  while (!stopped()) {
    const nowMs = performance.now();
    let next = Infinity;
    for (const way of ways) {
      way.take(nowMs);
      next = Math.min(next, way.give(nowMs));
    }
    const restMs = next - performance.now();
    if (restMs > 0) pollWait(a.fd, b.fd, Math.min(NAP_MS, restMs));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function main(options: RelayOptions): Promise<void> {
  const near = new End('near0', `${NEAR}/24`);
  for (const subnet of ['10.72.0.0/24', '198.18.0.0/24']) {
    ip('route', 'add', subnet, 'dev', 'near0', 'src', NEAR);
  }
  // What earlier connections were like must not matter to later ones.
  const forget = (): void => writeFileSync('/proc/sys/net/ipv4/tcp_no_metrics_save', '1');
  forget();
  enterFreshNamespace();
  forget();
  const far = new End('far0', `${FAR}/24`);
  ip('route', 'add', '10.71.0.0/24', 'dev', 'far0');
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
  const ways = [
    new Direction(near, far, options.delayMs),
    new Direction(far, near, options.delayMs),
  ];
  const setLoss = ({ loss, seed }: RelayOrder): void => {
    ways.forEach((way, i) => {
      way.setLoss(loss, seed * 2 + i);
    });
  };
  setLoss(options);
  let stopped = false;
  const carried = carry(near, far, ways, () => stopped);
  const children = await startServers(options);
  const orders = createInterface({ input: process.stdin });
  orders.on('line', (line) => {
    setLoss(JSON.parse(line) as RelayOrder);
    process.stdout.write(`${JSON.stringify({ lost: ways.map((way) => way.lost) })}\n`);
  });
  const ready: RelayReady = {
    kernel: `http://${FAR}:${KERNEL_PORT}`,
    ours: options.serve === null ? null : `http://${OURS}`,
  };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
  await once(orders, 'close');
  for (const child of children) child.kill('SIGTERM');
  await Promise.all(children.map((child) => once(child, 'exit')));
  stopped = true;
  await carried;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(JSON.parse(process.argv[2]!) as RelayOptions);
}
