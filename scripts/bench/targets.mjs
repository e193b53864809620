/**
 * The three servers that are compared: ours with superpackets, ours packet by packet, and a raw
 * responder on the kernel's stack in a namespace behind a veth pair. Each has an address; clients
 * run in the namespace of this process.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const RESPONDER = fileURLToPath(new URL('./kernel-responder.mjs', import.meta.url));
const CONGESTION = '/proc/sys/net/ipv4/tcp_congestion_control';

/**
 * Congestion control of this namespace's kernel sockets: the same, whatever the machine's default
 * is.
 */
export function useReno() {
  writeFileSync(CONGESTION, 'reno');
}

function must(...argv) {
  const { status, stderr } = spawnSync(argv[0], argv.slice(1), { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${argv.join(' ')}: ${stderr}`);
}

/**
 * One server: `address` answers on port 80 and discards on port 9; `pid` is the process whose
 * memory counts.
 */
class Target {
  constructor(name, address, child, pid) {
    this.name = name;
    this.address = address;
    this.child = child;
    this.pid = pid;
  }

  get url() {
    return `http://${this.address}/`;
  }

  /** Resident memory of the server, bytes. */
  residentBytes() {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return 1024 * Number(/^VmRSS:\s*(\d+) kB/m.exec(status)[1]);
  }

  async stop() {
    const gone = new Promise((resolve) => this.child.once('exit', resolve));
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGTERM');
    await gone;
  }
}

/** Starts a child that says one line of JSON on stdout when it is ready: [child, what it said]. */
async function startReady(argv) {
  const child = spawn(argv[0], argv.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const line = await new Promise((resolve, reject) => {
    lines.once('line', resolve);
    child.once('exit', (code) => reject(new Error(`${argv.join(' ')} ended with ${code}`)));
  });
  return [child, JSON.parse(line)];
}

async function startOurs(root, directory, name, subnet, workers, extra) {
  const serve = [process.execPath, join(root, 'scripts', 'run.mjs'), 'serve', '--json'];
  const place = ['--tun', name, '--address', `${subnet}.1/24`, '--peer', `${subnet}.254`];
  const control = ['--control', join(directory, `${name}.sock`)];
  const rest = ['--services', '--workers', String(workers), ...extra];
  const [child, ready] = await startReady([...serve, ...place, ...control, ...rest]);
  return new Target(name, ready.address, child, ready.pid);
}

/** The responder in a namespace of its own, joined to ours by a veth pair. */
async function startKernel() {
  const front = ['unshare', '-n', 'sh', '-c', `echo reno > ${CONGESTION}; exec "$@"`, 'sh'];
  const [child, { pid }] = await startReady([...front, process.execPath, RESPONDER]);
  must('ip', 'link', 'add', 'bench0', 'type', 'veth', 'peer', 'name', 'bench1');
  must('ip', 'link', 'set', 'bench1', 'netns', String(pid));
  must('ip', 'addr', 'add', '198.19.1.254/24', 'dev', 'bench0');
  must('ip', 'link', 'set', 'bench0', 'up');
  const there = ['nsenter', '-t', String(pid), '-n', 'ip'];
  must(...there, 'addr', 'add', '198.19.1.1/24', 'dev', 'bench1');
  must(...there, 'link', 'set', 'bench1', 'up');
  return new Target('kernel', '198.19.1.1', child, pid);
}

export class Targets {
  /** @param {Target} ours @param {Target} plain @param {Target} kernel @param {string} directory */
  constructor(ours, plain, kernel, directory) {
    this.ours = ours;
    this.plain = plain;
    this.kernel = kernel;
    this.directory = directory;
  }

  static async start(root, workers) {
    const directory = mkdtempSync(join(tmpdir(), 'tunstack-bench-'));
    const start = (name, subnet, ...extra) =>
      startOurs(root, directory, name, subnet, workers, extra);
    const ours = await start('tunstack0', '198.18.0');
    const plain = await start('tunstack1', '198.18.1', '--no-offload');
    return new Targets(ours, plain, await startKernel(), directory);
  }

  async stop() {
    await Promise.all([this.ours, this.plain, this.kernel].map((target) => target.stop()));
    rmSync(this.directory, { recursive: true, force: true });
  }
}
