/**
 * The threads of one `serve` and what becomes of them: the order that each gets, who is started
 * again after a failure and when, who is told to take no new connections, and how all leave. The
 * stack belongs to serve-master.ts; starting and hearing a thread is worker-pool.ts's.
 *
 * A thread that ends without having been asked to has failed, whatever its exit code. Its accepted
 * connections are reset, its listeners close (with net.ipv4.tcp_migrate_req=1 the group takes over
 * what they had queued or half open), and it is started again after a back-off, for ever: the stack
 * outlives the last worker. A worker that was drained comes back drained.
 */
import type { StackHandle } from '../socket/open.js';
import { EFD_NONBLOCK } from '../socket/uapi/constants.js';
import { monotonicOffsetMs } from '../socket/uapi/monotonic.js';
import { Backoff } from './backoff.js';
import { FailedError } from './command.js';
import { DispatchQueues, GONE, TAKES, TAKES_NONE } from './demo-server/dispatch-queue.js';
import { makeListeners } from './demo-server/listeners.js';
import { GRACE_MS } from './demo-server/server-loop.js';
import {
  ACTIVE,
  DOWN,
  DRAIN,
  RESTARTS,
  STATE,
  THREAD,
  WorkerCounters,
} from './demo-server/worker-counters.js';
import { finishHandshakes } from './handshakes.js';
import { HungWorkers } from './hung-workers.js';
import type { ServeOptions } from './serve-options.js';
import type { WorkerOrder } from './worker-message.js';
import { type PoolThread, type Start, WorkerPool, workerThreads } from './worker-pool.js';

/** After the workers' own grace period: then they are ended. */
const EXTRA_GRACE_MS = 1000;
/** The acceptor has nothing to finish. */
const ACCEPTOR_GRACE_MS = 1000;
/** How often workers are looked at. */
const LOOK_MS = 1000;
const ONE: Uint8Array = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);

/** A place in the crew, held by one thread after the other. */
interface Post {
  readonly name: string;
  /** Number of the worker, -1 = the acceptor. */
  readonly worker: number;
  readonly drainFd: number;
  readonly backoff: Backoff;
  thread: PoolThread | null;
  /** When its loop began to run, NaN while it does not. */
  readyAtMs: number;
  /** Until it is started again. */
  timer: NodeJS.Timeout | null;
  failures: number;
  connectionsReset: number;
  lastFailure: string;
}

/** What the summary says about a thread that failed. */
export interface Failure {
  /** `worker 2` or `acceptor`. */
  name: string;
  /** null = the acceptor. */
  worker: number | null;
  times: number;
  /** Open connections that were reset with it, over all times. */
  connections: number;
  /** Message of the last failure. */
  last: string;
}

export interface CrewParts {
  options: ServeOptions;
  handle: StackHandle;
  /** Offer /debug/throw. */
  debug: boolean;
  /** A line for people about what happens. */
  say(line: string): void;
}

export class Crew {
  readonly counters: WorkerCounters;
  /** Control words of the stack. */
  readonly ctl: Int32Array;
  private readonly parts: CrewParts;
  private readonly pool: WorkerPool;
  private readonly posts: Post[] = [];
  private readonly queues: DispatchQueues | null;
  /** reuseport, inherit: one per worker; shared and dispatch: the one; self: none. */
  private readonly listeners: number[];
  private readonly stopFd: number;
  private readonly acceptorStopFd: number;
  private readonly rosterFd: number;
  private readonly wakeFds: number[];
  /** Everybody has been up once: who ends from now on is started again. */
  private running = false;
  private readonly hung: HungWorkers;
  private watch: NodeJS.Timeout | null = null;
  private stopping = false;

  /** Makes what the threads share, the listeners among it. Throws FailedError. */
  constructor(parts: CrewParts) {
    const { accept, setup, workers, port, backlog, select } = parts.options;
    this.parts = parts;
    this.ctl = parts.handle.ctl;
    this.hung = new HungWorkers(this.ctl, parts.say);
    this.pool = new WorkerPool({ gone: (thread) => this.gone(thread) }, starter(parts));
    const dispatch = accept === 'dispatch';
    const count = accept !== 'reuseport' ? 1 : setup === 'inherit' ? workers : 0;
    this.counters = new WorkerCounters(workers);
    this.queues = dispatch ? new DispatchQueues(workers) : null;
    const { sys } = parts.handle;
    this.listeners = makeListeners(sys, port, backlog, count, accept === 'reuseport', select);
    this.stopFd = this.eventfd();
    this.acceptorStopFd = dispatch ? this.eventfd() : -1;
    this.rosterFd = dispatch ? this.eventfd() : -1;
    this.wakeFds = dispatch ? Array.from({ length: workers }, () => this.eventfd()) : [];
    for (let worker = 0; worker < workers; worker++) this.addPost(`worker ${worker}`, worker);
    if (dispatch) this.addPost('acceptor', -1);
  }

