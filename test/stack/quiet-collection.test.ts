/** When a quiet stack thread collects its garbage: not while anything comes, and not for little. */
import { expect } from 'chai';
import {
  GROWTH_BYTES,
  HEAP_MOST_BYTES,
  type Heap,
  ownHeap,
  QUIET_US,
  QuietCollection,
} from '../../src/stack/quiet-collection.js';

const MB: number = 1 << 20;
const NEVER: number = Number.POSITIVE_INFINITY;

/** A heap of `takenMb`, of which `neededMb` are no garbage. */
class FakeHeap implements Heap {
  takenMb = 10;
  neededMb = 10;
  looks = 0;
  collections = 0;

  takenBytes(): number {
    this.looks++;
    return this.takenMb * MB;
  }

  collect(): void {
    this.collections++;
    this.takenMb = this.neededMb;
  }
}

/** A look at the end of a quiet stretch after which the heap has taken so much. */
function afterTraffic(collection: QuietCollection, heap: FakeHeap, atUs: number, mb: number): void {
  heap.takenMb = mb;
  expect(collection.quiet(atUs + QUIET_US, atUs)).to.equal(NEVER);
}

describe('stack/quiet-collection', () => {
  it('waits for a second without traffic, and looks once', () => {
    const heap = new FakeHeap();
    const collection = new QuietCollection(heap);
    heap.takenMb = 50;
    heap.looks = 0;
    expect(collection.quiet(1000, 1000)).to.equal(QUIET_US);
    expect(collection.quiet(QUIET_US, 1000)).to.equal(1000);
    expect([heap.looks, heap.collections]).to.deep.equal([0, 0]);
    expect(collection.quiet(QUIET_US + 1000, 1000)).to.equal(NEVER);
    expect([collection.collections, heap.collections, heap.takenMb]).to.deep.equal([1, 1, 10]);
    heap.looks = 0;
    heap.takenMb = 90;
    expect(collection.quiet(60 * QUIET_US, 1000)).to.equal(NEVER);
    expect([heap.looks, heap.collections]).to.deep.equal([0, 1]);
  });

  it('leaves a heap alone that has grown by little, from the least that it has been', () => {
    const heap = new FakeHeap();
    const collection = new QuietCollection(heap);
    afterTraffic(collection, heap, 1e6, 10 + GROWTH_BYTES / MB - 1);
    expect(heap.collections).to.equal(0);
    afterTraffic(collection, heap, 3e6, 6);
    afterTraffic(collection, heap, 5e6, 6 + GROWTH_BYTES / MB);
    expect(heap.collections).to.equal(1);
    // What is needed is not looked at as garbage again, and half of a large heap is little.
    heap.neededMb = 60;
    afterTraffic(collection, heap, 7e6, 80);
    expect(heap.collections).to.equal(2);
    afterTraffic(collection, heap, 9e6, 89);
    expect(heap.collections).to.equal(2);
    afterTraffic(collection, heap, 11e6, 90);
    expect(heap.collections).to.equal(3);
  });

  it('does not stop a thread for a heap that takes long', () => {
    const heap = new FakeHeap();
    const collection = new QuietCollection(heap);
    afterTraffic(collection, heap, 1e6, HEAP_MOST_BYTES / MB + 1);
    expect(heap.collections).to.equal(0);
    afterTraffic(collection, heap, 3e6, HEAP_MOST_BYTES / MB);
    expect(heap.collections).to.equal(1);
  });

  it('collects what nobody refers to, and shows nobody else the collector', async () => {
    const heap = ownHeap();
    const garbage = new WeakRef({ text: 'nobody holds this' });
    await new Promise((resolve) => setImmediate(resolve)); // a WeakRef holds until the job ends
    expect(garbage.deref()).not.to.equal(undefined);
    await new Promise((resolve) => setImmediate(resolve));
    heap.collect();
    expect(garbage.deref()).to.equal(undefined);
    expect(heap.takenBytes()).to.be.greaterThan(MB);
    const { runInNewContext } = await import('node:vm');
    expect(runInNewContext('typeof gc')).to.equal('undefined');
  });
});
