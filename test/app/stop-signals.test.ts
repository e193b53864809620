/** Signals that ask to stop, in a process of their own. */
import { spawnSync } from 'node:child_process';
import { expect } from 'chai';

const MODULE = new URL('../../src/app/stop-signals.js', import.meta.url).href;

/** Runs `code` in a process; how that has ended: an exit code, or the name of a signal. */
function ended(code: string): number | string | null {
  const text = `import { StopSignals } from '${MODULE}';
    const send = (signal) => process.kill(process.pid, signal);
    const signals = new StopSignals(() => process.exit(130));
    const work = setInterval(() => {}, 1000);
    ${code}
    clearInterval(work);
    process.exitCode = 7;`;
  const argv = ['--input-type=module', '-e', text];
  const { status, signal } = spawnSync(process.execPath, argv);
  return signal ?? status;
}

describe('app/stop-signals', () => {
  const stop = "send('SIGTERM'); await signals.asked; signals.close();";

  it('who asks again while the process ends does not spoil its exit code', () => {
    expect(ended(`${stop} send('SIGTERM'); send('SIGHUP');`)).to.equal(7);
    // A second Ctrl-C wants out, as ever.
    expect(ended(`${stop} send('SIGINT');`)).to.equal('SIGINT');
  });

  it('without having been asked, signals are what they were', () => {
    expect(ended("signals.close(); send('SIGTERM');")).to.equal('SIGTERM');
  });
});
