/**
 * src/packetdrill/live-packet.ts: every packet that a script takes is read with all its checksums
 * and lengths; one that is malformed anywhere is refused with what is wrong.
 */
import { expect } from 'chai';
import { buildIcmp, buildSegment, readLivePacket } from '../../src/packetdrill/live-packet.js';
import type { TcpOption } from '../../src/packetdrill/script.js';
import { internetChecksum } from '../../src/testing/packet.js';

const ADDRESSES = { saddr: 0xc0a80001, daddr: 0xc0000201, tos: 2, ttl: 64 };
const OPTIONS: TcpOption[] = [
  { kind: 'nop' },
  { kind: 'nop' },
  { kind: 'TS', val: 7, ecr: 8, ecrAbsolute: true },
];

function segment(): Uint8Array {
  const numbers = { sport: 8080, dport: 40_000, seq: 1, ack: 2, flags: 0x118, win: 3, urg: 4 };
  return buildSegment({ ...ADDRESSES, ...numbers, options: OPTIONS, length: 5 });
}

function echoReply(): Uint8Array {
  return buildIcmp({ ...ADDRESSES, type: 0, code: 0, id: 77, mtu: 0, quoted: null });
}

/** `packet` with byte `at` changed, and with checksums that fit again as far as `sums` says. */
function changed(packet: Uint8Array, at: number, to: number, sums: 'ip' | 'tcp' | ''): Uint8Array {
  const bytes = packet.slice();
  bytes[at] = to;
  const view = new DataView(bytes.buffer);
  if (sums === 'ip') {
    view.setUint16(10, 0);
    view.setUint16(10, internetChecksum(bytes.subarray(0, 20)));
  }
  if (sums === 'tcp') {
    const { saddr, daddr } = ADDRESSES;
    const parts = [
      saddr >>> 16,
      saddr & 0xffff,
      daddr >>> 16,
      daddr & 0xffff,
      6,
      bytes.length - 20,
    ];
    view.setUint16(36, 0);
    const pseudo = parts.reduce((sum, part) => sum + part, 0);
    view.setUint16(36, internetChecksum(bytes.subarray(20), pseudo));
  }
  return bytes;
}

describe('packetdrill: packets that the stack sends', () => {
  it('are read field by field', () => {
    const packet = readLivePacket(segment(), 9);
    expect(packet).to.include({ ...ADDRESSES, timeUs: 9, protocol: 6, icmp: null });
    expect(packet.tcp).to.deep.include({
      ...{ sport: 8080, dport: 40_000, seq: 1, ack: 2, flags: 0x118, win: 3, urg: 4 },
      ...{ headerBytes: 32, options: OPTIONS, payload: new Uint8Array(5) },
    });
    const reply = readLivePacket(echoReply(), 0);
    expect(reply.icmp).to.deep.equal({ type: 0, code: 0, id: 77, mtu: 0 });
  });

  const wrong: readonly [string, Uint8Array, string][] = [
    ['another IP version', changed(segment(), 0, 0x65, 'ip'), 'not IPv4'],
    ['a header with IP options', changed(segment(), 0, 0x46, 'ip'), 'header of 20 bytes'],
    ['another total length', changed(segment(), 3, 9, 'ip'), 'the IP total length is wrong'],
    ['the IP checksum', changed(segment(), 8, 63, ''), 'the IP checksum is wrong'],
    ['the TCP checksum', changed(segment(), 27, 9, ''), 'the TCP checksum is wrong'],
    ['the TCP checksum over the text', changed(segment(), 56, 1, ''), 'the TCP checksum is wrong'],
    ['the TCP checksum over addresses', changed(segment(), 15, 9, 'ip'), 'the TCP checksum'],
    ['a data offset beyond the end', changed(segment(), 32, 0xf1, 'tcp'), 'the TCP data offset'],
    ['a data offset within the header', changed(segment(), 32, 0x41, 'tcp'), 'the TCP data offset'],
    ['reserved bits', changed(segment(), 32, 0x83, 'tcp'), 'reserved bits'],
    ['an option that does not end', changed(segment(), 43, 99, 'tcp'), 'option has a wrong length'],
    ['an option of one byte', changed(segment(), 43, 1, 'tcp'), 'option has a wrong length'],
    ['the ICMP checksum', changed(echoReply(), 25, 9, ''), 'the ICMP checksum is wrong'],
  ];
  for (const [what, bytes, message] of wrong) {
    it(`are refused for ${what}`, () => {
      expect(() => readLivePacket(bytes, 0)).to.throw(message);
    });
  }
});
