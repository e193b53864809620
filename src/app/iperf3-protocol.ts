/**
 * What iperf3's two sides say to each other on the control connection: a cookie, single bytes of
 * state, and JSON behind a 32-bit length. Here are the numbers, the parameters that a client asks
 * for with what of them is refused, and the results that it wants. Facts from esnet/iperf:
 * src/iperf_api.h (states and error numbers), src/iperf_api.c (names and limits of parameters).
 * Opens and sends nothing.
 */
import { EINVAL, ENOENT, EPROTONOSUPPORT } from '../net/errno.js';

/** 36 characters and a NUL: what tells the connections of one test. */
export const COOKIE_BYTES = 37;

/** States, one signed byte each. */
export const TEST_START = 1;
export const TEST_RUNNING = 2;
export const TEST_END = 4;
export const PARAM_EXCHANGE = 9;
export const CREATE_STREAMS = 10;
export const SERVER_TERMINATE = 11;
export const CLIENT_TERMINATE = 12;
export const EXCHANGE_RESULTS = 13;
export const DISPLAY_RESULTS = 14;
export const IPERF_DONE = 16;
export const ACCESS_DENIED = -1;
export const SERVER_ERROR = -2;

/** Error numbers that go with SERVER_ERROR: the client has a sentence for each. */
export const IEDURATION = 5;
export const IENUMSTREAMS = 6;
export const IEBLOCKSIZE = 7;
export const IEBUFSIZE = 8;
export const IEMSS = 10;
export const IEOMIT = 12;
export const IEUNIMP = 13;
export const IEMESSAGE = 110;
export const IERECVPARAMS = 114;
export const IERECVRESULTS = 117;
export const IESETFLOW = 127;
export const IEAFFINITY = 132;
export const IESETCONGESTION = 134;
export const IEAUTHTEST = 142;
export const IESTREAMCLOSE = 207;

/** Longest JSON taken from a client, bytes: parameters, and results of 128 streams. */
export const PARAMETERS_BYTES_MAX = 8192;
export const RESULTS_BYTES_MAX = 262_144;

const STREAMS_MAX = 128;
const BLOCK_BYTES_MAX = 1 << 20;
const BLOCK_BYTES_DEFAULT = 131_072;
const SECONDS_MAX = 86_400;
const OMIT_SECONDS_MAX = 600;
const WINDOW_BYTES_MAX = 512 << 20;
const MSS_MIN = 88;
const MSS_MAX = 9216;

/** Numbers of setsockopt(TCP_CONGESTION). */
export const CONGESTIONS: readonly string[] = ['reno', 'cubic'];

/** What the client wants of one test. */
export interface Parameters {
  /** Connections that carry data from the client, and to it. */
  receiving: number;
  sending: number;
  /** 0 = without end. Seconds. */
  seconds: number;
  /** Leading seconds that do not count. */
  omitSeconds: number;
  /** The client ends the test after so many bytes or blocks; 0 = no such end. */
  bytes: number;
  blocks: number;
  /** Bytes of one write. */
  blockBytes: number;
  /** Bytes of the socket buffers, 0 = as they are. */
  windowBytes: number;
  /** 0 = as it is. */
  mss: number;
  nodelay: boolean;
  tos: number;
  /** Index into CONGESTIONS, -1 = as it is. */
  congestion: number;
  /** An algorithm that this stack does not have, wanted where it has no effect: on a receiver. */
  unknownCongestion: string;
  /** Bits a second of each sending stream, 0 = as fast as it goes. */
  bitsPerSecond: number;
  repeatingPayload: boolean;
  /** The client shows what the server printed. */
  wantsOutput: boolean;
  title: string;
  extraData: string;
  clientVersion: string;
}

/** Why there will be no such test. */
export interface Refusal {
  /** For people on our side. */
  why: string;
  /** The number that makes the client say something to the point. */
  error: number;
  errno: number;
}

type Fields = Readonly<Record<string, unknown>>;

/** The text of a JSON object as its fields, null when it is no such text. */
export function parseFields(text: string): Fields | null {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
    return value as Fields;
  } catch {
    return null;
  }
}

