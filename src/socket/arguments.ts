/**
 * The arguments of `connect` and `listen` in their many forms, put in order and checked the way
 * Node's `net` does it (`normalizeArgs`, `validatePort`, …). Throws Node's `ERR_*` errors; touches
 * no socket.
 */
import { badPort, codedError, invalidArgType } from './errors.js';

type AnyFunction = (...args: never[]) => void;

/** `Number(x)` when that is a number ≥ 0, else false. */
function toNumber(value: unknown): number | false {
  const number = Number(value);
  return number >= 0 ? number : false;
}

/**
 * `(options[, cb])`, `(port[, host][, …][, cb])` or `(path[, cb])` as one options object and the
 * callback or null. The options object is the caller's own when he gave one.
 */
export function normalizeArgs<Options extends object, Callback extends AnyFunction>(
  args: readonly unknown[],
): [Options, Callback | null] {
  const [first] = args;
  let options: { path?: unknown; port?: unknown; host?: unknown } = {};
  if (typeof first === 'object' && first !== null) {
    options = first;
  } else if (typeof first === 'string' && toNumber(first) === false) {
    options.path = first;
  } else if (args.length > 0) {
    options.port = first;
    if (typeof args[1] === 'string') options.host = args[1];
  }
  const last = args.at(-1);
  return [options as Options, typeof last === 'function' ? (last as Callback) : null];
}

/** The backlog of `listen(port[, host], backlog)`, 0 when none was given. */
export function backlogOfArgs(args: readonly unknown[]): number {
  return (args.length > 1 && toNumber(args[1])) || (args.length > 2 && toNumber(args[2])) || 0;
}

/** @returns the port as a number in [0, 65535] */
export function validatePort(value: unknown, name: string): number {
  const text = typeof value === 'string' ? value.trim() : value;
  const number = Number(text);
  const ok = typeof text === 'number' || (typeof text === 'string' && text.length > 0);
  if (!ok || number !== number >>> 0 || number > 0xffff) throw badPort(name, value);
  return number;
}

export function validateFunction(value: unknown, name: string): void {
  if (typeof value !== 'function') throw invalidArgType(name, 'of type function', value);
}

export function validateNumber(value: unknown, name: string): number {
  if (typeof value !== 'number') throw invalidArgType(name, 'of type number', value);
  return value;
}

export function validateSignal(value: unknown, name: string): AbortSignal {
  if (typeof value !== 'object' || value === null || !('aborted' in value)) {
    throw invalidArgType(name, 'an instance of AbortSignal', value);
  }
  return value as AbortSignal;
}

/** Largest delay of a timer, ms; Node clips to it with a warning. */
const TIMEOUT_MAX_MS = 2 ** 31 - 1;

/** A socket time-out in ms: a number ≥ 0, clipped to what a timer can hold. */
export function validateTimeout(value: unknown, name: string): number {
  const number = validateNumber(value, name);
  if (!(number >= 0) || number === Number.POSITIVE_INFINITY) {
    const rule = 'It must be a non-negative finite number.';
    const text = `The value of "${name}" is out of range. ${rule} Received ${number}`;
    throw codedError(RangeError, 'ERR_OUT_OF_RANGE', text);
  }
  return Math.min(number, TIMEOUT_MAX_MS);
}

/** Milliseconds of `keepAliveInitialDelay` as whole seconds ≥ 0. */
export function keepAliveSeconds(value: unknown): number {
  if (value === undefined) return 0;
  return Math.max(0, Math.trunc(validateNumber(value, 'options.keepAliveInitialDelay') / 1000));
}
