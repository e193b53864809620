/**
 * How often ICMP errors may be sent: a token bucket for the whole stack and one per destination
 * (RFC 1812 4.3.2.8; Linux net/ipv4/icmp.c: icmp_global_allow, icmpv4_xrlim_allow,
 * net/ipv4/inetpeer.c: inet_peer_xrlim_allow). Which messages are limited at all is icmp.ts's
 * business. Destinations share a table of fixed size: two that fall on the same place push each
 * other out, which only makes the limit of the second one start afresh.
 */
import { jhash1word } from './hash.js';
import type { Sysctl } from './sysctl.js';

const DESTINATIONS = 256;
/** Linux: XRLIM_BURST_FACTOR: messages to one destination that may come at once. */
const BURST_FACTOR = 6;
const US_PER_MS = 1000;
const US_PER_SECOND = 1_000_000;

export class IcmpRateLimit {
  private globalTokens = -1;
  private globalStampUs = 0;
  private readonly addresses: Int32Array = new Int32Array(DESTINATIONS);
  /** Unspent time of each destination, µs, and when it was last counted. */
  private readonly tokensUs: Float64Array = new Float64Array(DESTINATIONS);
  private readonly stampUs: Float64Array = new Float64Array(DESTINATIONS).fill(-Infinity);

  /** Takes a token of the whole stack's bucket; false = too many messages. */
  allowGlobal(sysctl: Sysctl, nowUs: number): boolean {
    const burst = sysctl.icmpMsgsBurst;
    if (this.globalTokens < 0) this.globalTokens = burst;
    const earned = ((nowUs - this.globalStampUs) * sysctl.icmpMsgsPerSec) / US_PER_SECOND;
    this.globalTokens = Math.min(burst, this.globalTokens + earned);
    this.globalStampUs = nowUs;
    if (this.globalTokens < 1) return false;
    this.globalTokens -= 1;
    return true;
  }

  /**
   * Takes a token of `address`'s bucket, one per icmp_ratelimit; false = too many to this
   * destination.
   */
  allowHost(sysctl: Sysctl, nowUs: number, address: number): boolean {
    const periodUs = sysctl.icmpRatelimit * US_PER_MS;
    if (periodUs === 0) return true;
    const slot = jhash1word(address, 0) & (DESTINATIONS - 1);
    if (this.addresses[slot] !== address) {
      this.addresses[slot] = address;
      this.stampUs[slot] = -Infinity;
      this.tokensUs[slot] = 0;
    }
    const earnedUs = this.tokensUs[slot]! + (nowUs - this.stampUs[slot]!);
    const tokensUs = Math.min(BURST_FACTOR * periodUs, earnedUs);
    const allowed = tokensUs >= periodUs;
    this.tokensUs[slot] = allowed ? tokensUs - periodUs : tokensUs;
    this.stampUs[slot] = nowUs;
    return allowed;
  }
}
