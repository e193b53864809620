/** ThreadPort.sleep: when a thread looks for news before it sleeps, and what it does meanwhile. */
import { expect } from 'chai';
import { G_SPIN_US, G_STATE, STACK_RUNNING } from '../../src/socket/uapi/layout.js';
import { createCtl, openShared, reserveThread } from '../../src/socket/uapi/shared.js';
import { ThreadPort } from '../../src/socket/uapi/thread-port.js';

describe('socket/uapi/thread-port', () => {
  /** Calls of `yieldCpu` in each of `sleeps` sleeps that end at once. */
  function yieldsOf(spinUs: number, sleeps: number): number[] {
    const shared = openShared(createCtl(64), new Uint8Array(1 << 20));
    shared.ctl[G_STATE] = STACK_RUNNING;
    shared.ctl[G_SPIN_US] = spinUs;
    const number = reserveThread(shared.ctl, shared.layout);
    let yields = 0;
    const port = new ThreadPort(
      shared,
      number,
      () => {},
      () => yields++,
    );
    return Array.from({ length: sleeps }, () => {
      const before = yields;
      port.heartbeat.worked();
      port.sleep(0, 0);
      return yields - before;
    });
  }

  it('lets others have the core while it looks, once its waits have been short', () => {
    // 20 ms of looking hold at least one look; a sleep without time-out is a short wait.
    const yields = yieldsOf(20_000, 30);
    expect(yields.slice(0, 8)).to.deep.equal([0, 0, 0, 0, 0, 0, 0, 0]);
    expect(Math.max(...yields.slice(8))).to.be.at.least(1);
  });

  it('sleeps at once when it is not to look', () => {
    expect(new Set(yieldsOf(0, 30))).to.deep.equal(new Set([0]));
  });
});
