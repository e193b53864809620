/**
 * Runs one script against a stack in memory: event after event on the virtual clock, packets in,
 * expected packets out, system calls and their results, each at its time. The first thing that is
 * not as the script says ends the run.
 */
import { type Profile, Sysctl } from '../net/sysctl.js';
import { ipv4 } from '../testing/memory-stack.js';
import { Arguments, numberOf } from './arguments.js';
import { Code } from './code.js';
import type { Connection } from './connection.js';
import { Connections } from './connections.js';
import { ExpectedPackets } from './expected-packets.js';
import { buildIcmp, buildSegment, type QuotedSegment } from './live-packet.js';
import type { RunOptions } from './run-options.js';
import {
  type CallAction,
  type IcmpBody,
  type PacketAction,
  type Script,
  ScriptError,
  type ScriptEvent,
  type TcpBody,
  UnsupportedError,
} from './script.js';
import type { ScriptWorld, WorldOptions } from './script-world.js';
import { ShellRunner, type ShellWorld } from './shell.js';
import { applyBaseline } from './sysctls.js';
import { isErrno, PENDING, resultForm, SystemCalls } from './system-calls.js';
import { tcpInfoFacts } from './tcp-info.js';
import { World } from './world.js';

/** The next blocking call waits this long for the one before it, and the end of the script. */
const BLOCKED_MOST_US = 1_000_000;
const INBOUND_TTL = 255;
/** A script has a handful of connections: large tables would only take time to make. */
const EHASH_BUCKETS = 256;

export interface InterpreterSettings {
  profile?: Profile;
  /** Of the stack's dice; default 1. */
  seed?: number;
  /** What the script is played on; default: a stack in memory. */
  makeWorld?: (options: WorldOptions) => ScriptWorld;
}

/** A call that blocks while the script goes on. */
interface Blocked {
  line: number;
  action: CallAction;
  /** Tries again unless it has returned. */
  retry: () => void;
  /** Set when it has: complains if value or time are not as they should be. */
  settled: (() => void) | null;
  limitUs: number;
}

export class Interpreter {
  private readonly script: Script;
  private readonly run: RunOptions;
  private readonly sysctl: Sysctl;
  private readonly shell: ShellRunner;
  private mtu: number;
  private refusing = false;
  private readonly world: ScriptWorld;
  private readonly connections: Connections;
  private readonly expected: ExpectedPackets;
  private readonly calls: SystemCalls;
  readonly code: Code = new Code();
  /** Failures that the script says are not fatal. */
  readonly survived: string[] = [];
  /** Live descriptor of the socket under test. */
  private socket = -1;
  private blocked: Blocked | null = null;
  /** When the event before this one was to happen, µs. */
  private nominalUs = 0;
  private lastWasInbound = false;

  constructor(script: Script, run: RunOptions, settings: InterpreterSettings) {
    this.script = script;
    this.run = run;
    this.mtu = run.mtu;
    this.sysctl = new Sysctl(settings.profile ?? '6.18');
    this.sysctl.tcpChildEhashEntries = EHASH_BUCKETS;
    applyBaseline(this.sysctl);
    this.shell = new ShellRunner(this.shellWorld());
    for (const text of run.initScripts) this.shell.run({ line: 1, text });
    if (script.init !== null) this.shell.run(script.init);
    const address = ipv4(run.localAddress) >>> 0;
    const { mtu, sysctl } = this;
    const { seed = 1, makeWorld = (options) => new World(options) } = settings;
    this.world = makeWorld({ mtu, address, sysctl, seed });
    this.world.refusing = this.refusing;
    const local = { address, port: run.bindPort };
    this.connections = new Connections(local, ipv4(run.remoteAddress) >>> 0);
    this.expected = new ExpectedPackets(this.world, this.connections, run);
    this.calls = new SystemCalls(this.world.sys, {
      socketMade: (fd) => {
        this.socket = fd;
        this.connections.underTest = null;
      },
      listening: () => {
        this.connections.underTest = null;
      },
      connecting: (fd, to) => this.connecting(fd, to),
      connectTo: { address: run.remoteAddress, port: run.connectPort },
      bindTo: { address: run.localAddress, port: run.bindPort },
      nowUs: () => this.world.nowUs,
    });
    this.world.afterStep = () => {
      this.blocked?.retry();
    };
  }

