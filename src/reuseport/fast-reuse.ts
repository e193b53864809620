/**
 * What Linux remembers of a port's owners to save the walk over them
 * (net/ipv4/inet_connection_sock.c: sk_reuseport_match, inet_csk_update_fastreuse). It is kept for
 * its effects: options may change after bind(), and then a port that was once shared is shared
 * again without asking its owners.
 */
import type { BindPort } from './bhash.js';
import type { KernelProfile } from './profile.js';
import { AF_INET6, type SockCommon } from './sock-common.js';

/** BindPort.fastReuseport: not, for all sockets of the user, or if the address overlaps, too. */
export const FASTREUSEPORT_NONE = 0;
export const FASTREUSEPORT_ANY = 1;
export const FASTREUSEPORT_STRICT = 2;

/** Linux: ipv4_rcv_saddr_equal, ipv6_rcv_saddr_equal; only the remembered side may be any. */
function addressesMatch(port: BindPort, sk: SockCommon): boolean {
  if (port.fastFamily === AF_INET6 && port.fastRcvSaddr === 0) {
    return sk.family === AF_INET6 ? sk.rcvSaddr === 0 || !port.fastIpv6only : !port.fastIpv6only;
  }
  if (sk.ipv6only) return false;
  return port.fastRcvSaddr === 0 || port.fastRcvSaddr === sk.rcvSaddr;
}

/** Linux: sk_reuseport_match. */
function reuseportMatch(port: BindPort, sk: SockCommon): boolean {
  if (port.fastReuseport === FASTREUSEPORT_NONE || !sk.reuseport) return false;
  if (sk.reuseportCb !== null || port.fastUid !== sk.uid) return false;
  return port.fastReuseport === FASTREUSEPORT_ANY || addressesMatch(port, sk);
}

/** May `sk` have the port without a look at its owners? */
export function fastReuseMatch(port: BindPort, sk: SockCommon, listening: boolean): boolean {
  return (port.fastReuse && sk.reuse && !listening) || reuseportMatch(port, sk);
}

function remember(port: BindPort, sk: SockCommon, fastReuseport: number): void {
  port.fastReuseport = fastReuseport;
  port.fastUid = sk.uid;
  port.fastRcvSaddr = sk.rcvSaddr;
  port.fastFamily = sk.family;
  port.fastIpv6only = sk.ipv6only;
}

/**
 * Linux: inet_csk_update_fastreuse. `sk` has asked for the port and got it.
 * @param first it is the only owner; kernels since 6.8 do not see that, for the bucket of its
 *   address is there already when they look
 */
export function updateFastReuse(
  profile: KernelProfile,
  port: BindPort,
  sk: SockCommon,
  first: boolean,
  listening: boolean,
): void {
  const fresh = first && profile.fastReuseSeesFirst;
  const reuse = sk.reuse && !listening;
  port.fastReuse = reuse && (fresh || port.fastReuse);
  if (!sk.reuseport) port.fastReuseport = FASTREUSEPORT_NONE;
  else if (fresh) remember(port, sk, FASTREUSEPORT_ANY);
  else if (!reuseportMatch(port, sk)) remember(port, sk, FASTREUSEPORT_STRICT);
}
