/**
 * A script that cannot fail says nothing: a number that a script expects is changed, and the script
 * must fail. A few numbers of each script; with HONESTY=all in the environment every one of them.
 */
import { expect } from 'chai';
import { parseWithDefines, runParsed } from '../../src/packetdrill/run.js';
import { mutationsOf } from './mutations.js';
import { scriptFiles } from './scripts.js';

/** At most this many of each script, spread over it. */
const MOST = process.env['HONESTY'] === 'all' ? Number.POSITIVE_INFINITY : 4;

describe('packet scripts with one wrong number', () => {
  for (const { name, source } of scriptFiles()) {
    it(`${name} fails`, () => {
      const all = mutationsOf(parseWithDefines(name, source));
      expect(all, 'the script expects nothing').to.have.length.above(0);
      const step = Math.max(1, all.length / MOST);
      const green: string[] = [];
      for (let i = 0; i < all.length; i += step) {
        const { line, what, scripts } = all[Math.floor(i)]!;
        const failed = scripts.some((script) => runParsed(script).verdict === 'failed');
        if (!failed) green.push(`${name}:${line}: another ${what}`);
      }
      expect(green).to.deep.equal([]);
    });
  }
});
