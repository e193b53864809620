/**
 * How strace prints values: flags and enumerations by name, addresses, buffers, results. Only what
 * the calls of sys-table.ts can take; strace.ts puts the pieces together.
 */
import * as errno from '../net/errno.js';
import type { EpollEvent, Message, Sockaddr, SockaddrArgument } from './sys-table.js';
import * as c from './uapi/constants.js';

type Names = readonly (readonly [number, string])[];

/** Characters of a buffer that are shown (strace -s). */
const STRING_MAX = 32;

/** The C library's sentences (strerror). */
const ERROR_TEXTS: Readonly<Record<string, string>> = {
  EAGAIN: 'Resource temporarily unavailable',
  EBADF: 'Bad file descriptor',
  EINVAL: 'Invalid argument',
  EPIPE: 'Broken pipe',
  EDOM: 'Numerical argument out of domain',
  ECONNRESET: 'Connection reset by peer',
  ECONNREFUSED: 'Connection refused',
  ECONNABORTED: 'Software caused connection abort',
  EINPROGRESS: 'Operation now in progress',
  EALREADY: 'Operation already in progress',
  EISCONN: 'Transport endpoint is already connected',
  ENOTCONN: 'Transport endpoint is not connected',
  EADDRINUSE: 'Address already in use',
  EADDRNOTAVAIL: 'Cannot assign requested address',
  EACCES: 'Permission denied',
  EPERM: 'Operation not permitted',
  ENOENT: 'No such file or directory',
  ENODEV: 'No such device',
  EEXIST: 'File exists',
  ENOTSOCK: 'Socket operation on non-socket',
  EOPNOTSUPP: 'Operation not supported',
  EDESTADDRREQ: 'Destination address required',
  EAFNOSUPPORT: 'Address family not supported by protocol',
  EPROTONOSUPPORT: 'Protocol not supported',
  ESOCKTNOSUPPORT: 'Socket type not supported',
  ENOPROTOOPT: 'Protocol not available',
  ETIMEDOUT: 'Connection timed out',
  EHOSTDOWN: 'Host is down',
  EHOSTUNREACH: 'No route to host',
  ENODATA: 'No data available',
  ENONET: 'Machine is not on the network',
  ENETUNREACH: 'Network is unreachable',
  ENETDOWN: 'Network is down',
  ENOBUFS: 'No buffer space available',
  ENOMEM: 'Cannot allocate memory',
  EMFILE: 'Too many open files',
  ENFILE: 'Too many open files in system',
  EIO: 'Input/output error',
  ENOSYS: 'Function not implemented',
  ENOTTY: 'Inappropriate ioctl for device',
  EFAULT: 'Bad address',
  EINTR: 'Interrupted system call',
  EBUSY: 'Device or resource busy',
  EFBIG: 'File too large',
  ENOSPC: 'No space left on device',
  ESPIPE: 'Illegal seek',
  EPROTO: 'Protocol error',
  EMSGSIZE: 'Message too long',
};

