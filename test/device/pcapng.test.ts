/** The pcapng writer against the reader, and against tshark where it is installed. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { Capture, fileSink } from '../../src/device/capture.js';
import { DeviceError } from '../../src/device/errors.js';
import {
  LINKTYPE_RAW,
  PcapngError,
  type PcapngFile,
  PcapngWriter,
  readPcapng,
  SNAPLEN,
} from '../../src/device/pcapng.js';
import {
  ACK,
  fill,
  HOST,
  makeMemory,
  makeSkb,
  pattern,
  STACK,
  superPacket,
  tcp,
} from './packets.js';

function collector(): {
  sink: (chunk: Uint8Array) => void;
  bytes: () => Uint8Array;
  calls: number;
} {
  const chunks: Uint8Array[] = [];
  const state = {
    calls: 0,
    sink: (chunk: Uint8Array): void => {
      state.calls++;
      chunks.push(chunk.slice());
    },
    bytes: (): Uint8Array => Buffer.concat(chunks),
  };
  return state;
}

/** A file written by `write`, read back. */
function written(write: (writer: PcapngWriter) => void, bufferBytes = 4096): PcapngFile {
  const out = collector();
  const writer = new PcapngWriter(out.sink, { bufferBytes });
  write(writer);
  writer.flush();
  return readPcapng(out.bytes());
}

const NOW_US = 1_790_000_000_123_456;
const FIELDS = { saddr: STACK, daddr: HOST, sport: 80, dport: 9, seq: 1, ack: 2, flags: ACK };

