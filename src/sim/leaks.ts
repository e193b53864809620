/**
 * What must be left of a host when all its sockets are closed and its timers have run: nothing. And
 * sums that its counters must make (RFC 4293, RFC 4022).
 */
import { Mib } from '../net/mib.js';
import { BLOCK_KIND, KIND_FREE, PAGE_BYTES } from '../net/sockmem.js';
import { SimFailure } from './failure.js';
import type { SimHost } from './host.js';

/** Fails when something is left over. */
export function checkNothingLeft(host: SimHost): void {
  const { files, stack, mem } = host;
  const { tcp, net } = stack;
  if (files.waiting > 0) files.reap(Infinity);
  const { hashinfo } = tcp;
  const pools = [net.inputSkbs, net.outputSkbs];
  const skbPages = pools.reduce((sum, pool) => sum + (pool.made * pool.capacity) / PAGE_BYTES, 0);
  const left: Record<string, number> = {
    descriptors: mem.fdsInUse,
    sockets: tcp.socks.filter((sock) => sock !== null && sock !== undefined).length,
    parked: tcp.parking.parked,
    'bytes of records': tcp.parking.bytes,
    orphans: tcp.orphans,
    timewaits: tcp.timewaits,
    rings: tcp.ringed.length,
    'late rings': tcp.lateDetach.length,
    records: tcp.rtx.inUse,
    files: files.waiting,
    pages: mem.pagesInUse - skbPages,
    timers: net.timers.size,
    'output skbs': net.outputSkbs.out,
    // One is the host's own.
    'input skbs': net.inputSkbs.out - 1,
    'lent skbs': net.inputSkbs.lent,
    lenders: tcp.lenders.length,
    loopback: net.loopback.length,
    fragments: net.ipFrags?.size ?? 0,
    ehash: hashinfo.ehash.size,
    lhash2: hashinfo.lhash2.size,
    bhash: hashinfo.bhash.ports,
    dirty: tcp.hasDirty ? 1 : 0,
    groups: tcp.changedGroups.size,
    established: net.mib[Mib.TcpCurrEstab]!,
    blocks: blocksInUse(host),
  };
  const names = Object.keys(left).filter((name) => left[name] !== 0);
  if (names.length === 0) return;
  const list = names.map((name) => `${left[name]} ${name}`).join(', ');
  throw new SimFailure(`leak ${names[0]}`, `host ${host.index} life ${host.life}: ${list}`);
}

function blocksInUse(host: SimHost): number {
  const { mem } = host;
  let used = 0;
  for (let fd = 0; fd < mem.maxFds; fd++) {
    if (mem.ctl[mem.blockAt(fd) + BLOCK_KIND] !== KIND_FREE) used++;
  }
  return used;
}

/** Fails when counters contradict each other, or what the router has seen. */
export function checkCounters(host: SimHost, connects: number): void {
  const { link, stack } = host;
  const { mib, ipFrags } = stack.net;
  const at = (index: number): number => mib[index]!;
  const equal = (name: string, one: number, other: number): void => {
    if (one === other) return;
    throw new SimFailure(`counter ${name}`, `host ${host.index}: ${one} is not ${other}`);
  };
  const looped = at(Mib.TunLoopbackPackets);
  const received = at(Mib.IpInReceives) + at(Mib.TunRxIpv6Dropped);
  equal('InReceives', received, link.received + looped);
  equal('OutTransmits', at(Mib.IpOutTransmits), link.sent + looped);
  const dropped =
    at(Mib.IpInHdrErrors) +
    at(Mib.IpInAddrErrors) +
    at(Mib.IpInUnknownProtos) +
    at(Mib.IpExtInTruncatedPkts) +
    at(Mib.IpExtInMcastPkts) +
    at(Mib.IpExtInBcastPkts);
  const fragments = at(Mib.IpReasmReqds) - at(Mib.IpReasmOKs);
  equal('InDelivers', at(Mib.IpInReceives), at(Mib.IpInDelivers) + dropped + fragments);
  if (ipFrags === null) equal('ReasmReqds', at(Mib.IpReasmReqds), 0);
  const messages = at(Mib.IcmpInMsgs);
  const most = at(Mib.IpInDelivers) - messages;
  const least = most - host.otherPackets;
  const segments = at(Mib.TcpInSegs);
  // A super-packet counts as all its segments.
  const exact = link.offload.gsoMaxBytes === 0 && looped === 0;
  if (segments < least || (exact && segments > most)) equal('InSegs', segments, most);
  equal('ActiveOpens', at(Mib.TcpActiveOpens), connects);
  equal('InCsumErrors', Math.min(at(Mib.TcpInErrs) - at(Mib.TcpInCsumErrors), 0), 0);
}
