/** The virtio-net header in front of each packet. */
import { expect } from 'chai';
import fc from 'fast-check';
import { readVnetHeader, VNET_HDR_BYTES, writeVnetHeader } from '../../src/device/vnet.js';
import { virtioNetHdr } from '../../src/net/layout.js';
import { CHECKSUM_NONE, CHECKSUM_UNNECESSARY } from '../../src/net/skb.js';
import { ACK, fill, HOST, makeMemory, makeSkb, STACK, superPacket, tcp } from './packets.js';

const skb = makeSkb(makeMemory());
const FIELDS = { saddr: STACK, daddr: HOST, sport: 80, dport: 9, seq: 1, ack: 2, flags: ACK };

function headerOf(): Record<string, number> {
  writeVnetHeader(skb, skb.view, skb.start - VNET_HDR_BYTES);
  return virtioNetHdr.decode(Buffer.from(skb.bytes.buffer), skb.start - VNET_HDR_BYTES);
}

describe('virtio-net header', () => {
  it('is ten bytes', () => {
    expect(virtioNetHdr.span).to.equal(VNET_HDR_BYTES);
  });

  it('of a complete packet is zero, whatever was there before', () => {
    fill(skb, tcp({ ...FIELDS, payload: new Uint8Array(10) }));
    skb.bytes.fill(0xff, skb.start - VNET_HDR_BYTES, skb.start);
    expect(headerOf()).to.deep.equal({
      flags: 0,
      gso_type: 0,
      hdr_len: 0,
      gso_size: 0,
      csum_start: 0,
      csum_offset: 0,
    });
  });

  it('of a partial checksum says where it is, relative to the IP header', () => {
    superPacket(skb, FIELDS, 0, 0);
    expect(headerOf()).to.include({ flags: 1, gso_type: 0, csum_start: 20, csum_offset: 16 });
  });

  it('of a super-packet has type, header and segment size', () => {
    superPacket(skb, { ...FIELDS, mss: 1460 }, 3000, 1460);
    skb.frag0Bytes = 2000;
    skb.frag1Bytes = 1000;
    expect(headerOf()).to.deep.equal({
      flags: 1,
      gso_type: 1,
      hdr_len: 44,
      gso_size: 1460,
      csum_start: 20,
      csum_offset: 16,
    });
  });

  it('of an IPv6 super-packet has the other type', () => {
    superPacket(skb, FIELDS, 3000, 1460);
    skb.frag0Bytes = 3000;
    skb.bytes[skb.start] = 0x65;
    expect(headerOf()).to.include({ gso_type: 4 });
  });

  it('of a super-packet that fits one segment is a plain one', () => {
    superPacket(skb, FIELDS, 1460, 1460);
    skb.frag0Bytes = 1460;
    expect(headerOf()).to.include({ flags: 1, gso_type: 0, gso_size: 0 });
    skb.frag0Bytes = 1461;
    expect(headerOf()).to.include({ gso_type: 1, gso_size: 1460 });
  });

  it('is read as Linux writes it: trusted when flagged, merged when typed', () => {
    const buffer = Buffer.alloc(16);
    const view = new DataView(buffer.buffer, buffer.byteOffset);
    fc.assert(
      fc.property(
        fc.constantFrom(0, 1, 2, 3),
        fc.constantFrom(0, 1, 4, 0x80, 0x81, 0x84),
        fc.integer({ min: 1, max: 65_535 }),
        (flags, gsoType, gsoSize) => {
          virtioNetHdr.encode({ flags, gso_type: gsoType, gso_size: gsoSize }, buffer, 3);
          readVnetHeader(skb, view, 3);
          expect(skb.ipSummed).to.equal(flags === 0 ? CHECKSUM_NONE : CHECKSUM_UNNECESSARY);
          expect(skb.gsoSize).to.equal((gsoType & 0x7f) === 0 ? 0 : gsoSize);
        },
      ),
      { numRuns: 100, seed: 3 },
    );
  });
});