  /** What shell text acts on; before the first event there is no stack yet. */
  private shellWorld(): ShellWorld {
    const world = (): ScriptWorld | undefined => this.world;
    return {
      sysctl: this.sysctl,
      counters: () => world()?.counters() ?? {},
      setMtu: (mtu, line) => {
        if (world() !== undefined) throw new UnsupportedError(line, 'another MTU in the middle');
        this.mtu = mtu;
      },
      refuse: (on) => {
        this.refusing = on;
        const now = world();
        if (now !== undefined) now.refusing = on;
      },
      sleep: (us) => world()?.advanceTo(this.world.nowUs + us),
    };
  }

  private connecting(fd: number, to: { address: string; port: number }): void {
    const own = { family: 0, address: '', port: 0 };
    this.world.sys.getsockname(fd, own);
    const remote = { address: ipv4(to.address) >>> 0, port: to.port };
    // A connect() that waits for the first text has no address of its own yet.
    const address = ipv4(own.address) >>> 0 || ipv4(this.run.localAddress) >>> 0;
    this.connections.connecting({ address, port: own.port }, remote);
  }

  /** Throws ScriptError and UnsupportedError. */
  play(): void {
    for (const event of this.script.events) {
      try {
        this.event(event);
      } catch (error) {
        if (!(error instanceof ScriptError) || !this.survives(event)) throw error;
        this.survived.push(`line ${error.line}: ${error.message} (not fatal)`);
      }
      this.lastWasInbound = event.action.kind === 'packet' && event.action.direction === 'in';
    }
    if (this.blocked !== null) this.finishBlocked(this.blocked.limitUs);
  }

  /** The shell text behind the last event: here it only has to succeed, nothing outlives a run. */
  cleanUp(): void {
    if (this.script.cleanup !== null) this.shell.run(this.script.cleanup);
  }

  /** Gives the memory of the run back; nothing may follow. */
  release(): void {
    this.world.release();
  }

  /** Packets that nobody has expected, in the script's language. */
  leftover(): string[] {
    return this.expected.left(this.script.events.at(-1)!.line);
  }

  private survives(event: ScriptEvent): boolean {
    const kind = event.action.kind === 'call' ? 'syscall' : event.action.kind;
    return this.run.nonFatal.has(kind);
  }

  /** The start of relative times. */
  private get baseUs(): number {
    return this.lastWasInbound ? this.nominalUs : this.world.nowUs;
  }

  private event(event: ScriptEvent): void {
    const { action, time, line } = event;
    const baseUs =
      action.kind === 'packet' && action.direction === 'in' ? this.baseUs : this.world.nowUs;
    if (action.kind === 'packet' && action.direction === 'out') {
      const connection = this.connections.find(action.connection, line);
      const window = this.expected.windowOf(time, baseUs, this.nominalUs);
      this.expected.take(action, line, connection, window);
      this.nominalUs = window.nominalUs ?? this.world.nowUs;
      return;
    }
    const us = time.kind === 'any' ? 0 : time.us;
    const atUs = time.kind === 'absolute' || time.kind === 'absolute-range' ? us : baseUs + us;
    if (action.kind === 'nothing') {
      const connection = this.connections.find(action.connection, line);
      this.expected.nothing(line, connection, atUs);
      this.nominalUs = atUs;
      return;
    }
    this.waitUntil(atUs, line);
    this.nominalUs = atUs;
    switch (action.kind) {
      case 'packet':
        this.inject(action, line);
        return;
      case 'call':
        this.call(action, line, time.kind === 'relative' ? baseUs : 0, atUs);
        return;
      case 'shell':
        this.shell.run({ line, text: action.text });
        this.world.settle();
        return;
      case 'code':
        this.code.run(action.text, line, tcpInfoFacts(this.world.sys, this.socket));
        return;
    }
  }

