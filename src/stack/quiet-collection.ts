/**
 * Collects the garbage of a stack thread that has become quiet (ADR 11). A burst of connections
 * leaves objects behind that have lived long enough to be old, and V8 collects what is old only as
 * more is allocated: nobody allocates in a thread that sleeps, and half of what idle connections
 * took was that, or pages that V8 had emptied and kept. So once no packet and no command has come
 * for a second, the thread looks at its heap, and if that has grown by a half and by some megabytes
 * since it was collected here, it is collected as a whole. That stops the thread for some tenths of
 * a second at worst, at most once in a quiet stretch; a heap so large that it would take longer is
 * left to V8, which does it little by little. No clock of its own; the pump asks.
 */
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Without packets and commands for so long a thread is quiet, µs. */
export const QUIET_US = 1_000_000;
/** By how much the heap must have grown at least, and how large it may be, bytes. */
export const GROWTH_BYTES: number = 8 << 20;
export const HEAP_MOST_BYTES: number = 128 << 20;

/** The heap of a thread. */
export interface Heap {
  /** What it has taken from the system. */
  takenBytes(): number;
  /** All of its garbage goes now, and pages that are empty then. */
  collect(): void;
}

/** The heap of the thread that calls this. */
export function ownHeap(): Heap {
  let gc: (() => void) | null = null;
  return {
    takenBytes: () => getHeapStatistics().total_heap_size,
    collect: () => {
      gc ??= collector();
      gc();
      gc(); // pages that the first has emptied, or nearly, go back only now
    },
  };
}

/** V8 shows its collector to contexts that are made while this flag is set (node --expose-gc). */
function collector(): () => void {
  const shown = (globalThis as { gc?: () => void }).gc;
  if (shown !== undefined) return shown;
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  setFlagsFromString('--no-expose-gc');
  return gc;
}

export class QuietCollection {
  /** How often it has collected. */
  collections = 0;
  private readonly heap: Heap;
  /** Least that the heap has taken since the last collection: what is above may be garbage. */
  private baseBytes: number;
  /** The last traffic before the last look. */
  private lookedAfterUs = 0;

  constructor(heap: Heap) {
    this.heap = heap;
    this.baseBytes = heap.takenBytes();
  }

  /**
   * To be called before the thread sleeps; may collect.
   * @param trafficUs when a packet or a command came last; the same clock as `nowUs`
   * @returns when it wants to be called again, µs from now; Infinity = not before more traffic
   */
  quiet(nowUs: number, trafficUs: number): number {
    if (trafficUs === this.lookedAfterUs) return Number.POSITIVE_INFINITY;
    const leftUs = trafficUs + QUIET_US - nowUs;
    if (leftUs > 0) return leftUs;
    this.lookedAfterUs = trafficUs;
    const takenBytes = this.heap.takenBytes();
    this.baseBytes = Math.min(this.baseBytes, takenBytes);
    const grownBytes = takenBytes - this.baseBytes;
    if (grownBytes >= Math.max(GROWTH_BYTES, this.baseBytes / 2) && takenBytes <= HEAP_MOST_BYTES) {
      this.heap.collect();
      this.baseBytes = this.heap.takenBytes();
      this.collections++;
    }
    return Number.POSITIVE_INFINITY;
  }
}