  /**
   * Starts everybody. Workers that listen for themselves are started one after the other, so that
   * slot i of the group is worker i. Throws FailedError when somebody cannot start.
   */
  async start(): Promise<void> {
    for (const post of this.posts) {
      const thread = this.hire(post);
      if (this.parts.options.setup === 'self') await becomesReady(thread);
    }
    for (const { thread } of this.posts) if (thread !== null) await becomesReady(thread);
    this.running = true;
    this.watch = setInterval(() => this.lookForHung(), LOOK_MS).unref();
    // Who was up, and failed before the others were.
    for (const post of this.posts) if (post.thread === null) this.startAgain(post, '', 0);
  }

  /** Stops listening, lets handshakes and connections finish, ends the threads. */
  async leave(): Promise<void> {
    this.letGo();
    const { sys } = this.parts.handle;
    const rows = this.parts.handle.sockets().filter(({ state }) => state === 'LISTEN');
    await finishHandshakes(
      sys,
      rows.map(({ fd }) => fd),
      pause,
    );
    const acceptor = this.posts.find((post) => post.worker < 0)?.thread;
    if (acceptor) {
      sys.write(this.acceptorStopFd, ONE);
      await Promise.race([acceptor.exited, pause(ACCEPTOR_GRACE_MS)]);
    }
    sys.write(this.stopFd, ONE);
    if (this.parts.options.accept !== 'reuseport') {
      // The one listener is nobody's: closed as soon as none of the workers accepts from it any
      // more.
      const all = Promise.all(this.pool.threads.map((thread) => thread.draining));
      void all.then(() => sys.close(this.listeners[0]!));
    }
    await this.pool.allExited(GRACE_MS + EXTRA_GRACE_MS);
    await this.pool.terminate();
  }

  /** Ends the threads as they are. */
  async terminate(): Promise<void> {
    this.letGo();
    await this.pool.terminate();
  }

  /** From now on nobody is started again, and nothing is said about those who end. */
  letGo(): void {
    this.stopping = true;
    if (this.watch !== null) clearInterval(this.watch);
    for (const post of this.posts) if (post.timer !== null) clearTimeout(post.timer);
  }

  failures(): Failure[] {
    const failed = this.posts.filter((post) => post.failures > 0);
    return failed.map(({ name, worker, failures, connectionsReset, lastFailure }) => ({
      name,
      worker: worker < 0 ? null : worker,
      times: failures,
      connections: connectionsReset,
      last: lastFailure,
    }));
  }

  /** Does `worker` take new connections, or will it when it is back? */
  wanted(worker: number): boolean {
    return this.counters.row(worker)[DRAIN] === 0;
  }

  /** Has `worker` take new connections, or none, from now on: also after a failure. */
  want(worker: number, connections: boolean): void {
    this.counters.row(worker)[DRAIN] = connections ? 0 : 1;
    const { thread, drainFd } = this.posts[worker]!;
    if (thread !== null) this.queues?.setPart(worker, connections ? TAKES : TAKES_NONE);
    this.tellAcceptor();
    this.parts.handle.sys.write(drainFd, ONE);
  }

  /** Model A: connections that wait in the queue of `worker`. */
  waiting(worker: number): number {
    return this.queues?.length(worker) ?? 0;
  }

  private eventfd(): number {
    const fd = this.parts.handle.sys.eventfd(0, EFD_NONBLOCK);
    if (fd < 0) throw new FailedError(`eventfd failed with errno ${-fd}`, '');
    return fd;
  }

  private addPost(name: string, worker: number): void {
    this.posts.push({
      name,
      worker,
      drainFd: worker < 0 ? -1 : this.eventfd(),
      backoff: new Backoff(),
      thread: null,
      readyAtMs: Number.NaN,
      timer: null,
      failures: 0,
      connectionsReset: 0,
      lastFailure: '',
    });
  }

  /** Starts a thread for the post. Throws what a stack or a machine that has no more says. */
  private hire(post: Post): PoolThread {
    const { handle } = this.parts;
    const shared = handle.share();
    if (post.worker >= 0) this.counters.row(post.worker)[THREAD] = shared.thread + 1;
    let thread: PoolThread;
    try {
      thread = this.pool.start(this.order(post, shared));
    } catch (error) {
      handle.threadGone(shared.thread);
      throw error;
    }
    post.thread = thread;
    void thread.ready.then((up) => {
      if (up && post.thread === thread) this.isUp(post);
    });
    return thread;
  }

