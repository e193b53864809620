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

/** Somebody who watches. Every hook is optional and costs one null test when nobody does. */
export interface Trace {
  /**
   * A packet came in (`in`) or is going out (`out`), before it is looked at / after it is complete.
   */
  packet?(direction: 'in' | 'out', skb: Skb): void;
  /** A packet was dropped; `reason` is the Linux counter that moved. */
  drop?(reason: string, skb: Skb): void;
  /** A socket changed state; states are Linux's numbers. */
  state?(fd: number, from: number, to: number): void;
  /**
   * A listener lookup has been made for a SYN; read the decision before returning, it is reused.
   */
  decision?(decision: object): void;
}
