/**
 * The master of `serve`, in nginx's sense: opens the stack, makes the listeners, starts the
 * workers, answers on the control socket, and takes everything down again. It serves nobody itself.
 */
import { enterCommand } from '../device/rootless.js';
import { openStack, type StackHandle } from '../socket/open.js';
import { EFD_NONBLOCK } from '../socket/uapi/constants.js';
import { EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, FailedError, type Io } from './command.js';
import { defaultControlPath } from './control-protocol.js';
import { ControlServer, isLive } from './control-server.js';
import { DispatchQueues } from './demo-server/dispatch-queue.js';
import { makeListeners } from './demo-server/listeners.js';
import { GRACE_MS } from './demo-server/server-loop.js';
import { type HashFacts, hashFacts, stackStats } from './demo-server/stack-view.js';
import { WorkerCounters } from './demo-server/worker-counters.js';
import { banner, type Running, readyEvent, summarize, summaryLines } from './reports.js';
import type { ServeOptions } from './serve-options.js';
import { type ShownSocket, shownSockets } from './socket-table.js';
import { StopSignals } from './stop-signals.js';
import type { WorkerOrder } from './worker-message.js';
import { type PoolThread, WorkerPool } from './worker-pool.js';

/** After the workers' own grace period: then they are ended. */
const EXTRA_GRACE_MS = 1000;
/** The acceptor has nothing to finish. */
const ACCEPTOR_GRACE_MS = 1000;
const ONE: Uint8Array = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);

/** What the threads share, made before the first is started. */
interface Plan {
  counters: WorkerCounters;
  queues: DispatchQueues | null;
  /** reuseport, inherit: one per worker; shared and dispatch: the one; self: none. */
  listeners: number[];
  stopFd: number;
  acceptorStopFd: number;
  wakeFds: number[];
}

export class ServeMaster {
  private readonly options: ServeOptions;
  private readonly io: Io;
  private readonly pool: WorkerPool;
  private readonly signals: StopSignals;
  private handle: StackHandle | null = null;
  private control: ControlServer | null = null;
  private plan: Plan | null = null;
  private readonly startedMs: number = performance.now();
  /** Failures are reported until this is set. */
  private stopping = false;
  /** Resolves with the reason when there is nothing left to serve with. */
  private readonly broken: Promise<string>;
  private break: (reason: string) => void = () => {};

