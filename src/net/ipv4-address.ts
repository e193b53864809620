/**
 * Kinds of IPv4 addresses (RFC 1122 3.2.1.3, RFC 6890), and their other forms: text, and the word
 * that memory has. Addresses are u32 in host order as int32 bit patterns.
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

/** "198.18.0.1" as inet_pton takes it, without leading zeros: int32 bit pattern, or null. */
export function parseIpv4(text: string): number | null {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return null;
  let address = 0;
  for (let i = 1; i <= 4; i++) {
    const part = match[i]!;
    if (Number(part) > 255 || (part.length > 1 && part[0] === '0')) return null;
    address = (address << 8) | Number(part);
  }
  return address;
}

/** The text of an address. */
export function formatIpv4(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** The bytes of `word` in reverse: a network-order field as a little-endian CPU loads it, int32. */
export function swapWord(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}
