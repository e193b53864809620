/**
 * Memory files (Linux: memfd_create(2), mm/shmem.c): contents in one stretch of the arena, which
 * send rings may refer to (net/ring-extents.ts) so that sendfile() copies nothing. Queue 0 has all
 * of them; stack threads of other queues only read. This file gives memory and takes it back: when
 * the descriptor is closed and no stream refers to the contents any more, which is looked for in
 * the tables of all connections. So nobody counts references, and none are lost with a thread that
 * dies. Reading and writing is socket/uapi/memory-file.ts.
 */
import { EFBIG, EINVAL, ENFILE, ENOSPC } from './errno.js';
import { RING_CAPACITY, RING_PAGE } from './ring.js';
import { extentsName } from './ring-extents.js';
import {
  BLOCK_EXTENTS,
  BLOCK_KIND,
  BLOCK_SND,
  FIRST_FD,
  KIND_FREE,
  KIND_MEMFD,
  KIND_TCP,
  PAGE_BYTES,
  RING_MAX_BYTES,
  type SocketMemory,
} from './sockmem.js';

/** Between two looks at what files that are closed are still referred to for, µs. */
const LOOK_US = 100_000;

/** Contents of a file: where in the arena. */
interface Stretch {
  readonly page: number;
  readonly capacity: number;
}

export class MemoryFiles {
  private readonly mem: SocketMemory;
  /** By descriptor: what applications can write over is not what memory is given back by. */
  private readonly open: Map<number, Stretch> = new Map();
  /** Of files that are closed and still referred to. */
  private closed: Stretch[] = [];
  private lookedUs = 0;

  constructor(mem: SocketMemory) {
    this.mem = mem;
  }

  /** Files that are closed and still referred to: `reap` has something to do. */
  get waiting(): number {
    return this.closed.length;
  }

  /** A file of 0 bytes: its descriptor, or -ENFILE. */
  create(): number {
    const fd = this.mem.allocFd(KIND_MEMFD);
    return fd < 0 ? -ENFILE : fd;
  }

  /**
   * Gives a file that has none memory for `bytes` bytes, zeros: 0, -EFBIG above 16 MiB, -ENOSPC
   * when the arena has no such stretch, or the file has memory already and it does not suffice.
   */
  allocate(fd: number, bytes: number): number {
    if (bytes <= 0) return -EINVAL;
    if (bytes > RING_MAX_BYTES) return -EFBIG;
    const had = this.open.get(fd);
    if (had !== undefined) return bytes <= had.capacity ? 0 : -ENOSPC;
    const { mem } = this;
    this.look();
    const capacity = Math.max(PAGE_BYTES, 2 ** Math.ceil(Math.log2(bytes)));
    const page = mem.allocRing(capacity);
    if (page === 0) return -ENOSPC;
    mem.bytes.fill(0, page * PAGE_BYTES, page * PAGE_BYTES + capacity);
    this.open.set(fd, { page, capacity });
    const ring = mem.blockAt(fd) + BLOCK_SND;
    mem.ctl[ring + RING_CAPACITY] = capacity;
    Atomics.store(mem.ctl, ring + RING_PAGE, page);
    return 0;
  }

  /** The descriptor is closed; it is the caller's to free. */
  close(fd: number): void {
    const stretch = this.open.get(fd);
    if (stretch === undefined) return;
    this.open.delete(fd);
    this.closed.push(stretch);
    this.look();
  }

  /** Takes back, now and then, what is not referred to any more. */
  reap(nowUs: number): void {
    if (nowUs - this.lookedUs < LOOK_US) return;
    this.lookedUs = nowUs;
    this.look();
  }

  private look(): void {
    if (this.closed.length === 0) return;
    this.closed = this.closed.filter((stretch) => {
      if (this.isNamed(stretch.page)) return true;
      this.mem.freeRing(stretch.page, stretch.capacity);
      return false;
    });
  }

  /** Does any stream refer to the file at `page`? */
  private isNamed(page: number): boolean {
    const { mem } = this;
    let left = mem.fdsInUse;
    for (let fd = FIRST_FD; fd < mem.maxFds && left > 0; fd++) {
      const block = mem.blockAt(fd);
      const kind = mem.ctl[block + BLOCK_KIND]!;
      if (kind !== KIND_FREE) left--;
      if (kind !== KIND_TCP) continue;
      const table = Atomics.load(mem.ctl, block + BLOCK_EXTENTS);
      if (table !== 0 && extentsName(mem, table, page)) return true;
    }
    return false;
  }
}
