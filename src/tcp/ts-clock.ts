/** The timestamp clock (RFC 7323 5.4): 1 kHz plus a random offset. */
import { secureTcpTsOffset } from './secure-seq.js';
import type { Tcp } from './tcp.js';

/** TSval at `nowUs`, int32. */
export function tsNow(nowUs: number, offset: number): number {
  return (Math.floor(nowUs / 1000) + offset) | 0;
}

/**
 * What the clock of a connection begins with: nothing with tcp_timestamps 2, one offset towards
 * each peer in old kernels, one for each connection now (secure_seq.c: secure_tcp_seq_and_ts_off).
 */
export function tsOffset(
  tcp: Tcp,
  saddr: number,
  daddr: number,
  sport: number,
  dport: number,
): number {
  const { tcpTimestamps, profile } = tcp.net.sysctl;
  if (tcpTimestamps !== 1) return 0;
  if (profile === '5.0') return secureTcpTsOffset(tcp.tsKeys, saddr, daddr, 0, 0);
  return secureTcpTsOffset(tcp.tsKeys, saddr, daddr, sport, dport);
}
