/**
 * The options of `openStack`: types, defaults, and checks that say what is wrong, why, and what to
 * write instead. What only the machine can tell (is the name free, is the address taken) is told by
 * the device.
 */
import { isIPv4 } from 'node:net';
import { inspect } from 'node:util';
import { PAGE_BYTES } from '../net/sockmem.js';
import { type Profile, Sysctl, setSysctl } from '../net/sysctl.js';
import { StackError } from './errors.js';
import { MAX_QUEUES } from './uapi/layout.js';
import { SPIN_DEFAULT_US } from './uapi/spin.js';

/** What to open; defaults are those of the command line. */
export interface OpenOptions {
  /** Name of the TUN device, 1 to 15 bytes; default `tunstack0`. */
  tun?: string | undefined;
  /** The stack's address and network; default `198.18.0.1/24`. */
  address?: string | undefined;
  /** The host's address on the device; default `198.18.0.254`. */
  peer?: string | undefined;
  /** Largest IP packet, bytes, 68..65535; default 1500. */
  mtu?: number | undefined;
  /** Checksum and segmentation offload (virtio-net header); default true. */
  offload?: boolean | undefined;
  /** Packets the kernel queues for the stack before it drops. */
  txqueuelen?: number | undefined;
  /** Writes everything to this pcapng file; `-` = stdout. */
  pcap?: string | undefined;
  /** Kernel to be like; default `6.18`. */
  profile?: Profile | undefined;
  /** Knobs under Linux's names: `{ 'net.ipv4.tcp_sack': 0 }`. */
  sysctl?: Readonly<Record<string, string | number>> | undefined;
  /** Fixes ISNs, ports and hash secrets; default unpredictable. */
  seed?: string | number | undefined;
  /**
   * How long the stack's and its users' threads look for news before they sleep, µs, as long as
   * that pays; between two looks others get the core. Default SPIN_DEFAULT_US; 0 = not at all.
   */
  spinUs?: number | undefined;
  /** Queues of the device, each with a stack thread of its own, 1..16; default 1. */
  queues?: number | undefined;
  /**
   * Address space for payload, bytes, a multiple of 4096, 32 MiB for each queue at least; default 1
   * GiB (nearly 2 with several queues), of which what is used becomes memory.
   */
  arenaBytes?: number | undefined;
}

/** `workerData` of the stack thread (PumpOptions of stack/pump-thread.ts). */
export interface StackThreadOptions {
  ctl: SharedArrayBuffer;
  arenaBytes: number;
  tun: {
    name?: string;
    address?: string;
    peer?: string;
    mtu?: number;
    offload?: boolean;
    txqueuelen?: number;
    queues?: number;
  };
  profile: Profile;
  sysctl: Record<string, string | number>;
  seed: string | number | undefined;
  pcap: string | undefined;
  spinUs: number;
  /** Of the threads of other queues than 0. */
  queue?: number;
  clockOffsetMs?: number;
}

const ARENA_BYTES = 1 << 30;
/** Pools for packets take 12 MiB of it. */
const ARENA_BYTES_MIN: number = 32 << 20;
/** Byte offsets are int32 in places. */
const ARENA_BYTES_MAX: number = 2 ** 31 - PAGE_BYTES;
const NAME_BYTES_MAX = 15;
const MTU_MIN = 68;
const MTU_MAX = 65535;

/** One option: true when fine, and what it must be. */
type Rule = [check: (value: unknown) => boolean, must: string];

const whole = (min: number, max: number): Rule => [
  (value) => Number.isInteger(value) && (value as number) >= min && (value as number) <= max,
  `must be a whole number in ${min}..${max}`,
];

function isCidr(value: unknown): boolean {
  if (typeof value !== 'string') return false;
  const [address, prefix, ...rest] = value.split('/');
  const fits = prefix === undefined || (/^\d{1,2}$/.test(prefix) && Number(prefix) <= 32);
  return isIPv4(address!) && fits && rest.length === 0;
}

function isName(value: unknown): boolean {
  if (typeof value !== 'string' || /[/\s]/.test(value) || value === '.' || value === '..') {
    return false;
  }
  return value.length > 0 && Buffer.byteLength(value) <= NAME_BYTES_MAX;
}

