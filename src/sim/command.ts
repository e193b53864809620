/**
 * What `npm run sim` does: runs of the simulator with a line each, fuzzers with a line now and
 * then, the table. Prints through what it is given and reads no clock of its own, so that tests can
 * run it. A failing run prints the command that replays it, smaller if it can be made so.
 */
import { HELP, parseCommandLine, type SimOptions } from './command-line.js';
import { Coverage } from './coverage.js';
import { fuzzHostileThread } from './fuzz/hostile-thread.js';
import { fuzzHttp } from './fuzz/http.js';
import { fuzzPackets, type PacketFuzzResult } from './fuzz/packets.js';
import { table } from './netsim.js';
import { formatParameters, parametersOf, type SimParameters } from './parameters.js';
import { type Outcome, runOnce, shrink } from './shrink.js';
import type { RunResult } from './world.js';

/** Where it prints, and milliseconds since any start. */
export interface SimIo {
  out(text: string): void;
  err(text: string): void;
  clockMs(): number;
}

const EXIT_OK = 0;
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
/** Between two lines of progress, ms. */
const PROGRESS_MS = 5000;

/** Runs the command line; the exit code. */
export function runSim(argv: readonly string[], io: SimIo): number {
  const options = parseCommandLine(argv);
  if (typeof options === 'string') {
    io.err(`sim: ${options}\n${HELP}`);
    return EXIT_USAGE;
  }
  if (options.help) {
    io.out(HELP);
    return EXIT_OK;
  }
  if (options.table) {
    for (const line of table()) io.out(`${line}\n`);
    return EXIT_OK;
  }
  return options.fuzz === null ? runSeeds(options, io) : runFuzz(options, io);
}

/** Sums over all runs. */
class Sums {
  runs = 0;
  failed = 0;
  packets = 0;
  lost = 0;
  connections = 0;
  bytes = 0;
  checks = 0;
  /** The run that took longest, ms of the clock. */
  slowestSeed = 0;
  slowestMs = 0;

  add(result: RunResult): void {
    this.packets += result.packets;
    this.lost += result.lost;
    this.connections += result.connections;
    this.bytes += result.bytes;
    this.checks += result.checks;
  }

  time(seed: number, ms: number): void {
    if (ms <= this.slowestMs) return;
    this.slowestMs = Math.round(ms);
    this.slowestSeed = seed;
  }
}

function runSeeds(options: SimOptions, io: SimIo): number {
  const sums = new Sums();
  const coverage = new Coverage();
  const begun = io.clockMs();
  let told = begun;
  for (let i = 0; i < options.runs; i++) {
    const parameters = { ...parametersOf(options.seed + i), ...options.overrides };
    const log = options.verbose && options.runs === 1 ? io.err : null;
    const startMs = io.clockMs();
    const outcome = runOnce(parameters, log && ((line) => log(`${line}\n`)), coverage);
    sums.time(parameters.seed, io.clockMs() - startMs);
    sums.runs++;
    if (outcome.ok) sums.add(outcome.result);
    else sums.failed++;
    tell(options, io, parameters, outcome);
    if (io.clockMs() - told < PROGRESS_MS || options.json) continue;
    told = io.clockMs();
    io.err(`${sums.runs} runs, ${sums.failed} failed\n`);
  }
  const perSecond = Math.round((sums.runs * 1000) / Math.max(1, io.clockMs() - begun));
  if (options.coverage) tellCoverage(options, io, coverage);
  if (options.json) io.out(`${JSON.stringify({ ...sums, perSecond })}\n`);
  else {
    const what = `${sums.connections} connections, ${sums.packets} packets, ${sums.lost} lost`;
    io.out(`${what}, ${sums.bytes} bytes, ${sums.checks} checks, ${perSecond} runs/s\n`);
    io.out(`the slowest: seed ${sums.slowestSeed}, ${sums.slowestMs} ms\n`);
    io.out(`${sums.runs - sums.failed} passed, ${sums.failed} failed\n`);
  }
  return sums.failed === 0 ? EXIT_OK : EXIT_FAILED;
}

function tellCoverage(options: SimOptions, io: SimIo, coverage: Coverage): void {
  if (options.json) io.out(`${JSON.stringify({ coverage })}\n`);
  else for (const line of coverage.lines()) io.out(`${line}\n`);
}

function tell(options: SimOptions, io: SimIo, parameters: SimParameters, outcome: Outcome): void {
  const replay = `npm run sim -- ${formatParameters(parameters)}`;
  const { seed } = parameters;
  if (outcome.ok) {
    const { digest } = outcome.result;
    if (options.json) io.out(`${JSON.stringify({ seed, ok: true, ...outcome.result })}\n`);
    else if (options.runs === 1) io.out(`${replay}\ndigest ${digest.toString(16)}\n`);
    return;
  }
  const smaller = options.shrink ? shrink(parameters, outcome.kind) : parameters;
  const shrunk = `npm run sim -- ${formatParameters(smaller)}`;
  const { kind, message } = outcome;
  if (options.json) {
    io.out(`${JSON.stringify({ seed, ok: false, kind, message, replay, shrunk })}\n`);
    return;
  }
  io.out(`FAILED ${message}\n  replay: ${replay}\n`);
  if (smaller === parameters) return;
  const last = runOnce(smaller);
  io.out(`  shrunk: ${shrunk}\n${last.ok ? '' : `  ${last.message}\n`}`);
}

/** The sums; what packets have reached goes before them, unless it is to be read by a program. */
function tellPackets(result: PacketFuzzResult, io: SimIo, json: boolean): object {
  if (json) return result;
  const { coverage, ...sums } = result;
  for (const line of coverage.lines()) io.out(`${line}\n`);
  return sums;
}

function runFuzz({ fuzz, seed, runs, json }: SimOptions, io: SimIo): number {
  const begun = io.clockMs();
  let told = begun;
  const report = (result: object): void => {
    if (io.clockMs() - told < PROGRESS_MS) return;
    told = io.clockMs();
    if (!json) io.err(`${JSON.stringify({ ...result, coverage: undefined })}\n`);
  };
  try {
    let result: object;
    if (fuzz === 'packets') result = tellPackets(fuzzPackets(seed, runs, report), io, json);
    else if (fuzz === 'threads') result = fuzzHostileThread(seed, runs, io.clockMs, report);
    else result = fuzzHttp(seed, runs, report);
    const perSecond = Math.round((runs * 1000) / Math.max(1, io.clockMs() - begun));
    io.out(`${JSON.stringify({ fuzz, seed, ok: true, ...result, perSecond })}\n`);
    return EXIT_OK;
  } catch (error) {
    const { message, stack } = error as Error;
    if (json) io.out(`${JSON.stringify({ fuzz, seed, ok: false, message })}\n`);
    else io.out(`FAILED npm run sim -- ${message}\n${stack}\n`);
    return EXIT_FAILED;
  }
}
