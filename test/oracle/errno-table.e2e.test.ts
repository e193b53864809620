/** Values and errnos of the socket calls, situation by situation, on the kernel and on ours. */
import { expect } from 'chai';
import { suiteWith } from '../e2e/machine.js';
import { DIFFERENT, SITUATIONS } from './errno-table.js';
import { Worlds } from './worlds.js';

/** No situation uses more. */
const PORTS = 20;

suiteWith(['netns', 'root', 'ip', 'tun'], 'kernel as oracle: what calls answer', () => {
  let worlds: Worlds;

  before(() => {
    worlds = new Worlds();
  });
  after(() => worlds.leave());

  for (const [title, situation] of Object.entries(SITUATIONS)) {
    it(title, () => {
      const port = worlds.freshPorts(PORTS);
      const { linux, ours } = worlds.both((world) => situation(world, port));
      expect(ours).to.deep.equal(linux);
      expect(linux).to.not.have.lengthOf(0);
    });
  }

  for (const [title, { situation, ...expected }] of Object.entries(DIFFERENT)) {
    it(`${title}: differs, as documented`, () => {
      const port = worlds.freshPorts(PORTS);
      const { linux, ours } = worlds.both((world) => situation(world, port).join());
      expect({ linux, ours }).to.deep.equal(expected);
    });
  }
});
