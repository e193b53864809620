/** docs/DIFFERENCES.md: every row is whole, and the tests that it names are there. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { ROOT } from './repository.js';

const COLUMNS = 5;
const ENDINGS = ['', '.ts', '.test.ts', '.e2e.test.ts'];

/** The cells of each row, without the heads of the tables. */
function rowsOf(text: string): string[][] {
  const lines = text.split('\n').filter((line) => line.startsWith('| '));
  const rows = lines.map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()));
  return rows.map((cells) => cells.slice(1, -1)).filter(([what]) => what !== 'what');
}

const exists = (name: string): boolean =>
  ENDINGS.some((ending) => existsSync(join(ROOT, 'test', name + ending)));

describe('docs: differences', () => {
  const rows = rowsOf(readFileSync(join(ROOT, 'docs', 'DIFFERENCES.md'), 'utf8'));

  it('have what Linux does, what we do, and why', () => {
    expect(rows.length).to.be.above(40);
    for (const cells of rows) {
      expect(cells, cells[0]).to.have.lengthOf(COLUMNS);
      for (const cell of cells.slice(0, 4)) expect(cell, cells[0]).to.not.equal('');
    }
  });

  it('name tests that are there', () => {
    const named = rows.flatMap(([, , , , pins]) => [...pins!.matchAll(/`([^`]+)`/g)]);
    expect(named.length).to.be.above(40);
    expect(named.map(([, name]) => name!).filter((name) => !exists(name))).to.deep.equal([]);
  });
});
