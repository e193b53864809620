/** Options, readiness and calls in every state, on the kernel and on ours. */
import { expect } from 'chai';
import { suiteWith } from '../e2e/machine.js';
import { optionNumbers, REFUSED, SOMETIMES_REFUSED, type SocketState } from './option-numbers.js';
import { OPTION_CASES, OPTION_PORTS, STATE_CASES, STATE_PORTS } from './option-table.js';
import { RARE_CASES, RARE_PORTS } from './rare-cases.js';
import { Worlds } from './worlds.js';

suiteWith(['netns', 'root', 'ip', 'tun'], 'kernel as oracle: options and states', () => {
  let worlds: Worlds;

  before(() => {
    worlds = new Worlds();
  });
  after(() => worlds.leave());

  for (const [title, run] of Object.entries({ ...OPTION_CASES, ...RARE_CASES })) {
    it(title, () => {
      const port = worlds.freshPorts(Math.max(OPTION_PORTS, RARE_PORTS));
      const { linux, ours } = worlds.both((world) => run(world, port));
      expect(ours).to.deep.equal(linux);
      expect(linux).to.not.have.lengthOf(0);
    });
  }

  for (const state of ['fresh', 'listening', 'connected'] as const satisfies SocketState[]) {
    for (const uid of [0, 1000]) {
      it(`every option number, of a ${state} socket of user ${uid}`, () => {
        const port = worlds.freshPorts(1);
        const { linux, ours } = worlds.both((world) => optionNumbers(world, port, state, uid));
        const differ = [...linux.keys()].filter((key) => linux.get(key) !== ours.get(key));
        const found = differ.filter((key) => !REFUSED.has(key) && key !== SOMETIMES_REFUSED);
        const said = found.map(
          (key) => `${key}\n  linux ${linux.get(key)}\n  ours ${ours.get(key)}`,
        );
        expect(said.join('\n')).to.equal('');
        for (const key of differ) expect(ours.get(key), key).to.match(/ENOPROTOOPT/);
        const same = [...REFUSED].filter((key) => !differ.includes(key));
        if (state === 'fresh' && uid === 0) expect(same).to.deep.equal([]);
      });
    }
  }

  for (const [title, run] of Object.entries(STATE_CASES)) {
    // Again when the machine was so slow that the kernel's delayed ACK of a FIN came in between.
    it(`a socket that is ${title}`, () => {
      const port = worlds.freshPorts(STATE_PORTS);
      const { linux, ours } = worlds.both((world) => run(world, port));
      expect(ours).to.deep.equal(linux);
    }).retries(3);
  }
});
