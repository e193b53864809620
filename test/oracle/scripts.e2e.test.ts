/**
 * Our packet scripts on the running kernel: what they expect of the stack in memory is what Linux
 * does. A sample by default, all of them with TUNSTACK_E2E=full; TUNSTACK_SEED chooses another
 * sample. The scripts are written for profile 6.18: on an older kernel there is nothing to see.
 */
import { expect } from 'chai';
import { parseWithDefines } from '../../src/packetdrill/run.js';
import { seededRandom } from '../../src/testing/index.js';
import { suiteWith } from '../e2e/machine.js';
import { mutationsOf } from '../packetdrill/mutations.js';
import { type ScriptFile, scriptFiles } from '../packetdrill/scripts.js';
import { FULL } from './full.js';
import { DIFFERENT, NOT_COMPARABLE } from './kernel-scripts.js';
import { kernelAtLeast } from './kernel-sockets.js';
import { playScripts } from './script-lanes.js';
import type { ScriptAnswer, ScriptAsked } from './script-run.js';

const SEED = Number(process.env['TUNSTACK_SEED'] ?? 1);
const FILES = scriptFiles();
/** Scripts of a sample, and how many are played with a wrong number. */
const SAMPLE = FULL ? FILES.length : 40;
const WRONG = FULL ? 60 : 8;
/** A script that takes longer is skipped, s. */
const LONGEST_S = FULL ? 200 : 5;
const TIMEOUT_MS = FULL ? 1_800_000 : 240_000;

const PROFILE = kernelAtLeast(6, 18);

/** `count` of the scripts that may be played, as the seed has it. */
function sample(files: readonly ScriptFile[], count: number, seed: number): ScriptFile[] {
  const dice = seededRandom(seed);
  const left = [...files];
  const taken: ScriptFile[] = [];
  while (taken.length < count && left.length > 0) {
    taken.push(...left.splice(dice.u32() % left.length, 1));
  }
  return taken;
}

const asked = ({ name, source }: ScriptFile, mutation: number | null = null): ScriptAsked => ({
  ...{ name, source, longestS: LONGEST_S, mutation },
  // One failure is enough where failing is what is expected.
  attempts: mutation !== null || name in DIFFERENT ? 1 : 4,
});

/** One line for the sum, and one for each reason. */
function tell(answers: readonly ScriptAnswer[]): void {
  const reasons = new Map<string, number>();
  for (const { name, verdict, text } of answers) {
    const reason = verdict === 'skipped' ? text : DIFFERENT[name];
    if (reason === undefined) continue;
    const key = verdict === 'skipped' ? `skipped: ${reason}` : `differ: ${reason}`;
    reasons.set(key, (reasons.get(key) ?? 0) + 1);
  }
  const agreed = answers.filter(({ name, verdict }) => verdict === 'ok' && !(name in DIFFERENT));
  process.stdout.write(`    ${answers.length} scripts: ${agreed.length} agree\n`);
  for (const [reason, count] of [...reasons].sort()) {
    process.stdout.write(`      ${count} ${reason}\n`);
  }
}

suiteWith(['netns', 'tun', 'root', 'ip'], 'the kernel as oracle: packet scripts', () => {
  if (!PROFILE) return;

  it(`${SAMPLE} of ${FILES.length}, from seed ${SEED}`, async function () {
    this.timeout(TIMEOUT_MS);
    const files = sample(FILES, SAMPLE, SEED);
    const playable = files.filter(({ name }) => !(name in NOT_COMPARABLE));
    const answers = await playScripts(playable.map((file) => asked(file)));
    for (const { name } of files) {
      const text = NOT_COMPARABLE[name];
      if (text !== undefined) answers.push({ name, verdict: 'skipped', text, change: '' });
    }
    tell(answers);
    const wrong = answers.flatMap(({ name, verdict, text }) => {
      if (name in DIFFERENT) return verdict === 'ok' ? [`${name}: Linux does that, too`] : [];
      return verdict === 'failed' ? [text] : [];
    });
    expect(wrong.join('\n')).to.equal('');
    expect(answers.filter(({ verdict }) => verdict === 'ok')).to.have.length.above(0);
  });

  it(`${WRONG} with one wrong number fail`, async function () {
    this.timeout(TIMEOUT_MS);
    const honest = FILES.filter(({ name }) => !(name in DIFFERENT || name in NOT_COMPARABLE));
    const dice = seededRandom(SEED + 1);
    const answers = await playScripts(
      sample(honest, WRONG, SEED + 2).map((file) => {
        const { length } = mutationsOf(parseWithDefines(file.name, file.source));
        return asked(file, dice.u32() % length);
      }),
    );
    const green = answers.filter(({ verdict }) => verdict === 'ok');
    expect(green.map(({ change }) => change)).to.deep.equal([]);
    expect(answers.filter(({ verdict }) => verdict === 'failed')).to.have.length.above(0);
  });
});
