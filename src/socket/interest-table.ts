/**
 * The interests of one epoll instance (Linux: fs/eventpoll.c, struct epitem) in columns: a worker
 * with a hundred thousand idle connections has as many, and as objects they would be most of its
 * heap. An item is a number, 0 is nobody; it stays its owner's until `release`, though its
 * descriptor may have another by then. What is done with interests is epoll.ts's.
 */

const FIRST_ITEMS = 64;

/** Of `flags`: on the ready list. */
export const LISTED = 1;
/** Taken out of the table while it is on the ready list. */
export const DELETED = 2;
/** The stack has been told that this spent one-shot interest wants nothing. */
export const MUTED = 4;

export class InterestTable {
  /** Columns, by item. */
  fd: Int32Array = new Int32Array(FIRST_ITEMS);
  /** BLOCK_GEN of the file that was meant: a later one of this number is none of our business. */
  gen: Int32Array = new Int32Array(FIRST_ITEMS);
  events: Int32Array = new Int32Array(FIRST_ITEMS);
  data: Float64Array = new Float64Array(FIRST_ITEMS);
  flags: Uint8Array = new Uint8Array(FIRST_ITEMS);
  /** The next on the ready list, or free item; 0 = the last. */
  next: Int32Array = new Int32Array(FIRST_ITEMS);
  /** The item of each descriptor. */
  private itemOf: Int32Array = new Int32Array(FIRST_ITEMS);
  private free = 0;
  /** Items ever used: [1, used). */
  private used = 1;

  /** The item of `fd`, 0 = none; any number will do. */
  find(fd: number): number {
    return this.itemOf[fd] ?? 0;
  }

  /** A new item for `fd`, which has none. */
  add(fd: number, gen: number, events: number, data: number): number {
    if (fd >= this.itemOf.length) this.itemOf = widened(this.itemOf, fd + 1);
    const item = this.take();
    this.fd[item] = fd;
    this.gen[item] = gen;
    this.events[item] = events;
    this.data[item] = data;
    this.flags[item] = 0;
    this.next[item] = 0;
    this.itemOf[fd] = item;
    return item;
  }

  /** Its descriptor has no item any more; one that is listed is released when it comes off. */
  drop(item: number): void {
    const fd = this.fd[item]!;
    if (this.itemOf[fd] !== item) return;
    this.itemOf[fd] = 0;
    if ((this.flags[item]! & LISTED) === 0) this.release(item);
    else this.flags[item]! |= DELETED;
  }

  /** A dropped item may be another's. */
  release(item: number): void {
    this.next[item] = this.free;
    this.free = item;
  }

  private take(): number {
    const item = this.free;
    if (item !== 0) {
      this.free = this.next[item]!;
      return item;
    }
    if (this.used === this.fd.length) this.grow(this.used * 2);
    return this.used++;
  }

  private grow(items: number): void {
    this.fd = widened(this.fd, items);
    this.gen = widened(this.gen, items);
    this.events = widened(this.events, items);
    this.next = widened(this.next, items);
    const data = new Float64Array(items);
    data.set(this.data);
    this.data = data;
    const flags = new Uint8Array(items);
    flags.set(this.flags);
    this.flags = flags;
  }
}

/** `column` with room for `least` entries, doubled as often as that takes. */
function widened(column: Int32Array, least: number): Int32Array {
  let length = column.length;
  while (length < least) length *= 2;
  const wider = new Int32Array(length);
  wider.set(column);
  return wider;
}