describe('pcapng', () => {
  it('begins with a section and one raw-IP interface', () => {
    const out = collector();
    const writer = new PcapngWriter(out.sink, { interfaceName: 'tun7', application: 'a test' });
    writer.flush();
    const file = readPcapng(out.bytes());
    expect(file).to.deep.equal({
      application: 'a test',
      interfaces: [{ linkType: LINKTYPE_RAW, snaplen: SNAPLEN, name: 'tun7' }],
      packets: [],
      truncated: false,
    });
    writer.flush();
    expect(out.calls).to.equal(1);
  });

  it('reads back what was written, whatever the lengths and comments', () => {
    const packets = fc.array(
      fc.record({
        data: fc.uint8Array({ maxLength: 70 }),
        comments: fc.array(fc.string({ maxLength: 12, unit: 'grapheme' }), { maxLength: 3 }),
        direction: fc.constantFrom('in' as const, 'out' as const),
        timestampUs: fc.integer({ min: 0, max: 2 ** 52 }),
      }),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(packets, fc.constantFrom(64, 200, 4096), (rows, bufferBytes) => {
        const file = written((writer) => {
          for (const { timestampUs, data, direction, comments } of rows) {
            writer.packet(timestampUs, data, { direction });
            for (const comment of comments) expect(writer.annotate(comment)).to.equal(true);
          }
          expect(writer.packets).to.equal(rows.length);
        }, bufferBytes);
        expect(
          file.packets.map(({ timestampUs, data, direction, comments }) => ({
            timestampUs,
            data: [...data],
            direction,
            comments,
          })),
        ).to.deep.equal(rows.map((row) => ({ ...row, data: [...row.data] })));
      }),
      { numRuns: 60, seed: 4 },
    );
  });

  it('writes an skb with its fragments, up to a super-packet', () => {
    const skb = makeSkb(makeMemory());
    const ring = makeSkb(makeMemory(skb.bytes));
    superPacket(skb, FIELDS, 64_000, 1460);
    skb.frag0 = ring.base;
    skb.frag0Bytes = 24_000;
    skb.frag1 = ring.base + 30_000;
    skb.frag1Bytes = 40_000;
    const payload = pattern(64_000);
    skb.bytes.set(payload.subarray(0, 24_000), skb.frag0);
    skb.bytes.set(payload.subarray(24_000), skb.frag1);
    const header = skb.bytes.slice(skb.start, skb.end);
    const file = written((writer) => writer.skb(NOW_US, skb, 'out'));
    const [packet] = file.packets;
    expect(packet).to.include({ length: 64_040, timestampUs: NOW_US, direction: 'out' });
    expect(Buffer.compare(packet!.data, Buffer.concat([header, payload]))).to.equal(0);
  });

  it('cuts what is longer than the snap length and says how long it was', () => {
    const file = written((writer) => {
      writer.packet(1, new Uint8Array(SNAPLEN).fill(1));
      writer.packet(2, new Uint8Array(SNAPLEN + 1).fill(2), { comment: 'long' });
    });
    expect(
      file.packets.map((p) => [p.length, p.data.length, p.comments, p.direction]),
    ).to.deep.equal([
      [SNAPLEN, SNAPLEN, [], null],
      [SNAPLEN + 1, SNAPLEN, ['long'], null],
    ]);
  });

  it('cannot annotate what has been flushed', () => {
    const writer = new PcapngWriter(() => undefined);
    expect(writer.annotate('too early')).to.equal(false);
    writer.packet(1, pattern(30));
    writer.flush();
    expect(writer.annotate('too late')).to.equal(false);
  });

  it('hands full buffers to the sink by itself', () => {
    const out = collector();
    const writer = new PcapngWriter(out.sink, { bufferBytes: 4096 });
    for (let i = 0; i < 100; i++) writer.packet(i, pattern(100, i));
    expect(out.calls).to.be.greaterThan(2);
    writer.flush();
    expect(readPcapng(out.bytes()).packets).to.have.length(100);
  });

  it('shows the part of a file whose writer was killed', () => {
    const out = collector();
    const writer = new PcapngWriter(out.sink);
    writer.packet(1, pattern(100));
    writer.packet(2, pattern(100));
    writer.flush();
    const bytes = out.bytes();
    const blockBytes = 136;
    const read = (cut: number): PcapngFile => readPcapng(bytes.subarray(0, bytes.length - cut));
    for (const cut of [1, 11, 12, 60, 125, blockBytes - 1]) {
      expect(read(cut), `${cut} bytes missing`).to.include({ truncated: true });
      expect(read(cut).packets).to.have.length(1);
    }
    expect(read(blockBytes)).to.include({ truncated: false });
    expect(read(blockBytes).packets).to.have.length(1);
    expect(read(blockBytes + 1)).to.include({ truncated: true });
    expect(read(blockBytes + 1).packets).to.have.length(0);
  });

  it('reads the other byte order, nanoseconds, and skips unknown blocks', () => {
    const words = (...values: number[]): Buffer => {
      const buffer = Buffer.alloc(values.length * 4);
      values.forEach((value, i) => {
        buffer.writeUInt32BE(value >>> 0, i * 4);
      });
      return buffer;
    };
    const nanoseconds = 1_700_000_000_000_001_000n;
    const file = readPcapng(
      Buffer.concat([
        words(0x0a0d0d0a, 28, 0x1a2b3c4d, 0x00010000, -1, -1, 28),
        words(1, 32, 101 << 16, 0, (9 << 16) | 1, 9 << 24, 0, 32),
        words(0x0bad, 16, 7, 16),
        words(6, 36, 0, Number(nanoseconds >> 32n), Number(nanoseconds & 0xffffffffn), 4, 4),
        words(0x45000000, 36),
      ]),
    );
    expect(file.interfaces).to.deep.equal([{ linkType: 101, snaplen: 0, name: '' }]);
    expect(file.packets[0]!.timestampUs).to.equal(1_700_000_000_000_001);
    expect([...file.packets[0]!.data]).to.deep.equal([0x45, 0, 0, 0]);
    expect(file.packets[0]!.direction).to.equal(null);
  });

  it('interfaces of a second section count from its own first', () => {
    const out = collector();
    for (const name of ['first', 'second']) {
      const writer = new PcapngWriter(out.sink, { interfaceName: name });
      writer.packet(1, pattern(20), { comment: name });
      writer.flush();
    }
    const file = readPcapng(out.bytes());
    expect(file.packets.map((p) => file.interfaces[p.interfaceId]!.name)).to.deep.equal([
      'first',
      'second',
    ]);
  });

  it('refuses what is no pcapng or is damaged', () => {
    const out = collector();
    const writer = new PcapngWriter(out.sink);
    writer.packet(1, pattern(30), { comment: 'c' });
    writer.flush();
    const good = Uint8Array.from(out.bytes());
    const damaged = (change: (view: DataView) => void): Uint8Array => {
      const copy = Uint8Array.from(good);
      change(new DataView(copy.buffer));
      return copy;
    };
    const packetAt = good.length - new DataView(good.buffer).getUint32(good.length - 4, true);
    const rows: [Uint8Array, RegExp][] = [
      [new Uint8Array(4), /too short/],
      [new Uint8Array(100), /no section header/],
      [damaged((v) => v.setUint32(8, 1)), /byte-order magic/],
      [damaged((v) => v.setUint32(4, 30, true)), /has length 30/],
      [damaged((v) => v.setUint32(4, 8, true)), /has length 8/],
      [damaged((v) => v.setUint32(packetAt + 4, 20, true)), /lengths differ/],
      [damaged((v) => v.setUint32(packetAt + 8, 5, true)), /packet of interface 5/],
      [damaged((v) => v.setUint32(packetAt + 20, 9999, true)), /longer than its block/],
      [damaged((v) => v.setUint16(packetAt + 28 + 32 + 2, 999, true)), /option at/],
    ];
    for (const [bytes, message] of rows) {
      expect(() => readPcapng(bytes), String(message)).to.throw(PcapngError, message);
    }
  });
});

