/**
 * What one iperf3 test has measured: its clock, its intervals, its totals, as lines while it runs
 * and as results and JSON when it is over. Keeps no more than a fixed number of rows, however long
 * the test. Drives nothing.
 */
import type { Sockaddr } from '../socket/sys-table.js';
import type { Parameters, Results } from './iperf3-protocol.js';
import {
  finalLines,
  type Interval,
  intervalLines,
  jsonEnd,
  jsonInterval,
  type Shape,
  type StreamRow,
} from './iperf3-report.js';
import type { DataStream } from './iperf3-stream.js';
import type { Outcome, TestEnv } from './iperf3-test.js';
import { version } from './version.js';

/** Rows of intervals, and lines for --get-server-output, that are kept. */
const ROWS_MAX = 50_000;
const LINES_MAX = 20_000;
/** A last interval that is shorter, as part of a whole one, is not shown. */
const SHORTEST_INTERVAL = 0.1;

const NO_SHAPE: Shape = { receives: false, sends: false, streams: 0 };

export class TestLog {
  /** What the client has measured. */
  remote: Results | null = null;
  private readonly env: TestEnv;
  private readonly cookie: string;
  private readonly peer: Sockaddr;
  private readonly startedWallMs: number;
  private parameters: Parameters | null = null;
  private streams: readonly DataStream[] = [];
  private shape: Shape = NO_SHAPE;
  private startMs = 0;
  private intervalMs = 0;
  private endMs = 0;
  private isOmitting = false;
  private isFirst = true;
  private cpu = { user: 0, system: 0 };
  private cpuPercent = { user: 0, system: 0 };
  private congestion = '';
  private rowsKept = 0;
  private intervalsLost = 0;
  private readonly intervals: object[] = [];
  private readonly output: string[] = [];
  private total: Interval | null = null;

  constructor(env: TestEnv, cookie: Uint8Array, peer: Sockaddr) {
    this.env = env;
    this.cookie = Buffer.from(cookie.subarray(0, -1)).toString('latin1');
    this.peer = peer;
    this.startedWallMs = env.wallMs();
  }

  private say(line: string): void {
    if (this.env.json) return;
    this.env.say(line);
    const wanted = this.parameters === null || this.parameters.wantsOutput;
    if (wanted && this.output.length < LINES_MAX) this.output.push(line);
  }

  accepted(): void {
    this.say(`Accepted connection from ${this.peer.address}, port ${this.peer.port}`);
  }

  agreed(parameters: Parameters): void {
    this.parameters = parameters;
    if (parameters.title !== '') this.say(`Title: ${parameters.title}`);
  }

  begun(streams: readonly DataStream[], nowMs: number): void {
    const { sending, receiving, omitSeconds } = this.parameters!;
    this.streams = streams;
    this.shape = { receives: receiving > 0, sends: sending > 0, streams: streams.length };
    this.congestion = streams[0]!.congestion();
    this.isOmitting = omitSeconds > 0;
    this.restart(nowMs);
    for (const { fd, local, remote } of streams) {
      const ends = `local ${local.address} port ${local.port} connected to`;
      this.say(`[${String(fd).padStart(3)}] ${ends} ${remote.address} port ${remote.port}`);
    }
  }

  private restart(nowMs: number): void {
    this.startMs = nowMs;
    this.intervalMs = nowMs;
    this.endMs = nowMs;
    this.cpu = this.env.cpu();
  }

  /** An interval ends now. */
  interval(nowMs: number): void {
    const rows = this.streams.map((stream) => {
      const bytes = stream.intervalBytes;
      const facts = stream.facts();
      const row: StreamRow = { ...facts, socket: stream.fd, sends: stream.sends, bytes };
      row.retransmits = stream.endInterval(facts);
      return row;
    });
    const span = { start: this.seconds(this.intervalMs), end: this.seconds(nowMs) };
    const interval: Interval = { ...span, omitted: this.isOmitting, rows };
    this.intervalMs = nowMs;
    for (const line of intervalLines(interval, this.shape, this.isFirst)) this.say(line);
    this.isFirst = false;
    if (!this.env.json) return;
    this.rowsKept += rows.length;
    if (this.rowsKept > ROWS_MAX) this.intervalsLost++;
    else this.intervals.push(jsonInterval(interval));
  }

  private seconds(atMs: number): number {
    return (atMs - this.startMs) / 1000;
  }

