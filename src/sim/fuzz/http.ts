/**
 * Requests good and bad into the demo's HTTP parser: built from the grammar, then damaged. A parser
 * must not throw, and what it makes of a stream of bytes must not depend on how the stream was cut:
 * the whole, each split in two, and byte by byte give the same transcript.
 */
import { BodyReader } from '../../app/http/body-reader.js';
import { parseRange, prefersHtml } from '../../app/http/negotiate.js';
import {
  HEAD_COMPLETE,
  HEAD_INCOMPLETE,
  type HeadProgress,
  RequestHead,
} from '../../app/http/request-head.js';
import { Dice, FOR_CALL, mix } from '../dice.js';
import { must, SimFailure } from '../failure.js';

const BODY_MAX_BYTES = 100_000;
/** Longer streams are split at some places only. */
const SPLIT_ALL_BYTES = 700;
const SPLITS_OF_LONG = 16;

const METHODS = ['GET', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'get', 'G\tT', '', 'X'.repeat(40)];
const TARGETS = ['/', '/ok', '/a?b=c', '*', '//', '/%00', 'http://h/x', 'h:80', '/ a', '/\x7f', ''];
const VERSIONS = [
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.0',
  'HTTP/2.0',
  'HTTP/1.2',
  'http/1.1',
];
const LINE_ENDS = ['\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\n', '\r', '\r\r\n', '\n\r'];
const VALUES: Record<string, readonly string[]> = {
  Host: ['h', 'h:80', '198.18.0.1', '[::1]', 'a b', '', 'h, i'],
  Connection: ['close', 'keep-alive', 'Keep-Alive, close', 'upgrade', ',', ''],
  'Content-Length': [
    '0',
    '3',
    '5',
    '10',
    '+3',
    '-1',
    '3, 3',
    '03',
    '99999999999999999999',
    'x',
    '',
  ],
  'Transfer-Encoding': ['chunked', 'Chunked', 'gzip, chunked', 'chunked, chunked', 'identity', ''],
  Expect: ['100-continue', '100-Continue', 'x'],
  Accept: ['text/html', '*/*;q=0.1, text/html;q=0', 'text/plain', ';;q=', 'a/b;q=9'],
  Range: ['bytes=0-', 'bytes=-5', 'bytes=5-2', 'bytes=0-0,2-3', 'bytes=', 'lines=1-2'],
  'If-Modified-Since': ['Sun, 06 Nov 1994 08:49:37 GMT', 'never'],
  'X-Other': ['', 'v', '\tv\t', 'v\x01', 'v\x80', 'a: b'],
};
const NAMES = Object.keys(VALUES);
/** Whatever their value is, the request stands. */
const HARMLESS = ['Accept', 'Range', 'If-Modified-Since'];
const BAD_NAMES = ['', ' Host', 'Host ', 'Ho st', 'X\x00', ' folded', '\tfolded', 'X:Y'];
const SIZES = [
  '0',
  '3',
  '5',
  'A',
  'a',
  '00003',
  '3;x',
  '3;x="y;z"',
  '3 ',
  '-1',
  '',
  'g',
  'FFFFFFFFFFFFF',
];

/** A stream of requests. */
export function stream(dice: Dice): Buffer {
  let text = '';
  for (let n = dice.int(1, 3); n > 0; n--) text += request(dice);
  const bytes = Buffer.from(text, 'latin1');
  return dice.chance(0.4) ? damage(dice, bytes) : bytes;
}

function request(dice: Dice): string {
  const end = (): string => (dice.chance(0.99) ? '\r\n' : dice.pick(LINE_ENDS));
  const target = dice.chance(0.02) ? `/${'x'.repeat(dice.int(8000, 17_000))}` : dice.pick(TARGETS);
  const method = dice.chance(0.95) ? dice.pick(['GET', 'POST']) : dice.pick(METHODS);
  let text = dice.chance(0.1) ? end() : '';
  const path = dice.chance(0.9) ? '/ok' : target;
  const version = dice.chance(0.9) ? 'HTTP/1.1' : dice.pick(VERSIONS);
  text += `${method} ${path} ${version}${end()}`;
  if (dice.chance(0.97)) text += `Host: h${end()}`;
  for (let n = dice.chance(0.02) ? 101 : dice.int(0, 2); n > 0; n--) text += field(dice) + end();
  const body = dice.uniform();
  if (body < 0.3) {
    const content = 'c'.repeat(dice.pick([0, 3, 5, 10]));
    const length = dice.chance(0.9) ? content.length : dice.int(0, 12);
    return `${text}Content-Length: ${length}${end()}${end()}${content}`;
  }
  if (body < 0.6) return `${text}Transfer-Encoding: chunked${end()}${end()}${chunks(dice, end)}`;
  return text + end();
}

