/**
 * Workers that serve connections from real accept queues, in virtual time. Real: the handshake, the
 * lookup and the pick of a listener, the accept queues, the order of the waiters (host.ts,
 * wait-queue.ts). Simulated: the clock, how long a request takes, how long a woken worker needs to
 * run, the clients.
 *
 * A worker is the loop of the literature: accept one, serve it to its end, and again; an empty
 * queue sends it to sleep. In model A one acceptor takes every connection and hands it to the
 * workers in turn.
 */
import { assert } from '../net/assert.js';
import type { Selector } from '../reuseport/selector-request.js';
import { Agenda } from './agenda.js';
import { Dice } from './experiment.js';
import { LabHost } from './host.js';
import { WaitQueue, type WaitWay } from './wait-queue.js';

export interface ServiceOptions {
  readonly seed: number;
  /** A: one acceptor hands out. B: workers share a listener. C: a listener each. */
  readonly model: 'A' | 'B' | 'C';
  readonly workers: number;
  readonly wait: WaitWay;
  /** Null = Linux's hash. Model C only. */
  readonly selector?: Selector | null;
  readonly requests: number;
  /** Time of a request on its worker's CPU, µs. */
  readonly serviceUs: (dice: Dice) => number;
  /** From being woken to running, µs. */
  readonly wakeUs: number;
  /** A call of accept, successful or not, µs. */
  readonly acceptUs: number;
  readonly load: ClosedLoad | OpenLoad;
  /** Round trip of the link, µs; default 0. A handshake takes one before its third packet. */
  readonly rttUs?: number;
  /** When a request's time begins: at its SYN (default), or when the client is connected. */
  readonly timedFrom?: 'syn' | 'connected';
}

/** Clients that each wait for an answer before they ask again, on a new connection. */
export interface ClosedLoad {
  readonly clients: number;
  /** Between an answer and the client's next SYN, µs. */
  readonly turnaroundUs: (dice: Dice) => number;
}

/** Connections that come independently of each other at this mean distance, µs. */
export interface OpenLoad {
  readonly gapUs: number;
}

export interface ServiceResult {
  /** By request, in the order of their ends: from the client's SYN to the end of service, µs. */
  readonly timesUs: Float64Array;
  /** Connections served by each worker. */
  readonly shares: number[];
  /** Wake-ups, and how many accept() calls found nothing after one. */
  wakeUps: number;
  failedAccepts: number;
  /** SYNs that were not answered, and third packets of handshakes that were dropped. */
  synDrops: number;
  ackDrops: number;
  /** Longest accept queue of a listener. */
  queueMax: number;
  /** Share of the time that the busiest thread worked. */
  busiest: number;
}

/** Ephemeral ports as Linux's connect() takes them: even ones first, so 14,116 to a client. */
const FIRST_PORT = 32_768;
const PORTS = 14_116;
/** The client's kernel: first time-out of a SYN (RFC 6298 2.1), least RTO of Linux. */
const SYN_TIMEOUT_US = 1_000_000;
const RTO_MIN_US = 200_000;
/** 198.18.1.0: the clients' addresses are from here on. */
const CLIENT_NET = (198 << 24) | (18 << 16) | (1 << 8);

interface Worker {
  /** Its place among the workers; the acceptor of model A comes after them. */
  readonly number: number;
  readonly listener: number;
  served: number;
  busyUs: number;
  working: boolean;
  /** Model A: connections handed to it. */
  readonly handed: number[];
}

class Service {
  readonly result: ServiceResult;
  private readonly options: ServiceOptions;
  private readonly dice: Dice;
  private readonly host: LabHost;
  private readonly agenda: Agenda;
  private readonly listeners: readonly number[];
  private readonly workers: Worker[];
  private readonly acceptor: Worker | null;
  private readonly waiting: WaitQueue;
  /** When the connection from a client's port began, by address and port. */
  private readonly begun = new Map<number, number>();
  private asked = 0;
  private answered = 0;
  private nextWorker = 0;

  constructor(options: ServiceOptions) {
    this.options = options;
    this.dice = new Dice(options.seed ^ 0x5eed);
    this.host = new LabHost({ seed: options.seed });
    this.agenda = new Agenda(this.host.nowUs);
    this.listeners =
      options.model === 'C' ? this.host.listenGroup(options.workers) : [this.host.listen(false)];
    this.workers = Array.from({ length: options.workers }, (_, number) =>
      newWorker(number, this.listeners[number % this.listeners.length]!),
    );
    this.acceptor = options.model === 'A' ? newWorker(options.workers, this.listeners[0]!) : null;
    const waiters = this.acceptor === null ? this.workers : [this.acceptor];
    this.waiting = new WaitQueue(
      this.host,
      waiters.map((worker) => worker.listener),
      options.wait,
    );
    if (options.selector) this.host.select(this.listeners[0]!, options.selector);
    this.result = {
      timesUs: new Float64Array(options.requests),
      shares: [],
      wakeUps: 0,
      failedAccepts: 0,
      synDrops: 0,
      ackDrops: 0,
      queueMax: 0,
      busiest: 0,
    };
    for (let waiter = waiters.length - 1; waiter >= 0; waiter--) this.waiting.sleep(waiter);
  }

  run(): ServiceResult {
    const { load, requests } = this.options;
    const startUs = this.agenda.nowUs;
    if ('clients' in load) {
      for (let client = 0; client < load.clients; client++) {
        this.agenda.after(load.turnaroundUs(this.dice), () => this.ask(client));
      }
    } else {
      this.agenda.after(this.dice.exponential(load.gapUs), () => this.arrive(load.gapUs));
    }
    while (this.answered < requests && this.agenda.step());
    assert(this.answered === requests, 'the run ended before its last answer');
    const spentUs = this.agenda.nowUs - startUs;
    const all = this.acceptor === null ? this.workers : [...this.workers, this.acceptor];
    this.result.busiest = Math.max(...all.map((worker) => worker.busyUs)) / spentUs;
    this.result.shares.push(...this.workers.map((worker) => worker.served));
    return this.result;
  }

