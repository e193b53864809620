/** docs/RFC-COVERAGE.md says what the tags say, and no MUST is without code, test or reason. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { ROOT } from '../repository.js';
import {
  collectTags,
  DOCUMENT,
  type Finding,
  familyTag,
  findings,
  renderCoverage,
  taggedFiles,
  tagsOf,
  unknownTags,
} from './coverage.js';
import { FAMILY } from './family.js';
import { REMARKS } from './remarks.js';
import { MAYS, MUSTS, SHOULDS } from './requirements.js';

const ALL = [...MUSTS, ...SHOULDS, ...MAYS];

describe('rfc: tags', () => {
  it('are found in one line and over the end of one', () => {
    const sample =
      ' * (RFC 9293\n   * SHLD-17).\n// RFC 9293 3.8.4 MAY-2, MUST-29/SHLD-12; MUSTY-1\n';
    expect([...tagsOf(sample)].sort()).to.deep.equal([
      'MAY-2',
      'MUST-29',
      'RFC 9293',
      'RFC 9293 3.8.4',
      'SHLD-12',
      'SHLD-17',
    ]);
  });

  it('of the family are sections, alone and in lists', () => {
    const sample =
      '/** RFC 5961 3.2, 4.2: x (RFC 6582\n * 4.1) */ // RFC 6298 2 and 5: RFC 7323 section 5.5\n';
    const sections = [...tagsOf(sample)].filter((tag) => tag.split(' ').length === 3);
    expect(sections.sort()).to.deep.equal([
      'RFC 5961 3.2',
      'RFC 5961 4.2',
      'RFC 6298 2',
      'RFC 6298 5',
      'RFC 6582 4.1',
      'RFC 7323 5.5',
    ]);
  });

  it('of an RFC as a whole are its mentions', () => {
    expect([...tagsOf('// RFC 5681 4.2, 6675; RFC 1191')]).to.have.members([
      ...['RFC 5681', 'RFC 5681 4.2', 'RFC 6675', 'RFC 1191'],
    ]);
  });

  it('that do not exist are told', () => {
    const tags = collectTags([{ path: 'src/a.ts', text: '// MUST-1, MUST-70, SHLD-32' }]);
    expect(unknownTags(tags)).to.deep.equal(['MUST-70 in src/a.ts', 'SHLD-32 in src/a.ts']);
  });

  it('code without a test, and a test without code, leave a requirement open', () => {
    const status = (...paths: string[]): string | undefined => {
      const tags = collectTags(paths.map((path) => ({ path, text: '// RFC 9293 MUST-3' })));
      return findings(tags).find(({ requirement }) => requirement[0] === 'MUST-3')?.status;
    };
    expect(status()).to.equal('open');
    expect(status('src/a.ts')).to.equal('open');
    expect(status('test/a.pkt')).to.equal('open');
    expect(status('src/a.ts', 'test/a.pkt')).to.equal('met');
  });

  it('a requirement that is met in part has code and test, too', () => {
    const [id] = Object.entries(REMARKS).find(([, { kind }]) => kind === 'partly')!;
    const status = (...paths: string[]): string | undefined => {
      const tags = collectTags(paths.map((path) => ({ path, text: `// RFC 9293 ${id}` })));
      return findings(tags).find(({ requirement }) => requirement[0] === id)?.status;
    };
    expect(status('src/a.ts')).to.equal('open');
    expect(status('src/a.ts', 'test/a.pkt')).to.equal('partly');
  });
});

describe('rfc: tables', () => {
  it('have every number once, and few words', () => {
    const numbers = (kind: string, n: number) =>
      Array.from({ length: n }, (_, i) => `${kind}-${i + 1}`);
    expect(ALL.map(([id]) => id)).to.deep.equal([
      ...numbers('MUST', 69),
      ...numbers('SHLD', 31),
      ...numbers('MAY', 18),
      'REC-1',
    ]);
    for (const [id, , what] of ALL) expect(what.split(' ').length, id).to.be.at.most(12);
  });

  it('have remarks about requirements only', () => {
    const ids = new Set(ALL.map(([id]) => id));
    expect(Object.keys(REMARKS).filter((id) => !ids.has(id))).to.deep.equal([]);
  });
});

describe('rfc: coverage', () => {
  const tags = collectTags(taggedFiles(ROOT));
  const list = findings(tags);
  const ids = (of: Finding[]): string[] => of.map(({ requirement }) => requirement[0]);

  it('every tag is one of RFC 9293', () => {
    expect(unknownTags(tags)).to.deep.equal([]);
  });

  it('every MUST and SHOULD has code and a test, or a reason', () => {
    const open = list.filter(({ level, status }) => level !== 'MAY' && status === 'open');
    expect(ids(open)).to.deep.equal([]);
  });

  it('every MAY has code and a test, or is said not to be used', () => {
    const open = list.filter(({ level, status }) => level === 'MAY' && status === 'open');
    expect(ids(open)).to.deep.equal([]);
  });

  it('what is said not to be there is not tagged in the code', () => {
    const excused = new Set(['absent', 'application', 'declined']);
    const wrong = list.filter(({ status, code }) => excused.has(status) && code.length > 0);
    expect(ids(wrong)).to.deep.equal([]);
  });

  it('every section of the family is cited by code and by a test', () => {
    const present = FAMILY.filter(({ absent }) => !absent);
    const missing = present
      .map(familyTag)
      .flatMap((tag) =>
        ['src/', 'test/']
          .filter((side) => !tags.get(tag)?.some((path) => path.startsWith(side)))
          .map((side) => `${tag} in ${side}`),
      );
    expect(missing).to.deep.equal([]);
  });

  it('no section of the family stands there twice', () => {
    const tagged = FAMILY.map(familyTag);
    expect(tagged.filter((tag, i) => tagged.indexOf(tag) !== i)).to.deep.equal([]);
  });

  it('what the family has that is not here has a reason', () => {
    for (const { rfc, remark, absent } of FAMILY)
      if (absent) expect(remark, `${rfc}`).to.not.equal('');
  });

  it(`${DOCUMENT} is up to date`, () => {
    const written = readFileSync(join(ROOT, DOCUMENT), 'utf8').split('\n');
    const fresh = renderCoverage(tags).split('\n');
    const stale = fresh.filter((line, index) => line !== written[index]);
    expect(stale, 'write it anew: node scripts/run.mjs rfc').to.deep.equal([]);
    expect(written.length).to.equal(fresh.length);
  });
});
