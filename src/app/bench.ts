/**
 * `tunstack bench MEASURE…`: this stack beside Node on the kernel's stack, measured on this machine
 * in one run, in turn. Reads the command line, enters a network namespace of its own where a
 * measure needs one, runs the probes (bench/), and prints what they say.
 */
import { Children } from './bench/children.js';
import { type Machine, machineFacts, machineLine } from './bench/machine.js';
import type { AloneProbe, Bench, PairProbe, Row } from './bench/measure.js';
import { isInside, prepareNamespace, requireMachine, runInside } from './bench/namespace.js';
import { BENCH_FLAGS, type BenchOptions, parseBenchOptions } from './bench/options.js';
import { runPairs } from './bench/pairs.js';
import { GROUPS, PROBES, probesFor } from './bench/registry.js';
import { goalText, tableLines } from './bench/report.js';
import { type Command, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, type Io } from './command.js';
import { flagHelp } from './flags.js';
import { alignColumns } from './socket-table.js';
import { StopSignals } from './stop-signals.js';

const ABOUT = `MEASURE is a name of --list, a group (${Object.keys(GROUPS).join(', ')}) or all (also
what no MEASURE means: some 15 minutes).
Each pair is a sample of ours and one of Node's on the kernel's stack behind a veth pair, the order
changing; the figure is the median, the ratio ours / kernel that of the medians, in brackets the
lowest and highest (of the ratio: of the pairs). Everything runs in network namespaces of its own.`;

function listLines(): string[] {
  const rows = PROBES.flatMap(({ figures }) =>
    figures.map(({ name, unit, goal, about }) => [name, unit, goalText(goal), about]),
  );
  return alignColumns([['measure', 'unit', 'goal', 'what'], ...rows], []);
}

/** The probes that a command line asks for, one after the other. */
class BenchRun {
  private readonly options: BenchOptions;
  private readonly io: Io;
  private readonly children: Children = new Children();
  private readonly signals: StopSignals = new StopSignals(() => process.exit(EXIT_INTERRUPTED));
  private readonly rows: Row[] = [];
  private interrupted = false;
  private failures = 0;

  constructor(options: BenchOptions, io: Io) {
    this.options = options;
    this.io = io;
  }

  /** @returns the exit code */
  async run(): Promise<number> {
    const stopped = this.signals.asked.then(() => {
      this.interrupted = true;
    });
    try {
      await Promise.race([this.all(), stopped]);
    } finally {
      await this.children.killAll();
      this.signals.close();
    }
    if (this.interrupted) {
      this.io.err('tunstack: bench: interrupted; its processes and namespaces are gone');
      return EXIT_INTERRUPTED;
    }
    if (!this.options.json) for (const line of this.table()) this.io.out(line);
    return this.failures === 0 ? EXIT_OK : EXIT_FAILED;
  }

  private async all(): Promise<void> {
    for (const probe of probesFor(this.options.names)) {
      if (this.interrupted) return;
      if (probe.kind === 'pair') await this.pairs(probe);
      else this.alone(probe);
    }
  }

  private alone(probe: AloneProbe): void {
    const { sizes, quick, json, names } = this.options;
    const machine = machineFacts(sizes);
    const said = probe.run(sizes, quick);
    const wanted = (row: { measure?: string }): boolean => names.has(row.measure ?? '');
    this.rows.push(...said.rows.filter(wanted));
    if (json) {
      for (const row of said.json.filter(wanted)) this.io.out(JSON.stringify({ ...row, machine }));
    } else for (const line of said.lines) this.io.out(line);
  }

  /** A probe that fails does not take the others' figures along. */
  private async pairs(probe: PairProbe): Promise<void> {
    const { sizes, json, names } = this.options;
    const say = (line: string): void => this.io.err(`bench: ${line}`);
    const bench: Bench = { sizes, children: this.children, say };
    const machine = machineFacts(sizes);
    try {
      const rows = await runPairs(probe, bench);
      for (const row of rows.filter(({ measure }) => names.has(measure))) {
        this.rows.push(row);
        if (json) this.io.out(JSON.stringify({ ...row, machine }));
      }
    } catch (error) {
      if (this.interrupted) return;
      this.failures++;
      const measure = probe.figures[0]!.name;
      this.io.err(`tunstack: bench: ${measure} failed: ${(error as Error).message}`);
      if (json) this.io.out(JSON.stringify({ measure, error: (error as Error).message }));
    } finally {
      await this.children.killAll();
    }
  }

  private table(): string[] {
    if (this.rows.length === 0) return [];
    const machine: Machine = machineFacts(this.options.sizes);
    return ['', machineLine(machine), '', ...tableLines(this.rows)];
  }
}

export const bench: Command = {
  name: 'bench',
  summary: "measures on this machine, beside the kernel's own stack",
  async run(argv: readonly string[], io: Io): Promise<number> {
    const options = parseBenchOptions(argv);
    if (options.help) {
      const usage = `tunstack bench MEASURE… [FLAGS]: ${bench.summary}`;
      io.out(`${usage}\n\n${flagHelp(BENCH_FLAGS)}\n\n${ABOUT}`);
      return EXIT_OK;
    }
    if (options.list) {
      for (const line of listLines()) io.out(line);
      return EXIT_OK;
    }
    const needsNetwork = probesFor(options.names).some(
      (probe) => probe.kind === 'pair' || probe.needsNetwork,
    );
    if (needsNetwork && !isInside()) {
      requireMachine();
      return runInside(argv);
    }
    if (needsNetwork) prepareNamespace(options.sizes.congestion);
    return new BenchRun(options, io).run();
  },
};
