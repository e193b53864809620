/**
 * setsockopt and getsockopt of a script: `[n]` or a bare number, a text, `{onoff=, linger=}`, and
 * `{tv_sec=, tv_usec=}` for the time-outs (our own: the language has no form for them).
 */

import { type Arguments, Fields } from './arguments.js';
import { type Made, simple } from './operation.js';
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

export function setsockopt(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(5);
  const fd = calls.live(args.number(0));
  const [level, name] = [args.number(1), args.number(2)];
  const value = optionValue(args, 3);
  if (typeof value === 'string') {
    return simple(() => calls.table.setsockopt(fd, level, name, value));
  }
  return simple(() => calls.table.setsockopt(fd, level, name, value[0]!, value[1] ?? 0));
}

export function getsockopt(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(5);
  const fd = calls.live(args.number(0));
  const [level, name] = [args.number(1), args.number(2)];
  const wanted = optionValue(args, 3);
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