function field(dice: Dice): string {
  if (dice.chance(0.05)) return `${dice.pick(BAD_NAMES)}: v`;
  const name = dice.chance(0.8) ? dice.pick(HARMLESS) : dice.pick(NAMES);
  const spelt = dice.chance(0.8) ? name : name.toUpperCase();
  const colon = dice.chance(0.97) ? ': ' : dice.pick([':', ' : ', ':\t', '']);
  return `${spelt}${colon}${dice.pick(VALUES[name]!)}`;
}

function chunks(dice: Dice, end: () => string): string {
  let text = '';
  for (let n = dice.int(0, 3); n > 0; n--) {
    const size = dice.int(1, 20);
    const line = dice.chance(0.9) ? size.toString(16) : dice.pick(SIZES);
    text += `${line}${end()}${'d'.repeat(size)}${end()}`;
  }
  const trailer = dice.chance(0.2) ? field(dice) + end() : '';
  return dice.chance(0.9) ? `${text}0${end()}${trailer}${end()}` : text;
}

/** Inserts, removes, changes and repeats bytes. */
function damage(dice: Dice, bytes: Buffer): Buffer {
  let damaged = Buffer.from(bytes);
  for (let n = dice.int(1, 4); n > 0; n--) {
    const at = dice.int(0, damaged.length);
    const to = Math.min(damaged.length, at + dice.spread(1, 30));
    const [head, piece, tail] = [
      damaged.subarray(0, at),
      damaged.subarray(at, to),
      damaged.subarray(to),
    ];
    const kind = dice.int(0, 3);
    if (kind === 0) damaged = Buffer.concat([head, tail]);
    else if (kind === 1) damaged = Buffer.concat([head, piece, piece, tail]);
    else {
      const byte = Buffer.from([
        dice.chance(0.5) ? dice.pick([0, 9, 10, 13, 32, 58]) : dice.int(0, 255),
      ]);
      damaged = Buffer.concat([head, byte, kind === 2 ? piece.subarray(1) : piece, tail]);
    }
  }
  return damaged;
}

/** One connection's parser, fed piece by piece as the demo's server feeds it. */
class Reader {
  transcript = '';
  private readonly head: RequestHead = new RequestHead();
  private readonly body: BodyReader = new BodyReader();
  private readonly progress: HeadProgress = { scanned: 0, lineStart: 0 };
  private inBody = false;
  private over = false;
  private at = 0;
  /** Content of the body so far. */
  private count = 0;
  private hash = 0;

  /** Bytes [0, end) of the stream are there. */
  take(bytes: Buffer, end: number): void {
    while (!this.over && (this.inBody ? this.takeBody(bytes, end) : this.takeHead(bytes, end)));
  }

  /** True: go on with what follows. */
  private takeHead(bytes: Buffer, end: number): boolean {
    const { head, progress } = this;
    const found = head.find(bytes, this.at, end, progress);
    if (found === HEAD_INCOMPLETE) return false;
    if (found !== HEAD_COMPLETE) return this.refuse(found);
    must(head.length > 0 && this.at + head.length <= end, 'head', () => `length ${head.length}`);
    const refused = head.parse(bytes, this.at);
    if (refused !== 0) return this.refuse(refused);
    const { method, target, minor, keepAlive, contentLength, chunked, expectContinue } = head;
    must(!chunked || contentLength < 0, 'head', () => 'chunked and with a length');
    const more = [head.accept, head.range, head.ifModifiedSince];
    const words = [
      method,
      target,
      minor,
      keepAlive,
      contentLength,
      chunked,
      expectContinue,
      ...more,
    ];
    this.transcript += `${JSON.stringify(words)}\n`;
    this.at += head.length;
    progress.scanned = progress.lineStart = 0;
    this.count = this.hash = 0;
    this.body.begin(contentLength, chunked, BODY_MAX_BYTES);
    this.inBody = true;
    return true;
  }