  private order(post: Post, shared: WorkerOrder['shared']): WorkerOrder {
    const { options, debug, handle } = this.parts;
    const { accept } = options;
    const acceptor = post.worker < 0;
    const fromQueue = accept === 'dispatch' && !acceptor;
    // The listeners that were made beforehand are for the first threads; a later one makes its own,
    // so that it is in the group only while somebody is there to accept.
    const own = accept === 'reuseport';
    const listenFd = own && this.running ? -1 : (this.listeners[own ? post.worker : 0] ?? -1);
    return {
      role: acceptor ? 'acceptor' : 'worker',
      shared,
      worker: post.worker,
      workers: options.workers,
      counters: this.counters.shared,
      listenFd: fromQueue ? -1 : listenFd,
      own,
      port: options.port,
      backlog: options.backlog,
      select: options.select,
      stopFd: acceptor ? this.acceptorStopFd : this.stopFd,
      drainFd: post.drainFd,
      queues: this.queues?.shared ?? null,
      wakeFds: this.wakeFds,
      rosterFd: this.rosterFd,
      queueOwner: handle.threadNumber + 1,
      services: options.services,
      root: options.root,
      strace: options.strace,
      profile: options.profile,
      debug,
    };
  }

  private isUp(post: Post): void {
    const { worker } = post;
    post.readyAtMs = performance.now();
    if (worker >= 0) this.queues?.setPart(worker, this.wanted(worker) ? TAKES : TAKES_NONE);
    this.tellAcceptor();
    if (post.failures > 0 && !this.stopping) {
      this.parts.say(`tunstack: ${post.name} is back${this.place(post)}`);
    }
  }

  /** ` (slot 3 of 4)` of the worker's listener, ` (drained)`, or nothing. */
  private place({ worker, thread }: Post): string {
    if (worker < 0 || this.parts.options.accept !== 'reuseport') return '';
    if (!this.wanted(worker)) return ' (drained)';
    const { port } = this.parts.options;
    const mine = thread!.order.shared.thread;
    const listener = this.parts.handle
      .sockets()
      .find((row) => row.state === 'LISTEN' && row.thread === mine && row.local.port === port);
    return listener === undefined ? '' : ` (slot ${listener.slot} of ${listener.group})`;
  }

  private gone(thread: PoolThread): void {
    const { worker, shared } = thread.order;
    const post = this.posts.find((candidate) => candidate.thread === thread)!;
    post.thread = null;
    let open = 0;
    if (worker >= 0) {
      const row = this.counters.row(worker);
      open = row[ACTIVE]!;
      row[ACTIVE] = row[THREAD] = 0;
      if (!this.stopping) row[STATE] = DOWN;
      this.queues?.setPart(worker, GONE);
    }
    this.hung.forget(shared.thread);
    this.parts.handle.threadGone(shared.thread); // resets what it has left open
    this.tellAcceptor();
    if (this.stopping) return;
    const { failure } = thread;
    const why = failure?.message ?? `it ended by itself, with exit code ${thread.exitCode}`;
    post.failures++;
    post.connectionsReset += open;
    post.lastFailure = why;
    if (this.running) this.startAgain(post, failure?.stack ?? '', open);
  }

  /** @param open connections that were reset with it */
  private startAgain(post: Post, trace: string, open: number): void {
    const lifeMs = performance.now() - post.readyAtMs;
    post.readyAtMs = Number.NaN;
    const delayMs = post.backoff.failed(lifeMs);
    const lost =
      post.worker < 0 ? '' : `; its ${open} connection${open === 1 ? ' was' : 's were'} reset`;
    const again = `starting again in ${delayMs / 1000} s`;
    const { say } = this.parts;
    say(`tunstack: ${post.name} failed: ${post.lastFailure}${lost}; ${again}`);
    for (const line of trace.split('\n')) if (/^\s+at /.test(line)) say(line);
    post.timer = setTimeout(() => {
      post.timer = null;
      this.rehire(post);
    }, delayMs);
  }

  private rehire(post: Post): void {
    if (post.worker >= 0) this.counters.row(post.worker)[RESTARTS]!++;
    try {
      this.hire(post);
    } catch (error) {
      post.failures++;
      post.lastFailure = error instanceof Error ? error.message : String(error);
      this.startAgain(post, '', 0);
    }
  }

  private lookForHung(): void {
    const nowMs = performance.now() + monotonicOffsetMs();
    for (const { thread, name, readyAtMs } of this.posts) {
      if (thread === null || Number.isNaN(readyAtMs)) continue;
      this.hung.look(thread.order.shared.thread, name, nowMs);
    }
  }

  /** Model A: somebody has come, gone, or been told to take none. */
  private tellAcceptor(): void {
    if (this.rosterFd >= 0) this.parts.handle.sys.write(this.rosterFd, ONE);
  }
}

const WORKER = new URL('./worker.js', import.meta.url);

/** With --inline worker i is a program in the stack thread of queue i; an acceptor never is. */
function starter({ options, handle }: CrewParts): Start {
  const threads = workerThreads();
  if (!options.inline) return threads;
  return (order, name) =>
    order.role === 'worker'
      ? handle.runInline(WORKER, { data: order, queue: order.worker })
      : threads(order, name);
}

async function becomesReady(thread: PoolThread): Promise<void> {
  if (await thread.ready) return;
  const why = thread.failure?.message ?? 'it ended';
  throw new FailedError(`${thread.name} could not start: ${why}`, '');
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds).unref();
  });
}
