/**
 * Socket options by level (Linux core/sock.c: sk_setsockopt; tcp.c: tcp_setsockopt). Values are
 * ints; those of structures have a second one. What is in no table is refused with -ENOPROTOOPT,
 * never ignored.
 */
import { EINVAL, ENOPROTOOPT } from '../net/errno.js';
import { getIpOption, setIpOption } from './sockopt/ip-level.js';
import { getSocketOption, setSocketOption } from './sockopt/socket-level.js';
import { getTcpOption, setTcpOption } from './sockopt/tcp-level.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

const SOL_SOCKET = 1;
const IPPROTO_IP = 0;
const IPPROTO_TCP = 6;

/** 0 or -errno. */
export function tcpSetsockopt(
  tcp: Tcp,
  tcb: Tcb,
  level: number,
  name: number,
  value: number,
  value2: number,
): number {
  switch (level) {
    case SOL_SOCKET:
      return setSocketOption(tcp, tcb, name, value, value2);
    case IPPROTO_TCP:
      return setTcpOption(tcp, tcb, name, value);
    case IPPROTO_IP:
      return setIpOption(tcb, name, value);
  }
  return -ENOPROTOOPT;
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
  switch (level) {
    case SOL_SOCKET:
      return getSocketOption(tcp, tcb, name, out);
    case IPPROTO_TCP:
      return getTcpOption(tcp, tcb, name, out);
    case IPPROTO_IP:
      return getIpOption(tcp, tcb, name, out);
  }
  return -ENOPROTOOPT;
}
