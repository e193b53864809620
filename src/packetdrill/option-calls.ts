/**
 * setsockopt and getsockopt of a script: `[n]` or a bare number, a text, `{onoff=, linger=}`, and
 * `{tv_sec=, tv_usec=}` for the time-outs (our own: the language has no form for them). Lengths
 * must be those of the values: the stack's interface has values without lengths, so a script about
 * other lengths is for another system.
 */
import { IPPROTO_IP } from '../socket/uapi/constants.js';
import { type Arguments, Fields } from './arguments.js';
import { type Made, simple } from './operation.js';
import { ScriptError, UnsupportedError } from './script.js';
import type { SystemCalls } from './system-calls.js';

/** Words of the longest option that a script can ask for. */
const MOST_WORDS = 4;
/** Names of the two words of a structure. */
const STRUCTURES: readonly (readonly [string, string])[] = [
  ['onoff', 'linger'],
  ['tv_sec', 'tv_usec'],
];

/** The value at argument `i` as words, or a text. */
function optionValue(args: Arguments, i: number): number[] | string {
  const value = args.at(i);
  if (value.kind === 'string') return value.value;
  if (value.kind !== 'struct') return [args.boxed(i)];
  const fields = new Fields(value, args.line, args.call);
  const names = STRUCTURES.find(([first]) => fields.has(first)) ?? STRUCTURES[0]!;
  return names.map((name) => fields.number(name));
}

/** Bytes that a value has on a machine of 64 bits. */
function bytesOf(args: Arguments, value: readonly number[] | string): number {
  // A character is a byte.
  if (typeof value === 'string') return value.length;
  const item = args.at(3);
  if (item.kind !== 'struct') return 4;
  return args.fields(3).has('tv_sec') ? 16 : 8;
}

/** What a text of this length in memory is: zeros behind it, the first of which ends a name. */
function textOf(text: string, length: number): string {
  return length === text.length + 1 ? text : text.slice(0, length).padEnd(length, '\0');
}

/** Throws UnsupportedError for a number that is handed over with another length than its own. */
function checkLength(args: Arguments, value: readonly number[]): void {
  const length = args.number(4);
  const bytes = bytesOf(args, value);
  // At the level of IP one byte is enough.
  if (length === bytes || (args.number(1) === IPPROTO_IP && length === 1)) return;
  throw new UnsupportedError(args.line, `a value of ${bytes} bytes with the length ${length}`);
}

export function setsockopt(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(5);
  const fd = calls.live(args.number(0));
  const [level, name] = [args.number(1), args.number(2)];
  const value = optionValue(args, 3);
  if (typeof value === 'string') {
    const text = textOf(value, args.size(4));
    return simple(() => calls.table.setsockopt(fd, level, name, text));
  }
  checkLength(args, value);
  return simple(() => calls.table.setsockopt(fd, level, name, value[0]!, value[1] ?? 0));
}

export function getsockopt(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(5);
  const fd = calls.live(args.number(0));
  const [level, name] = [args.number(1), args.number(2)];
  const wanted = optionValue(args, 3);
  const [length, bytes] = [args.boxed(4), bytesOf(args, wanted)];
  if (length !== bytes) {
    throw new ScriptError(args.line, `getsockopt: ${bytes} bytes cannot come as ${length}`);
  }
  return typeof wanted === 'string'
    ? getText(calls, fd, level, name, wanted)
    : getWords(calls, fd, level, name, wanted);
}

function getWords(
  calls: SystemCalls,
  fd: number,
  level: number,
  name: number,
  wanted: readonly number[],
): Made {
  const out = new Int32Array(Math.max(wanted.length, MOST_WORDS));
  return {
    attempt: () => Math.min(calls.table.getsockopt(fd, level, name, out), 0),
    check(result) {
      const got = out.subarray(0, wanted.length);
      if (result < 0 || wanted.every((word, i) => word === got[i])) return null;
      return `expected the value ${wanted}, got ${got}`;
    },
  };
}

function getText(
  calls: SystemCalls,
  fd: number,
  level: number,
  name: number,
  wanted: string,
): Made {
  const out = new Uint8Array(256);
  let bytes = 0;
  return {
    attempt() {
      bytes = calls.table.getsockopt(fd, level, name, out);
      return Math.min(bytes, 0);
    },
    check(result) {
      const got = new TextDecoder().decode(out.subarray(0, Math.max(bytes, 0)));
      const same = got === wanted.replace(/\0$/, '') || got === wanted;
      return result < 0 || same ? null : `expected "${wanted}", got "${got}"`;
    },
  };
}