  private takeBody(bytes: Buffer, end: number): boolean {
    const { body, head } = this;
    const from = this.at;
    this.at = body.feed(bytes, from, end, this);
    must(this.at >= from && this.at <= end, 'body', () => `read to ${this.at} of ${end}`);
    if (body.refused !== 0) return this.refuse(body.refused);
    if (!body.complete) return false;
    must(body.received === this.count, 'body', () => `${body.received}, not ${this.count}`);
    this.transcript += `body ${this.count} ${this.hash}\n`;
    this.inBody = false;
    this.over = !head.keepAlive;
    return !this.over;
  }

  private refuse(status: number): boolean {
    must(status >= 400 && status < 600, 'status', () => `${status}`);
    // Content of a body that is refused in the end was handed out in other pieces: not compared.
    this.transcript += `refused ${status}\n`;
    this.over = true;
    return false;
  }

  content(bytes: Buffer, from: number, to: number): void {
    for (let at = from; at < to; at++) this.hash = mix(this.hash, bytes[at]!);
    this.count += to - from;
  }
}

/** What the parser makes of `bytes` when they come up to each of `cuts`, and then all. */
export function transcriptOf(bytes: Buffer, cuts: Iterable<number>): string {
  const reader = new Reader();
  for (const cut of cuts) reader.take(bytes, cut);
  reader.take(bytes, bytes.length);
  return reader.transcript;
}

function* everyByte(bytes: Buffer): Generator<number> {
  for (let cut = 1; cut <= bytes.length; cut++) yield cut;
}

/** Fails unless every cut of the stream gives what the whole gives. */
export function compareCuts(bytes: Buffer, dice: Dice): string {
  const whole = transcriptOf(bytes, []);
  const compare = (cuts: Iterable<number>, name: string): void => {
    const cut = transcriptOf(bytes, cuts);
    if (cut === whole) return;
    const text = JSON.stringify(bytes.toString('latin1'));
    throw new SimFailure('cut', `${name} of ${text}:\n${cut}instead of\n${whole}`);
  };
  compare(everyByte(bytes), 'every byte');
  if (bytes.length <= SPLIT_ALL_BYTES) {
    for (let at = 1; at < bytes.length; at++) compare([at], `split at ${at}`);
  } else {
    for (let n = 0; n < SPLITS_OF_LONG; n++) {
      const at = dice.int(1, bytes.length - 1);
      compare([at], `split at ${at}`);
    }
  }
  return whole;
}

function checkNegotiation(dice: Dice): void {
  const text = damage(dice, Buffer.from(dice.pick([...VALUES['Range']!, ...VALUES['Accept']!])));
  const value = text.toString('latin1');
  prefersHtml(value);
  const size = dice.pick([0, 1, 10, 2 ** 40]);
  const range = parseRange(value, size);
  if (range === null || range === 'unsatisfiable') return;
  const { from, to } = range;
  must(from >= 0 && from < to && to <= size, 'range', () => `${value}: ${from}-${to} of ${size}`);
}

/** What has been parsed. */
export interface HttpFuzzResult {
  streams: number;
  requests: number;
  refused: number;
}

/** `streams` streams of requests. Throws SimFailure, with the seed of the stream in its message. */
export function fuzzHttp(
  seed: number,
  streams: number,
  report: (result: HttpFuzzResult) => void = () => {},
): HttpFuzzResult {
  const total: HttpFuzzResult = { streams: 0, requests: 0, refused: 0 };
  for (let i = 0; i < streams; i++) {
    const dice = new Dice(FOR_CALL, seed + i);
    try {
      const transcript = compareCuts(stream(dice), dice);
      checkNegotiation(dice);
      total.requests += transcript.split('\n').filter((line) => line.startsWith('[')).length;
      if (transcript.includes('refused')) total.refused++;
    } catch (error) {
      (error as Error).message = `--fuzz http --seed ${seed + i}: ${(error as Error).message}`;
      throw error;
    }
    total.streams++;
    if (total.streams % 1000 === 0) report(total);
  }
  return total;
}
