/**
 * src/net/ip-options.ts: what is well formed, and where a header is not. Places are those that the
 * running kernel reports for the same headers (test/oracle/ip-probes.ts).
 */
import { expect } from 'chai';
import { checkOptions, OPTIONS_FINE, OPTIONS_SOURCE_ROUTE } from '../../src/net/ip-options.js';
import { ipv4Packet, makeNet } from './fixtures.js';

/** The answer for a header with these option bytes, and the bytes afterwards. */
function check(...bytes: number[]): [number, number[]] {
  const net = makeNet();
  const skb = net.inputSkbs.alloc()!;
  const packet = ipv4Packet(new Uint8Array(8), { options: Uint8Array.from(bytes) });
  skb.bytes.set(packet, skb.start);
  skb.end = skb.start + packet.length;
  skb.transport = skb.start + 20 + bytes.length;
  const answer = checkOptions(skb);
  return [answer, [...skb.bytes.slice(skb.start + 20, skb.transport)]];
}

const ROWS: [string, number, number[]][] = [
  ['no-operations', OPTIONS_FINE, [1, 1, 1, 1]],
  ['record route with room', OPTIONS_FINE, [7, 7, 4, 0, 0, 0, 0, 0]],
  ['record route without', OPTIONS_FINE, [7, 7, 8, 1, 2, 3, 4, 0]],
  ['record route, half a place', 22, [7, 6, 4, 1, 2, 3, 0, 0]],
  ['record route, pointer 3', 22, [7, 7, 3, 0, 0, 0, 0, 0]],
  ['record route of 2 bytes', 21, [7, 2, 1, 1]],
  ['record route twice', 27, [7, 7, 4, 0, 0, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0, 0]],
  ['timestamps', OPTIONS_FINE, [68, 8, 5, 0, 0, 0, 0, 0]],
  ['timestamps of an unknown kind', OPTIONS_FINE, [68, 8, 5, 2, 0, 0, 0, 0]],
  ['timestamps and addresses', OPTIONS_FINE, [68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]],
  ['timestamps and half an address', 22, [68, 8, 5, 1, 0, 0, 0, 0]],
  ['timestamps at given hosts, half', 22, [68, 8, 5, 3, 0, 0, 0, 0]],
  ['timestamps, half a time', 22, [68, 7, 5, 0, 0, 0, 0, 0]],
  ['timestamps, full', OPTIONS_FINE, [68, 8, 9, 0xe0, 1, 2, 3, 4]],
  ['timestamps, full 15 times', 23, [68, 8, 9, 0xf0, 1, 2, 3, 4]],
  ['timestamps at given hosts, full', OPTIONS_FINE, [68, 8, 9, 0xf3, 1, 2, 3, 4]],
  ['timestamps of 3 bytes', 21, [68, 3, 5, 1]],
  ['timestamps, pointer 4', 22, [68, 8, 4, 0, 1, 2, 3, 4]],
  ['timestamps twice', 28, [68, 8, 9, 0, 1, 2, 3, 4, 68, 8, 9, 0, 1, 2, 3, 4]],
  ['loose source route', OPTIONS_SOURCE_ROUTE, [131, 7, 8, 1, 2, 3, 4, 0]],
  ['strict source route', OPTIONS_SOURCE_ROUTE, [137, 7, 4, 1, 2, 3, 4, 0]],
  ['source route twice', 27, [131, 7, 8, 1, 2, 3, 4, 137, 7, 8, 1, 2, 3, 4, 0, 0]],
  ['source route of 2 bytes', 21, [131, 2, 1, 1]],
  ['source route, pointer 3', 22, [131, 7, 3, 1, 2, 3, 4, 0]],
  ['router alert', OPTIONS_FINE, [148, 4, 0, 0]],
  ['router alert of 2 bytes', 21, [148, 2, 1, 1]],
  ['unknown', OPTIONS_FINE, [200, 4, 1, 1]],
  ['length 0', 20, [200, 0, 1, 1]],
  ['length 1', 20, [200, 1, 1, 1]],
  ['beyond the header', 20, [200, 5, 1, 1]],
  ['without length', 23, [1, 1, 1, 200]],
];

// RFC 9293 MUST-50.
describe('net/ip-options', () => {
  for (const [name, answer, bytes] of ROWS) {
    it(`${name}: ${answer}`, () => {
      expect(check(...bytes)).to.deep.equal([answer, bytes]);
    });
  }

  it('what hides behind the end is blanked', () => {
    expect(check(1, 0, 131, 9)).to.deep.equal([OPTIONS_FINE, [1, 0, 0, 0]]);
  });
});
