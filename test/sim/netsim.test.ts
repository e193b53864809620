/**
 * The table of throughputs: every row is measured again and must be what is kept in netsim.txt, to
 * the last digit, so that a change in behaviour is seen. `npm run sim -- --table
 * --write` keeps the new one.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { CELLS, type Cell, header, row, theory } from '../../src/sim/netsim.js';
import { ROOT } from '../repository.js';

const kept = readFileSync(join(ROOT, 'test', 'sim', 'netsim.txt'), 'utf8')
  .trimEnd()
  .split('\n');
const first = header().length;

/** Columns of the row of a cell. */
function numbers(cell: Cell): { reno: number; cubic: number; theory: number } {
  const columns = kept[first + CELLS.indexOf(cell)]!.trim().split(/\s+/);
  const [reno, cubic, bound] = columns.slice(3, 6).map(Number);
  return { reno: reno!, cubic: cubic!, theory: bound! };
}

describe('sim: the table of throughputs', function () {
  this.timeout(60_000);

  it('has all rows', () => {
    expect(kept.slice(0, first)).to.deep.equal(header());
    expect(kept.length).to.equal(first + CELLS.length);
  });

  for (const loss of new Set(CELLS.map((cell) => cell.loss))) {
    const cells = CELLS.filter((cell) => cell.loss === loss);
    it(`the same again: ${cells.length} rows with ${loss * 100} % loss`, () => {
      const text = 'npm run sim -- --table --write keeps the new table';
      const again = cells.map((cell) => row(cell));
      expect(again, text).to.deep.equal(cells.map((cell) => kept[first + CELLS.indexOf(cell)]));
    });
  }

  it('where the link or the window is the limit, theory is nearly reached', () => {
    for (const cell of CELLS) {
      if (cell.loss > 0 || cell.rttMs > 50) continue;
      const { reno, cubic, theory: bound } = numbers(cell);
      expect(Math.min(reno, cubic) / bound, JSON.stringify(cell)).to.be.within(0.9, 1);
    }
  });

  it('where loss is the limit, reno is near the formula', () => {
    for (const cell of CELLS) {
      // A long path has slow start for a good part of the time, heavy loss has time-outs.
      const isPlain = theory(cell).limit === 'loss' && cell.rttMs <= 50 && cell.loss <= 0.01;
      if (!isPlain) continue;
      const { reno, theory: bound } = numbers(cell);
      expect(reno / bound, JSON.stringify(cell)).to.be.within(0.6, 1.4);
    }
  });
});
