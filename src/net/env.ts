/**
 * What the core is given from outside: a device, dice, and somebody who watches. The core does no
 * I/O of its own and reads no clock; see ARCHITECTURE.md, "the core's contract".
 */
import type { Skb } from './skb.js';

/** A link that carries whole IP packets. */
export interface Device {
  /** Largest IP packet the link carries, bytes. */
  readonly mtu: number;
  /** What the link does for us; zeros = nothing. */
  readonly offload: {
    /** The link completes TCP/UDP checksums (`skb.ipSummed` PARTIAL out, UNNECESSARY in). */
    readonly checksum: boolean;
    /** Largest TCP super-packet that the link cuts into MSS-sized segments, bytes; 0 = none. */
    readonly gsoMaxBytes: number;
  };
  /**
   * Sends one packet: the linear bytes and both fragments of `skb`. The device has copied or
   * written them when it returns; the caller keeps the skb. False = the link refused it (queue
   * full): the packet is lost.
   */
  transmit(skb: Skb): boolean;
}

/** Dice. One seed fixes a whole run: ISNs, ports, hash secrets, cookies all come from here. */
export interface Random {
  /** Uniform unsigned 32-bit integer. */
  u32(): number;
}

/**
 * Somebody who watches. Every hook is optional and costs one null test when nobody does; those of
 * packets and decisions may come and go while the stack runs.
 */
export interface Trace {
  /**
   * A packet came in (`in`) or is going out (`out`), before it is looked at / after it is complete.
   */
  packet?: ((direction: 'in' | 'out', skb: Skb) => void) | undefined;
  /** A packet was dropped; `reason` is the Linux counter that moved. */
  drop?(reason: string, skb: Skb): void;
  /** A socket changed state; states are Linux's numbers. */
  state?(fd: number, from: number, to: number): void;
  /**
   * The lookup for a SYN has been made, once per SYN, before anything is done or sent because of
   * it; the packet is the last one that came in. Read the decision before returning, it is reused.
   */
  decision?: ((decision: object) => void) | undefined;
  /** Something about a user's selector that its user should read: it was detached, for example. */
  selector?(message: string): void;
}