const RULES: Record<keyof OpenOptions, Rule> = {
  tun: [
    isName,
    "must be an interface name of 1 to 15 bytes without '/' or space, e.g. 'tunstack0'",
  ],
  address: [isCidr, "must be an IPv4 address with its prefix length, e.g. '198.18.0.1/24'"],
  peer: [
    (value) => typeof value === 'string' && isIPv4(value),
    "must be an IPv4 address, e.g. '198.18.0.254'",
  ],
  mtu: whole(MTU_MIN, MTU_MAX),
  offload: [(value) => typeof value === 'boolean', 'must be true or false'],
  txqueuelen: whole(1, 1_000_000),
  pcap: [(value) => typeof value === 'string' && value !== '', "must be a file name, or '-'"],
  profile: [(value) => value === '5.0' || value === '6.18', "must be '5.0' or '6.18'"],
  sysctl: [
    (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
    "must be an object of names and values, e.g. { 'net.ipv4.tcp_sack': 0 }",
  ],
  seed: [(value) => ['string', 'number'].includes(typeof value), 'must be a string or a number'],
  spinUs: whole(0, 1_000_000),
  queues: whole(1, MAX_QUEUES),
  arenaBytes: [
    (value) =>
      whole(ARENA_BYTES_MIN, ARENA_BYTES_MAX)[0](value) && (value as number) % PAGE_BYTES === 0,
    `must be a multiple of ${PAGE_BYTES} in ${ARENA_BYTES_MIN}..${ARENA_BYTES_MAX}`,
  ],
};

/** Options of the whole that live elsewhere or are not built. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  device: "a stack in memory is made by 'tunstack/testing'",
  random: "use 'seed': dice cannot be handed to another thread",
};

/** What openStack needs to know: how many threads, and what they are told. */
export type OpenPlan = Omit<StackThreadOptions, 'ctl'> & { readonly queues: number };

/** Throws StackError (exit code 2) for the first wrong option. */
export function checkOpenOptions(options: OpenOptions): OpenPlan {
  if (typeof options !== 'object' || options === null) {
    throw usage(`openStack() takes an object of options, not ${inspect(options)}`, 'openStack({})');
  }
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const rule = Object.hasOwn(RULES, name) ? RULES[name as keyof OpenOptions] : undefined;
    if (rule === undefined) {
      const remedy = ELSEWHERE[name] ?? `one of: ${Object.keys(RULES).join(', ')}`;
      throw usage(`openStack has no option '${name}'`, remedy);
    }
    const [check, must] = rule;
    if (!check(value)) throw usage(`option '${name}' ${must}, not ${inspect(value)}`, '');
  }
  const { profile = '6.18', sysctl = {}, queues = 1 } = options;
  checkSysctl(profile, sysctl);
  return {
    arenaBytes: arenaBytes(options, queues),
    tun: tunOptions(options),
    profile,
    sysctl: { ...sysctl },
    seed: options.seed,
    pcap: options.pcap,
    spinUs: options.spinUs ?? SPIN_DEFAULT_US,
    queues,
  };
}

/** Each queue's stack has an equal part of the arena. */
function arenaBytes({ arenaBytes: bytes }: OpenOptions, queues: number): number {
  if (bytes === undefined) return queues === 1 ? ARENA_BYTES : ARENA_BYTES_MAX;
  const least = queues * ARENA_BYTES_MIN;
  if (bytes >= least) return bytes;
  throw usage(`option 'arenaBytes' must be ${least} or more with ${queues} queues`, '');
}

function checkSysctl(profile: Profile, values: Readonly<Record<string, string | number>>): void {
  const scratch = new Sysctl(profile);
  for (const [name, value] of Object.entries(values)) {
    const wrong = setSysctl(scratch, name, value);
    if (wrong !== null) {
      throw usage(`option 'sysctl': ${name} = ${value}: ${wrong}`, 'tunstack nstat --help');
    }
  }
}

function tunOptions(options: OpenOptions): StackThreadOptions['tun'] {
  const { tun: name, address, peer, mtu, offload, txqueuelen, queues } = options;
  const given = Object.entries({ name, address, peer, mtu, offload, txqueuelen, queues });
  return Object.fromEntries(given.filter(([, value]) => value !== undefined));
}

function usage(message: string, remedy: string): StackError {
  return new StackError('EINVAL', message, remedy, 2);
}
