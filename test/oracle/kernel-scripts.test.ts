/** The tables of scripts that the kernel is not held to name scripts that there are. */
import { expect } from 'chai';
import { scriptFiles } from '../packetdrill/scripts.js';
import { DIFFERENT, NOT_COMPARABLE } from './kernel-scripts.js';

describe('packet scripts that the kernel is not held to', () => {
  const names = new Set(scriptFiles().map(({ name }) => name));

  it('are scripts of test/packetdrill, each in one table', () => {
    const listed = [...Object.keys(DIFFERENT), ...Object.keys(NOT_COMPARABLE)];
    expect(listed.filter((name) => !names.has(name))).to.deep.equal([]);
    expect(new Set(listed).size).to.equal(listed.length);
  });
});
