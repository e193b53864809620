/** Options, readiness and calls in every state, on the kernel and on ours. */
import { expect } from 'chai';
import { suiteWith } from '../e2e/machine.js';
import { OPTION_CASES, OPTION_PORTS, STATE_CASES, STATE_PORTS } from './option-table.js';
import { Worlds } from './worlds.js';

suiteWith(['netns', 'root', 'ip', 'tun'], 'kernel as oracle: options and states', () => {
  let worlds: Worlds;

  before(() => {
    worlds = new Worlds();
  });
  after(() => worlds.leave());

  for (const [title, run] of Object.entries(OPTION_CASES)) {
    it(title, () => {
      const port = worlds.freshPorts(OPTION_PORTS);
      const { linux, ours } = worlds.both((world) => run(world, port));
      expect(ours).to.deep.equal(linux);
      expect(linux).to.not.have.lengthOf(0);
    });
  }

  for (const [title, run] of Object.entries(STATE_CASES)) {
    it(`a socket that is ${title}`, () => {
      const port = worlds.freshPorts(STATE_PORTS);
      const { linux, ours } = worlds.both((world) => run(world, port));
      expect(ours).to.deep.equal(linux);
    });
  }
});
