/**
 * Which file meets which requirement, and which test shows it: the tags of RFC 9293 (`MUST-10`) and
 * the cited sections of its family (`RFC 5961 3.2`) in the comments of src and test, joined with
 * the tables beside this file. Renders docs/RFC-COVERAGE.md; files are named without lines, so that
 * the document changes only when a tag moves from one file to another.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FAMILY, type FamilyRow } from './family.js';
import { REMARKS, type Remark } from './remarks.js';
import { MAYS, MUSTS, type Requirement, SHOULDS } from './requirements.js';

/** Where the document is, relative to the root. */
export const DOCUMENT = 'docs/RFC-COVERAGE.md';

/** A file that may hold tags: path relative to the root, and its text. */
export interface TaggedFile {
  readonly path: string;
  readonly text: string;
}

/** Files by tag, in the order of their paths. */
export type Tags = ReadonlyMap<string, readonly string[]>;

/** The tables name every tag, and say nothing about where it is met. */
const TABLES = 'test/rfc/';

/** Every source, test and packet script of the repository, in the order of their paths. */
export function taggedFiles(root: string): TaggedFile[] {
  const files: TaggedFile[] = [];
  for (const folder of ['src', 'test']) {
    for (const name of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
      const path = `${folder}/${name}`;
      if (!/\.(?:ts|mts|js|mjs|pkt)$/.test(name) || path.startsWith(TABLES)) continue;
      files.push({ path, text: readFileSync(join(root, path), 'utf8') });
    }
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The text with comments that run over several lines made one line. */
function joined(text: string): string {
  return text.replace(/\n[ \t]*(?:\*(?!\/)|\/\/)?[ \t]*/g, ' ');
}

const NUMBERED = /\b(?:MUST|SHLD|MAY|REC)-\d+\b/g;
/** `RFC 5961 3.2, 4.2`, `RFC 6298 2 and 5`, `RFC 5961 section 7`. */
const SECTIONS =
  /\bRFC (\d{3,4})((?:(?:,| and|;)? (?:section )?\d+(?:\.\d+)*(?:-\d+(?:\.\d+)*)?)+)/g;

/** The tags of one text: `MUST-10`, `RFC 5961 3.2`. */
export function tagsOf(text: string): Set<string> {
  const line = joined(text);
  const tags = new Set<string>(line.match(NUMBERED) ?? []);
  for (const mention of line.match(/\bRFC \d{3,4}\b/g) ?? []) tags.add(mention);
  for (const [, rfc, list] of line.matchAll(SECTIONS)) {
    for (const section of list!.match(/\d+(?:\.\d+)*/g) ?? []) {
      // `RFC 5681, 6675`: the next one.
      const another = /^\d{4}$/.test(section);
      tags.add(another ? `RFC ${section}` : `RFC ${rfc} ${section}`);
    }
  }
  return tags;
}

/** All tags of `files`, by tag. */
export function collectTags(files: readonly TaggedFile[]): Tags {
  const tags = new Map<string, string[]>();
  for (const { path, text } of files) {
    for (const tag of tagsOf(text)) {
      const paths = tags.get(tag);
      if (paths === undefined) tags.set(tag, [path]);
      else paths.push(path);
    }
  }
  return tags;
}

/** `met`: code and test; `open`: something is missing and no remark says why. */
export type Status = 'met' | 'open' | Exclude<Remark['kind'], 'note'>;

export interface Finding {
  readonly requirement: Requirement;
  readonly level: string;
  readonly code: readonly string[];
  readonly tests: readonly string[];
  readonly status: Status;
  readonly why: string;
}

const isCode = (path: string): boolean => path.startsWith('src/');
const LEVELS: Readonly<Record<string, string>> = { MUST: 'MUST', SHLD: 'SHOULD', REC: 'SHOULD' };

function judge(requirement: Requirement, tags: Tags): Finding {
  const [id] = requirement;
  const paths = tags.get(id) ?? [];
  const code = paths.filter(isCode);
  const tests = paths.filter((path) => !isCode(path));
  const remark = REMARKS[id];
  const shown = code.length > 0 && tests.length > 0;
  let status: Status = shown ? 'met' : 'open';
  const excused = remark !== undefined && remark.kind !== 'note' && remark.kind !== 'partly';
  if (excused || (shown && remark?.kind === 'partly')) status = remark.kind as Status;
  const level = LEVELS[id.split('-')[0]!] ?? 'MAY';
  return { requirement, level, code, tests, status, why: remark?.why ?? '' };
}

/** Every requirement of RFC 9293 with what was found for it. */
export function findings(tags: Tags): Finding[] {
  return [...MUSTS, ...SHOULDS, ...MAYS].map((requirement) => judge(requirement, tags));
}

/** Tags of the form of RFC 9293's that it does not have. */
export function unknownTags(tags: Tags): string[] {
  const known = new Set([...MUSTS, ...SHOULDS, ...MAYS].map(([id]) => id));
  const unknown: string[] = [];
  for (const [tag, paths] of tags) {
    if (/^[A-Z]+-\d+$/.test(tag) && !known.has(tag)) unknown.push(`${tag} in ${paths.join(', ')}`);
  }
  return unknown;
}

const WORDS: Readonly<Record<Status, string>> = {
  met: 'met',
  open: 'open',
  partly: 'met in part',
  linux: 'as Linux',
  absent: 'does not apply',
  application: 'for applications',
  declined: 'not used',
  unmet: '**not met yet**',
};

/** Paths as they stand in the document: without the root of each side. */
function cell(paths: readonly string[]): string {
  return paths.map((path) => `\`${path.replace(/^(?:src|test)\//, '')}\``).join(' ');
}

function requirementRow({ requirement, level, code, tests, status, why }: Finding): string {
  const [id, section, what] = requirement;
  const told = why === '' ? WORDS[status] : `${WORDS[status]}: ${why}`;
  return `| ${id} | ${section} | ${level} | ${what} | ${cell(code)} | ${cell(tests)} | ${told} |`;
}

/** The tag of a row of the family. */
export function familyTag({ rfc, section }: FamilyRow): string {
  return section === '' ? `RFC ${rfc}` : `RFC ${rfc} ${section}`;
}

function familyRow(row: FamilyRow, tags: Tags): string {
  const { rfc, section, level, what, remark, absent } = row;
  const paths = tags.get(familyTag(row)) ?? [];
  const code = paths.filter(isCode);
  const tests = paths.filter((path) => !isCode(path));
  const told = absent ? `does not apply: ${remark}` : remark;
  return `| ${rfc} | ${section} | ${level} | ${what} | ${cell(code)} | ${cell(tests)} | ${told} |`;
}

function count(list: readonly Finding[], level: string): string {
  const of = list.filter((finding) => finding.level === level);
  const parts: string[] = [];
  for (const status of Object.keys(WORDS) as Status[]) {
    const n = of.filter((finding) => finding.status === status).length;
    if (n > 0) parts.push(`${n} ${WORDS[status]}`);
  }
  return `| ${level} | ${of.length} | ${parts.join(', ')} |`;
}

/** The text of docs/RFC-COVERAGE.md. */
export function renderCoverage(tags: Tags): string {
  const list = findings(tags);
  const unmet = list.filter(({ status }) => status === 'unmet' || status === 'open');
  const names = unmet.map(({ requirement }) => requirement[0]);
  return `# Coverage of RFC 9293 and its family

Written by \`node scripts/run.mjs rfc\` from the tags in the comments of \`src\` and \`test\` and
from the tables in \`test/rfc\`; a test fails when it is out of date. A tag stands where a
requirement is met or shown. The requirements are told in our own words; their text is in the RFCs.

| level | requirements | of which |
|---|---|---|
${['MUST', 'SHOULD', 'MAY'].map((level) => count(list, level)).join('\n')}

Not met yet (${names.length}): ${names.length === 0 ? 'none' : names.join(', ')}.

*as Linux*: done otherwise, as Linux does it. *not used*: a liberty that is not taken. *does not
apply*: about something that this stack does not have.

## RFC 9293

| requirement | section | level | what | code (\`src\`) | shown by (\`test\`) | status |
|---|---|---|---|---|---|---|
${list.map(requirementRow).join('\n')}

## The family

Sections that our comments cite; a row without a section is the whole RFC. They are not numbered
requirements: the level is the strongest that a section has for a host's TCP, a section may ask for
more than what is said here, and a citation tells where it was followed.

| RFC | section | level | what | code (\`src\`) | shown by (\`test\`) | remark |
|---|---|---|---|---|---|---|
${FAMILY.map((row) => familyRow(row, tags)).join('\n')}
`;
}
