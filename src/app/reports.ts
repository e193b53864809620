/**
 * What `serve` tells at its start and its end: the ready event and the banner, the summary event
 * and its text. Pure functions from values to lines.
 */
import { getSystemErrorName } from 'node:util';
import { evenShares } from '../lab/chi-square.js';
import type { Failure } from './crew.js';
import type { HashFacts } from './demo-server/stack-view.js';
import type { WorkerStats } from './demo-server/worker-counters.js';
import type { ServeOptions } from './serve-options.js';

/**
 * A client has about 14,000 even ephemeral ports (the range's other half comes later); with more
 * connections than that ports come back, and with a port its worker: no independent draws any more.
 */
const INDEPENDENT_DRAWS = 14_000;

/** What is known once the stack runs. */
export interface Running {
  tun: string;
  /** The stack's address and the host's, dotted. */
  address: string;
  peer: string;
  mtu: number;
  hash: HashFacts;
  /** Path of the control socket. */
  control: string;
  pid: number;
  /** How another shell gets to the address, '' when every shell can. */
  enter: string;
  /** errno with which the kernel refused to steer packets to their queues; 0 = none. */
  steering: number;
}

export function url(address: string, port: number): string {
  return `http://${address}${port === 80 ? '' : `:${port}`}/`;
}

export function readyEvent(options: ServeOptions, running: Running): object {
  return {
    event: 'ready',
    url: url(running.address, options.port),
    tun: running.tun,
    workers: options.workers,
    control: running.control,
    address: running.address,
    port: options.port,
    peer: running.peer,
    mtu: running.mtu,
    accept: options.accept,
    setup: options.setup,
    profile: options.profile,
    hash: running.hash,
    pid: running.pid,
    queues: options.queues,
    inline: options.inline,
    steering: options.queues === 1 ? null : steering(running.steering),
  };
}

/** Who puts packets into the queue of their connection: our program, or the kernel by itself. */
function steering(errno: number): 'ebpf' | 'kernel' {
  return errno === 0 ? 'ebpf' : 'kernel';
}

const MODELS: Readonly<Record<ServeOptions['accept'], string>> = {
  reuseport: 'a listener each (SO_REUSEPORT)',
  shared: 'one listener shared by all',
  dispatch: 'one acceptor hands out',
};

function queueLine({ queues }: ServeOptions, running: Running): string[] {
  if (queues === 1) return [];
  const { steering: errno } = running;
  const how =
    errno === 0
      ? 'packets steered by eBPF'
      : `spread by the kernel (${getSystemErrorName(-errno)}: no eBPF program)`;
  return [`  ${queues} queues, a stack thread each, ${how}`];
}

export function banner(options: ServeOptions, running: Running): string[] {
  const base = url(running.address, options.port);
  const prefix = running.enter === '' ? '' : `${running.enter} `;
  const { workers } = options;
  const crew = counted(workers, 'worker');
  const lines = [
    `tunstack is up: ${base}`,
    `  ${crew}, ${MODELS[options.accept]}; like Linux ${options.profile}`,
    ...(options.inline ? ["  each in the thread of its queue's stack (--inline)"] : []),
    `  device ${running.tun}, host side ${running.peer}, mtu ${running.mtu}`,
    ...queueLine(options, running),
    `  control socket ${running.control}`,
    '',
    'try',
    `  ${prefix}curl ${base}`,
    `  ${prefix}curl ${base}whoami`,
    `  for i in 1 2 3 4 5 6 7 8; do ${prefix}curl -s ${base}whoami; done`,
    `  ${prefix}curl -s ${base}bytes/100000000 | wc -c`,
    `  ${prefix}ping -c 3 ${running.address}`,
    `  npx tunstack ss -tlnp${options.control === null ? '' : ` --control ${running.control}`}`,
  ];
  if (options.root !== null) lines.push(`  ${prefix}curl ${base}files/`);
  if (options.services) lines.push(`  ${prefix}nc ${running.address} 7`);
  lines.push('', 'Ctrl-C stops.');
  return lines;
}

