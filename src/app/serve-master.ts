/**
 * The master of `serve`, in nginx's sense: opens the stack, has its crew (crew.ts) serve, answers
 * on the control socket, and takes everything down again. It serves nobody itself.
 */
import { enterCommand } from '../device/rootless.js';
import { openStack, type StackHandle } from '../socket/open.js';
import { EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, type Io } from './command.js';
import type { ControlFields } from './control-protocol.js';
import { defaultControlPath } from './control-protocol.js';
import { type ControlAnswers, ControlServer, isLive } from './control-server.js';
import { Crew } from './crew.js';
import { type HashFacts, hashFacts, resourcesOf, stackStats } from './demo-server/stack-view.js';
import { type DrainParts, drainStatus, orderDrain } from './drain-orders.js';
import { explainRunning } from './explain.js';
import { banner, type Running, readyEvent, summarize, summaryLines } from './reports.js';
import type { ServeOptions } from './serve-options.js';
import { listSockets, type ShownSocket, shownSockets } from './socket-table.js';
import { StopSignals } from './stop-signals.js';
import { TraceHub } from './trace-hub.js';

export class ServeMaster {
  private readonly options: ServeOptions;
  private readonly io: Io;
  private readonly signals: StopSignals;
  private handle: StackHandle | null = null;
  private control: ControlServer | null = null;
  private crew: Crew | null = null;
  private readonly startedMs: number = performance.now();
  /** Resolves with the reason when there is nothing left to serve with. */
  private readonly broken: Promise<string>;
  private break: (reason: string) => void = () => {};

  constructor(options: ServeOptions, io: Io) {
    this.options = options;
    this.io = io;
    this.signals = new StopSignals(() => this.leaveAtOnce());
    this.broken = new Promise((resolve) => {
      this.break = resolve;
    });
  }

  /**
   * From opening to summary. @returns the exit code. Throws what openStack throws, and FailedError
   */
  async run(): Promise<number> {
    const unlink = (): void => this.control?.close();
    process.once('exit', unlink);
    try {
      const { handle, crew } = await this.start();
      const reason = await Promise.race([this.signals.asked.then(() => null), this.broken]);
      if (reason !== null) this.io.err(`tunstack: ${reason}`);
      await crew.leave();
      this.report(handle, crew);
      return reason === null ? EXIT_OK : EXIT_FAILED;
    } finally {
      await this.crew?.terminate();
      this.control?.close();
      await this.handle?.close();
      this.signals.close();
      process.off('exit', unlink);
    }
  }

  private async start(): Promise<{ handle: StackHandle; crew: Crew }> {
    const { options, io } = this;
    const handle = await openStack({
      tun: options.tun,
      address: options.address,
      peer: options.peer,
      mtu: options.mtu,
      offload: options.offload,
      profile: options.profile,
      sysctl: options.sysctl,
      spinUs: options.spinUs,
      queues: options.queues,
      ...(options.pcap === null ? {} : { pcap: options.pcap }),
    });
    this.handle = handle;
    handle.onFatal = (error) => this.break(error.message);
    handle.onWarning = (message) => io.err(`tunstack: ${message}`);
    const debug = io.env['TUNSTACK_TEST'] === '1';
    const crew = new Crew({ options, handle, debug, say: (line) => io.err(line) });
    this.crew = crew;
    await crew.start();
    const control = await this.openControl(handle, crew);
    this.control = control;
    this.announce(handle, crew, control);
    return { handle, crew };
  }

  private async openControl(handle: StackHandle, crew: Crew): Promise<ControlServer> {
    const { env } = this.io;
    let path = this.options.control ?? defaultControlPath(env);
    if (this.options.control === null && (await isLive(path))) {
      // Nobody asked for this very path: another stack keeps it.
      path = defaultControlPath(env, `tunstack-${process.pid}.sock`);
      this.io.err(`tunstack: another stack has the usual control socket; this one's is ${path}`);
    }
    return await ControlServer.open(path, this.answers(handle, crew));
  }

  private answers(handle: StackHandle, crew: Crew): ControlAnswers {
    const { accept, port } = this.options;
    const sockets = (): ShownSocket[] => shownSockets(handle.sockets(), crew.counters);
    const parts: DrainParts = { crew, sys: handle.sys, accept, port, sockets };
    const { questions, tun } = handle;
    const hub = new TraceHub({ questions, tun, roster: crew.counters });
    return {
      trace: (request: ControlFields) => hub.join(request),
      stats: () => ({
        ...stackStats(crew.counters.stats(), this.hash(crew), sockets(), handle.counters()),
        resources: resourcesOf(crew.ctl),
      }),
      sockets: (request: ControlFields) => listSockets(handle, crew.counters, request),
      explain: (request: ControlFields) => explainRunning(handle.questions, crew.counters, request),
      counters: () => handle.counters(),
      drain: (request: ControlFields) => orderDrain(parts, request),
      'drain-status': (request: ControlFields) => drainStatus(parts, request),
    };
  }

  private hash(crew: Crew): HashFacts {
    return hashFacts(crew.ctl, this.options.profile);
  }

  private announce(handle: StackHandle, crew: Crew, control: ControlServer): void {
    const running: Running = {
      tun: handle.tun,
      address: handle.address,
      peer: handle.peer,
      mtu: handle.mtu,
      hash: this.hash(crew),
      control: control.path,
      pid: process.pid,
      steering: handle.steering,
      enter: this.io.env['TUNSTACK_ROOTLESS'] === '1' ? enterCommand(process.pid) : '',
    };
    if (this.options.json) this.io.out(JSON.stringify(readyEvent(this.options, running)));
    else for (const line of banner(this.options, running)) this.say(line);
  }

  /** A line for people: stdout, unless packets go there. */
  private say(line: string): void {
    if (this.options.pcap === '-') this.io.err(line);
    else this.io.out(line);
  }

  private report(handle: StackHandle, crew: Crew): void {
    const summary = summarize(
      crew.counters.stats(),
      handle.counters(),
      (performance.now() - this.startedMs) / 1000,
      crew.failures(),
    );
    if (this.options.json) this.io.out(JSON.stringify(summary));
    else for (const line of summaryLines(summary)) this.say(line);
  }

  /**
   * A second SIGINT: the stack thread is told (it may sleep in poll, which a process cannot
   * interrupt) and that is all.
   */
  private leaveAtOnce(): void {
    this.crew?.letGo();
    this.control?.close();
    const leave = (): never => process.exit(EXIT_INTERRUPTED);
    setTimeout(leave, AT_ONCE_MS);
    (this.handle?.close() ?? Promise.resolve()).then(leave, leave);
  }
}

const AT_ONCE_MS = 250;