  private waitUntil(atUs: number, line: number): void {
    const lateUs = this.world.nowUs - atUs;
    const toleranceUs = Math.max(
      this.run.toleranceUs,
      this.run.toleranceShare * (atUs - this.nominalUs),
    );
    if (lateUs > toleranceUs) {
      throw new ScriptError(line, `this was to happen ${lateUs} us ago`);
    }
    this.world.advanceTo(atUs);
  }

  private inject(action: PacketAction, line: number): void {
    const { body, ip } = action;
    const marks = ((ip.dscp ?? 0) << 2) | (typeof ip.ecn === 'number' ? ip.ecn : 0);
    const tos = ip.tos ?? marks;
    const header = { tos, ttl: ip.ttl ?? INBOUND_TTL };
    if (body.protocol === 'icmp') this.injectIcmp(action, body, header, line);
    else this.injectSegment(action, body, header, line);
  }

  private injectSegment(
    action: PacketAction,
    body: TcpBody,
    header: { tos: number; ttl: number },
    line: number,
  ): void {
    const address = (text: string): number => ipv4(text) >>> 0;
    const connection = this.connections.ofInbound(action, address);
    const { addresses } = action;
    const seq = connection.liveRemoteSeq(body.seq.start, body.flags, body.seq.absolute);
    const ace = body.ace ?? 0;
    const aceBits = ((ace & 4) << 6) | ((ace & 2) << 6) | ((ace & 1) << 6);
    const options = body.options ?? [];
    connection.received(body.flags, seq);
    this.world.inject(
      buildSegment({
        ...header,
        saddr: addresses === null ? connection.remoteAddress : address(addresses.source),
        daddr: addresses === null ? connection.localAddress : address(addresses.target),
        sport: body.sport ?? connection.remotePort,
        dport: body.dport ?? connection.localPort,
        seq,
        ack: ackOf(connection, body),
        flags: body.flags | aceBits,
        win: body.win ?? 0,
        urg: body.urg ?? 0,
        options: connection.liveOptions(options, body.flags, this.run.tsEcrScaled, line),
        length: body.seq.length,
      }),
    );
  }

  private injectIcmp(
    action: PacketAction,
    body: IcmpBody,
    header: { tos: number; ttl: number },
    line: number,
  ): void {
    const connection = this.connections.find(action.connection, line);
    if (connection === null && isError(body.type)) {
      throw new ScriptError(line, 'there is no segment that ICMP is about');
    }
    const local = connection?.localAddress ?? ipv4(this.run.localAddress) >>> 0;
    const remote = connection?.remoteAddress ?? ipv4(this.run.remoteAddress) >>> 0;
    const { addresses } = action;
    this.world.inject(
      buildIcmp({
        ...header,
        saddr: addresses === null ? remote : ipv4(addresses.source) >>> 0,
        daddr: addresses === null ? local : ipv4(addresses.target) >>> 0,
        type: body.type,
        code: body.code,
        id: body.id ?? 0,
        mtu: body.mtu ?? 0,
        quoted: connection !== null && isError(body.type) ? quotedOf(connection, body) : null,
      }),
    );
  }

  private call(action: CallAction, line: number, baseUs: number, atUs: number): void {
    const args = new Arguments(action.name, action.arguments, line);
    const blocking = action.returnsUs !== null;
    if (blocking) this.finishBlocked(this.world.nowUs + BLOCKED_MOST_US);
    const operation = this.calls.prepare(args);
    const settle = (result: number): void => {
      this.judge(action, line, result, operation.makesFd);
      const wrong = operation.check(result);
      if (wrong !== null) throw new ScriptError(line, `${action.name}: ${wrong}`);
    };
    const result = operation.attempt();
    this.world.settle();
    if (result !== PENDING) {
      settle(result);
      if (blocking) this.judgeReturn(action, line, baseUs, atUs, this.world.nowUs);
      return;
    }
    if (!blocking) throw new ScriptError(line, `${action.name}() would block for ever`);
    this.world.callDeadlineUs = operation.deadlineUs;
    this.block(action, line, operation, settle, baseUs, atUs);
  }

