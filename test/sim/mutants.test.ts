/**
 * The simulator finds mistakes in the stack, each within a few seeds, and calls them by name. Some
 * of them; with MUTANTS=all in the environment every one.
 */
import { expect } from 'chai';
import { applies, firstFailure, MUTANTS } from './mutants.js';

/** Two hundred are what every test run does. */
const SEEDS = 200;
const STEP = process.env['MUTANTS'] === 'all' ? 1 : 4;

describe('sim: mistakes in the stack', function () {
  this.timeout(120_000);
  for (const mutant of MUTANTS.filter((_, i) => i % STEP === 0)) {
    it(mutant.name, async () => {
      const found = await firstFailure(mutant, SEEDS);
      expect(found?.kind, `seed ${found?.seed}`).to.match(mutant.finds);
    });
  }

  it('all of them can be made', () => {
    for (const mutant of MUTANTS) expect(applies(mutant), mutant.name).to.equal(true);
  });

  it('without a mistake nothing is found', async () => {
    const none = { ...MUTANTS[0]!, to: MUTANTS[0]!.from };
    expect(await firstFailure(none, 5)).to.equal(null);
  });
});
