/**
 * IPv4 addresses of a TUN link with their prefix: text to number, and the rules that the stack's
 * address and the host's address on it (the peer) must keep. Addresses are int32 bit patterns in
 * host order, as in the core. No I/O.
 */
import { Address4 } from 'ip-address';
import { formatIpv4, parseIpv4 } from '../net/ipv4-address.js';
import { netmask as netmaskOf } from '../net/route.js';
import { usageError } from './errors.js';

export { formatIpv4, parseIpv4 } from '../net/ipv4-address.js';
export { netmask as netmaskOf } from '../net/route.js';

/** The two ends of the link, checked. */
export interface LinkAddresses {
  /** The stack's address. */
  address: number;
  /** The host's address on the device. */
  peer: number;
  /** Prefix length of the subnet that holds both. */
  prefix: number;
}

/** Prefix length of a netmask, or null when its ones are not contiguous. */
export function prefixOf(netmask: number): number | null {
  const prefix = Math.clz32(~netmask);
  return netmaskOf(prefix) === (netmask | 0) ? prefix : null;
}

/**
 * `a.b.c.d/n` → address and prefix length (null: no `/n` was given), or null when `text` is
 * neither.
 */
export function parseCidr(text: string): { address: number; prefix: number | null } | null {
  const slash = text.indexOf('/');
  const address = parseIpv4(slash < 0 ? text : text.slice(0, slash));
  if (address === null) return null;
  if (slash < 0) return { address, prefix: null };
  const prefix = text.slice(slash + 1);
  if (!/^\d{1,2}$/.test(prefix) || !Address4.isValid(text)) return null;
  return { address, prefix: new Address4(text).subnetMask };
}

const ADDRESS_EXAMPLE = 'for example --address 198.18.0.1/24 --peer 198.18.0.254';

/**
 * First byte 0 ("this network"), 127 (loopback), 224 and up (multicast, reserved): no host has such
 * an address.
 */
function isUnicast(address: number): boolean {
  const first = address >>> 24;
  return first !== 0 && first !== 127 && first < 224;
}

/**
 * Checks the stack's address (CIDR, or plain with `prefix`) against the host's address on the
 * device.
 *
 * @returns both as numbers and the prefix length
 * @throws DeviceError with exit code 2: not an address, no prefix length, peer outside of the
 *   subnet, equal to the address, or either being the subnet's network or broadcast address (a /31
 *   has neither, RFC 3021)
 */
export function checkAddresses(address: string, peer: string, prefix?: number): LinkAddresses {
  const cidr = parseCidr(address);
  if (cidr === null) throw usageError(`--address ${address}: not an IPv4 CIDR`, ADDRESS_EXAMPLE);
  const length = cidr.prefix ?? prefix ?? null;
  if (length === null) {
    throw usageError(
      `--address ${address}: no prefix length`,
      `write --address ${address}/24, or the length of your subnet`,
    );
  }
  if (!Number.isInteger(length) || length < 1 || length > 31) {
    throw usageError(
      `--address ${address}: a /${length} cannot hold the stack and the host`,
      'use a prefix length from 1 to 31, usually 24 or 30',
    );
  }
  const host = parseIpv4(peer);
  if (host === null) throw usageError(`--peer ${peer}: not an IPv4 address`, ADDRESS_EXAMPLE);
  checkEnds(cidr.address, host, length);
  return { address: cidr.address, peer: host, prefix: length };
}

function checkEnds(address: number, peer: number, prefix: number): void {
  const mask = netmaskOf(prefix);
  const subnet = `${formatIpv4(address & mask)}/${prefix}`;
  if (((address ^ peer) & mask) !== 0) {
    throw usageError(
      `--peer ${formatIpv4(peer)} is not in the subnet of --address, ${subnet}`,
      `choose a --peer inside of ${subnet}, or an --address beside the peer`,
    );
  }
  if (address === peer) {
    throw usageError(
      `--address and --peer are both ${formatIpv4(address)}`,
      `the stack and the host need an address each: choose another --peer inside of ${subnet}`,
    );
  }
  for (const [flag, end] of [
    ['--address', address],
    ['--peer', peer],
  ] as const) {
    const text = formatIpv4(end);
    const other = `choose another ${flag} inside of ${subnet}`;
    if (prefix < 31 && (end & ~mask) === 0) {
      throw usageError(`${flag} ${text} is the network address of ${subnet}`, other);
    }
    if (prefix < 31 && (end | mask) === -1) {
      throw usageError(`${flag} ${text} is the broadcast address of ${subnet}`, other);
    }
    if (!isUnicast(end)) {
      throw usageError(`${flag} ${text} is not a unicast address`, ADDRESS_EXAMPLE);
    }
  }
}
