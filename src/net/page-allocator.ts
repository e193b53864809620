/**
 * Buddy allocator of 4 KiB pages over the payload arena: power-of-two stretches, split and merged;
 * a fresh arena is handed out lowest first so that an idle arena keeps its resident pages together.
 * Page 0 is never handed out: 0 means "none".
 */
import { assert } from './assert.js';

/** Largest stretch: 2^12 pages = 16 MiB. */
const MAX_ORDER = 12;
const FREE = 0x80;

export class PageAllocator {
  private readonly pages: number;
  /**
   * Order of the stretch that begins here, | FREE when it is free; 0xff = not the beginning of a
   * stretch.
   */
  private readonly order: Uint8Array;
  private readonly next: Int32Array;
  private readonly previous: Int32Array;
  private readonly heads: Int32Array = new Int32Array(MAX_ORDER + 1).fill(-1);
  inUse = 0;

  constructor(pages: number) {
    this.pages = pages;
    this.order = new Uint8Array(pages).fill(0xff);
    this.next = new Int32Array(pages).fill(-1);
    this.previous = new Int32Array(pages).fill(-1);
    // Cut [1, pages) into the largest aligned stretches, highest first so that the lowest ends at
    // the list heads.
    const stretches: number[] = [];
    for (let page = 1; page < pages; ) {
      let order = Math.min(MAX_ORDER, 31 - Math.clz32(page & -page));
      while (page + (1 << order) > pages) order--;
      stretches.push(page, order);
      page += 1 << order;
    }
    for (let i = stretches.length - 2; i >= 0; i -= 2)
      this.insert(stretches[i]!, stretches[i + 1]!);
  }

  /** First page of `count` (a power of two) free pages, or 0. */
  alloc(count: number): number {
    const want = orderOf(count);
    let order = want;
    while (order <= MAX_ORDER && this.heads[order]! < 0) order++;
    if (order > MAX_ORDER) return 0;
    const page = this.heads[order]!;
    this.remove(page, order);
    while (order > want) {
      order--;
      this.insert(page + (1 << order), order);
    }
    this.order[page] = want;
    this.inUse += count;
    return page;
  }

  release(page: number, count: number): void {
    let order = orderOf(count);
    assert(this.order[page] === order, 'pages released that were not allocated so');
    this.inUse -= count;
    while (order < MAX_ORDER) {
      const buddy = page ^ (1 << order);
      if (buddy === 0 || buddy >= this.pages || this.order[buddy] !== (order | FREE)) break;
      this.remove(buddy, order);
      this.order[Math.max(page, buddy)] = 0xff;
      page = Math.min(page, buddy);
      order++;
    }
    this.insert(page, order);
  }

  private insert(page: number, order: number): void {
    const head = this.heads[order]!;
    this.order[page] = order | FREE;
    this.previous[page] = -1;
    this.next[page] = head;
    if (head >= 0) this.previous[head] = page;
    this.heads[order] = page;
  }

  private remove(page: number, order: number): void {
    const next = this.next[page]!;
    const previous = this.previous[page]!;
    if (previous >= 0) this.next[previous] = next;
    else this.heads[order] = next;
    if (next >= 0) this.previous[next] = previous;
    this.order[page] = 0xff;
  }
}

function orderOf(count: number): number {
  const order = 31 - Math.clz32(count);
  const isStretch = order >= 0 && count === 1 << order && order <= MAX_ORDER;
  assert(isStretch, 'not a stretch size');
  return order;
}
