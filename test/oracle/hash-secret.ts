/**
 * The kernel's flow hash from outside: its formula, and the search for its 32-bit initial value
 * (inet_ehash_secret plus the namespace's hash_mix) by trying all of them.
 */
import { jhash3words } from '../../src/net/hash.js';
import { kernelAtLeast } from './kernel-sockets.js';

/** A SYN and the hash that the kernel had for it. Addresses int32, host order. */
export interface HashSample {
  readonly laddr: number;
  readonly lport: number;
  readonly faddr: number;
  readonly fport: number;
  readonly hash: number;
}

/** As a little-endian processor loads what is in network order. */
const swap32 = (word: number): number =>
  (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
const swap16 = (word: number): number => ((word & 0xff) << 8) | (word >>> 8);

/** Three words for jhash_3words, and what is added to its result. */
function formula({ laddr, lport, faddr, fport }: HashSample): [number, number, number, number] {
  const addsPort = kernelAtLeast(6, 15);
  const third = addsPort ? swap16(fport) : (lport << 16) | swap16(fport);
  return [swap32(laddr), swap32(faddr), third, addsPort ? lport : 0];
}

/** Does initial value `initval` explain the sample? */
export function explains(initval: number, sample: HashSample): boolean {
  const [a, b, c, added] = formula(sample);
  return ((jhash3words(a, b, c, initval) + added) | 0) === (sample.hash | 0);
}

/**
 * The initial value that explains all samples, or null. Takes half a minute.
 * @param samples at least two: one has about one wrong explanation in e
 */
export function findInitval(samples: readonly HashSample[]): number | null {
  const [a, b, c, added] = formula(samples[0]!);
  const wanted = (samples[0]!.hash - added) | 0;
  const start = -(2 ** 31);
  for (let from = start; from < 2 ** 31; from += 2 ** 24) {
    for (let found = search(a, b, c, wanted, from, 2 ** 24); found !== null; ) {
      const initval = found;
      if (samples.every((sample) => explains(initval, sample))) return initval;
      found = search(a, b, c, wanted, initval + 1, from + 2 ** 24 - initval - 1);
    }
  }
  return null;
}

/**
 * First of `count` initial values from `from` whose jhash_3words is `wanted`. Written out: it runs
 * four thousand million times.
 */
function search(
  word0: number,
  word1: number,
  word2: number,
  wanted: number,
  from: number,
  count: number,
): number | null {
  let k = (from + 0xdeadbeef + 12) | 0;
  for (let i = 0; i < count; i++) {
    let a = (word0 + k) | 0;
    let b = (word1 + k) | 0;
    let c = (word2 + k) | 0;
    c = ((c ^ b) - ((b << 14) | (b >>> 18))) | 0;
    a = ((a ^ c) - ((c << 11) | (c >>> 21))) | 0;
    b = ((b ^ a) - ((a << 25) | (a >>> 7))) | 0;
    c = ((c ^ b) - ((b << 16) | (b >>> 16))) | 0;
    a = ((a ^ c) - ((c << 4) | (c >>> 28))) | 0;
    b = ((b ^ a) - ((a << 14) | (a >>> 18))) | 0;
    c = ((c ^ b) - ((b << 24) | (b >>> 8))) | 0;
    if (c === wanted) return from + i;
    k = (k + 1) | 0;
  }
  return null;
}
