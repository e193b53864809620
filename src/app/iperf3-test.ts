/**
 * One iperf3 test from its cookie to its results: parameters, streams, data, the exchange of
 * results (esnet/iperf src/iperf_server_api.c has the order of states). Every wait has an end, so
 * that a client that vanishes or says nonsense costs the server no more than that. Which connection
 * belongs to the test is known by iperf3-service.ts.
 */
import type { Sockaddr, Sys } from '../socket/sys-table.js';
import {
  EPOLLOUT,
  EPOLLRDHUP,
  IPPROTO_TCP,
  SO_LINGER,
  SOL_SOCKET,
  TCP_MAXSEG,
  TCP_NODELAY,
} from '../socket/uapi/constants.js';
import type { Connections } from './demo-server/protocol.js';
import { ControlChannel, type Heard } from './iperf3-control.js';
import { TestLog } from './iperf3-log.js';
import {
  CLIENT_TERMINATE,
  CREATE_STREAMS,
  DISPLAY_RESULTS,
  EXCHANGE_RESULTS,
  encodeJson,
  encodeRefusal,
  IEMESSAGE,
  IERECVPARAMS,
  IERECVRESULTS,
  IESTREAMCLOSE,
  IPERF_DONE,
  isRefusal,
  PARAM_EXCHANGE,
  PARAMETERS_BYTES_MAX,
  type Parameters,
  parseParameters,
  parseResults,
  RESULTS_BYTES_MAX,
  type Refusal,
  SERVER_TERMINATE,
  streamId,
  TEST_END,
  TEST_RUNNING,
  TEST_START,
} from './iperf3-protocol.js';
import { DataStream, makeBlock } from './iperf3-stream.js';

/** Until parameters and streams are there; until the client has sent its results. */
export const SETUP_MS = 10_000;
export const RESULTS_MS = 30_000;
/** How long a test may last beyond its time, and how long nothing may flow. */
export const GRACE_MS = 10_000;
export const IDLE_MS = 120_000;
/** How long the missing rest of a test of a given size may pause. */
export const TRAILING_MS = 500;

/** How a test has ended. */
export interface Outcome {
  /** null = as it should. */
  error: string | null;
  bytesIn: number;
  bytesOut: number;
  retransmits: number;
  /** The test under iperf3's names. */
  json: object;
}

export interface TestEnv {
  connections: Connections;
  names: Pick<Sys, 'getsockname' | 'getpeername'>;
  listenFd: number;
  /** CPU time of this process so far, µs. */
  cpu: () => { user: number; system: number };
  /** Now, ms since 1970. */
  wallMs: () => number;
  intervalMs: number;
  /** Objects instead of lines. */
  json: boolean;
  /** A line for people. */
  say: (line: string) => void;
  /** Something went otherwise than the client wanted. */
  warn: (line: string) => void;
  /** Room for one read, shared by all tests. */
  readBuffer: Uint8Array;
  /** Says goodbye: what was written still goes out, what comes is ignored, then `fd` is closed. */
  farewell: (fd: number) => void;
  finished: (outcome: Outcome) => void;
}

/** `trailing`: TEST_END has overtaken data of a known amount, which still arrives. */
type Phase = 'parameters' | 'streams' | 'running' | 'trailing' | 'results' | 'goodbye' | 'over';

export class Iperf3Test {
  readonly cookie: Uint8Array;
  readonly control: ControlChannel;
  phase: Phase = 'parameters';
  private readonly env: TestEnv;
  private readonly log: TestLog;
  private readonly peer: Sockaddr;
  private parameters: Parameters | null = null;
  /** Connections with the right cookie, in the order in which they were accepted. */
  private offers: { fd: number; order: number }[] = [];
  private streams: DataStream[] = [];
  private readonly streamOf = new Map<number, DataStream>();
  /** When this phase has lasted too long; when the test has, as far as its time says. */
  private deadlineMs: number;
  private endOfTimeMs = Number.POSITIVE_INFINITY;
  private nextIntervalMs = Number.POSITIVE_INFINITY;
  private omitEndMs = Number.POSITIVE_INFINITY;
  /** When bytes were last seen to flow, and how many had by then. */
  private flowedMs = 0;
  private flowedBytes = 0;

