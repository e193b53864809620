/**
 * The two servers of a measure, started and stopped together: ours on its TUN device, and the one
 * on the kernel's stack behind a veth pair. Both begin afresh for each probe, so that no measure
 * inherits another's memory or compiled code.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Children } from './children.js';
import { nstatOf } from './kernel-counters.js';
import type { ServerPlan, Side, SideName, Sizes } from './measure.js';
import {
  joinByVeth,
  KERNEL_CLIENT,
  KERNEL_LINK,
  KERNEL_SERVER,
  namespaceCommand,
} from './namespace.js';

const entry = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const CLI: string = entry('../cli.js');
const KERNEL_DEMO: string = entry('./kernel-server.js');
const KERNEL_HTTP: string = entry('./kernel-http-server.js');
const OUR_HTTP: string = entry('./our-http-server.js');
const DEVICE = 'bench-tun';
const ADDRESS = '198.18.0.1';
const PEER = '198.18.0.254';
const MTU = 1500;
const BACKLOG = 4096;
/** proc(5): fields 14 and 15 of stat count in these. */
const TICKS_PER_SECOND = 100;

interface Place {
  readonly name: SideName;
  readonly address: string;
  readonly peer: string;
  readonly device: string;
  readonly pid: number;
}

class ServerSide implements Side {
  readonly name: SideName;
  readonly address: string;
  readonly peer: string;
  readonly device: string;
  readonly pid: number;
  private readonly counters: () => Promise<Record<string, number>>;

  constructor(place: Place, counters: () => Promise<Record<string, number>>) {
    this.name = place.name;
    this.address = place.address;
    this.peer = place.peer;
    this.device = place.device;
    this.pid = place.pid;
    this.counters = counters;
  }

  cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, 'utf8');
    // The name of the program may hold spaces and brackets; after it comes field 3.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  residentBytes(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return 1024 * Number(/^VmRSS:\s*(\d+) kB/m.exec(status)![1]);
  }

  async counter(name: string): Promise<number> {
    return (await this.counters())[name] ?? 0;
  }
}

/** Both servers of one probe. */
export interface Sides {
  readonly ours: Side;
  readonly kernel: Side;
  stop(): Promise<void>;
}

interface Started {
  child: ChildProcess;
  side: Side;
}

function sysctlFlags(plan: ServerPlan, sizes: Sizes): string[] {
  const knobs = { 'net.ipv4.tcp_congestion_control': sizes.congestion, ...plan.sysctl };
  return Object.entries(knobs).flatMap(([name, value]) => ['--sysctl', `${name}=${value}`]);
}

async function startOurs(
  children: Children,
  plan: ServerPlan,
  sizes: Sizes,
  directory: string,
): Promise<Started> {
  const { mtu = MTU, offload = true, backlog = BACKLOG } = plan;
  const control = join(directory, 'control.sock');
  const place = ['--tun', DEVICE, '--address', `${ADDRESS}/24`, '--peer', PEER];
  const crew = ['--workers', String(sizes.workers), '--backlog', String(backlog)];
  const demo = [CLI, 'serve', '--json', '--services', '--control', control];
  const argv = [
    ...(plan.server === 'http' ? [OUR_HTTP] : demo),
    ...place,
    ...crew,
    ...['--mtu', String(mtu)],
    ...(offload ? [] : ['--no-offload']),
    ...(sizes.inline ? ['--inline'] : []),
    ...sysctlFlags(plan, sizes),
  ];
  const { child, said } = await children.ready<{ pid: number }>([process.execPath, ...argv]);
  const counters = async (): Promise<Record<string, number>> => {
    const nstat = [process.execPath, CLI, 'nstat', '--json', '-a', '-z', '--control', control];
    return (JSON.parse(await children.output(nstat)) as { kernel: Record<string, number> }).kernel;
  };
  const where = { name: 'ours', address: ADDRESS, peer: PEER, device: DEVICE } as const;
  return { child, side: new ServerSide({ ...where, pid: said.pid }, counters) };
}

async function startKernel(children: Children, plan: ServerPlan, sizes: Sizes): Promise<Started> {
  const front = namespaceCommand(sizes.congestion, plan.sysctl ?? {});
  const program = plan.server === 'http' ? KERNEL_HTTP : KERNEL_DEMO;
  const backlog = String(plan.backlog ?? BACKLOG);
  const command = [...front, process.execPath, program, backlog];
  const { child, said } = await children.ready<{ pid: number }>(command);
  joinByVeth(said.pid, plan.mtu ?? MTU, plan.offload ?? true);
  const where = {
    name: 'kernel',
    address: KERNEL_SERVER,
    peer: KERNEL_CLIENT,
    device: KERNEL_LINK,
  } as const;
  const side = new ServerSide({ ...where, pid: said.pid }, async () => nstatOf(said.pid));
  return { child, side };
}

/** Starts both; each answers when this resolves. */
export async function startSides(
  children: Children,
  plan: ServerPlan,
  sizes: Sizes,
): Promise<Sides> {
  const directory = mkdtempSync(join(tmpdir(), 'tunstack-bench-'));
  const started: Started[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(started.map(({ child }) => children.stop(child)));
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    started.push(await startOurs(children, plan, sizes, directory));
    started.push(await startKernel(children, plan, sizes));
  } catch (error) {
    await stop();
    throw error;
  }
  return { ours: started[0]!.side, kernel: started[1]!.side, stop };
}