const EPOLL_EVENTS: Names = [
  [c.EPOLLIN, 'EPOLLIN'],
  [c.EPOLLPRI, 'EPOLLPRI'],
  [c.EPOLLOUT, 'EPOLLOUT'],
  [c.EPOLLERR, 'EPOLLERR'],
  [c.EPOLLHUP, 'EPOLLHUP'],
  [c.EPOLLRDNORM, 'EPOLLRDNORM'],
  [c.EPOLLRDBAND, 'EPOLLRDBAND'],
  [c.EPOLLWRNORM, 'EPOLLWRNORM'],
  [c.EPOLLWRBAND, 'EPOLLWRBAND'],
  [c.EPOLLRDHUP, 'EPOLLRDHUP'],
  [c.EPOLLEXCLUSIVE, 'EPOLLEXCLUSIVE'],
  [c.EPOLLWAKEUP, 'EPOLLWAKEUP'],
  [c.EPOLLONESHOT, 'EPOLLONESHOT'],
  [c.EPOLLET, 'EPOLLET'],
];
const POLL_EVENTS: Names = [
  [c.POLLIN, 'POLLIN'],
  [c.POLLPRI, 'POLLPRI'],
  [c.POLLOUT, 'POLLOUT'],
  [c.POLLERR, 'POLLERR'],
  [c.POLLHUP, 'POLLHUP'],
  [c.POLLNVAL, 'POLLNVAL'],
  [c.POLLRDNORM, 'POLLRDNORM'],
  [c.POLLWRNORM, 'POLLWRNORM'],
  [c.POLLRDHUP, 'POLLRDHUP'],
];
const MSG_FLAGS: Names = [
  [c.MSG_OOB, 'MSG_OOB'],
  [c.MSG_PEEK, 'MSG_PEEK'],
  [c.MSG_DONTROUTE, 'MSG_DONTROUTE'],
  [c.MSG_CTRUNC, 'MSG_CTRUNC'],
  [c.MSG_TRUNC, 'MSG_TRUNC'],
  [c.MSG_DONTWAIT, 'MSG_DONTWAIT'],
  [c.MSG_EOR, 'MSG_EOR'],
  [c.MSG_WAITALL, 'MSG_WAITALL'],
  [c.MSG_CONFIRM, 'MSG_CONFIRM'],
  [c.MSG_ERRQUEUE, 'MSG_ERRQUEUE'],
  [c.MSG_NOSIGNAL, 'MSG_NOSIGNAL'],
  [c.MSG_MORE, 'MSG_MORE'],
];
const SOCK_FLAGS: Names = [
  [c.SOCK_CLOEXEC, 'SOCK_CLOEXEC'],
  [c.SOCK_NONBLOCK, 'SOCK_NONBLOCK'],
];
const EFD_FLAGS: Names = [
  [c.EFD_SEMAPHORE, 'EFD_SEMAPHORE'],
  [c.EFD_CLOEXEC, 'EFD_CLOEXEC'],
  [c.EFD_NONBLOCK, 'EFD_NONBLOCK'],
];
const FILE_FLAGS: Names = [
  [c.O_RDWR, 'O_RDWR'],
  [c.O_NONBLOCK, 'O_NONBLOCK'],
];
const SOCK_TYPES = ['', 'SOCK_STREAM', 'SOCK_DGRAM', 'SOCK_RAW'];
const SOCK_TYPE_MASK = 0xf;
const HOWS = ['SHUT_RD', 'SHUT_WR', 'SHUT_RDWR'];
const EPOLL_OPS = ['', 'EPOLL_CTL_ADD', 'EPOLL_CTL_DEL', 'EPOLL_CTL_MOD'];

/** Constants that begin like TCP options and are states. */
const TCP_STATES = /^TCP_(ESTABLISHED|SYN_[SR]|FIN_WAIT|TIME_WAIT|CLOSE|LAST_ACK|LISTEN|CLOSING)/;

/** Name of each constant that begins with `prefix`, by value; the first of several wins. */
function constants(prefix: string, except: RegExp = /^$/): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const [name, value] of Object.entries(c)) {
    if (name.startsWith(prefix) && !except.test(name) && !names.has(value)) names.set(value, name);
  }
  return names;
}

const FAMILIES = constants('AF_');
const PROTOCOLS = constants('IPPROTO_');
const COMMANDS = constants('F_');
const OPTIONS: ReadonlyMap<number, readonly [string, ReadonlyMap<number, string>]> = new Map([
  [c.SOL_SOCKET, ['SOL_SOCKET', constants('SO_')] as const],
  [c.SOL_TCP, ['SOL_TCP', constants('TCP_', TCP_STATES)] as const],
  [c.SOL_IP, ['SOL_IP', constants('IP_', /^IP_PMTUDISC/)] as const],
]);
const REQUESTS: ReadonlyMap<number, string> = new Map([
  [c.FIONREAD, 'FIONREAD'],
  [c.SIOCOUTQ, 'TIOCOUTQ'],
  [c.FIONBIO, 'FIONBIO'],
  [c.SIOCOUTQNSD, 'SIOCOUTQNSD'],
  [c.SIOCATMARK, 'SIOCATMARK'],
]);

