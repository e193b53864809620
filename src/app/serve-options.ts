/**
 * The command line of `serve`: its flags, and what their values may be. Everything is checked here,
 * before anything is opened.
 */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { checkAddresses } from '../device/address.js';
import { getSysctl, type Profile, SYSCTL_NAMES, Sysctl, setSysctl } from '../net/sysctl.js';
import { SELECTOR_NAMES } from '../reuseport/selectors/builtin.js';
import { MAX_QUEUES, MAX_THREADS } from '../socket/uapi/layout.js';
import { SPIN_DEFAULT_US } from '../socket/uapi/spin.js';
import { UsageError } from './command.js';
import { type Flag, HELP_FLAG, nearest, type ParsedFlags, parseFlags } from './flags.js';

export const SERVE_FLAGS: readonly Flag[] = [
  { name: 'workers', value: 'N', text: 'worker threads (4)' },
  { name: 'port', value: 'P', text: 'listening port (80)' },
  {
    name: 'accept',
    value: 'MODEL',
    text: 'reuseport: one listener each, shared: one for all, dispatch: one acceptor (reuseport)',
  },
  {
    name: 'select',
    value: 'SELECTOR',
    text: `who gets a connection: ${SELECTOR_NAMES.join(', ')} or FILE.js (hash)`,
  },
  {
    name: 'setup',
    value: 'STYLE',
    text: 'inherit = the master listens N times, self = each worker for itself (inherit)',
  },
  { name: 'backlog', value: 'N', text: 'accept backlog (511)' },
  { name: 'profile', value: 'KERNEL', text: 'kernel to be like: 5.0 or 6.18 (6.18)' },
  { name: 'tun', value: 'NAME', text: 'device (tunstack0)' },
  { name: 'address', value: 'CIDR', text: "the stack's address (198.18.0.1/24)" },
  { name: 'peer', value: 'IP', text: "the host's address on the device (198.18.0.254)" },
  { name: 'mtu', value: 'N', text: 'largest packet, bytes (1500)' },
  { name: 'queues', value: 'N', text: 'stack threads, each with a TUN queue of its own (1)' },
  {
    name: 'inline',
    text: 'worker i runs in the stack thread of queue i: as many queues as workers',
  },
  { name: 'no-offload', text: 'packet by packet, checksums in software' },
  {
    name: 'spin',
    value: 'US',
    text: 'how long to look for news before sleeping, µs, while that pays; 0 = not (50)',
  },
  { name: 'root', value: 'DIR', text: 'serve files under /files/' },
  { name: 'services', text: 'echo (7), discard (9), chargen (19) over TCP' },
  { name: 'sysctl', value: 'NAME=VALUE', repeatable: true, text: 'set a knob; repeatable' },
  { name: 'strace', text: "system calls of the workers in strace's grammar, on stderr" },
  {
    name: 'pcap',
    value: 'FILE',
    text: 'pcapng of everything, one comment on each SYN: its decision; - = stdout',
  },
  { name: 'control', value: 'PATH', text: 'unix socket for ss, nstat, lsof (/run/tunstack.sock)' },
  { name: 'json', text: 'one JSON object a line on stdout instead of the banner' },
  { name: 'rootless', text: 're-run inside unshare -Urn' },
  HELP_FLAG,
];

export type AcceptModel = 'reuseport' | 'shared' | 'dispatch';

export interface ServeOptions {
  workers: number;
  port: number;
  accept: AcceptModel;
  /** Name of a built-in selector, or the absolute path of a module. */
  select: string;
  setup: 'inherit' | 'self';
  backlog: number;
  profile: Profile;
  tun: string;
  /** CIDR. */
  address: string;
  peer: string;
  mtu: number;
  queues: number;
  /** Workers run in stack threads. */
  inline: boolean;
  offload: boolean;
  spinUs: number;
  root: string | null;
  services: boolean;
  sysctl: Record<string, string>;
  strace: boolean;
  pcap: string | null;
  /** null = the default places. */
  control: string | null;
  json: boolean;
  rootless: boolean;
  help: boolean;
}

/**
 * Threads that a stack knows at a time, less the master and an acceptor (socket/uapi/layout.ts:
 * MAX_THREADS).
 */
export const WORKERS_MAX: number = MAX_THREADS - 2;

/** Throws UsageError, and what checkAddresses throws (which has exit code 2, too). */
export function parseServeOptions(argv: readonly string[]): ServeOptions {
  const flags = parseFlags('serve', SERVE_FLAGS, argv);
  const profile = choice(flags, 'profile', ['5.0', '6.18'] as const, '6.18');
  const options: ServeOptions = {
    workers: integer(flags, 'workers', 1, WORKERS_MAX, 4),
    port: integer(flags, 'port', 1, 65535, 80),
    accept: choice(flags, 'accept', ['reuseport', 'shared', 'dispatch'] as const, 'reuseport'),
    select: selector(flags),
    setup: choice(flags, 'setup', ['inherit', 'self'] as const, 'inherit'),
    backlog: integer(flags, 'backlog', 0, 65535, 511),
    profile,
    tun: flags.values.get('tun') ?? 'tunstack0',
    address: flags.values.get('address') ?? '198.18.0.1/24',
    peer: flags.values.get('peer') ?? '198.18.0.254',
    mtu: integer(flags, 'mtu', 68, 65535, 1500),
    queues: integer(flags, 'queues', 1, MAX_QUEUES, 1),
    inline: flags.given.has('inline'),
    offload: !flags.given.has('no-offload'),
    spinUs: integer(flags, 'spin', 0, 1_000_000, SPIN_DEFAULT_US),
    root: flags.values.get('root') ?? null,
    services: flags.given.has('services'),
    sysctl: sysctls(flags, profile),
    strace: flags.given.has('strace'),
    pcap: flags.values.get('pcap') ?? null,
    control: flags.values.get('control') ?? null,
    json: flags.given.has('json'),
    rootless: flags.given.has('rootless'),
    help: flags.given.has('help'),
  };
  if (options.inline) placeInline(flags, options);
  crossCheck(options);
  return options;
}

