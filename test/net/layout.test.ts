/** src/net/layout.ts: buffer-layout's decode is the oracle of accessors by derived offset. */
import { expect } from 'chai';
import fc from 'fast-check';
import { AssertionError } from '../../src/net/assert.js';
import {
  type HeaderLayout,
  ICMPHDR_BYTES,
  IPHDR_BYTES,
  icmphdr,
  iphdr,
  offsetOf,
  TCPHDR_BYTES,
  tcphdr,
  UDPHDR_BYTES,
  udphdr,
  virtioNetHdr,
} from '../../src/net/layout.js';

/** Field names in order with their sizes, bytes, as the RFCs and linux/virtio_net.h draw them. */
const HEADERS: [name: string, layout: HeaderLayout, little: boolean, Record<string, number>][] = [
  [
    'iphdr',
    iphdr,
    false,
    {
      version_ihl: 1,
      tos: 1,
      tot_len: 2,
      id: 2,
      frag_off: 2,
      ttl: 1,
      protocol: 1,
      check: 2,
      saddr: 4,
      daddr: 4,
    },
  ],
  [
    'tcphdr',
    tcphdr,
    false,
    {
      source: 2,
      dest: 2,
      seq: 4,
      ack_seq: 4,
      doff: 1,
      flags: 1,
      window: 2,
      check: 2,
      urg_ptr: 2,
    },
  ],
  ['udphdr', udphdr, false, { source: 2, dest: 2, len: 2, check: 2 }],
  ['icmphdr', icmphdr, false, { type: 1, code: 1, checksum: 2, id: 2, sequence: 2 }],
  [
    'virtio_net_hdr',
    virtioNetHdr,
    true,
    { flags: 1, gso_type: 1, hdr_len: 2, gso_size: 2, csum_start: 2, csum_offset: 2 },
  ],
];

function read(view: DataView, at: number, bytes: number, little: boolean): number {
  if (bytes === 1) return view.getUint8(at);
  return bytes === 2 ? view.getUint16(at, little) : view.getUint32(at, little);
}

describe('net/layout', () => {
  it('has the sizes of the standards', () => {
    expect(iphdr.span).to.equal(IPHDR_BYTES).and.to.equal(20);
    expect(tcphdr.span).to.equal(TCPHDR_BYTES).and.to.equal(20);
    expect(icmphdr.span).to.equal(ICMPHDR_BYTES).and.to.equal(8);
    expect(udphdr.span).to.equal(UDPHDR_BYTES).and.to.equal(8);
    expect(virtioNetHdr.span).to.equal(10);
  });

  for (const [name, layout, little, fields] of HEADERS) {
    it(`${name}: decode, encode and offset accessors agree`, () => {
      let offset = 0;
      for (const [field, bytes] of Object.entries(fields)) {
        expect(offsetOf(layout, field), field).to.equal(offset);
        offset += bytes;
      }
      expect(offset).to.equal(layout.span);
      fc.assert(
        fc.property(
          fc.uint8Array({ minLength: layout.span, maxLength: layout.span }),
          fc.nat(7),
          (bytes, at) => {
            const buffer = Buffer.alloc(layout.span + at);
            buffer.set(bytes, at);
            const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
            const decoded = layout.decode(buffer, at);
            for (const [field, size] of Object.entries(fields)) {
              const value = read(view, at + offsetOf(layout, field), size, little);
              expect(value, field).to.equal(decoded[field]);
            }
            const again = Buffer.alloc(layout.span);
            expect(layout.encode(decoded, again)).to.equal(layout.span);
            expect(Buffer.compare(again, bytes)).to.equal(0);
          },
        ),
        { numRuns: 50 },
      );
    });
  }

  it('an unknown field is a programmer’s error', () => {
    expect(() => offsetOf(iphdr, 'colour')).to.throw(AssertionError, 'colour');
  });
});