function hex(value: number): string {
  return `0x${(value >>> 0).toString(16)}`;
}

function named(names: ReadonlyMap<number, string>, value: number, prefix: string): string {
  return names.get(value) ?? `${hex(value)} /* ${prefix}_??? */`;
}

/** `A|B|0x400`; 0 = no bit. */
function flags(names: Names, value: number): string {
  if (value === 0) return '0';
  const parts: string[] = [];
  let rest = value | 0;
  for (const [bit, name] of names) {
    if ((rest & bit) === 0) continue;
    parts.push(name);
    rest &= ~bit;
  }
  if (rest !== 0) parts.push(hex(rest));
  return parts.join('|');
}

export const familyText = (value: number): string => named(FAMILIES, value, 'AF');
export const protocolText = (value: number): string => named(PROTOCOLS, value, 'IPPROTO');
export const howText = (value: number): string => HOWS[value] ?? `${value} /* SHUT_??? */`;
export const epollOpText = (value: number): string =>
  EPOLL_OPS[value] || `${hex(value)} /* EPOLL_CTL_??? */`;
export const sockFlagsText = (value: number): string => flags(SOCK_FLAGS, value);
export const msgFlagsText = (value: number): string => flags(MSG_FLAGS, value);
export const efdFlagsText = (value: number): string => flags(EFD_FLAGS, value);
export const fileFlagsText = (value: number): string => flags(FILE_FLAGS, value);
export const pollEventsText = (value: number): string => flags(POLL_EVENTS, value);
export const requestText = (value: number): string => REQUESTS.get(value) ?? hex(value);
export const commandText = (value: number): string => named(COMMANDS, value, 'F');
export const memfdFlagsText = (value: number): string =>
  flags([[c.MFD_CLOEXEC, 'MFD_CLOEXEC']], value);
export const epollCreateFlagsText = (value: number): string =>
  flags([[c.EPOLL_CLOEXEC, 'EPOLL_CLOEXEC']], value);

export function sockTypeText(value: number): string {
  const base = SOCK_TYPES[value & SOCK_TYPE_MASK] || `${value & SOCK_TYPE_MASK} /* SOCK_??? */`;
  const rest = value & ~SOCK_TYPE_MASK;
  return rest === 0 ? base : `${base}|${flags(SOCK_FLAGS, rest)}`;
}

/** `SOL_SOCKET, SO_REUSEPORT` */
export function optionText(level: number, name: number): string {
  const known = OPTIONS.get(level);
  if (known === undefined) return `${hex(level)} /* SOL_??? */, ${hex(name)}`;
  // There are newer ones for 64-bit times on 32-bit machines.
  if (isTimeout(level, name)) return `${known[0]}, ${named(known[1], name, 'SO')}_OLD`;
  return `${known[0]}, ${named(known[1], name, 'SO')}`;
}

/** Is it a socket time-out, whose value is a struct timeval? */
export function isTimeout(level: number, name: number): boolean {
  return level === c.SOL_SOCKET && (name === c.SO_RCVTIMEO || name === c.SO_SNDTIMEO);
}

/** `[1], 4`, `"p2c", 3`, or the structure of SO_LINGER; a time-out as its 16 bytes. */
export function optionValueText(
  level: number,
  name: number,
  value: number | string,
  more: number,
  timeoutLength = '16',
): string {
  if (isTimeout(level, name)) {
    const words = BigInt64Array.of(BigInt(Math.trunc(Number(value))), BigInt(Math.trunc(more)));
    return `${bytesText(new Uint8Array(words.buffer), 0, 16)}, ${timeoutLength}`;
  }
  if (typeof value === 'string') {
    const bytes = new TextEncoder().encode(value);
    return `${bytesText(bytes, 0, bytes.length)}, ${bytes.length}`;
  }
  if (level === c.SOL_SOCKET && name === c.SO_LINGER) {
    return `{l_onoff=${value}, l_linger=${more}}, 8`;
  }
  return `[${value}], 4`;
}

