/**
 * The rules of this repository that a machine can check and the linter does not. Each is a function
 * from one file to its findings, so that the test can show each of them a bad sample. The length of
 * functions (70 lines) and formatting are the linter's: biome.json, noExcessiveLinesPerFunction.
 */
import { posix } from 'node:path';
import { blank } from './blank.js';
import { importDirection, inputDoesNotSend } from './imports.js';

export interface Finding {
  readonly path: string;
  /** Counted from 1. */
  readonly line: number;
  readonly message: string;
}

/**
 * `path` is relative to the root of the repository; `exists` tells whether another such path is
 * there.
 */
export type Rule = (path: string, text: string, exists: (path: string) => boolean) => Finding[];

const LINES_MAX = 500;
const COLUMNS_MAX = 100;

const isSource = (path: string): boolean => /\.(ts|mjs)$/.test(path);
const isCore = (path: string): boolean =>
  /^src\/(net|reuseport|tcp|udp|lab)\//.test(path) || path === 'src/stack/stack.ts';

/** A finding for each line of `lines` that `wrong` gives a message for. */
function eachLine(path: string, text: string, wrong: (line: string) => string | null): Finding[] {
  return text.split('\n').flatMap((content, index) => {
    const message = wrong(content);
    return message === null ? [] : [{ path, line: index + 1, message }];
  });
}

/** A finding for each line of the file that `pattern` matches. */
function eachMatch(path: string, text: string, pattern: RegExp, what: string): Finding[] {
  return eachLine(path, text, (line) => {
    const match = pattern.exec(line);
    return match === null ? null : `${what}: ${match[0].trim()}`;
  });
}

const IMPURE: readonly string[] = [
  ...['Date', 'performance', 'process', 'console', 'Buffer', 'BigInt', 'BigInt64Array'],
  ...['BigUint64Array', 'globalThis', 'require', 'crypto', 'fetch', 'queueMicrotask'],
  ...['setTimeout', 'setInterval', 'setImmediate', 'Promise', 'async', 'await'],
];
const IMPURE_WORD: RegExp = new RegExp(
  String.raw`(?<![.\w$])(?:${IMPURE.join('|')})(?![\w$]|\s*[?]?:)|\bMath\.random\b|\b\d[\d_]*n\b`,
);

const coreIsPure: Rule = (path, text) => {
  if (!isCore(path) || path.endsWith('.d.ts')) return [];
  return eachMatch(path, blank(text), IMPURE_WORD, 'the core does no I/O and has no clock');
};

const length: Rule = (path, text) => {
  const lines = text.split('\n').length - 1;
  if (!isSource(path) || lines <= LINES_MAX) return [];
  return [{ path, line: LINES_MAX + 1, message: `${lines} lines, at most ${LINES_MAX}` }];
};

const width: Rule = (path, text) => {
  if (!isSource(path)) return [];
  const tooWide = (line: string): string | null =>
    line.length > COLUMNS_MAX ? `${line.length} columns, at most ${COLUMNS_MAX}` : null;
  return eachLine(path, text, tooWide);
};

const opening: Rule = (path, text) => {
  if (!isSource(path)) return [];
  const start = text.replace(/^#![^\n]*\n/, '');
  if (start.startsWith('/**')) return [];
  return [{ path, line: 1, message: 'does not open with a comment on what it owns' }];
};

/** In pieces, so that this file does not find itself. */
const LEFTOVER: RegExp = new RegExp(
  `\\b(?:${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X'].join('|')})\\b`,
);
const leftovers: Rule = (path, text) => eachMatch(path, text, LEFTOVER, 'left over');

const EXCLUSIVE = /\b(?:describe|it|context|suite|test)\.(?:only|skip)\b/;
const everyTestRuns: Rule = (path, text) => {
  if (!path.startsWith('test/')) return [];
  return eachMatch(path, blank(text), EXCLUSIVE, 'every test runs');
};

const FORBIDDEN_NAME = /(?:^|-)(?:utils?|helpers?|managers?|misc|common-stuff)(?:-|\.|$)/;
const names: Rule = (path) => {
  if (!/^(?:src|test|scripts)\//.test(path)) return [];
  const base = posix.basename(path);
  const findings: Finding[] = [];
  if (!/^[a-z0-9]+(?:[.-][a-z0-9]+)*$/.test(base)) {
    findings.push({ path, line: 1, message: 'file names are kebab-case' });
  }
  if (FORBIDDEN_NAME.test(base)) {
    findings.push({ path, line: 1, message: 'a name that says nothing' });
  }
  return findings;
};

const LINK = /\[[^\]]*\]\(([^)\s]+)\)/g;
const links: Rule = (path, text, exists) => {
  if (!path.endsWith('.md')) return [];
  const prose = text.replace(/```[\s\S]*?```/g, (block) => block.replace(/[^\n]/g, ' '));
  return eachLine(path, prose, (line) => {
    for (const match of line.matchAll(LINK)) {
      const to = match[1]!.replace(/#.*$/, '');
      if (to === '' || /^[a-z]+:/.test(to)) continue;
      const resolved = posix.normalize(posix.join(posix.dirname(path), decodeURI(to)));
      if (!exists(resolved)) return `link to ${to}, which is not there`;
    }
    return null;
  });
};

/**
 * Names of places and papers that mean nothing to a reader of the repository; in pieces, as above.
 */
const ELSEWHERE: RegExp = new RegExp(
  [
    '/wo' + 'rk/(?:main|shared|\\.library)',
    '/tmp/bri' + 'ef',
    '\\bshared/(?:ARCH' + 'ITECTURE|CONTR' + 'ACT|reference)',
    '\\bthe bri' + 'ef\\b',
    '\\bis' + 'sue #?\\d+\\b',
  ].join('|'),
);
const selfContained: Rule = (path, text) =>
  eachMatch(path, text, ELSEWHERE, 'names something outside of this repository');

const endOfFile: Rule = (path, text) => {
  if (text === '' || (text.endsWith('\n') && !text.endsWith('\n\n'))) return [];
  return [{ path, line: text.split('\n').length, message: 'ends with exactly one line end' }];
};

/** Every rule by name. */
export const RULES: Readonly<Record<string, Rule>> = {
  importDirection,
  inputDoesNotSend,
  coreIsPure,
  length,
  width,
  opening,
  leftovers,
  everyTestRuns,
  names,
  links,
  selfContained,
  endOfFile,
};
