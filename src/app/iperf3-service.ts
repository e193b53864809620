/**
 * iperf3's server as a protocol of the worker's event loop (demo-server/server-loop.ts): which
 * connection is the control connection of a test, which one of its streams, and which is told that
 * the server is busy. One test at a time. A connection is nobody's until its cookie is complete, so
 * that one that says nothing keeps nobody out.
 */
import { EAGAIN } from '../net/errno.js';
import { EPOLLIN, EPOLLRDHUP, SHUT_WR } from '../socket/uapi/constants.js';
import type { Connections, Protocol } from './demo-server/protocol.js';
import { ACCESS_DENIED, COOKIE_BYTES } from './iperf3-protocol.js';
import { listeningLines } from './iperf3-report.js';
import { READ_BYTES } from './iperf3-stream.js';
import { Iperf3Test, type Outcome, type TestEnv } from './iperf3-test.js';

/** How long a cookie may take, and how long a goodbye. */
export const COOKIE_MS = 10_000;
export const FAREWELL_MS = 2000;
/** Connections without a cookie yet, and such as are being said goodbye to. */
export const STRANGERS_MAX = 256;
/** Reads of a connection whose words are ignored, per event. */
const IGNORED_READS = 8;

/** What the service needs; the rest of a test's surroundings it makes itself. */
export interface ServiceEnv
  extends Omit<TestEnv, 'connections' | 'readBuffer' | 'farewell' | 'finished'> {
  port: number;
  oneOff: boolean;
  /** A test has ended. */
  finished: (outcome: Outcome) => void;
  /** There will be no more tests. */
  last: () => void;
}

interface Newcomer {
  cookie: Uint8Array;
  got: number;
  /** Place in the order of acceptance. */
  order: number;
  deadlineMs: number;
}

export class Iperf3Service implements Protocol {
  private readonly connections: Connections;
  private readonly env: ServiceEnv;
  private readonly testEnv: TestEnv;
  private readonly newcomers = new Map<number, Newcomer>();
  /** Connections to ignore, and until when, ms. */
  private readonly farewells = new Map<number, number>();
  private test: Iperf3Test | null = null;
  private accepted = 0;
  private tests = 0;
  private isOver = false;

  constructor(connections: Connections, env: ServiceEnv) {
    this.connections = connections;
    this.env = env;
    this.testEnv = {
      ...env,
      connections,
      readBuffer: new Uint8Array(READ_BYTES),
      farewell: (fd) => this.farewell(fd),
      finished: (outcome) => this.finished(outcome),
    };
    this.announce();
  }

  private announce(): void {
    if (this.env.json) return;
    for (const line of listeningLines(this.env.port, this.tests + 1)) this.env.say(line);
  }

  opened(fd: number): void {
    if (this.isOver || this.newcomers.size + this.farewells.size >= STRANGERS_MAX) {
      this.connections.close(fd);
      return;
    }
    const deadlineMs = this.connections.nowMs() + COOKIE_MS;
    const cookie = new Uint8Array(COOKIE_BYTES);
    this.newcomers.set(fd, { cookie, got: 0, order: this.accepted++, deadlineMs });
  }

  onEvents(fd: number, events: number): void {
    const newcomer = this.newcomers.get(fd);
    if (newcomer !== undefined) this.readCookie(fd, newcomer);
    else if (this.farewells.has(fd)) this.ignore(fd);
    else if (this.test!.control.fd === fd) this.test!.onControl(events);
    else this.test!.onStream(fd, events);
  }

  closed(fd: number): void {
    this.newcomers.delete(fd);
    this.farewells.delete(fd);
  }

  /** The server leaves: the test ends now, and its client is told. */
  drain(fd: number): void {
    this.isOver = true;
    if (this.test?.control.fd === fd) this.test.terminate();
    else if (this.newcomers.has(fd) || this.farewells.has(fd)) this.connections.close(fd);
  }

  tick(nowMs: number): number {
    let nextMs = this.test?.tick(nowMs) ?? Number.POSITIVE_INFINITY;
    for (const [fd, { deadlineMs }] of this.newcomers) {
      if (nowMs >= deadlineMs) this.connections.close(fd);
      else nextMs = Math.min(nextMs, deadlineMs);
    }
    for (const [fd, deadlineMs] of this.farewells) {
      if (nowMs >= deadlineMs) this.connections.close(fd);
      else nextMs = Math.min(nextMs, deadlineMs);
    }
    return nextMs;
  }

  /** Exactly the cookie: what follows belongs to whoever the connection turns out to be. */
  private readCookie(fd: number, newcomer: Newcomer): void {
    const { cookie } = newcomer;
    const room = COOKIE_BYTES - newcomer.got;
    const got = this.connections.sys.read(fd, cookie, newcomer.got, room);
    if (got === -EAGAIN) return;
    if (got <= 0) {
      this.connections.close(fd);
      return;
    }
    newcomer.got += got;
    if (newcomer.got < COOKIE_BYTES) return;
    this.newcomers.delete(fd);
    this.welcome(fd, newcomer);
  }

  private welcome(fd: number, { cookie, order }: Newcomer): void {
    const { test } = this;
    if (test === null && !this.isOver) {
      this.tests++;
      this.test = new Iperf3Test(this.testEnv, fd, cookie);
    } else if (test?.phase === 'streams' && Buffer.compare(test.cookie, cookie) === 0) {
      test.offer(fd, order);
    } else {
      this.connections.sys.write(fd, Uint8Array.of(ACCESS_DENIED & 0xff), 0, 1);
      this.farewell(fd);
    }
  }

  /** Closing with words unread would be a reset, which can overtake our last ones. */
  private farewell(fd: number): void {
    this.connections.sys.shutdown(fd, SHUT_WR);
    this.connections.interest(fd, EPOLLIN | EPOLLRDHUP);
    this.farewells.set(fd, this.connections.nowMs() + FAREWELL_MS);
  }

  private ignore(fd: number): void {
    for (let reads = 0; reads < IGNORED_READS; reads++) {
      const got = this.connections.sys.read(fd, this.testEnv.readBuffer, 0, READ_BYTES);
      if (got === -EAGAIN) return;
      if (got <= 0) {
        this.connections.close(fd);
        return;
      }
    }
  }

  private finished(outcome: Outcome): void {
    this.test = null;
    this.env.finished(outcome);
    if (this.env.oneOff && !this.isOver) {
      this.isOver = true;
      this.env.last();
    } else if (!this.isOver) this.announce();
  }
}
