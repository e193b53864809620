/**
 * The packets that the stack sends, against those that a script expects: in order, aggregated as a
 * link with segmentation offload would have sent them, at their times, and nothing more.
 */

import { CWR, SYN } from '../net/layout.js';
import type { Connection } from './connection.js';
import type { Connections } from './connections.js';
import { type LivePacket, readLivePacket } from './live-packet.js';
import { aggregationDifference, type Difference, describe, differenceOf } from './match.js';
import { icmpForm, segmentForm } from './packet-form.js';
import type { RunOptions } from './run-options.js';
import { type PacketAction, ScriptError, type Time } from './script.js';
import type { ScriptWorld } from './script-world.js';

/** How long a packet may be missing after its time, µs. */
const PATIENCE_US = 2_000_000;

/** When a packet may come, µs since the script began. */
export interface TimeWindow {
  /** Null = whenever. */
  nominalUs: number | null;
  fromUs: number;
  toUs: number;
  giveUpUs: number;
}

export class ExpectedPackets {
  private readonly world: ScriptWorld;
  private readonly connections: Connections;
  private readonly run: RunOptions;
  /** Packets sent and decoded, not yet taken. */
  private readonly waiting: LivePacket[] = [];

  constructor(world: ScriptWorld, connections: Connections, run: RunOptions) {
    this.world = world;
    this.connections = connections;
    this.run = run;
  }

  /** @param previousUs when the event before this one was to happen */
  windowOf(time: Time, baseUs: number, previousUs: number): TimeWindow {
    if (time.kind === 'any') {
      const [fromUs, toUs] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
      return { nominalUs: null, fromUs, toUs, giveUpUs: toUs };
    }
    const offsetUs = time.kind === 'relative' || time.kind === 'relative-range' ? baseUs : 0;
    const nominalUs = offsetUs + time.us;
    const endUs = 'endUs' in time ? offsetUs + time.endUs : nominalUs;
    const gapUs = Math.max(0, nominalUs - previousUs);
    const toleranceUs = Math.max(this.run.toleranceUs, this.run.toleranceShare * gapUs);
    return {
      nominalUs,
      fromUs: nominalUs - toleranceUs,
      toUs: endUs + toleranceUs,
      giveUpUs: Math.max(this.world.nowUs, endUs) + PATIENCE_US,
    };
  }

  /** Decodes what has been sent since the last look. Throws ScriptError for a malformed packet. */
  private collect(line: number): void {
    for (let next = this.world.sent.shift(); next !== undefined; next = this.world.sent.shift()) {
      try {
        this.waiting.push(readLivePacket(next.bytes, next.timeUs));
      } catch (error) {
        throw new ScriptError(line, error instanceof Error ? error.message : String(error));
      }
    }
  }

  /** The next packet of `protocol` that may be of `connection`; null: none till `untilUs`. */
  private next(
    connection: Connection | null,
    line: number,
    untilUs: number,
    protocol: 'tcp' | 'icmp' | 'any',
  ): LivePacket | null {
    for (;;) {
      this.collect(line);
      const i = this.waiting.findIndex(
        (packet) =>
          (protocol === 'any' || (packet.tcp !== null) === (protocol === 'tcp')) &&
          this.connections.belongs(connection, packet.daddr, packet.tcp),
      );
      if (i >= 0) return this.waiting.splice(i, 1)[0]!;
      if (this.world.nowUs >= untilUs) return null;
      if (untilUs === Number.POSITIVE_INFINITY && this.world.idle) return null;
      this.world.advanceTo(untilUs, () => this.world.sent.length > 0);
    }
  }

  /** Takes the packet that `action` expects. Throws ScriptError if it is another or late. */
  take(
    action: PacketAction,
    line: number,
    connection: Connection | null,
    window: TimeWindow,
  ): void {
    const packet = this.next(connection, line, window.giveUpUs, action.body.protocol);
    if (packet === null) {
      const expected = expectation(action);
      throw mismatch(line, { expected, got: 'nothing', note: null }, window, null);
    }
    this.learnSyn(action, packet, connection);
    const whole = this.aggregate(action, packet, connection, line, window.giveUpUs);
    const wrong = differenceOf(action, whole, connection, {
      tsTickUs: this.run.tsTickUs,
      toleranceUs: this.toleranceFromStart(whole.timeUs),
    });
    if (wrong !== null) throw mismatch(line, wrong, window, whole.timeUs);
    if (whole.timeUs >= window.fromUs && whole.timeUs <= window.toUs) return;
    throw mistimed(line, expectation(action), describe(whole, connection), window, whole.timeUs);
  }

  /** Timestamps are measured against the clock of the whole script. */
  private toleranceFromStart(timeUs: number): number {
    return Math.max(this.run.toleranceUs, this.run.toleranceShare * timeUs);
  }

