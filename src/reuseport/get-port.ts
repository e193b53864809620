/**
 * bind() and the second half of listen(): may this socket have this port, and which port if it may
 * choose (Linux net/ipv4/inet_connection_sock.c). The short way of those that share a port is
 * fast-reuse.ts. Privileged ports and local addresses are checked by the caller.
 */
import { assert } from '../net/assert.js';
import { EADDRINUSE } from '../net/errno.js';
import { TCP_LISTEN, TCP_TIME_WAIT } from '../net/tcp-states.js';
import type { BindBucket } from './bhash.js';
import { fastReuseMatch, updateFastReuse } from './fast-reuse.js';
import type { InetHashinfo } from './hashinfo.js';
import { inetSkLocalPortRange } from './local-port-range.js';
import { AF_INET6, type SockCommon } from './sock-common.js';

/**
 * A socket on `::`; any other IPv6 socket of this stack holds a v4-mapped address and counts as
 * IPv4.
 */
function isInet6Any(sk: SockCommon): boolean {
  return sk.family === AF_INET6 && sk.rcvSaddr === 0;
}

/**
 * Linux 6.1 net/ipv4/inet_connection_sock.c: inet_rcv_saddr_equal. Local addresses are equal or,
 * with `matchWildcard`, overlap: 0.0.0.0 with every IPv4 address, `::` with every address unless it
 * is V6ONLY.
 */
export function inetRcvSaddrEqual(
  sk: SockCommon,
  sk2: SockCommon,
  matchWildcard: boolean,
): boolean {
  const any = isInet6Any(sk);
  const any2 = isInet6Any(sk2);
  if (any && any2) return true;
  if (any) return matchWildcard && !sk.ipv6only;
  if (any2) return matchWildcard && !sk2.ipv6only;
  if (sk.rcvSaddr === sk2.rcvSaddr) return true;
  return matchWildcard && (sk.rcvSaddr === 0 || sk2.rcvSaddr === 0);
}

/**
 * Linux 6.1 net/ipv4/inet_connection_sock.c: inet_bind_conflict. Two owners of one port whose
 * addresses overlap do not get along.
 * @param relax both SO_REUSEADDR, and sk2 not listening, is good enough
 * @param reuseportOk both SO_REUSEPORT of the same user is good enough
 */
function inetBindConflict(
  sk: SockCommon,
  sk2: SockCommon,
  relax: boolean,
  reuseportCbOk: boolean,
  reuseportOk: boolean,
): boolean {
  if (sk === sk2) return false;
  const deviceOverlaps =
    sk.boundDevIf === 0 || sk2.boundDevIf === 0 || sk.boundDevIf === sk2.boundDevIf;
  if (!deviceOverlaps) return false;
  // Both could stand in one group.
  const groupable =
    sk.reuseport &&
    sk2.reuseport &&
    reuseportCbOk &&
    (sk2.state === TCP_TIME_WAIT || sk.uid === sk2.uid);
  if (sk.reuse && sk2.reuse && sk2.state !== TCP_LISTEN) {
    return !relax || (!reuseportOk && groupable);
  }
  return !reuseportOk || !groupable;
}

function bucketConflict(
  hashinfo: InetHashinfo,
  sk: SockCommon,
  bucket: BindBucket,
  relax: boolean,
  reuseportOk: boolean,
): boolean {
  // A socket in a group of its own (a selector was attached early) joins nobody, unless it comes
  // back from a closed section.
  const reuseportCbOk = sk.reuseportCb === null || sk.reuseportCb.numClosedSocks > 0;
  const conflicts = (sk2: SockCommon): boolean => {
    hashinfo.bhash.visited++;
    return (
      inetBindConflict(sk, sk2, relax, reuseportCbOk, reuseportOk) &&
      inetRcvSaddrEqual(sk, sk2, true)
    );
  };
  return bucket.owners.some(conflicts) || bucket.parked.some(({ like }) => conflicts(like));
}

/**
 * Linux 6.1 net/ipv4/inet_connection_sock.c: inet_csk_bind_conflict. True when another owner of
 * `port` forbids it to `sk`. Only owners at the same address and at 0.0.0.0 are looked at, or all
 * when `sk` is bound to any address.
 */
