/**
 * A thread's part in a stack: the system calls, the `net`, and the two tables everybody may look
 * at. Made of shared memory alone, by the opener for itself and by `attach` in any other thread.
 */
import { MIB_NAMES } from '../net/mib.js';
import { mappedArena, stackWaker, yielder } from './arena.js';
import { StackError } from './errors.js';
import { createNet, type Net } from './net.js';
import { type SocketRow, socketRows } from './socket-rows.js';
import { createSys } from './sys.js';
import type { Sys } from './sys-table.js';
import { hostOf } from './uapi/host.js';
import { HostPort } from './uapi/host-port.js';
import { causeOfDeath, mibOf, openShared, type SharedMemory } from './uapi/shared.js';
import { ThreadPort } from './uapi/thread-port.js';

/**
 * What a thread needs to take part: structured-cloneable, for `workerData` or postMessage. For one
 * thread, once.
 */
export interface SharedStack {
  readonly ctl: SharedArrayBuffer;
  /** Payload arena of a stack in memory; null = mapped memory, found through `ctl`. */
  readonly arena: SharedArrayBuffer | null;
  /** Thread number reserved for the taker. */
  readonly thread: number;
  /** The stack's own address. */
  readonly address: string;
}

/** A thread's view of a stack. */
export interface Attached {
  readonly sys: Sys;
  readonly net: Net;
  readonly threadNumber: number;
  /** The stack's own address. */
  readonly address: string;
  /** Every open socket of the stack. */
  sockets(): SocketRow[];
  /** Every counter of the stack under Linux's name. */
  counters(): Record<string, number>;
}

/** What the opener of a stack keeps beside the public part. */
export interface ThreadParts extends Attached {
  readonly port: ThreadPort;
  readonly memory: SharedMemory;
  /** Ends this thread's `net`, if it was ever used: in order, or because the stack died. */
  shutdownNet(died: boolean): void;
}

/**
 * Joins a stack: in a worker, with what `handle.share()` gave. Throws StackError when the stack is
 * gone.
 */
export function attach(shared: SharedStack): Attached {
  return attachParts(shared);
}

export function attachParts(shared: SharedStack): ThreadParts {
  const ctl = new Int32Array(shared.ctl);
  const gone = causeOfDeath(ctl);
  if (gone !== null) throw new StackError('ERR_STACK_CLOSED', gone, 'open another stack');
  const host = shared.arena === null ? hostOf(ctl) : null;
  const arena =
    host?.arena ?? (shared.arena === null ? mappedArena(ctl) : new Uint8Array(shared.arena));
  const memory = openShared(shared.ctl, arena);
  const wake = stackWaker(ctl, memory.layout);
  const port =
    host === null
      ? new ThreadPort(memory, shared.thread, wake, yielder(ctl))
      : new HostPort(memory, shared.thread, wake, host);
  const sys = createSys(port);
  // Made at the first use: a thread with a blocking event loop of its own needs no reactor.
  let net: Net | null = null;
  return {
    sys,
    get net(): Net {
      net ??= createNet({ sys, doorbell: port, address: shared.address });
      return net;
    },
    threadNumber: shared.thread,
    address: shared.address,
    port,
    memory,
    shutdownNet: (died) => net?.shutdown(died),
    sockets: () => socketRows(memory.mem),
    counters: () => countersOf(shared.ctl, memory),
  };
}

/** The sums over all queues. */
function countersOf(buffer: SharedArrayBuffer, { layout }: SharedMemory): Record<string, number> {
  const mibs: Float64Array[] = [];
  for (let queue = 0; queue < layout.queues; queue++) mibs.push(mibOf(buffer, layout, queue));
  const sum = (index: number): number => mibs.reduce((all, mib) => all + mib[index]!, 0);
  return Object.fromEntries(MIB_NAMES.map((name, index) => [name, sum(index)]));
}
