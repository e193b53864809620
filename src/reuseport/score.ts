/**
 * How well a listener fits a SYN (Linux net/ipv4/inet_hashtables.c: compute_score), in terms so
 * that a decision can show them. How many points a term gives is the profile's table (profile.ts);
 * what is done with the score is lookup.ts.
 */
import type { KernelProfile } from './profile.js';
import { AF_INET, type SockCommon } from './sock-common.js';

/** Why a listener cannot take a packet; FITS = it can. */
export const FITS = 0;
export const OTHER_PORT = 1;
export const IPV6_ONLY = 2;
export const OTHER_ADDRESS = 3;
export const OTHER_DEVICE = 4;

/** Linux 6.1 include/net/inet_sock.h: inet_bound_dev_eq, without VRF. */
function inetBoundDevEq(boundDevIf: number, dif: number): boolean {
  return boundDevIf === 0 || boundDevIf === dif;
}

/**
 * The preconditions of compute_score: FITS or the first that fails.
 * @param addr the key address of the scan: the packet's destination, or 0 in the wildcard scan
 * @param dif ingress interface
 */
export function listenerMismatch(sk: SockCommon, addr: number, port: number, dif: number): number {
  if (sk.num !== port) return OTHER_PORT;
  if (sk.ipv6only) return IPV6_ONLY;
  if (sk.rcvSaddr !== addr) return OTHER_ADDRESS;
  if (!inetBoundDevEq(sk.boundDevIf, dif)) return OTHER_DEVICE;
  return FITS;
}

export function deviceTerm(profile: KernelProfile, sk: SockCommon): number {
  return sk.boundDevIf === 0 ? profile.scoreUnboundDevice : profile.scoreBoundDevice;
}

export function familyTerm(profile: KernelProfile, sk: SockCommon): number {
  return sk.family === AF_INET ? profile.scoreInet : profile.scoreOtherFamily;
}

/** @param cpu where the packet came in; SO_INCOMING_CPU -1 is never equal */
export function cpuTerm(profile: KernelProfile, sk: SockCommon, cpu: number): number {
  return sk.incomingCpu === cpu ? profile.scoreCpu : 0;
}

/**
 * Linux 6.1 net/ipv4/inet_hashtables.c: compute_score. -1 = no match, else more is better: 2..4
 * ('6.18': device 2 bound or 1 unbound, +1 AF_INET, +1 this CPU) or 1..3 ('5.0': 2 AF_INET or 1, +1
 * this CPU).
 */
export function computeScore(
  profile: KernelProfile,
  sk: SockCommon,
  addr: number,
  port: number,
  dif: number,
  cpu: number,
): number {
  if (listenerMismatch(sk, addr, port, dif) !== FITS) return -1;
  return deviceTerm(profile, sk) + familyTerm(profile, sk) + cpuTerm(profile, sk, cpu);
}
