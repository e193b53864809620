/**
 * iperf3's server on a FakeSys with a clock that tests move, and a client whose every byte the
 * tests choose.
 */
import { expect } from 'chai';
import { ServerLoop } from '../../src/app/demo-server/server-loop.js';
import { WorkerCounters } from '../../src/app/demo-server/worker-counters.js';
import {
  CREATE_STREAMS,
  encodeJson,
  IPERF_DONE,
  TEST_END,
  TEST_RUNNING,
  TEST_START,
} from '../../src/app/iperf3-protocol.js';
import { Iperf3Service } from '../../src/app/iperf3-service.js';
import type { Outcome } from '../../src/app/iperf3-test.js';
import type { EpollEvent, Sockaddr } from '../../src/socket/sys-table.js';
import { TCP_CONGESTION, TCP_INFO } from '../../src/socket/uapi/constants.js';
import { FakeSys } from './fake-sys.js';

/** A FakeSys that knows names, remembers options and makes up struct tcp_info. */
export class NamedSys extends FakeSys {
  /** `fd name value` of every setsockopt. */
  readonly options: [fd: number, name: number, value: number | string][] = [];
  /** tcpi_total_retrans of every connection. */
  retransmits = 0;

  override setsockopt(fd: number, level: number, name: number, value: number | string = 0): number {
    this.options.push([fd, name, value]);
    return super.setsockopt(fd, level, name, value);
  }

  override getsockopt(_fd = 0, _level = 0, name = 0, out?: Int32Array | Uint8Array): number {
    if (name === TCP_CONGESTION) return 1;
    if (name !== TCP_INFO || out === undefined) return 0;
    out[4] = 1448;
    out[20] = 10;
    out[25] = this.retransmits;
    return 26;
  }

  /** Tests turn the loop when they like: a wait for ever finds nothing and ends. */
  override epoll_wait(epfd: number, events: EpollEvent[], max: number, timeoutMs: number): number {
    return super.epoll_wait(epfd, events, max, Math.max(0, timeoutMs));
  }

  getpeername(fd: number, out: Sockaddr): number {
    out.address = '198.18.0.254';
    out.port = 40_000 + fd;
    return 0;
  }

  getsockname(_fd: number, out: Sockaddr): number {
    out.address = '198.18.0.1';
    out.port = 5201;
    return 0;
  }
}

export const COOKIE: string = 'abcdefghijklmnopqrstuvwxyz234567abcd\0';
export const OTHER_COOKIE: string = `${'x'.repeat(36)}\0`;

export class Iperf3World {
  readonly sys: NamedSys = new NamedSys();
  readonly listenFd: number = this.sys.listener();
  readonly stopFd: number = this.sys.eventfd(0);
  readonly loop: ServerLoop;
  readonly said: string[] = [];
  readonly warned: string[] = [];
  readonly outcomes: Outcome[] = [];
  nowMs = 1000;
  lastAsked = false;

  constructor(options: { json?: boolean; oneOff?: boolean } = {}) {
    this.loop = new ServerLoop({
      sys: this.sys,
      counters: new WorkerCounters(1).row(0),
      nowMs: () => this.nowMs,
      onDraining: () => {},
    });
    const service = new Iperf3Service(this.loop, {
      names: this.sys,
      listenFd: this.listenFd,
      cpu: () => ({ user: this.nowMs * 300, system: this.nowMs * 200 }),
      wallMs: () => Date.UTC(1994, 10, 6, 8, 49, 37),
      port: 5201,
      intervalMs: 1000,
      json: options.json ?? false,
      oneOff: options.oneOff ?? false,
      say: (line) => this.said.push(line),
      warn: (line) => this.warned.push(line),
      finished: (outcome) => this.outcomes.push(outcome),
      last: () => {
        this.lastAsked = true;
      },
    });
    this.loop.serve(this.listenFd, service, true);
    this.loop.watchStop(this.stopFd);
  }

  /** A connection that has said `bytes`. */
  connect(bytes: string = COOKIE): number {
    const fd = this.sys.arrive(this.listenFd);
    this.sys.peerSends(fd, bytes);
    this.turn(2);
    return fd;
  }

  turn(times = 1): void {
    for (let i = 0; i < times; i++) this.loop.turn();
  }

  /** The clock moves on by `ms`, in steps, and the server with it. */
  pass(ms: number, stepMs = 500): void {
    for (const end = this.nowMs + ms; this.nowMs < end; ) {
      this.nowMs = Math.min(end, this.nowMs + stepMs);
      this.turn();
    }
  }

  sends(fd: number, data: string | Uint8Array): void {
    this.sys.peerSends(fd, data);
    this.turn();
  }

  state(fd: number, state: number): void {
    this.sends(fd, Uint8Array.of(state & 0xff));
  }

  /** What the server has said on `fd` since the last call, as signed bytes. */
  heard(fd: number): number[] {
    return [...new Int8Array(this.sys.peerReads(fd))];
  }

  /** A client whose parameters have been accepted. @returns its control connection */
  agree(parameters: object): number {
    const control = this.connect();
    this.heard(control);
    this.sends(control, encodeJson({ tcp: true, len: 1000, ...parameters }));
    return control;
  }

  stop(): void {
    this.sys.write(this.stopFd, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]), 0, 8);
    this.turn();
  }
}

/** Results as a client sends them. */
export function clientResults(ids: readonly number[], bytes: number, retransmits = -1): Uint8Array {
  return encodeJson({
    cpu_util_total: 5,
    cpu_util_user: 2,
    cpu_util_system: 3,
    sender_has_retransmits: 1,
    streams: ids.map((id) => ({
      id,
      bytes,
      retransmits,
      jitter: 0,
      errors: 0,
      packets: 0,
      start_time: 0,
      end_time: 1,
    })),
  });
}

/** The JSON in a message of the server's, and the states that follow it. */
export function messageOf<T>(bytes: Buffer): { json: T; rest: number[] } {
  const end = 4 + bytes.readUInt32BE();
  return {
    json: JSON.parse(bytes.subarray(4, end).toString()) as T,
    rest: [...new Int8Array(bytes.subarray(end))],
  };
}

/** The state and the error number of a refusal. */
export function refusal(world: Iperf3World, fd: number): { state: number; error: number } {
  const bytes = world.sys.peerReads(fd);
  expect(bytes.length).to.equal(9);
  return { state: bytes.readInt8(), error: bytes.readUInt32BE(1) };
}

/** A second client does a small test from beginning to end. */
export function servesAnother(world: Iperf3World): void {
  const before = world.outcomes.length;
  const control = world.agree({ parallel: 1, time: 1 });
  expect(world.heard(control)).to.deep.equal([CREATE_STREAMS]);
  const stream = world.connect();
  expect(world.heard(control)).to.deep.equal([TEST_START, TEST_RUNNING]);
  world.sends(stream, 'x'.repeat(5000));
  world.state(control, TEST_END);
  world.sends(control, clientResults([1], 5000));
  world.state(control, IPERF_DONE);
  expect(world.outcomes.length).to.equal(before + 1);
  expect(world.outcomes.at(-1)).to.include({ error: null, bytesIn: 5000 });
}
