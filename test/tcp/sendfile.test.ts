/**
 * Sending from memory files (src/socket/uapi/memory-file.ts, src/tcp/output/transmit.ts,
 * src/tcp/ring-memory.ts): what the peer gets is what write() would have sent, whatever is lost and
 * wherever pieces and packets end; and memory comes back.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { MemoryFiles } from '../../src/net/memory-files.js';
import { RING_CAPACITY, RING_TAIL } from '../../src/net/ring.js';
import { extentAdd, extentsUsed } from '../../src/net/ring-extents.js';
import { BLOCK_EXTENTS, BLOCK_SND } from '../../src/net/sockmem.js';
import { EPOLLOUT } from '../../src/socket/uapi/constants.js';
import { fileWritable, NEED_EXTENTS, NEED_RING } from '../../src/socket/uapi/file-write.js';
import {
  fileSend,
  memoryRead,
  memoryResize,
  memorySize,
  memoryWrite,
  REFER_BYTES,
} from '../../src/socket/uapi/memory-file.js';
import type { MemoryStack } from '../../src/testing/memory-stack.js';
import { type Wire, type WireOptions, wire } from '../../src/testing/wire.js';

const HOLDER = 1;
const MIB = 1 << 20;

/** Bytes that differ wherever two places might be mixed up. */
function noise(length: number, seed = 1): Uint8Array {
  let state = seed | 1;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state >>> 24;
  });
}

interface Pair {
  net: Wire;
  files: MemoryFiles;
  sender: MemoryStack;
  client: number;
  child: number;
}

/** A connection; its opener sends. */
function connected(options: WireOptions = {}): Pair {
  const net = wire({ offload: true, delayUs: 2000, ...options });
  const listener = net.b.listen(80);
  const client = net.a.stack.socket(0);
  expect(net.a.stack.connect(client, 0xc6120002 | 0, 80)).to.equal(-115);
  let child = -11;
  const accepted = () => {
    if (child < 0) child = net.b.accept(listener);
    return child > 0;
  };
  expect(net.run(20_000, accepted)).to.equal(true);
  return { net, files: new MemoryFiles(net.a.mem), sender: net.a, client, child };
}

function makeFile({ files, sender }: Pair, contents: Uint8Array): number {
  const file = files.create();
  expect(files.allocate(file, contents.length)).to.equal(0);
  expect(memoryWrite(sender.mem, file, contents, 0)).to.equal(contents.length);
  return file;
}

/** One sendfile(): bytes queued, 0 = full. */
function send(pair: Pair, file: number, offset: number, count: number): number {
  const { sender, client } = pair;
  let taken = fileSend(sender.mem, client, HOLDER, file, offset, count, true);
  while (taken === NEED_RING || taken === NEED_EXTENTS) {
    const refers = taken === NEED_EXTENTS;
    expect(sender.stack.attachSendRing(client, refers)).to.equal(0);
    taken = fileSend(sender.mem, client, HOLDER, file, offset, count, true);
  }
  if (taken > 0) sender.stack.published(client);
  return taken === -11 ? 0 : taken;
}

function tableOf({ sender, client }: Pair): number {
  return sender.mem.ctl[sender.mem.blockAt(client) + BLOCK_EXTENTS]!;
}

/** A piece of the stream: written, or sent from a file's offset. */
interface Piece {
  offset: number;
  count: number;
  sends: boolean;
}

/** Moves the pieces and holds what arrives against what they are. */
function transfer(pair: Pair, file: number, contents: Uint8Array, pieces: Piece[]): number {
  const { net, sender, client, child } = pair;
  const parts = pieces.map(({ offset, count }) => contents.subarray(offset, offset + count));
  const expected = Buffer.concat(parts);
  const got: Uint8Array[] = [];
  let bytes = 0;
  let piece = 0;
  let into = 0;
  let referred = 0;
  const turn = (): void => {
    while (piece < pieces.length) {
      const { offset, count, sends } = pieces[piece]!;
      const rest = contents.subarray(offset + into, offset + count);
      const taken = sends
        ? send(pair, file, offset + into, rest.length)
        : Math.max(0, sender.write(client, rest));
      into += taken;
      if (into < count) break;
      into = 0;
      piece++;
    }
    if (tableOf(pair) !== 0) referred = Math.max(referred, extentsUsed(sender.mem, tableOf(pair)));
    for (;;) {
      const more = net.b.read(child, 100_000);
      if (typeof more === 'number' || more.length === 0) break;
      got.push(more);
      bytes += more.length;
    }
  };
  expect(net.run(600_000, () => bytes >= expected.length, turn)).to.equal(true);
  expect(Buffer.concat(got).equals(expected), 'the stream').to.equal(true);
  return referred;
}

