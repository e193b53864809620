/**
 * The network that a run makes for itself: the namespace of the clients (and of our device), one
 * for each server on the kernel's stack, and the veth pair between them. Everything goes when the
 * processes in it go. Needs root, and ip, unshare and nsenter of the system.
 */
import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import { EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PRIVILEGE, FailedError } from '../command.js';
import { StopSignals } from '../stop-signals.js';

const CLI: string = fileURLToPath(new URL('../cli.js', import.meta.url));
const CONGESTION = '/proc/sys/net/ipv4/tcp_congestion_control';
const INSIDE = 'TUNSTACK_BENCH_INSIDE';

/** Client and server of the kernel's side. */
export const KERNEL_CLIENT = '198.19.1.254';
export const KERNEL_SERVER = '198.19.1.1';
export const KERNEL_LINK = 'bench0';

export function isInside(): boolean {
  return process.env[INSIDE] === '1';
}

/** Programs a run needs, and the packages they come in (Debian's names). */
const PROGRAMS: Readonly<Record<string, { probe: string[]; package: string }>> = {
  unshare: { probe: ['--version'], package: 'util-linux' },
  nsenter: { probe: ['--version'], package: 'util-linux' },
  ip: { probe: ['-V'], package: 'iproute2' },
  wrk: { probe: ['--version'], package: 'wrk' },
};

/** Throws FailedError (exit code 77) when this user or this machine cannot run measures. */
export function requireMachine(): void {
  if (process.geteuid?.() !== 0) {
    throw new FailedError(
      'bench: this measure makes network namespaces and devices of its own, which takes root',
      'sudo npx tunstack bench NAME\nnpx tunstack bench lookup idle-bytes-1m steps (no privilege)',
      EXIT_PRIVILEGE,
    );
  }
  const missing = Object.entries(PROGRAMS).filter(
    ([name, { probe }]) => spawnSync(name, probe, { stdio: 'ignore' }).error !== undefined,
  );
  if (missing.length === 0) return;
  throw new FailedError(
    `bench: this machine has no ${missing.map(([name]) => name).join(', no ')}`,
    `apt-get install ${[...new Set(missing.map(([, row]) => row.package))].join(' ')}`,
    EXIT_PRIVILEGE,
  );
}

/** As many descriptors as the kernel allows (fs.nr_open's default), or as this user may have. */
const OPEN_FILES = 'ulimit -n 1048576 2>/dev/null || ulimit -n "$(ulimit -H -n)"; exec "$@"';

/** The same command line in a network namespace of its own. @returns its exit code */
export async function runInside(argv: readonly string[]): Promise<number> {
  const signals = new StopSignals(() => process.exit(EXIT_INTERRUPTED));
  const shell = ['sh', '-c', OPEN_FILES, 'sh'];
  const command = ['-n', ...shell, process.execPath, CLI, 'bench', ...argv];
  const child = spawn('unshare', command, {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    detached: true,
    env: { ...process.env, [INSIDE]: '1' },
  });
  // The end of the channel is the signal: it also comes when this process is killed.
  void signals.asked.then(() => {
    if (child.connected) child.disconnect();
  });
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) =>
        resolve(code ?? (signal === null ? EXIT_FAILED : 128 + constants.signals[signal])),
      );
    });
  } finally {
    signals.close();
  }
}

function must(...argv: readonly string[]): void {
  const { status, stderr } = spawnSync(argv[0]!, argv.slice(1), { encoding: 'utf8' });
  if (status !== 0) throw new FailedError(`${argv.join(' ')}: ${stderr}`, '');
}

/** What every namespace of the run has: loopback, and the wanted congestion control. */
export function prepareNamespace(congestion: string): void {
  must('ip', 'link', 'set', 'lo', 'up');
  writeFileSync(CONGESTION, congestion);
  // Room for many connections of one client; the same for both sides.
  writeFileSync('/proc/sys/net/ipv4/ip_local_port_range', '10000 65535');
  // A client that closes first keeps the TIME-WAIT: without this, short connections run out of
  // ports within seconds, and what is measured is the search for one.
  writeFileSync('/proc/sys/net/ipv4/tcp_tw_reuse', '1');
}

/** In front of a command: a namespace of its own with that congestion control and those knobs. */
export function namespaceCommand(
  congestion: string,
  sysctl: Readonly<Record<string, string>>,
): string[] {
  const knobs = { 'net.ipv4.tcp_congestion_control': congestion, ...sysctl };
  const path = (name: string): string => `/proc/sys/${name.replaceAll('.', '/')}`;
  const writes = Object.entries(knobs).map(([name, value]) => `echo ${value} > ${path(name)}`);
  return ['unshare', '-n', 'sh', '-c', `${writes.join(' && ')} && exec "$@"`, 'sh'];
}

/**
 * Joins this namespace to that of process `pid` by a veth pair.
 * @param offload false: no packet on it is larger than the MTU
 */
export function joinByVeth(pid: number, mtu: number, offload: boolean): void {
  const there = ['nsenter', '-t', String(pid), '-n', 'ip'];
  const size = ['mtu', String(mtu), ...(offload ? [] : ['gso_max_segs', '1'])];
  const veth = ['type', 'veth', 'peer', 'name', 'bench1'];
  must('ip', 'link', 'add', KERNEL_LINK, ...veth, 'netns', String(pid));
  must('ip', 'addr', 'add', `${KERNEL_CLIENT}/24`, 'dev', KERNEL_LINK);
  must('ip', 'link', 'set', KERNEL_LINK, ...size, 'up');
  must(...there, 'link', 'set', 'lo', 'up');
  must(...there, 'addr', 'add', `${KERNEL_SERVER}/24`, 'dev', 'bench1');
  must(...there, 'link', 'set', 'bench1', ...size, 'up');
  must(...there, 'route', 'add', 'default', 'via', KERNEL_CLIENT);
}

/**
 * Gives this namespace `count` addresses to reach a server from, the first being the one it has.
 * @returns them
 */
export function addSources(link: { peer: string; device: string }, count: number): string[] {
  const [network, last] = [link.peer.replace(/\d+$/, ''), Number(/\d+$/.exec(link.peer)![0])];
  const sources = Array.from({ length: count }, (_, i) => `${network}${last - i}`);
  for (const source of sources.slice(1)) {
    must('ip', 'addr', 'replace', `${source}/24`, 'dev', link.device);
  }
  return sources;
}
