/**
 * bind() and listen() of two sockets on one port: thousands of combinations on the kernel's sockets
 * and on ours, call by call. All 33,600 of them with TUNSTACK_E2E=full.
 */
import { expect } from 'chai';
import { seededRandom } from '../../src/testing/index.js';
import { suiteWith } from '../e2e/machine.js';
import { type Case, cases, caseText, play, sample } from './bind-matrix.js';
import { FULL, told } from './full.js';
import { Worlds } from './worlds.js';

const QUICK_CASES = 4000;
/** Differences that are shown. */
const SHOWN = 10;

suiteWith(['netns', 'root', 'ip', 'tun'], 'kernel as oracle: bind and listen', () => {
  let worlds: Worlds;

  before(() => {
    worlds = new Worlds();
  });
  after(() => worlds.leave());

  function difference(test: Case): string | null {
    const port = worlds.freshPorts(1);
    const { linux, ours } = worlds.both((world) => play(world, test, port).join(', '));
    return linux === ours ? null : `${caseText(test)}\n  linux: ${linux}\n  ours:  ${ours}`;
  }

  it('answers as the kernel does', () => {
    const all = cases();
    const chosen = FULL ? all : sample(all, QUICK_CASES, seededRandom(1));
    const differences = chosen.map(difference).filter((found) => found !== null);
    expect(differences.slice(0, SHOWN).join('\n'), `${differences.length} differ`).to.equal('');
    expect(chosen.length).to.be.at.least(QUICK_CASES);
    told(`${chosen.length} of ${all.length} pairs of sockets agree`);
  }).timeout(300_000);
});
