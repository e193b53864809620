/**
 * Which queue the packets of a flow come in by: a keyed hash of addresses and ports, made of
 * operations that an eBPF program has, too (device/steering.ts), so that the kernel puts a packet
 * where the connection is. It has nothing to do with the hash that chooses listeners.
 */
import { reciprocalScale } from './hash.js';

/** Odd multipliers whose bits look random. */
export const STEER_MULTIPLIERS: readonly [number, number, number] = [
  0x9e3779b1, 0x85ebca6b, 0xc2b2ae35,
];
/** What is shifted down before and after the second, and at the end. */
export const STEER_SHIFTS: readonly [number, number, number] = [16, 13, 16];

const [M0, M1, M2] = STEER_MULTIPLIERS;
const [S0, S1, S2] = STEER_SHIFTS;

/**
 * The queue, 0..queues - 1, of packets from saddr:sport to daddr:dport (int32 bit patterns).
 * @param key int32
 */
export function steerQueue(
  saddr: number,
  sport: number,
  daddr: number,
  dport: number,
  key: number,
  queues: number,
): number {
  let hash = Math.imul(saddr ^ key, M0);
  hash = Math.imul(hash ^ (hash >>> S0) ^ ((sport << 16) | dport), M1);
  hash = Math.imul(hash ^ (hash >>> S1) ^ daddr, M2);
  hash ^= hash >>> S2;
  return reciprocalScale(hash, queues);
}
