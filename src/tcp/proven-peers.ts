/**
 * Peers that are known to be alive, because a connection with them ended well after its round trip
 * had been measured (Linux tcp_metrics.c: tcp_update_metrics, tcp_peer_is_proven). While SYN
 * cookies are off they may use the last quarter of tcp_max_syn_backlog; nothing else asks, so
 * nothing is kept while cookies are on. No other metrics of a destination are kept.
 */
import { jhash2words } from '../net/hash.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** Peers at once, a power of two; where two meet, the later one stays. */
const SLOTS = 4096;

export class ProvenPeers {
  /** Pairs of our address and the peer's; the peer's is 0 in an empty place. */
  private readonly pairs: Int32Array = new Int32Array(2 * SLOTS);
  private readonly secret: number;

  /** @param secret u32, so that nobody can aim at another's place */
  constructor(secret: number) {
    this.secret = secret;
  }

  private at(saddr: number, daddr: number): number {
    return 2 * (jhash2words(saddr, daddr, this.secret) & (SLOTS - 1));
  }

  has(saddr: number, daddr: number): boolean {
    const at = this.at(saddr, daddr);
    return this.pairs[at] === saddr && this.pairs[at + 1] === daddr;
  }

  add(saddr: number, daddr: number): void {
    const at = this.at(saddr, daddr);
    this.pairs[at] = saddr;
    this.pairs[at + 1] = daddr;
  }

  /** Nothing is known of it any more. */
  remove(saddr: number, daddr: number): void {
    if (this.has(saddr, daddr)) this.pairs[this.at(saddr, daddr) + 1] = 0;
  }
}

/** The connection has ended well; without a measured round trip what was known is void. */
export function rememberPeer(tcp: Tcp, tcb: Tcb): void {
  if (tcp.net.sysctl.tcpSyncookies !== 0) return;
  tcp.provenPeers ??= new ProvenPeers(tcp.net.random.u32());
  if (tcb.srttUs > 0 && tcb.backoff === 0) tcp.provenPeers.add(tcb.rcvSaddr, tcb.daddr);
  else tcp.provenPeers.remove(tcb.rcvSaddr, tcb.daddr);
}

/** Has a connection between `saddr`, ours, and `daddr` ended well? */
export function peerIsProven(tcp: Tcp, saddr: number, daddr: number): boolean {
  return tcp.provenPeers?.has(saddr, daddr) === true;
}
