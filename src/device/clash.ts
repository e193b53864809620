/**
 * Is the address already in use on this machine? The kernel gives two interfaces the same subnet
 * without a word and then answers for one of them, so we have to look before a device is made: the
 * interfaces' addresses and the routing table against the subnet of the link. Looking
 * (`readNetworkState`) and deciding (`findClash`) are apart.
 */
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { swapWord } from '../net/ipv4-address.js';
import { formatIpv4, type LinkAddresses, netmaskOf, parseIpv4, prefixOf } from './address.js';
import { DeviceError, EXIT_PRIVILEGE } from './errors.js';

/** A stretch of IPv4 addresses and the interface that has it. */
export interface InterfaceSubnet {
  name: string;
  /** int32 bit patterns. */
  address: number;
  netmask: number;
}

/** What is configured in this network namespace. */
export interface NetworkState {
  /** Addresses of interfaces that are up. */
  interfaces: readonly InterfaceSubnet[];
  /** Routes; `address` is the destination. */
  routes: readonly InterfaceSubnet[];
}

/** What is in the way. */
export interface Clash {
  kind: 'address' | 'route';
  name: string;
  /** The address or destination found, CIDR. */
  found: string;
}

/**
 * Routes shorter than this are "everything that way" (the default route, the two /1 halves that
 * VPNs install), not somebody's subnet.
 */
const SHORTEST_SUBNET = 8;

/**
 * Parses /proc/net/route: one line a route, addresses as hexadecimal words in the byte order of the
 * machine.
 */
export function parseProcRoute(text: string): InterfaceSubnet[] {
  const routes: InterfaceSubnet[] = [];
  for (const line of text.split('\n').slice(1)) {
    const columns = line.trim().split(/\s+/);
    if (columns.length < 8) continue;
    routes.push({
      name: columns[0]!,
      address: wordToAddress(columns[1]!),
      netmask: wordToAddress(columns[7]!),
    });
  }
  return routes;
}

/** Little-endian hexadecimal word → address. */
function wordToAddress(word: string): number {
  return swapWord(Number.parseInt(word, 16));
}

/** Reads what this network namespace has. */
export function readNetworkState(): NetworkState {
  const interfaces: InterfaceSubnet[] = [];
  for (const [name, entries] of Object.entries(orElse(networkInterfaces, {}))) {
    for (const entry of entries ?? []) {
      const address = parseIpv4(entry.address);
      const netmask = parseIpv4(entry.netmask);
      // An IPv6 entry parses to null.
      if (address !== null && netmask !== null) interfaces.push({ name, address, netmask });
    }
  }
  const text = orElse(() => readFileSync('/proc/net/route', 'latin1'), '');
  return { interfaces, routes: parseProcRoute(text) };
}

/** A sandbox may refuse one of the two ways to look: then the other is all that can be known. */
function orElse<T>(look: () => T, otherwise: T): T {
  try {
    return look();
  } catch {
    return otherwise;
  }
}

/**
 * Looks for something that has the link's subnet already. What belongs to the device `ownName`
 * itself (made beforehand) is no clash: if another program holds that device, TUNSETIFF will say
 * so.
 */
export function findClash(link: LinkAddresses, state: NetworkState, ownName: string): Clash | null {
  const mask = netmaskOf(link.prefix);
  for (const [kind, subnets] of [
    ['address', state.interfaces],
    ['route', state.routes],
  ] as const) {
    for (const subnet of subnets) {
      const prefix = prefixOf(subnet.netmask);
      if (subnet.name === ownName || prefix === null || prefix < SHORTEST_SUBNET) continue;
      // Two subnets overlap when they agree in the bits of the shorter mask.
      if (((subnet.address ^ link.address) & mask & subnet.netmask) !== 0) continue;
      return { kind, name: subnet.name, found: `${formatIpv4(subnet.address)}/${prefix}` };
    }
  }
  return null;
}

/** The error for a clash: exit code 77, remedy another --address. */
export function clashError(link: LinkAddresses, clash: Clash): DeviceError {
  const subnet = `${formatIpv4(link.address & netmaskOf(link.prefix))}/${link.prefix}`;
  const what =
    clash.kind === 'address'
      ? `interface ${clash.name} already has ${clash.found}`
      : `a route to ${clash.found} on ${clash.name} already exists`;
  return new DeviceError({
    code: 'EADDRINUSE',
    message: `cannot use ${formatIpv4(link.address)} in ${subnet}: ${what}`,
    remedy: `another --address, in a subnet that nothing uses: ${suggestion(link)}`,
    exitCode: EXIT_PRIVILEGE,
  });
}

/**
 * Addresses in 198.18.0.0/15 (RFC 2544: for benchmarks, so nobody's), a third octet away from the
 * ones that clash.
 */
function suggestion(link: LinkAddresses): string {
  const third = (((link.address >>> 8) & 255) + 1) & 255;
  return `--address 198.19.${third}.1/24 --peer 198.19.${third}.254`;
}
