/** Memory files and sendfile(), situation by situation, on the kernel and on ours. */
import { expect } from 'chai';
import { suiteWith } from '../e2e/machine.js';
import { kernelFiles, ourFiles } from './file-calls.js';
import { FILE_SITUATIONS } from './file-table.js';
import { Worlds } from './worlds.js';

/** No situation uses more. */
const PORTS = 10;

suiteWith(['netns', 'root', 'ip', 'tun'], 'kernel as oracle: memory files', () => {
  let worlds: Worlds;

  before(() => {
    worlds = new Worlds();
  });
  after(() => worlds.leave());

  for (const [title, situation] of Object.entries(FILE_SITUATIONS)) {
    it(title, () => {
      const port = worlds.freshPorts(PORTS);
      const { linux, ours } = worlds.both(({ name, calls }) => {
        const files = name === 'linux' ? kernelFiles() : ourFiles(worlds.ours);
        try {
          return situation(files, calls, port);
        } finally {
          files.closeFiles();
        }
      });
      expect(ours).to.deep.equal(linux);
      expect(linux).to.not.have.lengthOf(0);
    });
  }
});