  constructor(env: TestEnv, fd: number, cookie: Uint8Array) {
    this.env = env;
    this.cookie = cookie;
    this.control = new ControlChannel(env.connections, fd);
    this.peer = nameOf((out) => env.names.getpeername(fd, out));
    this.log = new TestLog(env, cookie, this.peer);
    this.deadlineMs = env.connections.nowMs() + SETUP_MS;
    env.connections.sys.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    this.log.accepted();
    this.control.sendState(PARAM_EXCHANGE);
  }

  /** A connection with the right cookie while streams are wanted. */
  offer(fd: number, order: number): void {
    this.env.connections.interest(fd, EPOLLRDHUP);
    this.offers.push({ fd, order });
    const { receiving, sending } = this.parameters!;
    if (this.offers.length === receiving + sending) this.begin();
  }

  onControl(events: number): void {
    if ((events & EPOLLOUT) !== 0) this.control.flush();
    for (;;) {
      const heard = this.listen();
      if (heard.kind === 'nothing') return;
      this.obey(heard);
      if (this.phase === 'over') return;
    }
  }

  onStream(fd: number, events: number): void {
    const stream = this.streamOf.get(fd);
    if (stream === undefined) {
      this.refuse({ why: 'a stream was closed too early', error: IESTREAMCLOSE, errno: 0 });
    } else if (!stream.onEvents(events)) this.endStream(stream);
    if (this.phase === 'trailing' && this.flowed() >= this.expected()) this.close();
  }

  /** Tells the client that there is no more server. */
  terminate(): void {
    this.control.sendState(SERVER_TERMINATE);
    this.end('the server has terminated', true);
  }

  /** @returns when to be called again, ms */
  tick(nowMs: number): number {
    if (this.phase === 'running') this.tickRunning(nowMs);
    if (this.phase === 'trailing' && nowMs >= this.deadlineMs) this.tickTrailing(nowMs);
    if (this.phase !== 'over' && nowMs >= this.deadlineMs) this.late();
    if (this.phase === 'over') return Number.POSITIVE_INFINITY;
    if (this.phase !== 'running') return this.deadlineMs;
    let next = Math.min(this.deadlineMs, this.nextIntervalMs, this.omitEndMs);
    for (const { pausedUntilMs } of this.streams) {
      if (pausedUntilMs > 0) next = Math.min(next, pausedUntilMs);
    }
    return next;
  }

  private listen(): Heard {
    switch (this.phase) {
      case 'parameters':
        return this.control.readJson(PARAMETERS_BYTES_MAX);
      case 'results':
        return this.control.readJson(RESULTS_BYTES_MAX);
      default:
        return this.control.readState();
    }
  }

  private obey(heard: Heard): void {
    if (heard.kind === 'gone') {
      if (this.phase === 'goodbye') this.end(null, false);
      else this.end('the client has unexpectedly closed the connection', false);
    } else if (heard.kind === 'state') this.obeyState(heard.state);
    else if (heard.kind === 'json' && this.phase === 'parameters') this.agree(heard.text);
    else if (heard.kind === 'json') this.exchange(heard.text);
    else if (heard.kind === 'oversize') {
      const error = this.phase === 'parameters' ? IERECVPARAMS : IERECVRESULTS;
      this.refuse({ why: `a message of ${heard.bytes} bytes`, error, errno: 0 });
    }
  }

  private obeyState(state: number): void {
    if (state === CLIENT_TERMINATE) this.end('the client has terminated', false);
    else if (state === IPERF_DONE) {
      this.end(this.phase === 'goodbye' ? null : 'the client ended before the test did', false);
    } else if (state === TEST_END && this.phase === 'running') this.finish();
    else if (state !== TEST_START) {
      this.refuse({ why: `control message ${state}`, error: IEMESSAGE, errno: 0 });
    }
  }