/** A worker for each queue, neither more nor less. */
function placeInline(flags: ParsedFlags, options: ServeOptions): void {
  const { workers, queues } = options;
  if (flags.values.has('queues') && queues !== workers) {
    throw new UsageError(
      `serve: --inline --workers ${workers} --queues ${queues}: a worker runs in each stack thread`,
      `tunstack serve --inline --workers ${queues}`,
    );
  }
  if (workers > MAX_QUEUES) {
    throw new UsageError(
      `serve: --inline --workers ${workers}: there are ${MAX_QUEUES} stack threads at most`,
      `tunstack serve --inline --workers ${MAX_QUEUES}`,
    );
  }
  options.queues = workers;
}

function crossCheck(options: ServeOptions): void {
  if (options.accept !== 'reuseport' && options.select !== 'hash') {
    throw new UsageError(
      `serve: --select ${options.select}: with --accept ${options.accept} there is no group`,
      `tunstack serve --accept reuseport --select ${options.select}`,
    );
  }
  if (options.accept !== 'reuseport' && options.setup === 'self') {
    throw new UsageError(
      `serve: --setup self: with --accept ${options.accept} the one listener is not a worker's own`,
      `tunstack serve --accept ${options.accept}`,
    );
  }
  if (options.pcap === '-' && options.json) {
    throw new UsageError(
      'serve: --pcap - and --json both want stdout',
      'tunstack serve --json --pcap FILE',
    );
  }
  if (options.pcap === '-' && options.queues > 1) {
    throw new UsageError(
      `serve: --pcap - with --queues ${options.queues}: packets of several threads need a file`,
      `tunstack serve --queues ${options.queues} --pcap FILE`,
    );
  }
  checkAddresses(options.address, options.peer);
  if (options.services && [7, 9, 19].includes(options.port)) {
    throw new UsageError(
      `serve: port ${options.port} belongs to --services`,
      'tunstack serve --services --port 80',
    );
  }
}

function wrong(name: string, value: string, why: string, example: string): UsageError {
  return new UsageError(`serve: --${name} ${value}: ${why}`, `tunstack serve --${name} ${example}`);
}

function integer(
  flags: ParsedFlags,
  name: string,
  min: number,
  max: number,
  otherwise: number,
): number {
  const text = flags.values.get(name);
  if (text === undefined) return otherwise;
  const value = /^\d{1,9}$/.test(text) ? Number(text) : -1;
  if (value < min || value > max) {
    throw wrong(name, text, `must be a whole number from ${min} to ${max}`, String(otherwise));
  }
  return value;
}

function choice<const T extends string>(
  flags: ParsedFlags,
  name: string,
  values: readonly T[],
  otherwise: T,
): T {
  const text = flags.values.get(name);
  if (text === undefined) return otherwise;
  const found = values.find((value) => value === text);
  if (found === undefined) {
    const near = nearest(text, values) ?? otherwise;
    throw wrong(name, text, `must be one of ${values.join(', ')}`, near);
  }
  return found;
}

/** The name of a built-in selector as it is; anything else is the path of a file, made absolute. */
function selector(flags: ParsedFlags): string {
  const text = flags.values.get('select') ?? 'hash';
  if (SELECTOR_NAMES.includes(text)) return text;
  const path = resolve(text);
  const there = statSync(path, { throwIfNoEntry: false });
  if (there?.isFile()) return path;
  const why =
    text === '' || there === undefined ? `there is no file ${path}` : `${path} is no file`;
  const names = SELECTOR_NAMES.join(', ');
  throw new UsageError(
    `serve: --select ${text}: must be one of ${names}, or a module; ${why}`,
    `tunstack serve --select ${nearest(text, SELECTOR_NAMES) ?? 'p2c'}`,
  );
}

function sysctls(flags: ParsedFlags, profile: Profile): Record<string, string> {
  const scratch = new Sysctl(profile);
  const settings: Record<string, string> = {};
  for (const text of flags.lists.get('sysctl') ?? []) {
    const equals = text.indexOf('=');
    const name = text.slice(0, equals);
    if (equals <= 0) {
      throw wrong('sysctl', text, 'must be NAME=VALUE', 'net.ipv4.tcp_syncookies=0');
    }
    if (getSysctl(scratch, name) === null) {
      const near = nearest(name, SYSCTL_NAMES);
      throw wrong(
        'sysctl',
        text,
        `there is no ${name}`,
        `${near ?? 'net.ipv4.tcp_syncookies'}=VALUE`,
      );
    }
    const value = text.slice(equals + 1);
    const refused = setSysctl(scratch, name, value);
    if (refused !== null) {
      throw wrong('sysctl', text, refused, `${name}=${getSysctl(scratch, name)}`);
    }
    settings[name] = value;
  }
  return settings;
}
