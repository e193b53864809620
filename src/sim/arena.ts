/**
 * Payload arenas of simulated hosts, used again from run to run: a fresh one of a size that holds
 * every connection would cost more than the run. What was handed out is zeroed before the next use,
 * so that a run does not depend on the one before it.
 */
import { BLOCK_WORDS, PAGE_BYTES, SocketMemory } from '../net/sockmem.js';

/** A stack's memory that knows how much of its arena was ever handed out. */
export class SimMemory extends SocketMemory {
  /** One past the last byte that was. */
  highBytes = 0;

  constructor(arena: Uint8Array, fds: number) {
    super(new Int32Array(fds * BLOCK_WORDS), arena, 0, fds);
  }

  override allocRing(capacity: number): number {
    const page = super.allocRing(capacity);
    if (page !== 0) this.highBytes = Math.max(this.highBytes, page * PAGE_BYTES + capacity);
    return page;
  }
}

export class ArenaPool {
  private readonly free = new Map<number, Uint8Array[]>();

  /** An arena of zeros. */
  take(bytes: number): Uint8Array {
    return this.free.get(bytes)?.pop() ?? new Uint8Array(bytes);
  }

  /** Gives the arena of `mem` back. Nobody may use it any more. */
  release(mem: SimMemory): void {
    const { bytes } = mem;
    bytes.fill(0, 0, mem.highBytes);
    const list = this.free.get(bytes.length);
    if (list === undefined) this.free.set(bytes.length, [bytes]);
    else list.push(bytes);
  }
}