describe('capture of a stack', () => {
  it('writes packets with the stack’s time and puts the decision on the SYN', () => {
    const skb = makeSkb(makeMemory());
    const out = collector();
    let nowUs = 0;
    const capture = new Capture(out.sink, {
      nowUs: () => nowUs,
      epochUs: 1_000_000,
      describe: (decision) => JSON.stringify(decision),
    });
    fill(skb, tcp({ ...FIELDS, flags: 2 }));
    nowUs = 10.4;
    capture.packet('in', skb);
    capture.decision({ slot: 3 });
    nowUs = 25;
    capture.packet('out', skb);
    capture.flush();
    const { packets } = readPcapng(out.bytes());
    expect(packets.map((p) => [p.timestampUs, p.direction, p.comments])).to.deep.equal([
      [1_000_010, 'in', ['{"slot":3}']],
      [1_000_025, 'out', []],
    ]);
  });

  it('writes no decisions when nobody can describe them', () => {
    const skb = makeSkb(makeMemory());
    const out = collector();
    const capture = new Capture(out.sink, { nowUs: () => 0, epochUs: 0 });
    fill(skb, tcp(FIELDS));
    capture.packet('in', skb);
    capture.decision({ slot: 3 });
    capture.flush();
    expect(readPcapng(out.bytes()).packets[0]!.comments).to.deep.equal([]);
  });

  it('goes to a file, and a full disk ends it without an exception', () => {
    const directory = mkdtempSync(join(tmpdir(), 'tunstack-pcap-'));
    try {
      const path = join(directory, 'a.pcapng');
      const sink = fileSink(path);
      const writer = new PcapngWriter(sink.write);
      writer.packet(5, pattern(60));
      writer.flush();
      sink.close();
      expect(sink.failure()).to.equal(null);
      expect(readPcapng(readFileSync(path)).packets).to.have.length(1);
      const full = fileSink('/dev/full');
      full.write(pattern(10));
      full.write(pattern(10));
      full.close();
      expect(full.failure()).to.equal('ENOSPC');
      expect(() => fileSink(join(directory, 'no', 'such'))).to.throw(DeviceError, /ENOENT/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('`-` is standard output', () => {
    const url = new URL('../../src/device/capture.js', import.meta.url).href;
    const script = `
      const { fileSink } = await import('${url}');
      const sink = fileSink('-');
      sink.write(Buffer.from('to stdout'));
      sink.close();`;
    const out = execFileSync(process.execPath, ['--input-type=module', '-e', script]);
    expect(out.toString()).to.equal('to stdout');
  });

  it('tshark agrees, where it is installed', () => {
    const installed = spawnSync('tshark', ['--version']).error === undefined;
    if (!installed) {
      console.log('      tshark is not installed: only our own reader has looked at the file');
    }
    const out = collector();
    const writer = new PcapngWriter(out.sink);
    writer.packet(NOW_US, tcp({ ...FIELDS, payload: pattern(9) }), {
      comment: 'look',
      direction: 'in',
    });
    writer.flush();
    expect(readPcapng(out.bytes()).packets[0]!.comments).to.deep.equal(['look']);
    if (!installed) return;
    const directory = mkdtempSync(join(tmpdir(), 'tunstack-pcap-'));
    try {
      const path = join(directory, 'a.pcapng');
      writeFileSync(path, out.bytes());
      const fields = ['frame.comment', 'tcp.srcport', 'frame.time_epoch'];
      const args = ['-r', path, '-T', 'fields', ...fields.flatMap((f) => ['-e', f])];
      const line = execFileSync('tshark', args, { encoding: 'utf8' }).trim();
      expect(line).to.match(/^look\t80\t1790000000\.123456/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
