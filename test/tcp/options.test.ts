/**
 * Options of outgoing segments: exact bytes, and round trips through the parser of incoming ones.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { CHECKSUM_UNNECESSARY } from '../../src/net/skb.js';
import { writeSack, writeSynOptions, writeTimestamp } from '../../src/tcp/options.js';
import { Ranges } from '../../src/tcp/ranges.js';
import { Segment } from '../../src/tcp/segment.js';
import { MemoryStack } from '../../src/testing/index.js';

const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });

function hex(write: (view: DataView) => number): string {
  const bytes = new Uint8Array(64);
  const end = write(new DataView(bytes.buffer));
  return Buffer.from(bytes.subarray(0, end)).toString('hex');
}

/** What the parser makes of a header with these option bytes. */
function parse(flags: number, write: (view: DataView, at: number) => number): Segment {
  const host = new MemoryStack({ arenaBytes: 1 << 20 });
  const skb = host.stack.net.inputSkbs.alloc()!;
  skb.transport = skb.start;
  skb.ipSummed = CHECKSUM_UNNECESSARY;
  const end = write(skb.view, skb.start + 20);
  skb.end = end;
  skb.view.setUint8(skb.start + 12, ((end - skb.start) >> 2) << 4);
  skb.view.setUint8(skb.start + 13, flags);
  const segment = new Segment();
  expect(segment.parse(skb)).to.equal(true);
  return segment;
}

// RFC 9293 MUST-68, MUST-69: NOPs fill the words up.
describe('tcp: option writer', () => {
  const syn = (mss: number, sack: boolean, ts: boolean, wscale: number) =>
    hex((view) => writeSynOptions(view, 0, mss, sack, ts, 0x01020304, 0x05060708, wscale));

  // LINUX: option order of a SYN-ACK, section 5.1.
  it('writes SYN options in the order of Linux', () => {
    expect(syn(1460, false, false, -1)).to.equal('020405b4');
    expect(syn(1460, true, true, 10)).to.equal('020405b40402080a01020304050607080103030a');
    expect(syn(1460, false, true, -1)).to.equal('020405b40101080a0102030405060708');
    expect(syn(1460, true, false, -1)).to.equal('020405b401010402');
    expect(syn(536, true, false, 0)).to.equal('020402180101040201030300');
    expect(syn(65_495, false, false, 14)).to.equal('0204ffd70103030e');
  });

  it('writes NOP NOP TIMESTAMP', () => {
    expect(hex((view) => writeTimestamp(view, 0, -1, 1))).to.equal('0101080affffffff00000001');
  });

  const ranges = new Ranges();
  for (const at of [100, 200, 300, 400, 500]) ranges.add(at, at + 10);
  const sack = (newest: number, left: number, right: number, most: number) =>
    hex((view) => writeSack(view, 0, ranges, newest, left, right, most))
      .slice(8)
      .replace(/(.{8})(.{8})/g, (_, l, r) => `${Number(`0x${l}`)}:${Number(`0x${r}`)} `)
      .trim();

  it('writes the newest SACK block first, then from the top; D-SACK before all', () => {
    expect(sack(200, 0, 0, 4)).to.equal('200:210 500:510 400:410 300:310');
    expect(sack(205, 0, 0, 3)).to.equal('200:210 500:510 400:410');
    expect(sack(100, 50, 60, 3)).to.equal('50:60 100:110 500:510');
    expect(sack(100, 50, 60, 1)).to.equal('50:60');
    expect(sack(150, 0, 0, 2)).to.equal('500:510 400:410');
    expect(hex((view) => writeSack(view, 0, null, 0, 7, 9, 4))).to.equal(
      '0101050a0000000700000009',
    );
    expect(hex((view) => writeSack(view, 0, null, 0, 7, 7, 4))).to.equal('');
  });

  it('is read back by the parser', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 65_535 }),
        fc.boolean(),
        fc.boolean(),
        int32,
        int32,
        fc.integer({ min: -1, max: 14 }),
        (mss, sackOk, ts, tsval, tsecr, wscale) => {
          const seg = parse(0x02, (view, at) =>
            writeSynOptions(view, at, mss, sackOk, ts, tsval, tsecr, wscale),
          );
          expect([seg.mss, seg.sackPermitted, seg.hasTimestamp, seg.wscale]).to.deep.equal([
            mss,
            sackOk,
            ts,
            wscale,
          ]);
          if (ts) expect([seg.tsval, seg.tsecr]).to.deep.equal([tsval, tsecr]);
        },
      ),
      { numRuns: 30 },
    );
  });

  it('its SACK blocks are read back by the parser, beside a timestamp', () => {
    const seg = parse(0x10, (view, at) =>
      writeSack(view, writeTimestamp(view, at, 5, 6), ranges, 300, 0, 0, 3),
    );
    expect(seg.hasTimestamp).to.equal(true);
    expect([...seg.sacks.subarray(0, seg.sackCount * 2)]).to.deep.equal([
      300, 310, 500, 510, 400, 410,
    ]);
  });
});
