/**
 * What the end-to-end tests need of the machine. scripts/test.mjs looks once what is missing and
 * says so (with CI=true it is a failure there); here a suite that needs something missing is simply
 * not registered. Run by hand without that script, nothing is registered: no test ever touches the
 * machine's own network.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Names as in scripts/test.mjs: FACILITIES. */
export type Facility =
  | 'netns'
  | 'tun'
  | 'root'
  | 'ip'
  | 'curl'
  | 'ping'
  | 'iperf3'
  | 'wrk'
  | 'nft'
  | 'nmap'
  | 'tshark'
  | 'git'
  | 'npmcache';

const missingList = process.env['TUNSTACK_MISSING'];
const missing: ReadonlySet<string> = new Set((missingList ?? '').split(',').filter(Boolean));

/** True in CI: sizes and durations are kept small there. */
export const IN_CI: boolean = process.env['CI'] === 'true';

/** True when everything named is there. */
export function has(...facilities: Facility[]): boolean {
  return missingList !== undefined && facilities.every((facility) => !missing.has(facility));
}

const suiteEnds: (() => void)[] = [];

/** `tidy` runs at the end of every suite, whatever became of its tests. */
export function onSuiteEnd(tidy: () => void): void {
  suiteEnds.push(tidy);
}

/** A suite that needs facilities of the machine. */
export function suiteWith(facilities: Facility[], title: string, body: () => void): void {
  if (has(...facilities)) {
    describe(title, function () {
      this.timeout(120_000);
      body();
      after(() => {
        for (const tidy of suiteEnds) tidy();
      });
    });
  }
}

/** What a command said and how it ended. */
export interface Ended {
  /** null = ended by `signal`. */
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Collects a child's output until it ends. */
export function ended(child: ChildProcess): Promise<Ended> {
  const out = { stdout: '', stderr: '' };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    out.stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    out.stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, ...out }));
  });
}

/** Runs a command to its end; never throws because of its exit code. */
export function run(
  argv: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Ended> {
  const [command, ...args] = argv;
  return ended(spawn(command!, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] }));
}

/** Runs a command that must end with 0; its stdout. */
export async function must(argv: readonly string[]): Promise<string> {
  const { code, signal, stdout, stderr } = await run(argv);
  if (code === 0) return stdout;
  throw new Error(`${argv.join(' ')}: ${code ?? signal}\n${stdout}${stderr}`);
}

/** Names of the network devices of this network namespace (/sys shows another one's). */
export function devices(): string[] {
  const lines = readFileSync('/proc/net/dev', 'utf8').trim().split('\n').slice(2);
  return lines.map((line) => line.slice(0, line.indexOf(':')).trim());
}

/** Process ids that carry `mark` in their environment: everything that a marked process started. */
export function processesMarked(mark: string): number[] {
  const ids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return ids.filter((id) => environmentOf(id).includes(mark)).map(Number);
}

function environmentOf(id: string): string {
  try {
    const { state } = /^\d+ \(.*\) (?<state>\w)/s.exec(readFileSync(`/proc/${id}/stat`, 'utf8'))!
      .groups as { state: string };
    return state === 'Z' ? '' : readFileSync(`/proc/${id}/environ`, 'latin1');
  } catch {
    return ''; // gone meanwhile, or somebody else's
  }
}

const scratchDirectories: string[] = [];

/** A directory that is removed at the end of the run. */
export function scratchDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'tunstack-e2e-'));
  scratchDirectories.push(directory);
  return directory;
}

process.once('exit', () => {
  for (const directory of scratchDirectories) {
    if (existsSync(directory)) rmSync(directory, { recursive: true, force: true });
  }
});