/**
 * Counters that say that something was dropped. ListenOverflows is not among them: Linux counts
 * each of those as a ListenDrop, too.
 */
const DROP_COUNTERS = [
  'IpInHdrErrors',
  'IpInDiscards',
  'IpOutDiscards',
  'TcpInErrs',
  'ListenDrops',
  'TCPReqQFullDrop',
  'TCPBacklogDrop',
  'TCPOFODrop',
  'TCPRcvQDrop',
  'TCPZeroWindowDrop',
  'TunTxDropped',
  'TunRxErrors',
  'TunLoopbackDropped',
] as const;

export interface Summary {
  event: 'summary';
  seconds: number;
  /** Connections accepted, by worker. */
  connections: number[];
  chiSquare: number;
  pValue: number;
  workers: WorkerStats[];
  bytes: { in: number; out: number };
  retransmits: number;
  drops: number;
  /** The counters that `drops` adds up, those that are not zero. */
  dropReasons: Record<string, number>;
  /** Workers that failed at least once. */
  failed: number[];
  failures: Failure[];
}

/** @param counters by nstat's names; @param failures of workers and the acceptor */
export function summarize(
  stats: WorkerStats[],
  counters: Readonly<Record<string, number>>,
  seconds: number,
  failures: Failure[],
): Summary {
  const connections = stats.map((row) => row.accepted);
  const { chiSquare, pValue } = evenShares(connections);
  const dropReasons: Record<string, number> = {};
  let drops = 0;
  for (const name of DROP_COUNTERS) {
    const count = counters[name] ?? 0;
    if (count === 0) continue;
    dropReasons[name] = count;
    drops += count;
  }
  return {
    event: 'summary',
    seconds,
    connections,
    chiSquare,
    pValue,
    workers: stats,
    bytes: {
      in: stats.reduce((sum, row) => sum + row.bytesIn, 0),
      out: stats.reduce((sum, row) => sum + row.bytesOut, 0),
    },
    retransmits: counters['TcpRetransSegs'] ?? 0,
    drops,
    dropReasons,
    failed: failures.map(({ worker }) => worker).filter((worker) => worker !== null),
    failures,
  };
}

/** `1 worker`, `2 workers` */
function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

export function summaryLines(summary: Summary): string[] {
  const total = summary.connections.reduce((sum, count) => sum + count, 0);
  const lines = [`served for ${summary.seconds.toFixed(1)} s: ${counted(total, 'connection')}`];
  for (const row of summary.workers) {
    const share = total === 0 ? '' : ` (${((100 * row.accepted) / total).toFixed(1)} %)`;
    const accepted = counted(row.accepted, 'connection');
    const counts = `${accepted}${share}, ${counted(row.requests, 'request')}`;
    lines.push(`  worker ${row.worker}: ${counts}`);
  }
  for (const { name, worker, times, connections, last } of summary.failures) {
    const often = times === 1 ? 'once' : `${times} times`;
    const lost = worker === null ? '' : `, ${counted(connections, 'connection')} reset with it`;
    lines.push(`  ${name} failed ${often}${lost}; the last reason: ${last}`);
  }
  if (total > 0 && summary.workers.length > 1) {
    lines.push(`  evenness: ${evenness(summary, total)}`);
  }
  const { bytes } = summary;
  lines.push(`  bytes: ${bytes.in} in, ${bytes.out} out; retransmits: ${summary.retransmits}`);
  const reasons = Object.entries(summary.dropReasons).map(([name, count]) => `${name} ${count}`);
  lines.push(`  drops: ${summary.drops}${reasons.length === 0 ? '' : ` (${reasons.join(', ')})`}`);
  return lines;
}

/** How likely so uneven a draw is; where that means nothing, largest over smallest share. */
function evenness(summary: Summary, total: number): string {
  const { chiSquare, pValue, connections } = summary;
  if (total <= INDEPENDENT_DRAWS) {
    return `chi-square ${chiSquare.toFixed(2)}, p = ${pValue.toPrecision(2)}`;
  }
  const ratio = Math.max(...connections) / Math.min(...connections);
  return `largest / smallest share ${ratio.toFixed(2)}`;
}