describe('tcp: sending from memory files', () => {
  it('refers to the file instead of copying, and drops that when it is acknowledged', () => {
    const pair = connected();
    const contents = noise(300_000);
    const file = makeFile(pair, contents);
    const pieces = [{ offset: 0, count: 300_000, sends: true }];
    expect(transfer(pair, file, contents, pieces)).to.be.above(0);
    expect(pair.net.run(1000, () => extentsUsed(pair.sender.mem, tableOf(pair)) === 0)).to.equal(
      true,
    );
  });

  it('is the stream that write() would have made, under loss (property)', () => {
    const contents = noise(200_000, 3);
    const piece = fc.record({
      offset: fc.integer({ min: 0, max: 120_000 }),
      count: fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 3000, max: 80_000 })),
      sends: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.array(piece, { minLength: 1, maxLength: 40 }),
        fc.constantFrom(0, 0.01, 0.05),
        fc.boolean(),
        fc.integer({ min: 1, max: 1000 }),
        (pieces, loss, offload, seed) => {
          const faults = { loss, reorder: loss, reorderUs: 3000, duplicate: loss };
          const pair = connected({ offload, ...faults, seed });
          const file = makeFile(pair, contents);
          transfer(pair, file, contents, pieces);
        },
      ),
      { numRuns: 25, seed: 4 },
    );
  });

  it('a packet gathers from the ring and several files', () => {
    const pair = connected();
    const contents = noise(REFER_BYTES, 5);
    const file = makeFile(pair, contents);
    const pieces: Piece[] = [];
    for (let i = 0; i < 60; i++) {
      pieces.push({ offset: i, count: 700 + i, sends: false });
      pieces.push({ offset: 0, count: REFER_BYTES, sends: true });
    }
    expect(transfer(pair, file, contents, pieces)).to.be.above(3);
  });

  it('few bytes are copied, and so are all when the table has no room', () => {
    const pair = connected();
    const contents = noise(REFER_BYTES, 6);
    const file = makeFile(pair, contents);
    expect(send(pair, file, 0, REFER_BYTES - 1)).to.equal(REFER_BYTES - 1);
    expect(tableOf(pair)).to.equal(0);
    expect(send(pair, file, 0, REFER_BYTES)).to.equal(REFER_BYTES);
    const { mem } = pair.sender;
    expect(extentsUsed(mem, tableOf(pair))).to.equal(1);
    const ring = mem.blockAt(pair.client) + BLOCK_SND;
    for (let i = extentsUsed(mem, tableOf(pair)); i < 128; i++) {
      extentAdd(mem, tableOf(pair), mem.ctl[ring + RING_TAIL]! | 0, 0, 0, 1);
    }
    expect(send(pair, file, 0, REFER_BYTES)).to.equal(REFER_BYTES);
    const got: Uint8Array[] = [];
    pair.net.run(2000, undefined, () => {
      const more = pair.net.b.read(pair.child, 100_000);
      if (typeof more !== 'number') got.push(more);
    });
    const whole = Buffer.concat([contents.subarray(0, REFER_BYTES - 1), contents, contents]);
    expect(Buffer.concat(got).equals(whole)).to.equal(true);
  });

  it('what goes on in the file goes on in the same entry', () => {
    const pair = connected();
    const file = makeFile(pair, noise(100_000));
    pair.sender.linkFull = true;
    expect(send(pair, file, 0, 20_000)).to.equal(20_000);
    expect(send(pair, file, 20_000, 5)).to.equal(5);
    expect(extentsUsed(pair.sender.mem, tableOf(pair))).to.equal(1);
    expect(send(pair, file, 0, 20_000)).to.equal(20_000);
    expect(extentsUsed(pair.sender.mem, tableOf(pair))).to.equal(2);
  });

  it('takes as much as write() would, and arms EPOLLOUT', () => {
    const pair = connected();
    const file = makeFile(pair, new Uint8Array(MIB));
    let queued = 0;
    for (let taken = 1; taken > 0; queued += taken) taken = send(pair, file, 0, MIB);
    const { mem } = pair.sender;
    const at = mem.blockAt(pair.client);
    expect(queued).to.equal(mem.ctl[at + BLOCK_SND + RING_CAPACITY]);
    expect(fileWritable(mem, at)).to.equal(false);
    pair.net.run(2000, undefined, () => pair.net.b.read(pair.child, 100_000));
    expect(pair.sender.ready(pair.client) & EPOLLOUT).to.equal(EPOLLOUT);
    expect(pair.sender.events).to.deep.include([pair.client, EPOLLOUT]);
  });

  it('a file that is closed lives as long as it is referred to', () => {
    const pair = connected();
    const { sender, files, net } = pair;
    const contents = noise(40_000, 9);
    const file = makeFile(pair, contents);
    const pages = sender.mem.pagesInUse;
    expect(send(pair, file, 0, 40_000)).to.equal(40_000);
    files.close(file);
    sender.mem.freeFd(file);
    expect(files.waiting).to.equal(1);
    // Another one does not get its memory.
    const other = makeFile(pair, new Uint8Array(40_000));
    const got: Uint8Array[] = [];
    net.run(500, undefined, () => {
      const more = net.b.read(pair.child, 100_000);
      if (typeof more !== 'number') got.push(more);
    });
    expect(Buffer.concat(got).equals(contents)).to.equal(true);
    files.reap(sender.nowUs);
    expect(files.waiting).to.equal(0);
    files.close(other);
    sender.mem.freeFd(other);
    // The idle connection has neither ring nor table any more.
    net.run(5000);
    expect(tableOf(pair)).to.equal(0);
    expect(sender.mem.pagesInUse).to.be.below(pages);
  });

  it('a reset gives the table back, and the file when it is closed', () => {
    const pair = connected();
    const { sender, files, net } = pair;
    const pages = sender.mem.pagesInUse;
    const file = makeFile(pair, noise(64_000));
    expect(send(pair, file, 0, 64_000)).to.equal(64_000);
    files.close(file);
    sender.mem.freeFd(file);
    expect(files.waiting).to.equal(1);
    net.b.stack.abort(pair.child);
    net.run(100);
    expect(fileSend(sender.mem, pair.client, HOLDER, file, 0, 10, true)).to.be.below(0);
    sender.close(pair.client);
    net.run(100);
    files.reap(sender.nowUs + 1_000_000);
    expect(files.waiting).to.equal(0);
    expect(sender.mem.pagesInUse).to.be.at.most(pages);
  });

  it('a connection that is taken back refers to nothing', () => {
    const pair = connected();
    const file = makeFile(pair, noise(64_000));
    send(pair, file, 0, 64_000);
    expect(tableOf(pair)).to.be.above(0);
    expect(pair.sender.stack.disconnect(pair.client)).to.equal(0);
    expect(tableOf(pair)).to.equal(0);
  });

  it('any words in the table: packets are still packets (property)', () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { minLength: 60, maxLength: 60 }), (words) => {
        const pair = connected();
        const file = makeFile(pair, noise(64_000));
        pair.sender.linkFull = true;
        send(pair, file, 0, 60_000);
        pair.sender.mem.words.set(words, tableOf(pair) * 1024);
        let bytes = 0;
        const take = () => {
          const more = pair.net.b.read(pair.child, 60_000);
          if (typeof more !== 'number') bytes += more.length;
        };
        expect(pair.net.run(3000, () => bytes === 60_000, take)).to.equal(true);
      }),
      { numRuns: 10, seed: 8 },
    );
  });
});

