/**
 * Socket options by level (Linux core/sock.c: sk_setsockopt; tcp.c: tcp_setsockopt). Values are
 * ints; those of structures have a second one. What is in no table is refused with -ENOPROTOOPT,
 * never ignored.
 */
import { EINVAL, ENOPROTOOPT } from '../net/errno.js';
import { IPPROTO_TCP } from '../net/layout.js';
import { getIpOption, setIpOption } from './sockopt/ip-level.js';
import { getKept, setKept } from './sockopt/kept.js';
import { getSocketOption, setSocketOption } from './sockopt/socket-level.js';
import { getTcpOption, setTcpOption } from './sockopt/tcp-level.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

const SOL_SOCKET = 1;
const IPPROTO_IP = 0;

/** 0 or -errno. */
export function tcpSetsockopt(
  tcp: Tcp,
  tcb: Tcb,
  level: number,
  name: number,
  value: number,
  value2: number,
): number {
  let status = -ENOPROTOOPT;
  if (level === SOL_SOCKET) status = setSocketOption(tcp, tcb, name, value, value2);
  else if (level === IPPROTO_TCP) status = setTcpOption(tcp, tcb, name, value);
  else if (level === IPPROTO_IP) status = setIpOption(tcb, name, value);
  return status === -ENOPROTOOPT ? setKept(tcb, level, name, value) : status;
}

/** Writes the option's words to `out`; their number or -errno. */
export function tcpGetsockopt(
  tcp: Tcp,
  tcb: Tcb,
  level: number,
  name: number,
  out: Int32Array,
): number {
  if (out.length === 0) return -EINVAL;
  let words = -ENOPROTOOPT;
  if (level === SOL_SOCKET) words = getSocketOption(tcp, tcb, name, out);
  else if (level === IPPROTO_TCP) words = getTcpOption(tcp, tcb, name, out);
  else if (level === IPPROTO_IP) words = getIpOption(tcp, tcb, name, out);
  return words === -ENOPROTOOPT ? getKept(tcb, level, name, out) : words;
}
