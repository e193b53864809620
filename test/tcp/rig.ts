/**
 * One connection of a stack in memory with a peer played by hand: what most packet tables begin
 * with.
 */

import type { Tcb } from '../../src/tcp/tcb.js';
import {
  MemoryStack,
  type MemoryStackOptions,
  Peer,
  type PeerOptions,
} from '../../src/testing/index.js';

export interface RigOptions extends MemoryStackOptions {
  /** Options of the peer's SYN; default an MSS of 1460 and nothing else. */
  syn?: string;
  /** Window field of the peer's SYN and third ACK; default 65535. */
  win?: number;
  /** Options of the third ACK, needed with timestamps. */
  ack?: string;
  peer?: PeerOptions;
  /** [level, name, value] set on the listener. */
  listenerOptions?: [number, number, number][];
  /** Time between the SYN-ACK and the third ACK, ms. */
  rttMs?: number;
}

export interface Rig {
  host: MemoryStack;
  peer: Peer;
  listener: number;
  fd: number;
  tcb: Tcb;
}

/**
 * A stack and an accepted connection on port 80; both ISNs are 0 in the texts. Idle connections are
 * not parked, so that `tcb` stays what it is.
 */
export function rig(options: RigOptions = {}): Rig {
  const host = new MemoryStack({ arenaBytes: 8 << 20, parkAfterUs: Infinity, ...options });
  const listener = host.listen(80);
  for (const [level, name, value] of options.listenerOptions ?? []) {
    const error = host.stack.setsockopt(listener, level, name, value, 0);
    if (error !== 0) throw new Error(`setsockopt: ${error}`);
  }
  const peer = new Peer(host, options.peer);
  const win = options.win ?? 65_535;
  peer.in(`S 0:0(0) win ${win} ${options.syn ?? '<mss 1460>'}`);
  peer.out('S. 0:0(0) ack 1 <...>');
  if (options.rttMs !== undefined) host.advance(options.rttMs);
  peer.in(`. 1:1(0) ack 1 win ${win} ${options.ack ?? ''}`);
  const fd = host.accept(listener);
  if (fd < 0) throw new Error(`accept: ${fd}`);
  return { host, peer, listener, fd, tcb: host.stack.sock(fd)! };
}

const PATTERN = Uint8Array.from({ length: 1_200_000 }, (_, i) => i % 251);

/** `count` bytes whose values tell their place: byte i is (first + i) % 251. */
export function pattern(count: number, first = 0): Uint8Array {
  return PATTERN.slice(first % 251, (first % 251) + count);
}

/** Everything that waits to be read. */
export function readAll(host: MemoryStack, fd: number): Uint8Array {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = host.read(fd);
    if (typeof chunk === 'number' || chunk.length === 0) break;
    chunks.push(chunk.slice());
  }
  return new Uint8Array(Buffer.concat(chunks));
}
