/**
 * Options that mean nothing to TCP over IPv4, in Linux as here (Linux core/sock.c: sk_setsockopt;
 * ip_sockglue.c: do_ip_setsockopt): flags that are kept and read back, and options that have one
 * value and one answer. What would mean something and is not built is not here: it is refused.
 */
import { EINVAL, ENODATA, ENOPROTOOPT, EOPNOTSUPP, EPERM, EPROTO } from '../../net/errno.js';
import { IPPROTO_TCP } from '../../net/layout.js';
import type { Tcb } from '../tcb.js';
import { setRare } from './rare.js';

const SOL_SOCKET = 1;
const IPPROTO_IP = 0;

/** What a flag takes. */
interface Flag {
  readonly level: number;
  readonly name: number;
  /** On in a new socket. */
  readonly on?: true;
  /** 0 and 1 only. */
  readonly strict?: true;
  /** Users without privilege may not switch it on. */
  readonly privileged?: true;
}

const flag = (level: number, name: number, rest: Partial<Flag> = {}): Flag => ({
  level,
  name,
  ...rest,
});

/** SO_DONTROUTE is one of them because our only route beyond subnets has no gateway either. */
const SO_FLAGS = [5, 11, 40, 41, 43, 45, 75, 82].map((name) => flag(SOL_SOCKET, name));
const SO_PREFER_BUSY_POLL = flag(SOL_SOCKET, 69, { privileged: true });
/** IP_RECVOPTS and its like: control messages of datagrams. */
const IP_FLAGS = [6, 7, 8, 12, 13, 18, 20, 23].map((name) => flag(IPPROTO_IP, name));
const IP_FREEBIND = flag(IPPROTO_IP, 15);
const IP_TRANSPARENT = flag(IPPROTO_IP, 19, { privileged: true });
const IP_RECVERR_RFC4884 = flag(IPPROTO_IP, 26, { strict: true });
const IP_MULTICAST_LOOP = flag(IPPROTO_IP, 34, { on: true });
const IP_MULTICAST_ALL = flag(IPPROTO_IP, 49, { on: true, strict: true });

/** A flag's place is its bit; a bit is set when the flag is not as in a new socket. */
const FLAGS: readonly Flag[] = [
  IP_FREEBIND,
  IP_TRANSPARENT,
  ...SO_FLAGS,
  SO_PREFER_BUSY_POLL,
  ...IP_FLAGS,
  IP_RECVERR_RFC4884,
  IP_MULTICAST_LOOP,
  IP_MULTICAST_ALL,
];
const FREEBIND_BIT = 1;
const TRANSPARENT_BIT = 2;

/** An option with one answer: what get says (a value, or -errno) and what set says. */
interface Fixed {
  readonly get: number;
  readonly set: number;
}

const fixed = (get: number, set: number): Fixed => ({ get, set: -set });
const EITHER = fixed(-EOPNOTSUPP, EOPNOTSUPP);

/** By level and name. */
const FIXED: ReadonlyMap<number, Fixed> = new Map([
  // SO_BSDCOMPAT is taken and forgotten; SO_PASSCRED and others of its kind are for AF_UNIX.
  [keyOf(SOL_SOCKET, 14), fixed(0, 0)],
  ...[16, 34, 76, 83].map((name) => [keyOf(SOL_SOCKET, name), EITHER] as const),
  // SO_PEERGROUPS, SO_PEERPIDFD: a TCP peer has none.
  [keyOf(SOL_SOCKET, 59), fixed(-ENODATA, ENOPROTOOPT)],
  [keyOf(SOL_SOCKET, 77), fixed(-ENODATA, ENOPROTOOPT)],
  // TCP_TIMESTAMP, TCP_IS_MPTCP, and three limits that cannot be set here: milliseconds, µs, µs.
  [keyOf(IPPROTO_TCP, 43), fixed(0, ENOPROTOOPT)],
  [keyOf(IPPROTO_TCP, 44), fixed(120_000, ENOPROTOOPT)],
  [keyOf(IPPROTO_TCP, 45), fixed(200_000, ENOPROTOOPT)],
  [keyOf(IPPROTO_TCP, 46), fixed(200_000, ENOPROTOOPT)],
  // IP_HDRINCL, IP_ROUTER_ALERT, IP_NODEFRAG, IP_RECVFRAGSIZE are for raw sockets.
  [keyOf(IPPROTO_IP, 3), fixed(0, ENOPROTOOPT)],
  [keyOf(IPPROTO_IP, 5), fixed(0, EINVAL)],
  [keyOf(IPPROTO_IP, 22), fixed(0, ENOPROTOOPT)],
  [keyOf(IPPROTO_IP, 25), fixed(0, EINVAL)],
  // IP_MULTICAST_IF, IP_MULTICAST_TTL, IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP.
  [keyOf(IPPROTO_IP, 32), fixed(0, EINVAL)],
  [keyOf(IPPROTO_IP, 33), fixed(1, EINVAL)],
  [keyOf(IPPROTO_IP, 35), fixed(-ENOPROTOOPT, EPROTO)],
  [keyOf(IPPROTO_IP, 36), fixed(-ENOPROTOOPT, EPROTO)],
]);

function keyOf(level: number, name: number): number {
  return level * 0x10000 + name;
}

function flagIndex(level: number, name: number): number {
  return FLAGS.findIndex((one) => one.level === level && one.name === name);
}

/** May the socket bind to addresses that are not ours (IP_FREEBIND, IP_TRANSPARENT)? */
export function bindsAnywhere(tcb: Tcb): boolean {
  return (tcb.rare.flags & (FREEBIND_BIT | TRANSPARENT_BIT)) !== 0;
}

/** May packets leave with a source that is not ours (IP_TRANSPARENT)? */
export function isTransparent(tcb: Tcb): boolean {
  return (tcb.rare.flags & TRANSPARENT_BIT) !== 0;
}

/** 0 or -errno; -ENOPROTOOPT also for an option that is not one of these. */
export function setKept(tcb: Tcb, level: number, name: number, value: number): number {
  const index = flagIndex(level, name);
  if (index < 0) return FIXED.get(keyOf(level, name))?.set ?? -ENOPROTOOPT;
  const { on = false, strict, privileged } = FLAGS[index]!;
  if (strict && value !== 0 && value !== 1) return -EINVAL;
  const wanted = value !== 0;
  if (privileged && wanted && tcb.uid !== 0) return -EPERM;
  const bit = 1 << index;
  const { flags } = tcb.rare;
  setRare(tcb, { flags: wanted === on ? flags & ~bit : flags | bit });
  return 0;
}

/** Writes the option's word to `out`: 1 or -errno. */
export function getKept(tcb: Tcb, level: number, name: number, out: Int32Array): number {
  const index = flagIndex(level, name);
  let value: number;
  if (index < 0) {
    value = FIXED.get(keyOf(level, name))?.get ?? -ENOPROTOOPT;
    if (value < 0) return value;
  } else {
    const { on = false } = FLAGS[index]!;
    value = (((tcb.rare.flags >>> index) & 1) === 1) === on ? 0 : 1;
  }
  out[0] = value;
  return 1;
}