  constructor(options: ServeOptions, io: Io) {
    this.options = options;
    this.io = io;
    this.signals = new StopSignals(() => this.leaveAtOnce());
    this.pool = new WorkerPool({
      failed: (thread, error) => this.threadFailed(thread, error),
      gone: (thread) => this.threadGone(thread),
    });
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
      await this.start();
      const reason = await Promise.race([this.signals.asked.then(() => null), this.broken]);
      if (reason !== null) this.io.err(`tunstack: ${reason}`);
      await this.drain();
      this.report();
      return reason === null ? EXIT_OK : EXIT_FAILED;
    } finally {
      this.stopping = true;
      await this.pool.terminate();
      this.control?.close();
      await this.handle?.close();
      this.signals.close();
      process.off('exit', unlink);
    }
  }

  private async start(): Promise<void> {
    const { options } = this;
    const handle = await openStack({
      tun: options.tun,
      address: options.address,
      peer: options.peer,
      mtu: options.mtu,
      offload: options.offload,
      profile: options.profile,
      sysctl: options.sysctl,
      ...(options.pcap === null ? {} : { pcap: options.pcap }),
    });
    this.handle = handle;
    handle.onFatal = (error) => this.break(error.message);
    const plan = this.makePlan(handle);
    this.plan = plan;
    await this.startThreads(handle, plan);
    const control = await this.openControl(handle, plan);
    this.control = control;
    this.announce(handle, control);
  }

  private makePlan(handle: StackHandle): Plan {
    const { accept, setup, workers, port, backlog } = this.options;
    const { sys } = handle;
    const dispatch = accept === 'dispatch';
    const count = accept !== 'reuseport' ? 1 : setup === 'inherit' ? workers : 0;
    const eventfd = (): number => {
      const fd = sys.eventfd(0, EFD_NONBLOCK);
      if (fd < 0) throw new FailedError(`eventfd failed with errno ${-fd}`, '');
      return fd;
    };
    return {
      counters: new WorkerCounters(workers),
      queues: dispatch ? new DispatchQueues(workers) : null,
      listeners: makeListeners(sys, port, backlog, count, accept === 'reuseport'),
      stopFd: eventfd(),
      acceptorStopFd: dispatch ? eventfd() : -1,
      wakeFds: dispatch ? Array.from({ length: workers }, eventfd) : [],
    };
  }

  /**
   * Workers that listen for themselves are started one after the other, so that slot i of the group
   * is worker i.
   */
  private async startThreads(handle: StackHandle, plan: Plan): Promise<void> {
    const { workers, accept, setup } = this.options;
    for (let worker = 0; worker < workers; worker++) {
      const thread = this.pool.start(this.order(handle, plan, worker));
      if (setup === 'self') await this.becomesReady(thread);
    }
    if (accept === 'dispatch') this.pool.start(this.order(handle, plan, -1));
    for (const thread of this.pool.threads) await this.becomesReady(thread);
  }

  private async becomesReady(thread: PoolThread): Promise<void> {
    if (await thread.ready) return;
    const why = thread.failure?.message ?? 'it ended';
    throw new FailedError(`${thread.name} could not start: ${why}`, '');
  }

  private order(handle: StackHandle, plan: Plan, worker: number): WorkerOrder {
    const { options } = this;
    const { accept } = options;
    const acceptor = worker < 0;
    const fromQueue = accept === 'dispatch' && !acceptor;
    const listenFd = plan.listeners[accept === 'reuseport' ? worker : 0] ?? -1;
    return {
      role: acceptor ? 'acceptor' : 'worker',
      shared: handle.share(),
      worker,
      workers: options.workers,
      counters: plan.counters.shared,
      listenFd: fromQueue ? -1 : listenFd,
      own: accept === 'reuseport',
      port: options.port,
      backlog: options.backlog,
      stopFd: acceptor ? plan.acceptorStopFd : plan.stopFd,
      queues: plan.queues?.shared ?? null,
      wakeFds: plan.wakeFds,
      services: options.services,
      root: options.root,
      strace: options.strace,
      profile: options.profile,
      debug: this.io.env['TUNSTACK_TEST'] === '1',
    };
  }

  private async openControl(handle: StackHandle, plan: Plan): Promise<ControlServer> {
    const answers = {
      stats: () => this.stats(handle, plan),
      sockets: () => this.sockets(handle),
      counters: () => handle.counters(),
    };
    const { env } = this.io;
    let path = this.options.control ?? defaultControlPath(env);
    if (this.options.control === null && (await isLive(path))) {
      // Nobody asked for this very path: another stack keeps it.
      path = defaultControlPath(env, `tunstack-${process.pid}.sock`);
      this.io.err(`tunstack: another stack has the usual control socket; this one's is ${path}`);
    }
    return await ControlServer.open(path, answers);
  }

  private stats(handle: StackHandle, plan: Plan): object {
    const rows = this.sockets(handle);
    return stackStats(plan.counters.stats(), this.hash(), rows, handle.counters());
  }

  private sockets(handle: StackHandle): ShownSocket[] {
    return shownSockets(handle.sockets(), this.options.workers);
  }

  private hash(): HashFacts {
    const { ctl } = this.pool.threads[0]!.order.shared;
    return hashFacts(new Int32Array(ctl), this.options.profile);
  }

  private announce(handle: StackHandle, control: ControlServer): void {
    const running: Running = {
      tun: handle.tun,
      address: handle.address,
      peer: handle.peer,
      mtu: handle.mtu,
      hash: this.hash(),
      control: control.path,
      pid: process.pid,
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

  private threadFailed(thread: PoolThread, error: Error): void {
    if (!this.stopping)
      this.io.err(`tunstack: ${thread.name} failed: ${error.stack ?? error.message}`);
  }

  private threadGone(thread: PoolThread): void {
    this.handle?.threadGone(thread.order.shared.thread); // resets what it has left open
    const serving = this.pool.alive.some((row) => row.order.role === 'worker');
    const accepting = thread.order.role !== 'acceptor';
    if (!this.stopping && (!serving || !accepting)) {
      this.break(accepting ? 'no worker is left' : 'the acceptor is gone: nothing can be accepted');
    }
  }

  /** Stop accepting, let connections finish, end the threads. */
  private async drain(): Promise<void> {
    this.stopping = true;
    const { handle, plan, pool } = this;
    if (handle === null || plan === null) return;
    const acceptor = pool.threads.find((thread) => thread.order.role === 'acceptor');
    if (acceptor?.alive) {
      handle.sys.write(plan.acceptorStopFd, ONE);
      await Promise.race([acceptor.exited, pause(ACCEPTOR_GRACE_MS)]);
    }
    handle.sys.write(plan.stopFd, ONE);
    if (this.options.accept !== 'reuseport') {
      // The one listener is nobody's: closed as soon as none of the workers accepts from it any
      // more.
      const all = Promise.all(pool.threads.map((thread) => thread.draining));
      void all.then(() => handle.sys.close(plan.listeners[0]!));
    }
    await pool.allExited(GRACE_MS + EXTRA_GRACE_MS);
    await pool.terminate();
  }

  private report(): void {
    const { handle, plan } = this;
    if (handle === null || plan === null) return;
    const failed = this.pool.threads.filter((thread) => thread.failure !== null);
    const summary = summarize(
      plan.counters.stats(),
      handle.counters(),
      (performance.now() - this.startedMs) / 1000,
      failed.map((thread) => thread.order.worker),
    );
    if (this.options.json) this.io.out(JSON.stringify(summary));
    else for (const line of summaryLines(summary)) this.say(line);
  }

  /**
   * A second SIGINT: the stack thread is told (it may sleep in poll, which a process cannot
   * interrupt) and that is all.
   */
  private leaveAtOnce(): void {
    this.stopping = true;
    this.control?.close();
    const leave = (): never => process.exit(EXIT_INTERRUPTED);
    setTimeout(leave, AT_ONCE_MS);
    (this.handle?.close() ?? Promise.resolve()).then(leave, leave);
  }
}

const AT_ONCE_MS = 250;

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds).unref();
  });
}
