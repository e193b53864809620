/**
 * The open sockets of a stack as rows of a table, read from the socket blocks in shared memory
 * without asking the stack thread: what `ss` shows. Half-open and TIME-WAIT connections have no
 * descriptor and are not among them.
 */
import { formatIpv4 } from '../net/ipv4-address.js';
import { RING_LIMIT, ringUsed } from '../net/ring.js';
import {
  BLOCK_GEN,
  BLOCK_HASH,
  BLOCK_KIND,
  BLOCK_LADDR,
  BLOCK_LISTENER,
  BLOCK_LPORT,
  BLOCK_MEMBERS,
  BLOCK_OWNER,
  BLOCK_RADDR,
  BLOCK_RCV,
  BLOCK_RPORT,
  BLOCK_SLOT,
  BLOCK_SND,
  BLOCK_STATE,
  FIRST_FD,
  KIND_TCP,
  type SocketMemory,
} from '../net/sockmem.js';
import { STATE_NAMES, TCP_LISTEN } from '../net/tcp-states.js';
export interface SocketEnd {
  address: string;
  port: number;
}

/** One open socket. */
export interface SocketRow {
  state: string;
  /** LISTEN: connections waiting to be accepted; else bytes waiting to be read. */
  recvQ: number;
  /** LISTEN: the backlog; else bytes not acknowledged yet. */
  sendQ: number;
  local: SocketEnd;
  peer: SocketEnd;
  fd: number;
  /** Thread that owns the descriptor (0 = the one that opened the stack), null = none yet. */
  thread: number | null;
  /**
   * Owner as a worker number: thread - 1 for threads that attached, null for the opener and for
   * none.
   */
  worker: number | null;
  /** Members of the reuseport group (listener: now, connection: when its SYN came), 0 = none. */
  group: number;
  /** Index in that group, null = none. */
  slot: number | null;
  /** Flow hash that chose the listener, unsigned. */
  hash: number;
  /** fd of the listener that a connection came in by, null = it did not. */
  listener: number | null;
}

/** All open TCP sockets, by descriptor. */
export function socketRows(mem: SocketMemory): SocketRow[] {
  const rows: SocketRow[] = [];
  for (let fd = FIRST_FD; fd < mem.maxFds; fd++) {
    const at = mem.blockAt(fd);
    if (Atomics.load(mem.ctl, at + BLOCK_KIND) !== KIND_TCP) continue;
    const gen = mem.ctl[at + BLOCK_GEN];
    const row = rowAt(mem.ctl, fd, at);
    // Closed, or reused, while it was read: neither the old nor the new socket.
    if (Atomics.load(mem.ctl, at + BLOCK_KIND) !== KIND_TCP) continue;
    if (mem.ctl[at + BLOCK_GEN] === gen) rows.push(row);
  }
  return rows;
}

function rowAt(ctl: Int32Array, fd: number, at: number): SocketRow {
  const state = ctl[at + BLOCK_STATE]!;
  const owner = ctl[at + BLOCK_OWNER]!;
  const slot = ctl[at + BLOCK_SLOT]!;
  const listening = state === TCP_LISTEN;
  return {
    state: STATE_NAMES[state] || 'UNKNOWN',
    recvQ: ringUsed(ctl, at + BLOCK_RCV),
    sendQ: listening ? ctl[at + BLOCK_RCV + RING_LIMIT]! : ringUsed(ctl, at + BLOCK_SND),
    local: endAt(ctl, at + BLOCK_LADDR, at + BLOCK_LPORT),
    peer: endAt(ctl, at + BLOCK_RADDR, at + BLOCK_RPORT),
    fd,
    thread: owner > 0 ? owner - 1 : null,
    worker: owner > 1 ? owner - 2 : null,
    group: ctl[at + BLOCK_MEMBERS]!,
    slot: slot >= 0 ? slot : null,
    hash: ctl[at + BLOCK_HASH]! >>> 0,
    listener: ctl[at + BLOCK_LISTENER]! || null,
  };
}

function endAt(ctl: Int32Array, addressAt: number, portAt: number): SocketEnd {
  return { address: formatIpv4(ctl[addressAt]!), port: ctl[portAt]! };
}
