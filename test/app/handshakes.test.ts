/** How long a `serve` that ends waits for handshakes: by turns of a clock that is a counter. */
import { expect } from 'chai';
import { finishHandshakes, HANDSHAKES_MS } from '../../src/app/handshakes.js';
import { EINVAL } from '../../src/net/errno.js';
import { SO_DRAIN, SOL_SOCKET } from '../../src/socket/uapi/constants.js';

/** Half-open connections of the listeners 3, 4, … at each look; the last number stays. */
async function wait(...counts: number[][]): Promise<{ waitedMs: number; drained: number[] }> {
  const drained: number[] = [];
  const looks = counts.map(() => 0);
  let waitedMs = 0;
  const sys = {
    setsockopt: (fd: number, level: number, name: number, value: number | string) => {
      expect([level, name, value]).to.deep.equal([SOL_SOCKET, SO_DRAIN, 1]);
      drained.push(fd);
      return 0;
    },
    getsockopt: (fd: number, level: number, name: number, out?: Int32Array) => {
      expect([level, name]).to.deep.equal([SOL_SOCKET, SO_DRAIN]);
      const of = counts[fd - 3]!;
      const count = of[Math.min(looks[fd - 3]!++, of.length - 1)]!;
      if (count < 0) return -EINVAL;
      out![0] = 0;
      out![1] = count;
      return 2;
    },
  };
  const fds = counts.map((_, i) => i + 3);
  await finishHandshakes(sys as Parameters<typeof finishHandshakes>[0], fds, async (ms) => {
    waitedMs += ms;
  });
  return { waitedMs, drained };
}

describe('app/handshakes', () => {
  it('no listener and no handshake: no wait', async () => {
    expect(await wait()).to.deep.equal({ waitedMs: 0, drained: [] });
    expect(await wait([0], [0])).to.deep.equal({ waitedMs: 0, drained: [3, 4] });
  });

  it('until the last has finished, and a moment for its first request', async () => {
    const { waitedMs, drained } = await wait([2, 2, 1, 0], [0, 0, 0, 0, 3, 0]);
    expect(drained).to.deep.equal([3, 4]);
    expect(waitedMs).to.be.within(100, 200);
  });

  it('a listener that its worker has closed meanwhile has none', async () => {
    const { waitedMs } = await wait([1, 1, -1]);
    expect(waitedMs).to.be.within(100, 200);
  });

  it('not for ever', async () => {
    const { waitedMs } = await wait([1]);
    expect(waitedMs).to.be.within(HANDSHAKES_MS, HANDSHAKES_MS + 100);
  });
});