/** The parameters in a client's JSON, or why they are refused. */
export function parseParameters(text: string): Parameters | Refusal {
  const fields = parseFields(text);
  if (fields === null) return refusal('its parameters are not JSON', IERECVPARAMS, EINVAL);
  return refuseUnbuilt(fields) ?? refuseNumbers(fields) ?? accept(fields);
}

export function isRefusal(answer: Parameters | Refusal): answer is Refusal {
  return 'why' in answer;
}

function refusal(why: string, error: number, errno = 0): Refusal {
  return { why, error, errno };
}

/** What is asked for and does not exist here; a field that is 0 or false asks for nothing. */
function refuseUnbuilt(fields: Fields): Refusal | null {
  if (fields['udp']) return refusal('UDP: only TCP is served', IEUNIMP, EPROTONOSUPPORT);
  if (fields['sctp']) return refusal('SCTP: only TCP is served', IEUNIMP, EPROTONOSUPPORT);
  if (fields['authtoken']) return refusal('authentication: there are no users here', IEAUTHTEST);
  if (fields['flowlabel']) return refusal('an IPv6 flow label: this is IPv4', IESETFLOW);
  const affinity = fields['server_affinity'];
  if (typeof affinity === 'number' && affinity >= 0) {
    return refusal('a CPU of its choice: threads are not pinned here', IEAFFINITY, EINVAL);
  }
  if (congestionOf(fields) === -1 && sendingOf(fields) > 0) {
    const why = `congestion control "${textOf(fields, 'congestion')}": there is reno and cubic`;
    return refusal(why, IESETCONGESTION, ENOENT);
  }
  return null;
}

const LIMITS: readonly (readonly [name: string, min: number, max: number, error: number])[] = [
  ['parallel', 1, STREAMS_MAX, IENUMSTREAMS],
  ['time', 0, SECONDS_MAX, IEDURATION],
  ['omit', 0, OMIT_SECONDS_MAX, IEOMIT],
  ['num', 0, Number.MAX_SAFE_INTEGER, IERECVPARAMS],
  ['blockcount', 0, Number.MAX_SAFE_INTEGER, IERECVPARAMS],
  ['len', 1, BLOCK_BYTES_MAX, IEBLOCKSIZE],
  ['MSS', 0, MSS_MAX, IEMSS],
  ['window', 0, WINDOW_BYTES_MAX, IEBUFSIZE],
  ['bandwidth', 0, Number.MAX_SAFE_INTEGER, IERECVPARAMS],
  ['fqrate', 0, Number.MAX_SAFE_INTEGER, IERECVPARAMS],
  ['TOS', 0, 255, IERECVPARAMS],
];

function refuseNumbers(fields: Fields): Refusal | null {
  for (const [name, min, max, error] of LIMITS) {
    const value = fields[name];
    if (value === undefined) continue;
    if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
      return refusal(`${name} ${shown(value)}: must be a whole number ${min}..${max}`, error);
    }
  }
  const mss = numberOf(fields, 'MSS');
  if (mss !== 0 && mss < MSS_MIN) return refusal(`MSS ${mss}: below ${MSS_MIN}`, IEMSS);
  return null;
}

/** A value of somebody else's as one short printable line. */
export function shown(value: unknown): string {
  return JSON.stringify(value).slice(0, 40);
}

function accept(fields: Fields): Parameters {
  const rates = [numberOf(fields, 'bandwidth'), numberOf(fields, 'fqrate')].filter(Boolean);
  return {
    receiving: numberOf(fields, 'parallel', 1) - (fields['reverse'] ? sendingOf(fields) : 0),
    sending: sendingOf(fields),
    seconds: numberOf(fields, 'time'),
    omitSeconds: numberOf(fields, 'omit'),
    bytes: numberOf(fields, 'num'),
    blocks: numberOf(fields, 'blockcount'),
    blockBytes: numberOf(fields, 'len', BLOCK_BYTES_DEFAULT),
    windowBytes: numberOf(fields, 'window'),
    mss: numberOf(fields, 'MSS'),
    nodelay: Boolean(fields['nodelay']),
    tos: numberOf(fields, 'TOS'),
    congestion: Math.max(-1, congestionOf(fields)),
    unknownCongestion: congestionOf(fields) === -1 ? textOf(fields, 'congestion') : '',
    bitsPerSecond: rates.length === 0 ? 0 : Math.min(...rates),
    repeatingPayload: Boolean(fields['repeating_payload']),
    wantsOutput: Boolean(fields['get_server_output']),
    title: textOf(fields, 'title'),
    extraData: textOf(fields, 'extra_data'),
    clientVersion: textOf(fields, 'client_version'),
  };
}

