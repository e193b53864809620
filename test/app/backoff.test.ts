/** How long to wait before something that failed is started again. */
import { expect } from 'chai';
import { Backoff, LONG_LIFE_MS } from '../../src/app/backoff.js';

describe('app/backoff', () => {
  it('doubles from 100 ms to 5 s', () => {
    const backoff = new Backoff();
    const delays = Array.from({ length: 9 }, () => backoff.failed(0));
    expect(delays).to.deep.equal([100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
  });

  it('begins again after a long life, not after a short or an unknown one', () => {
    const backoff = new Backoff();
    const lives = [0, LONG_LIFE_MS - 1, Number.NaN, LONG_LIFE_MS, 5];
    expect(lives.map((life) => backoff.failed(life))).to.deep.equal([100, 200, 400, 100, 200]);
  });
});
