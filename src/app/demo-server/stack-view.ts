/**
 * What a worker, or the master, can see of the stack in shared memory: a connection's addresses and
 * the choice that brought it here, and the object that `/stats` prints. Reads only.
 */
import { formatIpv4 } from '../../device/address.js';
import {
  BLOCK_HASH,
  BLOCK_LADDR,
  BLOCK_LPORT,
  BLOCK_MEMBERS,
  BLOCK_RADDR,
  BLOCK_RPORT,
  BLOCK_SLOT,
  type SocketMemory,
} from '../../net/sockmem.js';
import type { ThreadParts } from '../../socket/attach.js';
import { G_EHASH_SECRET, G_HASH_MIX } from '../../socket/uapi/layout.js';
import { type ShownSocket, shownSockets } from '../socket-table.js';
import type { WorkerOrder } from '../worker-message.js';
import type { ConnectionInfo } from './connection-info.js';
import type { WorkerView } from './endpoints.js';
import type { WorkerCounters, WorkerStats } from './worker-counters.js';

/** The block of an accepted connection. */
export function readConnection(mem: SocketMemory, fd: number): ConnectionInfo {
  const at = mem.blockAt(fd);
  const { ctl } = mem;
  return {
    remoteAddress: formatIpv4(ctl[at + BLOCK_RADDR]!),
    remotePort: ctl[at + BLOCK_RPORT]!,
    localAddress: formatIpv4(ctl[at + BLOCK_LADDR]!),
    localPort: ctl[at + BLOCK_LPORT]!,
    hash: ctl[at + BLOCK_HASH]!,
    slot: ctl[at + BLOCK_SLOT]!,
    members: ctl[at + BLOCK_MEMBERS]!,
  };
}

/** What the flow hash of a connection can be recomputed from. */
export interface HashFacts {
  /** Initial value of the hash (ehash secret + hash mix), u32. */
  secret: number;
  profile: string;
  /** The group of listeners bound to any address hashes with this one. */
  localAddress: string;
}

/** @param ctl control words of the stack */
export function hashFacts(ctl: Int32Array, profile: string): HashFacts {
  const secret = (ctl[G_EHASH_SECRET]! + ctl[G_HASH_MIX]!) >>> 0;
  return { secret, profile, localAddress: '0.0.0.0' };
}

/** The object that `/stats` prints. `tcp` counts sockets by state. */
export function stackStats(
  workers: readonly WorkerStats[],
  hash: HashFacts,
  sockets: readonly ShownSocket[],
  mib: Readonly<Record<string, number>>,
): object {
  const tcp: Record<string, number> = {};
  for (const { state } of sockets) tcp[state] = (tcp[state] ?? 0) + 1;
  const listeners = sockets.filter(({ state }) => state === 'LISTEN');
  return { workers, hash, listeners, tcp, mib };
}

/** What the demo server of one worker sees. */
export class StackView implements WorkerView {
  readonly worker: number;
  private readonly order: WorkerOrder;
  private readonly parts: ThreadParts;
  private readonly counters: WorkerCounters;

  constructor(order: WorkerOrder, parts: ThreadParts, counters: WorkerCounters) {
    this.worker = order.worker;
    this.order = order;
    this.parts = parts;
    this.counters = counters;
  }

  connection(fd: number): ConnectionInfo {
    return readConnection(this.parts.memory.mem, fd);
  }

  stats(): object {
    const { workers, profile } = this.order;
    return stackStats(
      this.counters.stats(),
      hashFacts(this.parts.memory.ctl, profile),
      shownSockets(this.parts.sockets(), workers),
      this.parts.counters(),
    );
  }

  nowMs(): number {
    return performance.now();
  }
}