  private block(
    action: CallAction,
    line: number,
    operation: { attempt(): number },
    settle: (result: number) => void,
    baseUs: number,
    atUs: number,
  ): void {
    const blocked: Blocked = {
      line,
      action,
      settled: null,
      limitUs: baseUs + action.returnsUs! + BLOCKED_MOST_US,
      retry: () => {
        if (blocked.settled !== null) return;
        const result = operation.attempt();
        if (result === PENDING) return;
        const doneUs = this.world.nowUs;
        // The new descriptor is named at once: events that follow may use it.
        settle(result);
        blocked.settled = () => this.judgeReturn(action, line, baseUs, atUs, doneUs);
      },
    };
    this.blocked = blocked;
  }

  /** The call that blocks must have returned by now, or until `limitUs`. */
  private finishBlocked(limitUs: number): void {
    const { blocked } = this;
    if (blocked === null) return;
    this.world.advanceTo(limitUs, () => blocked.settled !== null);
    if (blocked.settled === null) {
      throw new ScriptError(blocked.line, `${blocked.action.name}() has not returned`);
    }
    this.blocked = null;
    this.world.callDeadlineUs = Number.POSITIVE_INFINITY;
    blocked.settled();
  }

  private judgeReturn(
    action: CallAction,
    line: number,
    baseUs: number,
    atUs: number,
    doneUs: number,
  ): void {
    const wantedUs = baseUs + action.returnsUs!;
    const { toleranceUs, toleranceShare } = this.run;
    const tolerance = Math.max(toleranceUs, toleranceShare * (wantedUs - atUs));
    if (Math.abs(doneUs - wantedUs) <= tolerance) return;
    const at = (us: number): string => (us / 1e6).toFixed(6);
    const message = `${action.name}() was to return at ${at(wantedUs)}, it did at ${at(doneUs)}`;
    throw new ScriptError(line, message);
  }

  /** Is the result what the script says? A new descriptor gets its name. */
  private judge(action: CallAction, line: number, result: number, makesFd: boolean): void {
    const wanted = numberOf(action.result, line);
    if (makesFd && wanted >= 0 && result >= 0) {
      this.calls.name(wanted, result);
      if (action.name === 'accept' || action.name === 'accept4')
        this.accepted(action, line, result);
      return;
    }
    const value = result < 0 ? -1 : result;
    const errnoIsRight = action.errno === null || isErrno(result, action.errno);
    // What the note names must be the same.
    const { noteFlags } = action;
    const noted = noteFlags === null || numberOf(noteFlags, line) === value;
    if (value === wanted && errnoIsRight && noted) return;
    const should = action.errno === null ? `${wanted}` : `${wanted} ${action.errno}`;
    throw new ScriptError(line, `${action.name}: expected ${should}, got ${resultForm(result)}`);
  }

  private accepted(action: CallAction, line: number, fd: number): void {
    this.socket = fd;
    if (action.connection === null) return;
    const connection = this.connections.find(action.connection, line)!;
    const peer = { family: 0, address: '', port: 0 };
    this.world.sys.getpeername(fd, peer);
    if (
      peer.port === connection.remotePort &&
      ipv4(peer.address) >>> 0 === connection.remoteAddress
    )
      return;
    const got = `${peer.address}:${peer.port}`;
    throw new ScriptError(
      line,
      `accept: expected the connection @${action.connection}, got ${got}`,
    );
  }
}

function ackOf(connection: Connection, body: TcpBody): number {
  if (body.ack === null) return 0;
  const hasAck = (body.flags & 0x10) !== 0;
  return hasAck ? connection.liveLocalSeq(body.ack) : body.ack >>> 0;
}

/** Is an ICMP message of this type about a packet? All others ask or answer. */
function isError(type: number): boolean {
  return type === 3 || type === 4 || type === 5 || type === 11 || type === 12;
}

/** The segment of `connection` that an ICMP message is about; without one said, the SYN. */
function quotedOf(connection: Connection, body: IcmpBody): QuotedSegment {
  const start = body.echoed?.start ?? 0;
  return {
    saddr: connection.localAddress,
    daddr: connection.remoteAddress,
    sport: connection.localPort,
    dport: connection.remotePort,
    seq: body.echoed?.absolute === true ? start : connection.liveLocalSeq(start),
    length: body.echoed?.length ?? 0,
  };
}
