/**
 * Path MTUs that routers have told, by destination (RFC 1191 3, 6.3; Linux route.c:
 * update_or_create_fnhe, ip_rt_mtu_expires): what one connection has learned, the next one to the
 * same host need not find out by a loss. What is known grows old, so that a path that has become
 * better is noticed. What a connection does when it is told is input/icmp-error.ts.
 */
import { syncMss } from './mss.js';
import { PMTUDISC_PROBE, type Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** RFC 1191 6.3: ten minutes (Linux: net.ipv4.route.mtu_expires). */
const EXPIRES_US = 600e6;
/** Most hosts at once: the oldest is forgotten for another. */
const MOST = 2048;

interface KnownPath {
  mtu: number;
  /** Told less than we send: larger packets go without DF. */
  locked: boolean;
  untilUs: number;
}

export class PathCache {
  private readonly paths: Map<number, KnownPath> = new Map();

  get size(): number {
    return this.paths.size;
  }

  set(daddr: number, mtu: number, locked: boolean, nowUs: number): void {
    this.paths.delete(daddr);
    if (this.paths.size >= MOST) this.paths.delete(this.paths.keys().next().value!);
    this.paths.set(daddr, { mtu, locked, untilUs: nowUs + EXPIRES_US });
  }

  get(daddr: number, nowUs: number): KnownPath | null {
    const path = this.paths.get(daddr);
    if (path === undefined) return null;
    if (path.untilUs > nowUs) return path;
    this.paths.delete(daddr);
    return null;
  }
}

/** The connection was told of a smaller path MTU. */
export function rememberPath(tcp: Tcp, tcb: Tcb): void {
  tcp.paths ??= new PathCache();
  tcp.paths.set(tcb.daddr, tcb.pmtu, tcb.pmtuLocked, tcp.net.nowUs);
}

/** A new connection takes what is known of the path to its peer. */
export function recallPath(tcp: Tcp, tcb: Tcb): void {
  if (tcp.paths === null || tcb.pmtudisc > PMTUDISC_PROBE) return;
  const path = tcp.paths.get(tcb.daddr, tcp.net.nowUs);
  tcb.pmtu = path === null ? 0 : path.mtu;
  tcb.pmtuLocked = path?.locked ?? false;
}

/**
 * Nothing comes through: IP is to doubt the way (RFC 1122 3.3.1.4; Linux: dst_negative_advice).
 * There is no second gateway to turn to, and each packet looks its device up anyway; what is left
 * is the path MTU, which may have been told too long ago.
 */
export function negativeAdvice(tcp: Tcp, tcb: Tcb): void {
  if (tcb.pmtu === 0) return;
  recallPath(tcp, tcb);
  syncMss(tcp, tcb, tcb.mssClamp);
}
