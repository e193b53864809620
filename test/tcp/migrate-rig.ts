/** Groups on port 80 whose listeners come and go, and clients in all stages of a handshake. */
import { BLOCK_HASH, BLOCK_LISTENER, BLOCK_MEMBERS, BLOCK_SLOT } from '../../src/net/sockmem.js';
import type { Tcb } from '../../src/tcp/tcb.js';
import { type MemoryStack, type MemoryStackOptions, Peer } from '../../src/testing/index.js';
import { conversation } from './state-table.js';

export const SYN = 'S 0:0(0) <mss 1460>';
export const SYNACK = 'S. 0:0(0) ack 1 <...>';
export const ACK = '. 1:1(0) ack 1';
const MIGRATE = { 'net.ipv4.tcp_migrate_req': 1 };

/** A small stack with net.ipv4.tcp_migrate_req=1. */
export function start(options: MemoryStackOptions = {}): MemoryStack {
  return conversation({ ...options, sysctl: { ...MIGRATE, ...options.sysctl } }).host;
}

/** A member of the group on port 80. */
export const join = (host: MemoryStack, backlog = 100): number =>
  host.listen(80, backlog, { reuseport: true });

export const tcbOf = (host: MemoryStack, fd: number): Tcb => host.stack.sock(fd)!;

/** Clients whose SYN is answered. */
export function halfOpen(host: MemoryStack, count: number, port = 40_000): Peer[] {
  return Array.from({ length: count }, (_, i) => {
    const peer = new Peer(host, { port: port + i });
    peer.in(SYN);
    peer.out(SYNACK);
    return peer;
  });
}

/** Clients that have sent the third ACK. */
export function connected(host: MemoryStack, count: number, port = 40_000): Peer[] {
  const peers = halfOpen(host, count, port);
  for (const peer of peers) peer.in(ACK);
  return peers;
}

/** One `text` for each of `peers`, in whatever order. */
export function outAll(host: MemoryStack, peers: Peer[], text: string): void {
  const portOf = (packet: Uint8Array): number => packet[22]! * 256 + packet[23]!;
  host.sent.sort((a, b) => portOf(a) - portOf(b));
  for (const peer of peers) peer.out(text);
}

/** Everything that a listener's accept queue holds. */
export function acceptAll(host: MemoryStack, listener: number): number[] {
  const fds: number[] = [];
  for (let fd = host.accept(listener); fd >= 0; fd = host.accept(listener)) fds.push(fd);
  return fds;
}

/** None of `peers` was sent anything. */
export const quiet = (peers: Peer[]): void => {
  for (const peer of peers) peer.quiet();
};

/** Where a connection says it came from, and why. */
export function origin(
  host: MemoryStack,
  fd: number,
): Record<'hash' | 'slot' | 'members' | 'listener', number> {
  const { ctl } = host.mem;
  const at = host.mem.blockAt(fd);
  return {
    hash: ctl[at + BLOCK_HASH]!,
    slot: ctl[at + BLOCK_SLOT]!,
    members: ctl[at + BLOCK_MEMBERS]!,
    listener: ctl[at + BLOCK_LISTENER]!,
  };
}