  /** Open load: one connection now, the next some time later. */
  private arrive(gapUs: number): void {
    if (this.asked >= this.options.requests) return;
    this.ask(this.asked & 0xff);
    this.agenda.after(this.dice.exponential(gapUs), () => this.arrive(gapUs));
  }

  /** A client's next request: a new connection from a port of its own. */
  private ask(client: number): void {
    if (this.asked >= this.options.requests) return;
    this.asked++;
    const address = (CLIENT_NET + client) | 0;
    const port = this.freePort(address);
    this.begun.set(keyOf(address, port), this.agenda.nowUs);
    this.sendSyn(address, port, SYN_TIMEOUT_US);
  }

  /** Again and again, at twice the distance each time, as the client's kernel does. */
  private sendSyn(address: number, port: number, timeoutUs: number): void {
    const isn = this.host.syn(this.agenda.nowUs, address, port);
    if (isn === null) {
      this.result.synDrops++;
      this.agenda.after(timeoutUs, () => this.sendSyn(address, port, timeoutUs * 2));
      return;
    }
    const { rttUs = 0 } = this.options;
    if (rttUs === 0) this.connected(address, port, isn);
    else this.agenda.after(rttUs, () => this.connected(address, port, isn));
  }

  private connected(address: number, port: number, isn: number): void {
    if (this.options.timedFrom === 'connected') {
      this.begun.set(keyOf(address, port), this.agenda.nowUs);
    }
    this.sendAck(address, port, isn, RTO_MIN_US);
  }

  /** The third packet, with the request behind it; the request is what the client repeats. */
  private sendAck(address: number, port: number, isn: number, rtoUs: number): void {
    if (!this.host.ack(this.agenda.nowUs, address, port, isn)) {
      this.result.ackDrops++;
      this.agenda.after(rtoUs, () => this.sendAck(address, port, isn, rtoUs * 2));
      return;
    }
    for (const waiter of this.waiting.takeWoken()) this.wake(waiter);
  }

  /** A random port of the client that has no connection at the moment. */
  private freePort(address: number): number {
    for (;;) {
      const port = FIRST_PORT + 2 * this.dice.below(PORTS);
      if (!this.begun.has(keyOf(address, port))) return port;
    }
  }

  private wake(waiter: number): void {
    this.result.wakeUps++;
    const worker = this.acceptor ?? this.workers[waiter]!;
    this.agenda.after(this.options.wakeUs, () => this.turn(worker, waiter, true));
  }

  /** One round of the loop: accept one and serve it, or sleep. */
  private turn(worker: Worker, waiter: number, woken: boolean): void {
    // A queue is longest just before somebody takes from it.
    const queued = this.host.queueLength(worker.listener);
    if (queued > this.result.queueMax) this.result.queueMax = queued;
    const fd = this.host.accept(worker.listener);
    if (fd < 0) {
      if (woken) this.result.failedAccepts++;
      worker.busyUs += this.options.acceptUs;
      worker.working = false;
      this.waiting.sleep(waiter);
      return;
    }
    if (this.acceptor !== null) {
      worker.busyUs += this.options.acceptUs;
      this.agenda.after(this.options.acceptUs, () => {
        this.handOut(fd);
        this.turn(worker, waiter, false);
      });
      return;
    }
    this.serve(worker, fd, () => this.turn(worker, waiter, false));
  }

  /** Model A: to the workers in turn. */
  private handOut(fd: number): void {
    const worker = this.workers[this.nextWorker]!;
    this.nextWorker = (this.nextWorker + 1) % this.workers.length;
    worker.handed.push(fd);
    if (worker.working) return;
    worker.working = true;
    this.result.wakeUps++;
    this.agenda.after(this.options.wakeUs, () => this.serveHanded(worker));
  }

  private serveHanded(worker: Worker): void {
    const fd = worker.handed.shift();
    if (fd === undefined) worker.working = false;
    else this.serve(worker, fd, () => this.serveHanded(worker));
  }

  private serve(worker: Worker, fd: number, then: () => void): void {
    const accepting = this.acceptor === null ? this.options.acceptUs : 0;
    const spentUs = accepting + this.options.serviceUs(this.dice);
    worker.working = true;
    worker.busyUs += spentUs;
    this.agenda.after(spentUs, () => {
      this.answer(worker, fd);
      then();
    });
  }

  private answer(worker: Worker, fd: number): void {
    const { load, requests } = this.options;
    const address = this.host.clientAddress(fd) | 0;
    const key = keyOf(address, this.host.clientPort(fd));
    if (this.answered < requests) {
      this.result.timesUs[this.answered++] = this.agenda.nowUs - this.begun.get(key)!;
      worker.served++;
    }
    this.begun.delete(key);
    this.host.close(this.agenda.nowUs, fd);
    if ('clients' in load) {
      this.agenda.after(load.turnaroundUs(this.dice), () => this.ask(address - CLIENT_NET));
    }
  }
}

function newWorker(number: number, listener: number): Worker {
  return { number, listener, served: 0, busyUs: 0, working: false, handed: [] };
}

function keyOf(address: number, port: number): number {
  return (address - CLIENT_NET) * 0x1_0000 + port;
}

/** Serves `options.requests` requests and tells how it went. */
export function serveRequests(options: ServiceOptions): ServiceResult {
  return new Service(options).run();
}
