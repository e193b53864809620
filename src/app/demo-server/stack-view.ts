/**
 * What a worker, or the master, can see of the stack in shared memory: a connection's addresses and
 * the choice that brought it here, and the object that `/stats` prints. Reads only.
 */
import { formatIpv4 } from '../../device/address.js';
import {
  BLOCK_HASH,
  BLOCK_KIND,
  BLOCK_LADDR,
  BLOCK_LPORT,
  BLOCK_MEMBERS,
  BLOCK_RADDR,
  BLOCK_RPORT,
  BLOCK_SLOT,
  BLOCK_WORDS,
  FIRST_FD,
  KIND_FREE,
  type SocketMemory,
} from '../../net/sockmem.js';
import type { ThreadParts } from '../../socket/attach.js';
import {
  E_OWNER,
  epollAt,
  G_EHASH_SECRET,
  G_HASH_MIX,
  MAX_EPOLLS,
  MAX_THREADS,
  T_STATE,
  THREAD_FREE,
  threadAt,
} from '../../socket/uapi/layout.js';
import { layoutOf } from '../../socket/uapi/shared.js';
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

/** What of the stack's tables is in use. */
export interface Resources {
  /** Sockets, epoll instances and eventfds, whether a program has them or not. */
  descriptors: number;
  threads: number;
  epolls: number;
}

/** @param ctl control words of the stack */
export function resourcesOf(ctl: Int32Array): Resources {
  const layout = layoutOf(ctl);
  const used = { descriptors: 0, threads: 0, epolls: 0 };
  for (let fd = FIRST_FD; fd < layout.maxFds; fd++) {
    const kind = Atomics.load(ctl, layout.blocksAt + fd * BLOCK_WORDS + BLOCK_KIND);
    if (kind !== KIND_FREE) used.descriptors++;
  }
  for (let thread = 0; thread < MAX_THREADS; thread++) {
    const state = Atomics.load(ctl, threadAt(layout, thread) + T_STATE);
    if (state !== THREAD_FREE) used.threads++;
  }
  for (let epoll = 0; epoll < MAX_EPOLLS; epoll++) {
    if (Atomics.load(ctl, epollAt(layout, epoll) + E_OWNER) !== 0) used.epolls++;
  }
  return used;
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
    const { profile } = this.order;
    return stackStats(
      this.counters.stats(),
      hashFacts(this.parts.memory.ctl, profile),
      shownSockets(this.parts.sockets(), this.counters),
      this.parts.counters(),
    );
  }

  nowMs(): number {
    return performance.now();
  }
}