/** `{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("198.18.0.1")}` */
export function sockaddrText(address: SockaddrArgument | Sockaddr | null | undefined): string {
  if (address == null) return 'NULL';
  if (address.family === c.AF_UNSPEC) {
    return `{sa_family=AF_UNSPEC, sa_data="${'\\0'.repeat(14)}"}`;
  }
  const value = address.address;
  const text =
    typeof value === 'string'
      ? value
      : [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
  return `{sa_family=AF_INET, sin_port=htons(${address.port}), sin_addr=inet_addr("${text}")}`;
}

/**
 * struct msghdr: what went out, or the first `taken` bytes of what came in.
 * @param flags msg_flags
 */
export function messageText(message: Message, taken: number, flags: number): string {
  let left = taken;
  const parts = message.iov.map((buffer) => {
    const count = Math.max(0, Math.min(left, buffer.length));
    left -= count;
    return `{iov_base=${bytesText(buffer, 0, count)}, iov_len=${buffer.length}}`;
  });
  const name = `msg_name=${sockaddrText(message.name)}, msg_namelen=${message.name ? 16 : 0}`;
  const vector = `msg_iov=[${parts.join(', ')}], msg_iovlen=${parts.length}`;
  const headers = (message.control ?? []).map(
    ({ level, type }) =>
      `{cmsg_len=20, cmsg_level=${OPTIONS.get(level)?.[0] ?? hex(level)}, cmsg_type=${hex(type)}}`,
  );
  const control =
    headers.length === 0
      ? 'msg_controllen=0'
      : `msg_control=[${headers.join(', ')}], msg_controllen=${headers.length * 24}`;
  return `{${name}, ${vector}, ${control}, msg_flags=${msgFlagsText(flags)}}`;
}

/** `{EPOLLIN|EPOLLET, {u32=6, u64=6}}` */
export function epollEventText(event: EpollEvent | null | undefined): string {
  if (event == null) return 'NULL';
  const { data } = event;
  return `{${flags(EPOLL_EVENTS, event.events)}, {u32=${data >>> 0}, u64=${data}}}`;
}

const ESCAPES: Readonly<Record<number, string>> = {
  9: '\\t',
  10: '\\n',
  11: '\\v',
  12: '\\f',
  13: '\\r',
  34: '\\"',
  92: '\\\\',
};

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x37;
}

/** The bytes in C's notation, quoted; the first 32 of them, then `...`. */
export function bytesText(buffer: Uint8Array, offset: number, length: number): string {
  let text = '"';
  const shown = Math.min(length, STRING_MAX);
  for (let i = 0; i < shown; i++) {
    const byte = buffer[offset + i]!;
    if (ESCAPES[byte] !== undefined) text += ESCAPES[byte];
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else {
      // Octal, as short as the next character allows.
      const digits = byte.toString(8);
      const next = i + 1 < shown ? buffer[offset + i + 1] : undefined;
      text += `\\${isDigit(next) ? digits.padStart(3, '0') : digits}`;
    }
  }
  return length > shown ? `${text}"...` : `${text}"`;
}

const ERROR_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(errno).map(([name, value]) => [value, name]),
);

/** `3`, or `-1 EAGAIN (Resource temporarily unavailable)`. */
export function resultText(result: number): string {
  if (result >= 0) return String(result);
  const name = ERROR_NAMES.get(-result) ?? `ERRNO_${-result}`;
  return `-1 ${name} (${ERROR_TEXTS[name] ?? 'Unknown error'})`;
}