/** Streams from us to the client. */
function sendingOf(fields: Fields): number {
  const asks = Boolean(fields['reverse']) || Boolean(fields['bidirectional']);
  return asks ? numberOf(fields, 'parallel', 1) : 0;
}

/** Index into CONGESTIONS; -1 = unknown; -2 = not asked for. */
function congestionOf(fields: Fields): number {
  const name = textOf(fields, 'congestion');
  return name === '' ? -2 : CONGESTIONS.indexOf(name);
}

function numberOf(fields: Fields, name: string, otherwise = 0): number {
  const value = fields[name];
  return typeof value === 'number' ? value : otherwise;
}

/** A text of the client's, without what could command a terminal. */
function textOf(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string') return '';
  return [...value].filter((letter) => letter >= ' ' && letter !== '\u007f').join('');
}

/** JSON behind its length, network byte order. */
export function encodeJson(value: unknown): Uint8Array {
  const text = Buffer.from(JSON.stringify(value));
  const message = Buffer.alloc(4 + text.length);
  message.writeUInt32BE(text.length);
  text.copy(message, 4);
  return message;
}

/** SERVER_ERROR with its two numbers. */
export function encodeRefusal({ error, errno }: Refusal): Uint8Array {
  const message = Buffer.alloc(9);
  message.writeInt8(SERVER_ERROR);
  message.writeUInt32BE(error, 1);
  message.writeUInt32BE(errno, 5);
  return message;
}

/** iperf3's number of its i-th stream: 1, 3, 4, 5, … (there is no 2). */
export function streamId(i: number): number {
  return i === 0 ? 1 : i + 2;
}

/** One stream in a results message. */
export interface StreamResult {
  id: number;
  bytes: number;
  /** -1 = the receiving side cannot know. */
  retransmits: number;
  /** Of UDP; 0 for TCP. */
  jitter: number;
  errors: number;
  packets: number;
  /** Seconds since the test (or what counts of it) began. */
  start_time: number;
  end_time: number;
}

/** Results as one side tells them to the other. Percent of one CPU. */
export interface Results {
  cpu_util_total: number;
  cpu_util_user: number;
  cpu_util_system: number;
  /** 1 = this side sends and can count retransmits, -1 = it does not send. */
  sender_has_retransmits: number;
  congestion_used?: string;
  server_output_text?: string;
  server_output_json?: unknown;
  streams: StreamResult[];
}

/** The client's results as far as we show them, null when they are none. */
export function parseResults(text: string): Results | null {
  const fields = parseFields(text);
  const streams = fields?.['streams'];
  if (fields === null || !Array.isArray(streams)) return null;
  const rows = streams.map((row: unknown) => (typeof row === 'object' ? (row as Fields) : null));
  if (rows.some((row) => row === null || typeof row['id'] !== 'number')) return null;
  return {
    cpu_util_total: numberOf(fields, 'cpu_util_total'),
    cpu_util_user: numberOf(fields, 'cpu_util_user'),
    cpu_util_system: numberOf(fields, 'cpu_util_system'),
    sender_has_retransmits: numberOf(fields, 'sender_has_retransmits'),
    streams: rows.map((row) => ({
      id: numberOf(row!, 'id'),
      bytes: numberOf(row!, 'bytes'),
      // iperf3 writes its -1 as an unsigned number of 64 bits.
      retransmits: numberOf(row!, 'retransmits') > 2 ** 62 ? -1 : numberOf(row!, 'retransmits'),
      jitter: numberOf(row!, 'jitter'),
      errors: numberOf(row!, 'errors'),
      packets: numberOf(row!, 'packets'),
      start_time: numberOf(row!, 'start_time'),
      end_time: numberOf(row!, 'end_time'),
    })),
  };
}