function inetCskBindConflict(
  hashinfo: InetHashinfo,
  sk: SockCommon,
  port: number,
  relax: boolean,
  reuseportOk: boolean,
): boolean {
  const { bhash } = hashinfo;
  if (sk.rcvSaddr === 0) {
    let bucket = bhash.findPort(port)?.buckets ?? null;
    for (; bucket !== null; bucket = bucket.portNext) {
      if (bucketConflict(hashinfo, sk, bucket, relax, reuseportOk)) return true;
    }
    return false;
  }
  const exact = bhash.find(port, sk.rcvSaddr);
  if (exact !== null && bucketConflict(hashinfo, sk, exact, relax, reuseportOk)) return true;
  const any = bhash.find(port, 0);
  return any !== null && bucketConflict(hashinfo, sk, any, relax, reuseportOk);
}

/**
 * One pass over [low, high): ports of the other parity than `low` first, from a random start, then
 * the rest; reserved ones are passed over.
 * @returns a port without conflict, or 0
 */
function scanOpenPorts(
  hashinfo: InetHashinfo,
  sk: SockCommon,
  low: number,
  high: number,
  relax: boolean,
): number {
  const reserved = hashinfo.net.sysctl.ipLocalReservedPorts;
  let remaining = high - low;
  if (remaining > 1) remaining &= ~1;
  // connect() prefers ports of low's parity: the opposite here keeps out of its way.
  let offset = (hashinfo.net.random.u32() % remaining) | 1;
  for (let pass = 0; pass < 2; pass++, offset--) {
    let port = low + offset;
    for (let i = 0; i < remaining; i += 2, port += 2) {
      if (port >= high) port -= remaining;
      if (reserved.has(port)) continue;
      if (!inetCskBindConflict(hashinfo, sk, port, relax, false)) return port;
    }
  }
  return 0;
}

/**
 * Linux 6.1 net/ipv4/inet_connection_sock.c: inet_csk_find_open_port. A port for bind(0): odd ones
 * first; a socket with SO_REUSEADDR tries the lower half of the range first. With ip_autobind_reuse
 * a second round shares ports of SO_REUSEADDR sockets. 0 = none left.
 */
function inetCskFindOpenPort(hashinfo: InetHashinfo, sk: SockCommon): number {
  const { sysctl } = hashinfo.net;
  const range = inetSkLocalPortRange(sysctl, sk);
  const { low } = range;
  const high = range.high + 1;
  const half = sk.reuse && high - low >= 4 ? low + (((high - low) >> 2) << 1) : high;
  const rounds = sysctl.ipAutobindReuse === 0 ? 1 : 2;
  for (let round = 0; round < rounds; round++) {
    const relax = round > 0;
    let port = scanOpenPorts(hashinfo, sk, low, half, relax);
    if (port === 0 && half < high) port = scanOpenPorts(hashinfo, sk, half, high, relax);
    if (port !== 0) return port;
  }
  return 0;
}

/**
 * Linux 6.1 net/ipv4/inet_connection_sock.c: inet_csk_get_port. Makes `sk` (rcvSaddr set) an owner
 * of `port`, or of a port of our choice when it is 0, and sets sk.num. listen() calls it again with
 * the state already LISTEN and the port that `sk` owns: then it only tests whether the listener
 * gets along with the other owners.
 * @param listening listen() asks: what is said of the socket's state holds already
 * @returns 0 or -EADDRINUSE; on an error nothing has changed
 */
export function inetCskGetPort(
  hashinfo: InetHashinfo,
  sk: SockCommon,
  port: number,
  listening = false,
): number {
  const { bhash, profile } = hashinfo;
  if (port === 0) {
    assert(sk.bindBucket === null, 'socket owns a port already');
    port = inetCskFindOpenPort(hashinfo, sk);
    if (port === 0) return -EADDRINUSE;
  } else {
    const known = bhash.findPort(port);
    const fast = known !== null && fastReuseMatch(known, sk, listening);
    if (!fast && inetCskBindConflict(hashinfo, sk, port, true, true)) return -EADDRINUSE;
  }
  if (sk.bindBucket === null) {
    bhash.bind(sk, port, false);
  } else {
    assert(sk.bindBucket.port === port, 'socket owns another port');
    bhash.markBound(sk.bindBucket);
  }
  const { bindPort } = sk.bindBucket!;
  updateFastReuse(profile, bindPort, sk, bindPort.ownerCount === 1, listening);
  return 0;
}
