/** The layout of the control words and the life of threads in it. */
import { expect } from 'chai';
import { MIB_COUNT } from '../../src/net/mib.js';
import { BLOCK_WORDS } from '../../src/net/sockmem.js';
import {
  COMMAND_SLOTS,
  COMMAND_WORDS,
  commandAt,
  ctlLayout,
  epollAt,
  G_MAGIC,
  G_STATE,
  G_TEXT,
  G_THREADS,
  globalAt,
  MAX_EPOLLS,
  MAX_THREADS,
  MIB_SLOTS,
  readyAt,
  threadAt,
} from '../../src/socket/uapi/layout.js';
import {
  arenaOf,
  causeOfDeath,
  createCtl,
  declareDead,
  layoutOf,
  openShared,
  reserveThread,
  setArena,
} from '../../src/socket/uapi/shared.js';

describe('socket/uapi: the shared memory', () => {
  it('regions follow each other and do not overlap', () => {
    for (const maxFds of [64, 65, 1000, 131072]) {
      const layout = ctlLayout(maxFds);
      expect(layout.readySlots).to.be.at.least(maxFds);
      expect(Math.log2(layout.readySlots) % 1).to.equal(0);
      const lastThread = threadAt(layout, MAX_THREADS - 1);
      expect(commandAt(lastThread, COMMAND_SLOTS - 1) + COMMAND_WORDS).to.be.at.most(
        layout.epollsAt,
      );
      expect(commandAt(lastThread, -1)).to.equal(commandAt(lastThread, COMMAND_SLOTS - 1));
      const lastEpoll = epollAt(layout, MAX_EPOLLS - 1);
      expect(layout.readySlots).to.be.at.least(maxFds);
      expect(readyAt(lastEpoll) + layout.readySlots).to.be.at.most(layout.mibAt);
      expect(layout.mibAt % 2).to.equal(0);
      expect(layout.mibAt + MIB_SLOTS * 2).to.equal(layout.blocksAt);
      expect(layout.words).to.equal(layout.blocksAt + maxFds * BLOCK_WORDS);
    }
    expect(MIB_COUNT).to.be.at.most(MIB_SLOTS);
  });

  it('regions of several queues follow each other', () => {
    for (const queues of [2, 3, 16]) {
      const layout = ctlLayout(1000, queues);
      const one = ctlLayout(1000);
      expect(layout.queueWords % 2).to.equal(0);
      const last = (queues - 1) * layout.queueWords;
      expect(one.blocksAt + last).to.equal(layout.blocksAt);
      for (let queue = 1; queue < queues; queue++) {
        const own = globalAt(layout, G_STATE, queue) - G_STATE;
        expect(own).to.be.at.least(one.blocksAt + (queue - 1) * layout.queueWords);
        expect(own + G_TEXT).to.be.at.most(layout.threadsAt + queue * layout.queueWords);
      }
      expect(globalAt(layout, G_STATE, 0)).to.equal(G_STATE);
      expect(layout.words).to.equal(layout.blocksAt + 1000 * BLOCK_WORDS);
    }
  });

  it('each queue has counters and a part of the arena', () => {
    const buffer = createCtl(64, 2);
    const arena = new Uint8Array(new SharedArrayBuffer(2 << 20));
    const [first, second] = [openShared(buffer, arena), openShared(buffer, arena, 1)];
    first.mib[3] = 1;
    second.mib[3] = 2;
    expect([first.mib[3], second.mib[3]]).to.deep.equal([1, 2]);
    const pages = [first.mem.allocRing(4096), second.mem.allocRing(4096)];
    expect(pages).to.deep.equal([1, 257]);
    second.mem.freeRing(257, 4096);
    expect(second.mem.pagesInUse).to.equal(0);
  });

  it('is recognised by its magic, and has limits', () => {
    for (const bad of [63, 1.5, (1 << 22) + 1]) expect(() => createCtl(bad)).to.throw(RangeError);
    for (const bad of [0, 17, 1.5]) expect(() => createCtl(64, bad)).to.throw(RangeError);
    const buffer = createCtl(64);
    expect(layoutOf(new Int32Array(buffer)).maxFds).to.equal(64);
    expect(() => layoutOf(new Int32Array(buffer, 0, 5000))).to.throw(RangeError);
    new Int32Array(buffer)[G_MAGIC] = 1;
    expect(() => layoutOf(new Int32Array(buffer))).to.throw(RangeError);
  });

  it('counters are seen by all', () => {
    const buffer = createCtl(64);
    const arena = new Uint8Array(new SharedArrayBuffer(1 << 20));
    openShared(buffer, arena).mib[5] = 2 ** 40;
    expect(openShared(buffer, arena).mib[5]).to.equal(2 ** 40);
  });

  it('says where the arena is', () => {
    const ctl = new Int32Array(createCtl(64));
    expect(arenaOf(ctl)).to.deep.equal({ address: 0, bytes: 0 });
    setArena(ctl, 0x7fff_8123_4000, 6 * 2 ** 30);
    expect(arenaOf(ctl)).to.deep.equal({ address: 0x7fff_8123_4000, bytes: 6 * 2 ** 30 });
  });

  it('gives out thread numbers', () => {
    const ctl = new Int32Array(createCtl(64));
    const layout = layoutOf(ctl);
    for (let i = 0; i < MAX_THREADS; i++) expect(reserveThread(ctl, layout)).to.equal(i);
    expect(reserveThread(ctl, layout)).to.equal(-1);
    expect(ctl[G_THREADS]).to.equal(MAX_THREADS);
  });

  it('keeps the cause of death, cut to what fits', () => {
    const ctl = new Int32Array(createCtl(64));
    const layout = layoutOf(ctl);
    expect(causeOfDeath(ctl)).to.equal(null);
    declareDead(ctl, layout, 'größer als erlaubt');
    expect(causeOfDeath(ctl)).to.equal('the stack thread died: größer als erlaubt');
    declareDead(ctl, layout, 'x'.repeat(5000));
    expect(causeOfDeath(ctl)).to.have.length('the stack thread died: '.length + 4096);
    declareDead(ctl, layout, '');
    expect(causeOfDeath(ctl)).to.equal('the stack has been closed');
  });
});