describe('stack: memory files', () => {
  function fresh(): { files: MemoryFiles; mem: MemoryStack['mem'] } {
    const { mem } = wire().a;
    return { files: new MemoryFiles(mem), mem };
  }

  it('have no memory before their first size, and a power of two afterwards', () => {
    const { files, mem } = fresh();
    const before = mem.pagesInUse;
    const file = files.create();
    expect(mem.pagesInUse).to.equal(before);
    expect(memoryWrite(mem, file, new Uint8Array(1), 0)).to.equal(-28);
    expect(files.allocate(file, 0)).to.equal(-22);
    expect(files.allocate(file, (16 << 20) + 1)).to.equal(-27);
    expect(files.allocate(file, 5000)).to.equal(0);
    expect(mem.pagesInUse - before).to.equal(2);
    expect(files.allocate(file, 8192)).to.equal(0);
    expect(files.allocate(file, 8193)).to.equal(-28);
    expect(memoryWrite(mem, file, noise(9000), 100)).to.equal(8092);
    expect(memorySize(mem, file)).to.equal(8192);
    expect(memoryWrite(mem, file, noise(1), 8192)).to.equal(-28);
    const out = new Uint8Array(200);
    expect(memoryRead(mem, file, out, 0)).to.equal(200);
    expect(out.subarray(0, 100)).to.deep.equal(new Uint8Array(100));
    expect(out.subarray(100)).to.deep.equal(noise(100));
    expect(memoryRead(mem, file, out, 8190)).to.equal(2);
    expect(memoryRead(mem, file, out, 9000)).to.equal(0);
    files.close(file);
    mem.freeFd(file);
    expect(mem.pagesInUse).to.equal(before);
    files.close(file);
  });

  it('what they are made longer by reads as zeros', () => {
    const { files, mem } = fresh();
    const file = files.create();
    files.allocate(file, 4096);
    memoryWrite(mem, file, noise(1000), 0);
    memoryResize(mem, file, 10);
    expect(memorySize(mem, file)).to.equal(10);
    memoryResize(mem, file, 1000);
    const out = new Uint8Array(1000);
    memoryRead(mem, file, out, 0);
    expect(out.subarray(10)).to.deep.equal(new Uint8Array(990));
  });

  it('are refused when the arena has no such stretch, or no descriptor is left', () => {
    const { files, mem } = fresh();
    const made: number[] = [];
    let last = 0;
    for (; last === 0; ) {
      const file = files.create();
      made.push(file);
      last = files.allocate(file, 1 << 20);
    }
    expect(last).to.equal(-28);
    for (const file of made) {
      files.close(file);
      mem.freeFd(file);
    }
    expect(files.waiting).to.equal(0);
    while (mem.allocFd(1) >= 0);
    expect(files.create()).to.equal(-23);
  });
});
