/**
 * The command line of `explain`: two ends of a connection, and either listeners to imagine or a
 * running stack to ask. Everything is checked here.
 */
import { parseIpv4 } from '../device/address.js';
import type { Profile } from '../net/sysctl.js';
import { builtinSelector, SELECTOR_NAMES } from '../reuseport/selectors/builtin.js';
import { UsageError } from './command.js';
import { CONTROL_FLAG } from './control-client.js';
import type { ListenSpec, OfflineQuestion } from './explain-offline.js';
import { type Flag, HELP_FLAG, nearest, type ParsedFlags, parseFlags } from './flags.js';

export const EXPLAIN_FLAGS: readonly Flag[] = [
  {
    name: 'listen',
    value: 'ADDR:PORT[*N]',
    repeatable: true,
    text: 'without a running stack: N listeners with SO_REUSEPORT there (1); repeatable',
  },
  {
    name: 'secret',
    value: 'N',
    text: 'with --listen: secret of the flow hash, as /stats and the ready event show it (0)',
  },
  {
    name: 'hash-mix',
    value: 'N',
    text: 'with --listen: the part of it that goes into the listener buckets (0)',
  },
  {
    name: 'profile',
    value: 'KERNEL',
    text: 'with --listen: kernel to be like, 5.0 or 6.18 (6.18)',
  },
  {
    name: 'select',
    value: 'SELECTOR',
    text: `with --listen: ${SELECTOR_NAMES.join(', ')} (hash); members are all idle`,
  },
  CONTROL_FLAG,
  { name: 'json', text: 'one object; hashes are unsigned decimals' },
  HELP_FLAG,
];

const EXAMPLE = 'tunstack explain 198.18.0.254:51702 198.18.0.1:80';

/** What only --listen gives a meaning to. */
const OFFLINE_ONLY = ['secret', 'hash-mix', 'profile', 'select'] as const;
const LISTENERS_MAX = 32_768;

/** Both ends; addresses are int32 bit patterns. */
export interface Ends {
  saddr: number;
  sport: number;
  daddr: number;
  dport: number;
}

export interface ExplainOptions {
  help: boolean;
  json: boolean;
  ends: Ends;
  /** null = ask a running stack. */
  offline: OfflineQuestion | null;
  control: string | null;
}

function wrong(message: string, remedy: string = EXAMPLE): UsageError {
  return new UsageError(`explain: ${message}`, remedy);
}

/** ADDRESS:PORT; throws UsageError. */
function parseEnd(text: string, what: string): { address: number; port: number } {
  const colon = text.lastIndexOf(':');
  if (colon < 0) throw wrong(`${what} ${text}: the port is missing`);
  const address = parseIpv4(text.slice(0, colon));
  if (address === null) {
    throw wrong(`${what} ${text}: "${text.slice(0, colon)}" is not an IPv4 address (no names)`);
  }
  const digits = text.slice(colon + 1);
  const port = /^\d{1,5}$/.test(digits) ? Number(digits) : 0;
  if (port < 1 || port > 65_535) {
    throw wrong(`${what} ${text}: "${digits}" is not a port from 1 to 65535`);
  }
  return { address: address | 0, port };
}

function parseListen(text: string): ListenSpec {
  const [where, times, ...rest] = text.split('*');
  const example = `${EXAMPLE} --listen '0.0.0.0:80*4'`;
  const count = times === undefined ? 1 : /^\d{1,5}$/.test(times) ? Number(times) : 0;
  if (rest.length > 0 || count < 1 || count > LISTENERS_MAX) {
    throw wrong(`--listen ${text}: must be ADDR:PORT or ADDR:PORT*N, N up to 32768`, example);
  }
  return { text, count, ...parseEnd(where!, '--listen') };
}

/** A u32, decimal or 0x…. */
function word(flags: ParsedFlags, name: string): number {
  const text = flags.values.get(name);
  if (text === undefined) return 0;
  const value = /^(\d{1,10}|0x[\da-f]{1,8})$/i.test(text) ? Number(text) : -1;
  if (value < 0 || value > 0xffff_ffff) {
    throw wrong(`--${name} ${text}: must be a whole number from 0 to 4294967295`);
  }
  return value;
}

function parseProfile(text: string): Profile {
  if (text === '5.0' || text === '6.18') return text;
  throw wrong(`--profile ${text}: must be 5.0 or 6.18`);
}

function parseSelector(name: string): OfflineQuestion['selector'] {
  if (name === 'hash') return null;
  if (builtinSelector(name) === null) {
    const near = nearest(name, SELECTOR_NAMES) ?? 'hash';
    throw wrong(
      `--select ${name}: must be one of ${SELECTOR_NAMES.join(', ')}`,
      `${EXAMPLE} --listen '0.0.0.0:80*4' --select ${near}`,
    );
  }
  return { name, make: () => builtinSelector(name)! };
}

function parseOffline(flags: ParsedFlags, ends: Ends): OfflineQuestion | null {
  const listens = flags.lists.get('listen') ?? [];
  if (listens.length === 0) {
    const idle = OFFLINE_ONLY.find((name) => flags.values.has(name));
    if (idle === undefined) return null;
    const remedy = `${EXAMPLE} --listen '0.0.0.0:80*4' --${idle} ${flags.values.get(idle)}`;
    throw wrong(`--${idle} goes with --listen; a running stack has its own`, remedy);
  }
  if (flags.values.has('control')) {
    throw wrong('--control asks a running stack, --listen asks none: one of them');
  }
  return {
    ...ends,
    listens: listens.map(parseListen),
    secret: word(flags, 'secret'),
    hashMix: word(flags, 'hash-mix'),
    profile: parseProfile(flags.values.get('profile') ?? '6.18'),
    selector: parseSelector(flags.values.get('select') ?? 'hash'),
  };
}

/** Throws UsageError. */
export function parseExplainOptions(argv: readonly string[]): ExplainOptions {
  const flags = parseFlags('explain', EXPLAIN_FLAGS, argv, 2);
  const base = {
    help: flags.given.has('help'),
    json: flags.given.has('json'),
    control: flags.values.get('control') ?? null,
  };
  if (base.help)
    return { ...base, ends: { saddr: 0, sport: 0, daddr: 0, dport: 0 }, offline: null };
  const [from, to] = flags.positionals;
  if (from === undefined || to === undefined) {
    throw wrong('needs both ends of the connection, SRC:PORT DST:PORT');
  }
  const source = parseEnd(from, 'source');
  const destination = parseEnd(to, 'destination');
  const ends = {
    saddr: source.address,
    sport: source.port,
    daddr: destination.address,
    dport: destination.port,
  };
  return { ...base, ends, offline: parseOffline(flags, ends) };
}
