/**
 * A selector of one's own: `tunstack serve --select examples/selectors/by-subnet.js`.
 *
 * All connections of one /24 go to the same worker, which suits caches that neighbours share. A
 * selector sees the SYN (hash, saddr, sport, daddr, dport, cpu) and the members (members, and by
 * index key, connections, queueLength, utilisation, heartbeatAgeMs); it answers with an index from
 * 0 to members - 1. Any other answer leaves the choice to the hash. It runs for every SYN, so it
 * has 50 µs; one that is slower in the long run, or throws, is detached.
 */

/** A worker that has not given a sign of life for so long is not sent anybody, ms. */
const HUNG_AFTER_MS = 1000;

/** @type {import('tunstack').Selector} */
export default function bySubnet(request) {
  const subnet = request.saddr >>> 8;
  // Knuth's multiplicative hash: neighbouring subnets are not neighbouring workers.
  const index = (Math.imul(subnet, 0x9e3779b1) >>> 0) % request.members;
  return request.heartbeatAgeMs(index) > HUNG_AFTER_MS ? -1 : index;
}