  private agree(text: string): void {
    const answer = parseParameters(text);
    if (isRefusal(answer)) {
      this.refuse(answer);
      return;
    }
    this.parameters = answer;
    this.log.agreed(answer);
    if (answer.unknownCongestion !== '') {
      this.env.warn(
        `iperf3: the client sends with ${answer.unknownCongestion}, which is unknown here: ` +
          'our side, which only receives, keeps its own',
      );
    }
    this.setListenerMss(answer.mss);
    this.phase = 'streams';
    this.control.sendState(CREATE_STREAMS);
  }

  /** -M: connections inherit it from the listener; 0 = none. */
  private setListenerMss(mss: number): void {
    const { connections, listenFd } = this.env;
    connections.sys.setsockopt(listenFd, IPPROTO_TCP, TCP_MAXSEG, mss);
  }

  private begin(): void {
    const { connections, names, readBuffer } = this.env;
    const parameters = this.parameters!;
    const { blockBytes, repeatingPayload, receiving } = parameters;
    const buffers = { read: readBuffer, block: makeBlock(blockBytes, repeatingPayload) };
    this.offers.sort((a, b) => a.order - b.order);
    this.streams = this.offers.map(({ fd }, i) => {
      const local = nameOf((out) => names.getsockname(fd, out));
      const remote = nameOf((out) => names.getpeername(fd, out));
      const at = { fd, id: streamId(i), sends: i >= receiving, local, remote };
      return new DataStream(connections, at, parameters, buffers);
    });
    this.offers = [];
    for (const stream of this.streams) this.streamOf.set(stream.fd, stream);
    this.setListenerMss(0);
    this.control.sendState(TEST_START);
    this.run(connections.nowMs());
    this.control.sendState(TEST_RUNNING);
  }

  private run(nowMs: number): void {
    const { seconds, omitSeconds } = this.parameters!;
    this.phase = 'running';
    this.flowedMs = nowMs;
    this.log.begun(this.streams, nowMs);
    this.nextIntervalMs = nowMs + this.env.intervalMs;
    if (omitSeconds > 0) this.omitEndMs = nowMs + omitSeconds * 1000;
    const limitMs = seconds > 0 ? (seconds + omitSeconds) * 1000 + GRACE_MS : IDLE_MS;
    this.deadlineMs = nowMs + Math.min(limitMs, IDLE_MS);
    this.endOfTimeMs = seconds > 0 ? nowMs + limitMs : Number.POSITIVE_INFINITY;
    for (const stream of this.streams) stream.start();
  }

  private tickRunning(nowMs: number): void {
    for (const stream of this.streams) {
      if (stream.pausedUntilMs > 0 && nowMs >= stream.pausedUntilMs && !stream.over) {
        stream.resume();
      }
    }
    if (nowMs >= this.nextIntervalMs) {
      this.log.interval(nowMs);
      this.nextIntervalMs += this.env.intervalMs;
      if (this.nextIntervalMs <= nowMs) this.nextIntervalMs = nowMs + this.env.intervalMs;
      this.watchFlow(nowMs);
    }
    if (nowMs >= this.omitEndMs) {
      this.omitEndMs = Number.POSITIVE_INFINITY;
      this.log.omitted(nowMs);
      this.nextIntervalMs = nowMs + this.env.intervalMs;
    }
  }

  /** Puts the deadline off as long as something flows. */
  private watchFlow(nowMs: number): void {
    const bytes = this.flowed();
    if (bytes !== this.flowedBytes) this.flowedMs = nowMs;
    this.flowedBytes = bytes;
    this.deadlineMs = Math.min(this.endOfTimeMs, this.flowedMs + IDLE_MS);
  }

