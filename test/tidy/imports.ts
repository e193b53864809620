/**
 * Which room may import which: the table of the house, read from the sources. Type-only imports
 * count like others: a room that needs another room's type depends on it.
 */
import { posix } from 'node:path';
import { blank } from './blank.js';
import type { Finding } from './rules.js';

/** What a room may import: prefixes of paths below src/, package names, and `node:`. */
export interface Room {
  readonly prefix: string;
  readonly may: readonly string[];
}

const CORE = ['net/', 'reuseport/', 'tcp/', 'udp/'];

/** First match wins, so that the narrower prefixes come first. */
export const ROOMS: readonly Room[] = [
  { prefix: 'net/', may: ['net/', 'buffer-layout'] },
  { prefix: 'reuseport/', may: ['net/', 'reuseport/'] },
  { prefix: 'tcp/', may: ['net/', 'reuseport/', 'tcp/'] },
  { prefix: 'udp/', may: ['net/', 'reuseport/', 'udp/'] },
  { prefix: 'stack/stack.ts', may: [...CORE, 'stack/'] },
  { prefix: 'stack/', may: [...CORE, 'stack/', 'device/', 'socket/uapi/', 'node:'] },
  { prefix: 'device/', may: ['net/', 'device/', 'koffi', 'ip-address', 'node:'] },
  { prefix: 'socket/uapi/', may: ['socket/uapi/', 'net/'] },
  // The payload arena is mapped memory: the one place where the application's edge needs the
  // machine's.
  {
    prefix: 'socket/arena.ts',
    may: ['socket/', 'net/', 'device/native.ts', 'device/wait.ts', 'node:'],
  },
  { prefix: 'socket/', may: ['socket/', 'net/', 'ip-address', 'node:'] },
  {
    prefix: 'testing/',
    may: [...CORE, 'stack/', 'testing/', 'socket/uapi/', 'device/memory.ts', 'node:'],
  },
  // What the experiments replay is the real thing; only its clock and its load are made up.
  {
    prefix: 'lab/',
    may: [...CORE, 'lab/', 'testing/', 'socket/uapi/', 'stack/stack.ts', 'stack/interests.ts'],
  },
  // Everything in the simulator is the real thing but the link, the clock and the load.
  {
    prefix: 'sim/fuzz/',
    may: [...CORE, 'sim/', 'testing/', 'socket/uapi/', 'stack/', 'app/http/'],
  },
  { prefix: 'sim/', may: [...CORE, 'sim/', 'testing/', 'socket/uapi/', 'stack/stack.ts'] },
  { prefix: 'packetdrill/', may: ['packetdrill/', 'net/', 'socket/', 'stack/', 'testing/'] },
  {
    prefix: 'app/',
    may: [
      ...['app/', 'socket/', 'stack/', 'device/', 'testing/', 'net/', 'reuseport/', 'packetdrill/'],
      ...['lab/', 'index.ts', 'ip-address', 'node:'],
    ],
  },
  { prefix: 'index.ts', may: ['socket/', 'device/', 'net/', 'reuseport/selector-request.ts'] },
];

/** The specifiers of every static, dynamic and re-exporting import, with their line numbers. */
export function importsOf(source: string): { specifier: string; line: number }[] {
  const code = blank(source, true);
  const pattern = /(?:\bfrom|\bimport)\s*\(?\s*'([^']+)'/g;
  return [...code.matchAll(pattern)].map((match) => ({
    specifier: match[1]!,
    line: code.slice(0, match.index).split('\n').length,
  }));
}

/** A relative specifier as a path below src/ with the source's ending; others as they are. */
function target(path: string, specifier: string): string {
  if (!specifier.startsWith('.')) return specifier;
  const joined = posix.join(posix.dirname(path), specifier).replace(/\.js$/, '.ts');
  return joined.replace(/^src\//, '');
}

function isAllowed(to: string, may: readonly string[]): boolean {
  return may.some((entry) => {
    if (entry.endsWith('/') || entry.endsWith(':')) return to.startsWith(entry);
    return to === entry || to.startsWith(`${entry}/`);
  });
}

/** Imports against the table, and sources that belong to no room. */
export function importDirection(path: string, source: string): Finding[] {
  if (!path.startsWith('src/') || path.endsWith('.d.ts')) return [];
  const inside = path.slice('src/'.length);
  const room = ROOMS.find((candidate) => inside.startsWith(candidate.prefix));
  if (room === undefined) return [{ path, line: 1, message: 'belongs to no room' }];
  const wrong = importsOf(source).filter(
    ({ specifier }) => !isAllowed(target(path, specifier), room.may),
  );
  return wrong.map(({ specifier, line }) => ({
    path,
    line,
    message: `${room.prefix} may not import ${specifier}`,
  }));
}

/** Input changes the connection and marks it; output runs once after the batch. */
export function inputDoesNotSend(path: string, source: string): Finding[] {
  if (!path.startsWith('src/tcp/input/')) return [];
  return importsOf(source)
    .filter(({ specifier }) => target(path, specifier).startsWith('tcp/output/'))
    .map(({ specifier, line }) => ({ path, line, message: `tcp/input imports ${specifier}` }));
}
