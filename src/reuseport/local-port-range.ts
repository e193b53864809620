/**
 * From which ports one is chosen for a socket (Linux net/ipv4/inet_connection_sock.c:
 * inet_sk_get_local_port_range): the namespace's range, narrowed by the socket's. How the choice is
 * made is get-port.ts for bind() and hash-connect.ts for connect().
 */
import type { Sysctl } from '../net/sysctl.js';
import type { SockCommon } from './sock-common.js';

export interface LocalPortRange {
  /** Both inclusive. */
  readonly low: number;
  readonly high: number;
  /** The socket has a range of its own, though it may not have narrowed anything. */
  readonly own: boolean;
}

/** An end of the socket's range that lies outside of the namespace's is ignored. */
export function inetSkLocalPortRange(sysctl: Sysctl, sk: SockCommon): LocalPortRange {
  let low = sysctl.ipLocalPortRangeLow;
  let high = sysctl.ipLocalPortRangeHigh;
  const range = sk.localPortRange;
  const skLow = range & 0xffff;
  const skHigh = range >>> 16;
  if (low <= skLow && skLow <= high) low = skLow;
  if (low <= skHigh && skHigh <= high) high = skHigh;
  return { low, high, own: range !== 0 };
}