  /** From its SYN on the stack's sequence numbers have names. */
  private learnSyn(action: PacketAction, packet: LivePacket, connection: Connection | null): void {
    const { body } = action;
    if (body.protocol !== 'tcp' || packet.tcp === null || connection === null) return;
    if ((body.flags & packet.tcp.flags & SYN) === 0 || body.seq.absolute) return;
    connection.sentSyn(packet.tcp, body.seq.start);
  }

  /**
   * More segments, until their payload is as long as the expected one's: all but the last of equal
   * length, sequence number and CWR of the first, everything else of the last, its time too.
   */
  private aggregate(
    action: PacketAction,
    first: LivePacket,
    connection: Connection | null,
    line: number,
    untilUs: number,
  ): LivePacket {
    const { body } = action;
    if (body.protocol !== 'tcp' || first.tcp === null || this.run.strictSegments) return first;
    let length = first.tcp.payload.length;
    if (length === 0 || length >= body.seq.length) return first;
    const pieces = [first.tcp];
    let last = first;
    while (length < body.seq.length) {
      const next = this.next(connection, line, untilUs, 'tcp');
      if (next === null || next.tcp === null) return this.soFar(last, pieces);
      const wrong = aggregationDifference(first.tcp, last.tcp!, next.tcp);
      const uneven = pieces.length > 1 && last.tcp!.payload.length !== first.tcp.payload.length;
      if (wrong !== null || uneven) {
        const why = wrong ?? 'the segments before the last are not equally long';
        const got = describe(this.soFar(last, pieces), connection);
        const sides = { expected: expectation(action), got, note: why };
        throw mismatch(line, sides, null, first.timeUs);
      }
      pieces.push(next.tcp);
      last = next;
      length += next.tcp.payload.length;
    }
    return this.soFar(last, pieces);
  }

  /** @param last the packet that the last of the pieces came in */
  private soFar(last: LivePacket, pieces: LiveTcps): LivePacket {
    if (pieces.length === 1) return last;
    const payload = new Uint8Array(pieces.reduce((sum, tcp) => sum + tcp.payload.length, 0));
    let at = 0;
    for (const tcp of pieces) {
      payload.set(tcp.payload, at);
      at += tcp.payload.length;
    }
    const { seq, flags } = pieces[0]!;
    const merged = { ...last.tcp!, seq, payload, flags: (last.tcp!.flags & ~CWR) | (flags & CWR) };
    return { ...last, tcp: merged };
  }

  /** No packet of `connection` until `untilUs`. */
  nothing(line: number, connection: Connection | null, untilUs: number): void {
    const packet = this.next(connection, line, untilUs, 'any');
    if (packet === null) {
      this.world.advanceTo(untilUs);
      return;
    }
    throw new ScriptError(line, `expected nothing, got ${describe(packet, connection)}`);
  }

  /** The packets that nobody has expected, in the script's language, when it is over. */
  left(line: number): string[] {
    this.collect(line);
    return this.waiting.map((packet) => {
      const owner = packet.tcp === null ? null : this.connections.owner(packet.daddr, packet.tcp);
      return describe(packet, owner);
    });
  }
}

const seconds = (us: number): string => `${(us / 1e6).toFixed(6)} s`;

/** When the packet was to come. */
function spanOf(window: TimeWindow | null): string {
  if (window === null || window.nominalUs === null) return 'at any time';
  return `between ${seconds(Math.max(0, window.fromUs))} and ${seconds(window.toUs)}`;
}

/** Another packet than the one that was expected, or (`timeUs` null) none. */
function mismatch(
  line: number,
  difference: Difference,
  window: TimeWindow | null,
  timeUs: number | null,
): ScriptError {
  const { expected, got, note } = difference;
  const why = note === null ? '' : `: ${note}`;
  const [expectedAt, gotAt] = [spanOf(window), timeUs === null ? '' : `at ${seconds(timeUs)}`];
  return new ScriptError(line, `expected ${expected}, got ${got}${why}`, {
    comparison: { expected, got, expectedAt, gotAt, late: false },
  });
}

/** The right packet at the wrong time. */
function mistimed(
  line: number,
  expected: string,
  got: string,
  window: TimeWindow,
  timeUs: number,
): ScriptError {
  const early = timeUs < window.fromUs;
  const apart = seconds(early ? window.fromUs - timeUs : timeUs - window.toUs);
  const how = `${apart} too ${early ? 'early' : 'late'}`;
  const span = spanOf(window);
  const message = `expected it ${span}, got it at ${seconds(timeUs)}, ${how}: ${got}`;
  return new ScriptError(line, message, {
    comparison: {
      expected,
      got,
      expectedAt: span,
      gotAt: `at ${seconds(timeUs)}, ${how}`,
      late: true,
    },
  });
}

type LiveTcps = readonly NonNullable<LivePacket['tcp']>[];

/** What a script expects, in short. */
function expectation(action: PacketAction): string {
  const { body } = action;
  if (body.protocol === 'icmp') return icmpForm(body);
  const options = body.options;
  return segmentForm({ ...body, seq: body.seq.start, length: body.seq.length, options });
}
