/**
 * src/reuseport/profile.ts: the SYN-queue rule, and that a stack takes the profile of its sysctl.
 */
import { expect } from 'chai';
import { type KernelProfile, kernelProfile, synQueueFull } from '../../src/reuseport/profile.js';
import { makeTables } from './fixtures.js';

describe('reuseport/profile', () => {
  it('takes backlog + 1 requests today and backlog requests in 5.0', () => {
    for (const backlog of [0, 1, 2, 4, 511]) {
      const fits = (name: '5.0' | '6.18'): number => {
        let reqs = 0;
        while (!synQueueFull(kernelProfile(name), reqs, backlog)) reqs++;
        return reqs;
      };
      expect(fits('6.18')).to.equal(backlog + 1);
      expect(fits('5.0')).to.equal(backlog);
    }
  });

  it('says every difference between the two kernels', () => {
    const [old, now] = [kernelProfile('5.0'), kernelProfile('6.18')];
    const differ = (Object.keys(now) as (keyof KernelProfile)[]).filter(
      (field) => old[field] !== now[field],
    );
    // A field without a difference would be no field; scoreCpu is 1 in both and shown with them.
    expect(Object.keys(now).filter((field) => !differ.includes(field as never))).to.deep.equal([
      'scoreCpu',
    ]);
  });

  it('follows net.sysctl.profile', () => {
    expect(makeTables({ profile: '5.0' }).profile.name).to.equal('5.0');
    expect(makeTables().profile).to.equal(kernelProfile('6.18'));
  });
});
