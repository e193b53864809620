/**
 * Kinds of IPv4 addresses (RFC 1122 3.2.1.3, RFC 6890). Addresses are u32 in host order as int32
 * bit patterns.
 */

/** 255.255.255.255. */
export const INADDR_BROADCAST = -1;

export function isMulticast(address: number): boolean {
  return address >>> 28 === 14;
}

/** 127.0.0.0/8. */
export function isLoopback(address: number): boolean {
  return address >>> 24 === 127;
}

/**
 * 0.0.0.0/8, "this network": never a destination, a source only while a host has no address yet.
 */
export function isZeronet(address: number): boolean {
  return address >>> 24 === 0;
}

/**
 * True when `address` cannot be one host: nothing is ever sent or answered to it (RFC 1122
 * 3.2.1.3).
 */
export function isNotOneHost(address: number): boolean {
  return isMulticast(address) || address === INADDR_BROADCAST || isZeronet(address);
}