  private lastInterval(nowMs: number): void {
    const isLong = nowMs - this.intervalMs >= SHORTEST_INTERVAL * this.env.intervalMs;
    if (this.isFirst || isLong) this.interval(nowMs);
  }

  /** The beginning that does not count is over. */
  omitted(nowMs: number): void {
    this.lastInterval(nowMs);
    this.isOmitting = false;
    for (const stream of this.streams) stream.reset();
    this.restart(nowMs);
  }

  /** The data is over: the last interval and the totals. */
  ended(nowMs: number): void {
    this.lastInterval(nowMs);
    this.endMs = nowMs;
    const now = this.env.cpu();
    const us = Math.max(1, (nowMs - this.startMs) * 1000);
    this.cpuPercent = {
      user: ((now.user - this.cpu.user) / us) * 100,
      system: ((now.system - this.cpu.system) / us) * 100,
    };
    const rows = this.streams.map((stream) => {
      const { fd: socket, sends, bytes } = stream;
      return { ...stream.facts(), socket, sends, bytes };
    });
    this.total = { start: 0, end: this.seconds(nowMs), omitted: false, rows };
    for (const line of finalLines(this.total, this.shape)) this.say(line);
  }

  /** What the client wants to know of our side. */
  results({ wantsOutput }: Parameters): Results {
    const own = this.ownResults();
    if (!wantsOutput) return own;
    if (this.env.json) return { ...own, server_output_json: this.json(null) };
    return { ...own, server_output_text: `${this.output.join('\n')}\n` };
  }

  private ownResults(): Results {
    const { user, system } = this.cpuPercent;
    const end = this.seconds(this.endMs);
    return {
      cpu_util_total: user + system,
      cpu_util_user: user,
      cpu_util_system: system,
      sender_has_retransmits: this.shape.sends ? 1 : -1,
      congestion_used: this.congestion,
      streams: this.streams.map((stream, i) => ({
        id: stream.id,
        bytes: stream.bytes,
        retransmits: stream.sends ? this.total!.rows[i]!.retransmits : -1,
        jitter: 0,
        errors: 0,
        packets: 0,
        start_time: 0,
        end_time: end,
      })),
    };
  }

  outcome(error: string | null): Outcome {
    const rows = this.total?.rows ?? [];
    const sum = (sends: boolean): number =>
      rows.filter((row) => row.sends === sends).reduce((bytes, row) => bytes + row.bytes, 0);
    return {
      error,
      bytesIn: sum(false),
      bytesOut: sum(true),
      retransmits: rows.reduce((all, row) => all + (row.sends ? row.retransmits : 0), 0),
      json: this.json(error),
    };
  }

  private json(error: string | null): object {
    const { parameters, total } = this;
    return {
      start: {
        connected: this.streams.map(({ fd, local, remote }) => ({
          socket: fd,
          local_host: local.address,
          local_port: local.port,
          remote_host: remote.address,
          remote_port: remote.port,
        })),
        version: `tunstack ${version()}`,
        timestamp: {
          time: new Date(this.startedWallMs).toUTCString(),
          timesecs: Math.floor(this.startedWallMs / 1000),
        },
        accepted_connection: { host: this.peer.address, port: this.peer.port },
        cookie: this.cookie,
        ...(parameters === null ? {} : { test_start: testStart(parameters) }),
      },
      intervals: this.intervals,
      ...(this.intervalsLost > 0 ? { intervals_not_kept: this.intervalsLost } : {}),
      end:
        total === null
          ? {}
          : {
              ...jsonEnd(total, this.ownResults(), this.remote),
              tcp_congestion: this.congestion,
            },
      ...(error === null ? {} : { error }),
    };
  }
}

function testStart(parameters: Parameters): object {
  return {
    protocol: 'TCP',
    num_streams: Math.max(parameters.receiving, parameters.sending),
    blksize: parameters.blockBytes,
    omit: parameters.omitSeconds,
    duration: parameters.seconds,
    bytes: parameters.bytes,
    blocks: parameters.blocks,
    reverse: parameters.receiving === 0 ? 1 : 0,
    bidir: parameters.receiving > 0 && parameters.sending > 0 ? 1 : 0,
    tos: parameters.tos,
    target_bitrate: parameters.bitsPerSecond,
    ...(parameters.title === '' ? {} : { title: parameters.title }),
    ...(parameters.extraData === '' ? {} : { extra_data: parameters.extraData }),
    client_version: parameters.clientVersion,
  };
}
