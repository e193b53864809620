/** Every script of this folder holds. */
import { expect } from 'chai';
import { runScript } from '../../src/packetdrill/run.js';
import { scriptFiles } from './scripts.js';

describe('packet scripts', () => {
  for (const { name, source } of scriptFiles()) {
    it(name, () => {
      const outcome = runScript(name, source);
      const where = outcome.verdict === 'failed' ? `:${outcome.line}: ${outcome.message}` : '';
      const why = outcome.verdict === 'skipped' ? `: needs ${outcome.reason}` : '';
      expect(outcome.verdict, `${name}${where}${why}`).to.equal('ok');
    });
  }
});
