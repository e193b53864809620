/**
 * The command that compares goodput under loss (scripts/goodput.mjs): it measures, both ways, and
 * every byte arrives. How much it is depends on the machine and is not judged here.
 */
import { expect } from 'chai';
import { must, run, suiteWith } from './machine.js';
import { RUN } from './serve-process.js';

interface Figure {
  way: string;
  pairs: number;
  ours: { median: number };
  kernel: { median: number };
  ratio: { median: number };
}

suiteWith(['tun', 'root', 'ip'], 'end to end: goodput', () => {
  it('measures ours and the kernel on one path', async () => {
    const sizes = ['--pairs', '1', '--bytes', '100000', '--delay', '2', '--loss', '1'];
    const text = await must([...RUN, 'goodput', ...sizes, '--json']);
    const { path, figures } = JSON.parse(text) as { path: string; figures: Figure[] };
    expect(path).to.contain('1 % lost each way, 4 ms RTT');
    expect(figures.map(({ way }) => way)).to.deep.equal(['to the client', 'from the client']);
    for (const { ours, kernel, ratio, pairs } of figures) {
      expect(pairs).to.equal(1);
      expect(ratio.median).to.equal(ours.median / kernel.median);
      expect(ratio.median).to.be.above(0);
    }
  });

  it('says what is wrong with a command line', async () => {
    for (const args of [['--loss', '100'], ['--congestion', 'vegas'], ['--nonsense']]) {
      const { code, stderr } = await run([...RUN, 'goodput', ...args]);
      expect(code, args.join(' ')).to.equal(2);
      expect(stderr).to.contain('goodput [--pairs N]');
    }
  });
});
