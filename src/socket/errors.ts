/**
 * The exceptions of the socket room: `SocketError` for what a system call refused, in the shape of
 * Node's own errors (`code errno syscall address port`, message and all), `StackError` for a stack
 * that cannot be opened or has died, and the argument errors (`ERR_*` codes) that Node's `net`
 * throws for the same mistake. Below this room there are only negated errnos; above it only these.
 */
import { getSystemErrorMap, inspect } from 'node:util';

const SYSTEM_ERRORS: ReadonlyMap<number, [string, string]> = getSystemErrorMap();

/** End of a stream as a read status, libuv's UV_EOF. */
export const EOF = -4095;
/** A request that was cut off by close, libuv's UV_ECANCELED. */
export const ECANCELED = -125;

/** Name of a negated errno: `-104` → `ECONNRESET`. */
export function errnoName(status: number): string {
  return SYSTEM_ERRORS.get(status)?.[0] ?? `Unknown system error ${status}`;
}

/** What names the two ends of the call that failed. */
export interface SocketErrorDetails {
  address?: string | undefined;
  port?: number | undefined;
  localAddress?: string | undefined;
  localPort?: number | undefined;
  /** Adds the system's own sentence, as Node does for listen and bind of a server. */
  describe?: boolean;
}

/** A system call on a socket failed; compatible with what `node:net` emits for the same failure. */
export class SocketError extends Error {
  /** Negated errno, as Node (libuv) reports it. */
  readonly errno: number;
  readonly code: string;
  readonly syscall: string;
  declare readonly address?: string;
  declare readonly port?: number;
  declare readonly localAddress?: string;
  declare readonly localPort?: number;

  /**
   * @param status negated errno, e.g. -111
   * @param syscall name for the message: `connect`, `listen`, `read`, …
   */
  constructor(status: number, syscall: string, details: SocketErrorDetails = {}) {
    super(message(status, syscall, details));
    this.errno = status;
    this.code = errnoName(status);
    this.syscall = syscall;
    if (details.address !== undefined) this.address = details.address;
    if (details.port) this.port = details.port;
    if (details.localAddress !== undefined) this.localAddress = details.localAddress;
    if (details.localPort) this.localPort = details.localPort;
  }
}

function message(status: number, syscall: string, details: SocketErrorDetails): string {
  const { address, port, localAddress, localPort } = details;
  let text = `${syscall} ${errnoName(status)}`;
  if (details.describe) text += `: ${SYSTEM_ERRORS.get(status)?.[1] ?? 'unknown error'}`;
  if (port && port > 0) text += ` ${address}:${port}`;
  else if (address) text += ` ${address}`;
  if (localAddress && localPort) text += ` - Local (${localAddress}:${localPort})`;
  return text;
}

/** A stack that cannot be opened, or has died. `remedy` says what to do or to type next. */
export class StackError extends Error {
  override readonly name = 'StackError';
  readonly code: string;
  readonly remedy: string;
  /** What a command-line program exits with: 1 failed, 2 usage, 77 privilege or device missing. */
  readonly exitCode: number;

  constructor(code: string, message: string, remedy = '', exitCode = 1) {
    super(message);
    this.code = code;
    this.remedy = remedy;
    this.exitCode = exitCode;
  }

  /** The same error as a plain object, to cross between threads. */
  toPlain(): PlainStackError {
    const { code, message, remedy, exitCode } = this;
    return { code, message, remedy, exitCode };
  }
}

export interface PlainStackError {
  code: string;
  message: string;
  remedy: string;
  exitCode: number;
}

/**
 * Makes a StackError of whatever was thrown or came over a port; keeps code, remedy and exit code
 * if there are any.
 */
export function toStackError(error: unknown, code = 'ERR_STACK_FAILED'): StackError {
  if (error instanceof StackError) return error;
  if (typeof error !== 'object' || error === null) return new StackError(code, String(error));
  const { message, remedy, exitCode } = error as Partial<PlainStackError>;
  const own = (error as { code?: unknown }).code;
  const result = new StackError(
    typeof own === 'string' ? own : code,
    typeof message === 'string' ? message : inspect(error),
    typeof remedy === 'string' ? remedy : '',
    typeof exitCode === 'number' ? exitCode : 1,
  );
  if (error instanceof Error) result.cause = error;
  return result;
}

type ErrorClass = new (message: string) => Error;

/** An error with a Node-style `code`; the stack begins `TypeError [CODE]: …` as Node's own do. */
export function codedError(Base: ErrorClass, code: string, text: string): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Base(text);
  const { name } = error;
  error.name = `${name} [${code}]`;
  Error.captureStackTrace(error, codedError);
  // Reading it once fixes the text with the code in it; then the name is the plain one again.
  void error.stack;
  error.name = name;
  error.code = code;
  Object.defineProperty(error, 'toString', {
    value: () => `${error.name} [${code}]: ${error.message}`,
    configurable: true,
    writable: true,
  });
  return error;
}

/** "Received …" as Node words it. */
function received(value: unknown): string {
  if (value == null) return ` Received ${value}`;
  if (typeof value === 'function') return ` Received function ${value.name}`;
  if (typeof value === 'object') {
    const name = value.constructor?.name;
    return name ? ` Received an instance of ${name}` : ` Received ${inspect(value, { depth: -1 })}`;
  }
  let text = inspect(value, { colors: false });
  if (text.length > 28) text = `${text.slice(0, 25)}...`;
  return ` Received type ${typeof value} (${text})`;
}

export function invalidArgType(name: string, expected: string, value: unknown): Error {
  const noun = name.includes('.') ? 'property' : 'argument';
  return codedError(
    TypeError,
    'ERR_INVALID_ARG_TYPE',
    `The "${name}" ${noun} must be ${expected}.${received(value)}`,
  );
}

export function invalidArgValue(name: string, value: unknown, reason: string): Error {
  const noun = name.includes('.') ? 'property' : 'argument';
  const shown = inspect(value);
  const text = shown.length > 128 ? `${shown.slice(0, 128)}...` : shown;
  return codedError(
    TypeError,
    'ERR_INVALID_ARG_VALUE',
    `The ${noun} '${name}' ${reason}. Received ${text}`,
  );
}

/** A port out of [0, 65535] or not a number at all. */
export function badPort(name: string, value: unknown): Error {
  return codedError(
    RangeError,
    'ERR_SOCKET_BAD_PORT',
    `${name} should be >= 0 and < 65536.${received(value)}.`,
  );
}

export function badAddress(value: unknown): Error {
  return codedError(TypeError, 'ERR_INVALID_IP_ADDRESS', `Invalid IP address: ${value}`);
}

export function socketClosed(): Error {
  return codedError(Error, 'ERR_SOCKET_CLOSED', 'Socket is closed');
}

export function socketClosedBeforeConnection(): Error {
  return codedError(
    Error,
    'ERR_SOCKET_CLOSED_BEFORE_CONNECTION',
    'Socket closed before the connection was established',
  );
}
