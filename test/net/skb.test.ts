/** src/net/skb.ts: pools and queues. */
import { expect } from 'chai';
import { AssertionError } from '../../src/net/assert.js';
import {
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  FRAGMENTS_MOST,
  IFINDEX_LINK,
  IFINDEX_LOOPBACK,
  SKB_HEADROOM,
  SkbPool,
  SkbQueue,
} from '../../src/net/skb.js';
import { makeMem } from './fixtures.js';

describe('net/skb', () => {
  it('a fresh skb is empty and has headroom', () => {
    const pool = new SkbPool(makeMem(), 8192, 4);
    const skb = pool.alloc()!;
    expect(skb.start).to.equal(skb.base + SKB_HEADROOM);
    expect(skb.length).to.equal(0);
    expect(skb.capacity).to.equal(8192);
  });

  it('length counts linear data and fragments', () => {
    const skb = new SkbPool(makeMem(), 4096, 1).alloc()!;
    skb.end += 40;
    skb.frag0Bytes = 1000;
    skb.frag1Bytes = 7;
    expect(skb.length).to.equal(1047);
  });

  it('takes fragments until there are as many as may be, and copies all of them out', () => {
    const skb = new SkbPool(makeMem(), 4096, 1).alloc()!;
    const data = Uint8Array.from({ length: 3000 }, (_, i) => (i * 7) & 0xff);
    skb.end = skb.start + 40;
    skb.bytes.set(data.subarray(0, 40), skb.start);
    skb.bytes.set(data, 100_000);
    let at = 40;
    for (let i = 0; i < FRAGMENTS_MOST; i++) {
      expect(skb.addFragment(100_000 + at, 10 + i)).to.equal(true);
      at += 10 + i;
    }
    expect(skb.addFragment(100_000, 1)).to.equal(false);
    expect(skb.fragments).to.equal(FRAGMENTS_MOST);
    expect(skb.length).to.equal(at);
    const out = new Uint8Array(at + 2);
    expect(skb.copyOut(out, 2)).to.equal(at + 2);
    expect(out.subarray(2)).to.deep.equal(data.subarray(0, at));
    const little = new Uint8Array(45);
    expect(skb.copyOut(little)).to.equal(45);
    expect(little).to.deep.equal(data.subarray(0, 45));
    skb.reset();
    expect([skb.length, skb.fragments]).to.deep.equal([0, 2]);
  });

  it('a reused skb remembers nothing', () => {
    const pool = new SkbPool(makeMem(), 4096, 1);
    const skb = pool.alloc()!;
    Object.assign(skb, {
      end: skb.start + 9,
      frag0: 5,
      frag0Bytes: 6,
      frag1: 7,
      frag1Bytes: 8,
      ipSummed: CHECKSUM_PARTIAL,
      gsoSize: 1448,
      csumStart: 3,
      csumOffset: 16,
      transport: 99,
      ifindex: IFINDEX_LOOPBACK,
    });
    pool.release(skb);
    expect(pool.alloc()).to.equal(skb);
    expect(skb.length).to.equal(0);
    expect(skb.ipSummed).to.equal(CHECKSUM_NONE);
    expect(skb.gsoSize).to.equal(0);
    expect(skb.ifindex).to.equal(IFINDEX_LINK);
    expect(skb.next).to.equal(null);
  });

  it('makes at most so many, and none when the arena is full', () => {
    const mem = makeMem({ bytes: 1 << 16 });
    const pool = new SkbPool(mem, 4096, 3);
    const skbs = [pool.alloc()!, pool.alloc()!, pool.alloc()!];
    expect(new Set(skbs.map((skb) => skb.base)).size).to.equal(3);
    expect(pool.alloc()).to.equal(null);
    expect([pool.made, pool.out]).to.deep.equal([3, 3]);
    for (const skb of skbs) pool.release(skb);
    expect([pool.made, pool.out]).to.deep.equal([3, 0]);
    const large = new SkbPool(mem, 32 << 10, 9);
    expect(large.alloc()).to.not.equal(null);
    expect(large.alloc()).to.equal(null);
    expect(large.out).to.equal(1);
  });

  it('releasing twice is a programmer’s error', () => {
    const pool = new SkbPool(makeMem(), 4096, 3);
    const skb = pool.alloc()!;
    pool.release(skb);
    expect(() => pool.release(skb)).to.throw(AssertionError);
  });

  it('an skb whose buffer is lent has another from its next reset on', () => {
    const pool = new SkbPool(makeMem(), 4096, 3, 2);
    const skb = pool.alloc()!;
    const { base, start } = skb;
    skb.bytes[start] = 77;
    skb.end++;
    const spare = pool.alloc()!;
    const other = spare.base;
    pool.lend(skb, spare);
    expect([skb.base, skb.start, skb.length, skb.bytes[skb.start]]).to.deep.equal([
      ...[other, start, 1, 77],
    ]);
    skb.reset();
    expect([skb.base, skb.start, skb.length]).to.deep.equal([other, other + SKB_HEADROOM, 0]);
    expect([spare.base, pool.lent, pool.lendable, pool.out]).to.deep.equal([base, 1, 1, 2]);
    pool.takeBack(spare);
    expect([pool.lent, pool.lendable, pool.out]).to.deep.equal([0, 2, 1]);
    // The buffer that was read last is the next one, while a cache may still have it.
    expect(pool.alloc()!.start).to.equal(start);
  });

  it('a queue is first in, first out', () => {
    const pool = new SkbPool(makeMem(), 4096, 8);
    const queue = new SkbQueue();
    expect(queue.shift()).to.equal(null);
    const skbs = [pool.alloc()!, pool.alloc()!, pool.alloc()!];
    for (const skb of skbs) queue.push(skb);
    expect([queue.length, queue.bytes]).to.deep.equal([3, 3 * 4096]);
    expect(queue.shift()).to.equal(skbs[0]);
    expect(skbs[0]!.next).to.equal(null);
    queue.push(skbs[0]!);
    expect([queue.shift(), queue.shift(), queue.shift()]).to.deep.equal([
      skbs[1],
      skbs[2],
      skbs[0],
    ]);
    expect(queue.shift()).to.equal(null);
    expect([queue.length, queue.bytes]).to.deep.equal([0, 0]);
    queue.push(skbs[2]!);
    expect(queue.shift()).to.equal(skbs[2]);
  });
});
