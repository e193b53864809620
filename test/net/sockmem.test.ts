/** src/net/sockmem.ts: descriptors, blocks and ring memory. */
import { expect } from 'chai';
import {
  BLOCK_ERROR,
  BLOCK_GEN,
  BLOCK_KIND,
  BLOCK_SLOT,
  BLOCK_WORDS,
  FIRST_FD,
  KIND_FREE,
  KIND_TCP,
  SocketMemory,
} from '../../src/net/sockmem.js';
import { makeMem } from './fixtures.js';

describe('net/sockmem', () => {
  it('a new descriptor has a cleared block and a new generation', () => {
    const mem = makeMem({ fds: 8, bytes: 1 << 16 });
    const fd = mem.allocFd(KIND_TCP);
    expect(fd).to.equal(FIRST_FD);
    const at = mem.blockAt(fd);
    expect(mem.ctl[at + BLOCK_KIND]).to.equal(KIND_TCP);
    expect(mem.ctl[at + BLOCK_GEN]).to.equal(1);
    mem.ctl[at + BLOCK_ERROR] = 104;
    mem.freeFd(fd);
    expect(mem.ctl[at + BLOCK_KIND]).to.equal(KIND_FREE);
    expect(mem.allocFd(KIND_TCP)).to.equal(fd);
    expect(mem.ctl[at + BLOCK_GEN]).to.equal(2);
    expect(mem.ctl[at + BLOCK_ERROR]).to.equal(0);
    expect(mem.ctl[at + BLOCK_SLOT]).to.equal(-1);
  });

  it('says -1 when all descriptors are taken', () => {
    const mem = makeMem({ fds: 5, bytes: 1 << 16 });
    expect(mem.allocFd(KIND_TCP)).to.equal(3);
    expect(mem.allocFd(KIND_TCP)).to.equal(4);
    expect(mem.allocFd(KIND_TCP)).to.equal(-1);
    expect(mem.fdsInUse).to.equal(2);
  });

  it('blocks begin where they were told to and do not touch', () => {
    const mem = new SocketMemory(
      new Int32Array(100 + 8 * BLOCK_WORDS),
      new Uint8Array(8192),
      100,
      8,
    );
    expect(mem.blockAt(0)).to.equal(100);
    expect(mem.blockAt(1) - mem.blockAt(0)).to.equal(BLOCK_WORDS);
    const fd = mem.allocFd(KIND_TCP);
    expect(mem.ctl.subarray(0, mem.blockAt(fd)).every((word) => word === 0)).to.equal(true);
  });

  it('ring memory comes from the arena and goes back', () => {
    const mem = makeMem({ fds: 8, bytes: 64 << 10 });
    const page = mem.allocRing(32 << 10);
    expect(page).to.equal(8);
    expect(mem.pagesInUse).to.equal(8);
    expect(mem.allocRing(32 << 10)).to.equal(0);
    mem.freeRing(page, 32 << 10);
    expect(mem.pagesInUse).to.equal(0);
  });

  it('bytes, words and view look at the same memory, also when it begins inside a buffer', () => {
    const mem = new SocketMemory(
      new Int32Array(8 * BLOCK_WORDS),
      new Uint8Array(new ArrayBuffer(16_384), 4096, 8192),
      0,
      8,
    );
    mem.words[3] = 0x01020304;
    expect(mem.view.getInt32(12, true)).to.equal(0x01020304);
    expect(mem.bytes[12]).to.equal(4);
  });
});