  private late(): void {
    if (this.phase === 'goodbye') this.end(null, false);
    else if (this.phase !== 'running') this.end('the client is silent', true);
    else if (this.deadlineMs === this.endOfTimeMs) {
      this.end('the client did not end the test in time', true);
    } else this.end(`nothing has come or gone for ${IDLE_MS / 1000} s`, true);
  }

  /**
   * TEST_END, which overtakes data on other connections: of a test of a given size (-n, -k) the
   * rest is waited for, as it would otherwise seem lost; of the others what has arrived counts.
   */
  private finish(): void {
    for (const stream of this.streams) stream.drain();
    if (this.flowed() >= this.expected()) {
      this.close();
      return;
    }
    const nowMs = this.env.connections.nowMs();
    this.phase = 'trailing';
    this.flowedBytes = this.flowed();
    this.endOfTimeMs = nowMs + RESULTS_MS;
    this.deadlineMs = nowMs + TRAILING_MS;
  }

  /** Bytes that have gone through the streams and count, in whichever direction. */
  private flowed(): number {
    return this.streams.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Bytes that a test of a given size must bring; in two directions nobody knows. */
  private expected(): number {
    const { bytes, blocks, blockBytes, sending } = this.parameters!;
    return sending > 0 ? 0 : Math.max(bytes, blocks * blockBytes);
  }

  /** Nothing more comes, or it is given up. */
  private tickTrailing(nowMs: number): void {
    const flows = this.flowed() !== this.flowedBytes && nowMs < this.endOfTimeMs;
    if (flows) {
      this.flowedBytes = this.flowed();
      this.deadlineMs = Math.min(this.endOfTimeMs, nowMs + TRAILING_MS);
    } else this.close();
  }

  /** The data is over: totals, and the exchange of results. */
  private close(): void {
    const { connections } = this.env;
    this.log.ended(connections.nowMs());
    for (const stream of this.streams) if (!stream.over) this.endStream(stream);
    this.phase = 'results';
    this.deadlineMs = connections.nowMs() + RESULTS_MS;
    this.control.sendState(EXCHANGE_RESULTS);
  }

  private exchange(text: string): void {
    const remote = parseResults(text);
    if (remote === null) {
      this.refuse({ why: 'its results are not JSON', error: IERECVRESULTS, errno: 0 });
      return;
    }
    this.log.remote = remote;
    this.control.send(encodeJson(this.log.results(this.parameters!)));
    this.control.sendState(DISPLAY_RESULTS);
    this.phase = 'goodbye';
    this.deadlineMs = this.env.connections.nowMs() + SETUP_MS;
  }

  private refuse(refusal: Refusal): void {
    this.control.send(encodeRefusal(refusal));
    this.end(`refused: ${refusal.why}`, true);
  }

  private endStream(stream: DataStream): void {
    stream.facts(); // for the last time
    stream.over = true;
    stream.pausedUntilMs = 0;
    this.env.connections.close(stream.fd);
  }

  /** @param politely the client is still there and is to read what was written last */
  private end(error: string | null, politely: boolean): void {
    const { connections, farewell, finished, warn } = this.env;
    const wasRunning = this.phase === 'running' || this.phase === 'trailing';
    if (this.phase === 'streams') this.setListenerMss(0);
    if (wasRunning) this.log.ended(connections.nowMs());
    this.phase = 'over';
    for (const stream of this.streams) {
      if (stream.over) continue;
      connections.sys.setsockopt(stream.fd, SOL_SOCKET, SO_LINGER, 1, 0);
      this.endStream(stream);
    }
    for (const { fd } of this.offers) connections.close(fd);
    if (politely) farewell(this.control.fd);
    else connections.close(this.control.fd);
    if (error !== null) warn(`iperf3: ${this.peer.address}:${this.peer.port}: ${error}`);
    finished(this.log.outcome(error));
  }
}

/** An address as one of the two calls fills it in. */
function nameOf(call: (out: Sockaddr) => number): Sockaddr {
  const out = { family: 0, address: '?', port: 0 };
  call(out);
  return out;
}
