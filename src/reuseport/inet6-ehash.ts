/**
 * The IPv6 forms of the connection and listener hashes (Linux net/ipv6/inet6_hashtables.c,
 * include/net/inet6_hashtables.h, include/net/ipv6.h), ready for IPv6 sockets; checked against the
 * kernel's vectors. An address is four words as a little-endian CPU loads them from the packet.
 * IPv4-mapped peers use ehash.ts.
 */
import { jhash1word, jhash2, jhash3words } from '../net/hash.js';

const WORDS = 4;
/** ::ffff:0:0/96, the third word of a mapped address as loaded. */
const MAPPED = 0xffff0000 | 0;

/**
 * Linux 6.1 net/ipv6/inet6_hashtables.c: inet6_ehashfn, with `addsPort` 6.15's. int32.
 * @param laddr our address; zeros for the flow hash of a wildcard group
 * @param initval secret of the table plus the namespace's mix, as of inet_ehashfn
 * @param addrSecret the other secret, of remote addresses
 * @param foldsAddress Linux 5.0: the first two words of the remote address are folded into one
 */
export function inet6Ehashfn(
  laddr: Int32Array,
  lport: number,
  faddr: Int32Array,
  fport: number,
  initval: number,
  addrSecret: number,
  addsPort: boolean,
  foldsAddress: boolean,
): number {
  const lhash = laddr[WORDS - 1]!;
  const fhash = foldsAddress
    ? jhash3words(faddr[0]! ^ faddr[1]!, faddr[2]!, faddr[3]!, addrSecret)
    : jhash2(faddr, WORDS, addrSecret);
  const port = ((fport & 0xff) << 8) | (fport >>> 8);
  if (addsPort) return (lport + jhash3words(lhash, fhash, port, initval)) | 0;
  return jhash3words(lhash, fhash, (lport << 16) | port, initval);
}

/**
 * Linux 6.1 include/net/ipv6.h: ipv6_portaddr_hash, before masking; int32. Any address and mapped
 * ones share their bucket with IPv4.
 */
export function ipv6PortaddrHash(hashMix: number, addr: Int32Array, port: number): number {
  const high = addr[0]! | addr[1]!;
  if (high === 0 && (addr[2] === MAPPED || (addr[2] === 0 && addr[3] === 0))) {
    return jhash1word(addr[WORDS - 1]!, hashMix) ^ port;
  }
  return jhash2(addr, WORDS, hashMix) ^ port;
}
