/** src/net/port-set.ts: a set of ports, and its text form in both directions. */
import { expect } from 'chai';
import fc from 'fast-check';
import { PortSet, parsePortSet } from '../../src/net/port-set.js';

function parsed(text: string): PortSet {
  const set = parsePortSet(text);
  if (typeof set === 'string') throw new Error(`refused: ${set}`);
  return set;
}

describe('net/port-set', () => {
  it('prints what Linux prints', () => {
    for (const [text, printed] of [
      ['', ''],
      ['8080,9148-9150', '8080,9148-9150'],
      ['3,1,2', '1-3'],
      ['1-1', '1'],
      ['1-2', '1-2'],
      ['5-7,6-9,12', '5-9,12'],
      ['0', '0'],
      ['65535', '65535'],
      ['0-65535', '0-65535'],
      ['31,32,33,64', '31-33,64'],
    ] as const) {
      expect(parsed(text).toString(), text).to.equal(printed);
    }
  });

  it('refuses what is no port and no range, by name', () => {
    for (const part of [
      'x',
      '-1',
      '65536',
      '9-8',
      '1-',
      '-',
      '1-65536',
      '1 2',
      '1.5',
      '0x10',
      '1--2',
    ]) {
      expect(parsePortSet(`80,${part}`), part).to.equal(part);
    }
    for (const text of [',', '1,', ',1', '1,,2']) expect(parsePortSet(text), text).to.equal('');
  });

  it('has the ports that were added, in any order, and prints what parses to the same', () => {
    const range = fc.tuple(fc.nat(65_535), fc.nat(40));
    fc.assert(
      fc.property(fc.array(range, { maxLength: 8 }), (ranges) => {
        const set = new PortSet();
        const model = new Set<number>();
        for (const [first, count] of ranges) {
          const last = Math.min(first + count, 65_535);
          set.addRange(first, last);
          for (let port = first; port <= last; port++) model.add(port);
        }
        for (const [first] of ranges) {
          for (let port = first - 2; port < first + 45; port++) {
            if (port >= 0 && port <= 65_535) expect(set.has(port)).to.equal(model.has(port));
          }
        }
        const again = new PortSet();
        again.addRange(0, 65_535);
        again.replace(parsed(set.toString()));
        expect(again.toString()).to.equal(set.toString());
      }),
      { numRuns: 50 },
    );
  });
});
