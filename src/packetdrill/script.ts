/**
 * A packet test script (`.pkt`) as a value: what the parser makes and the interpreter runs. Times
 * are µs, sequence numbers as the script writes them. Nothing is checked here.
 */

/** When an action happens, or a packet is expected. */
export type Time =
  | { kind: 'relative'; us: number }
  | { kind: 'absolute'; us: number }
  /** Outbound packets only: between the two, from the same base as `relative`. */
  | { kind: 'relative-range'; us: number; endUs: number }
  | { kind: 'absolute-range'; us: number; endUs: number }
  /** Outbound packets only: whenever it comes. */
  | { kind: 'any' };

export interface Script {
  /** Where it came from, for messages. */
  path: string;
  options: ScriptOption[];
  /** Shell text before the first event and after the last, or null. */
  init: Shell | null;
  events: ScriptEvent[];
  cleanup: Shell | null;
}

export interface ScriptOption {
  line: number;
  name: string;
  /** Without quotes; empty when there is none. */
  value: string;
}

export interface Shell {
  line: number;
  text: string;
}

export interface ScriptEvent {
  line: number;
  /** Where the time stands on its line, from 1. */
  column: number;
  /** Where the action begins. */
  actionLine: number;
  actionColumn: number;
  time: Time;
  action: Action;
}

export type Action = PacketAction | CallAction | ShellAction | CodeAction | NothingAction;

export interface ShellAction {
  kind: 'shell';
  text: string;
}

export interface CodeAction {
  kind: 'code';
  text: string;
}

/** Our own: `+T > none` = no packet until then. */
export interface NothingAction {
  kind: 'nothing';
  connection: string | null;
}

/** The IP header as far as a script speaks of it; null = not said. */
export interface IpInfo {
  /** ECN bits, or 'ect01' = either ECT. */
  ecn: number | 'ect01' | null;
  tos: number | null;
  /** The upper six bits of `tos`. */
  dscp: number | null;
  ttl: number | null;
}

export interface PacketAction {
  kind: 'packet';
  /** Our own: which connection, null = the one under test. */
  connection: string | null;
  direction: 'in' | 'out';
  /** Our own: `ipv4 A > B:` = the addresses of this very packet; null = the connection's. */
  addresses: { source: string; target: string } | null;
  ip: IpInfo;
  body: TcpBody | IcmpBody;
}

/** How an option or a sequence number of the FreeBSD dialect is to be taken. */
export interface Sequence {
  start: number;
  length: number;
  /** No offset is added. */
  absolute: boolean;
  /** Only the length is checked. */
  unchecked: boolean;
}

export interface TcpBody {
  protocol: 'tcp';
  /** Ports as written, null = those of the connection. */
  sport: number | null;
  dport: number | null;
  /** Bits of the TCP header's flag byte, and AE (NS) as bit 8. */
  flags: number;
  /** The ACE field as one number (its three bits in `flags` are then not looked at), or null. */
  ace: number | null;
  seq: Sequence;
  ack: number | null;
  win: number | null;
  urg: number | null;
  /** null = not looked at (`<...>`, outbound). */
  options: TcpOption[] | null;
}

export type TcpOption =
  | { kind: 'nop' | 'eol' | 'sackOK' }
  | { kind: 'mss' | 'wscale'; value: number }
  | { kind: 'sack'; blocks: [number, number][] }
  | { kind: 'TS'; val: number | null; ecr: number; ecrAbsolute: boolean }
  /** `cookie` as bytes in hexadecimal. */
  | { kind: 'FO' | 'FOEXP'; cookie: string }
  /**
   * AccECN (RFC 9768): counters of 24 bits, those of ECT(0), CE and ECT(1) in this order, or, with
   * `first` 1, of ECT(1), CE and ECT(0); the last ones may be missing.
   */
  | { kind: 'ECN'; first: 0 | 1; counts: number[] }
  /** A digest (RFC 2385) in hexadecimal. */
  | { kind: 'md5'; digest: string }
  /** Raw option bytes in hexadecimal. */
  | { kind: 'raw'; hex: string };

export interface IcmpBody {
  protocol: 'icmp';
  type: number;
  code: number;
  mtu: number | null;
  id: number | null;
  /** Sequence number and length of the segment that the message is about. */
  echoed: Sequence | null;
}

/** An argument or a result of a system call. */
export type Expression =
  | { kind: 'ellipsis' }
  | { kind: 'number'; value: number }
  | { kind: 'symbol'; name: string }
  | { kind: 'string'; value: string }
  | { kind: 'or'; terms: Expression[] }
  | { kind: 'list'; items: Expression[] }
  | { kind: 'struct'; fields: StructField[] }
  /** `inet_addr("192.0.2.1")`, `htons(80)`. */
  | { kind: 'apply'; name: string; arguments: Expression[] };

export interface StructField {
  /** null = by position. */
  name: string | null;
  /** `msg_iov(2)=…`: what stands in the parentheses. */
  parameter: Expression | null;
  value: Expression;
}

export interface CallAction {
  kind: 'call';
  name: string;
  arguments: Expression[];
  result: Expression;
  /** Name of the errno that the call must leave, or null = not looked at. */
  errno: string | null;
  /** `flags X` of the note behind the result, the FreeBSD dialect's way: its value, or null. */
  noteFlags: Expression | null;
  /** When a blocking call must return, µs on the base of the event's time; null = at once. */
  returnsUs: number | null;
  /** Our own: `accept(3, ..., ...) = 4 @name`. */
  connection: string | null;
}

/** What was expected beside what came, both in the script's language. */
export interface Comparison {
  expected: string;
  got: string;
  /** When each, in words. */
  expectedAt: string;
  gotAt: string;
  /** Only the time is wrong. */
  late: boolean;
}

/** A script is wrong: where and why. */
export class ScriptError extends Error {
  readonly line: number;
  /** From 1; null = of the whole event on that line. */
  readonly column: number | null;
  readonly comparison: Comparison | null;

  constructor(
    line: number,
    message: string,
    more: { column?: number; comparison?: Comparison } = {},
  ) {
    super(message);
    this.line = line;
    this.column = more.column ?? null;
    this.comparison = more.comparison ?? null;
  }
}

/** A script needs what another system has: where and what. */
export class UnsupportedError extends Error {
  readonly line: number;

  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}
