/**
 * What a selector sees of the connection that looks for a listener and of the members that it may
 * choose from. Built-in selectors and users' modules are written against this and nothing else;
 * who runs them is select.ts.
 */
import type { Random } from '../net/env.js';
import { jhash1word, reciprocalScale } from '../net/hash.js';
import type { Skb } from '../net/skb.js';
import type { ReuseportGroup } from './group.js';
import type { SockCommon } from './sock-common.js';

/**
 * How busy a listener and the thread that accepts from it are now. Given to the tables by whoever
 * knows; asked while a SYN is being placed, so it must be quick and must not allocate.
 */
export interface MemberState {
  /** Connections that wait in its accept queue. */
  queueLength(sk: SockCommon): number;
  /** Connections that came through it and are still open, half-open and waiting ones included. */
  connections(sk: SockCommon): number;
  /** Share of its thread's recent time that was work and not waiting, 0 to 1. */
  utilisation(sk: SockCommon): number;
  /**
   * Milliseconds since its thread last showed that it runs; 0 while it waits for events, Infinity
   * when it is gone.
   */
  heartbeatAgeMs(sk: SockCommon): number;
}

/** Nobody knows anything about the members: all alike. */
const NO_MEMBER_STATE: MemberState = {
  queueLength: () => 0,
  connections: () => 0,
  utilisation: () => 0,
  heartbeatAgeMs: () => 0,
};

/**
 * One object per stack, reused: read it before returning. All numbers are unsigned. Members are
 * numbered as in the group: in listen() order, a leaver's place taken by the last.
 */
export class SelectorRequest {
  /** Flow hash of the SYN, u32: what the default pick uses. */
  hash = 0;
  /** The client's and our address as u32 in host order, and ports. */
  saddr = 0;
  sport = 0;
  daddr = 0;
  dport = 0;
  /** Queue ("CPU") on which the packet came in. */
  cpu = 0;
  /** Members to choose from: 0..members-1. */
  members = 0;
  /** The question is asked by `explain`: nothing may be remembered of it. */
  dryRun = false;
  group!: ReuseportGroup;
  /** The packet, null when a connection is being moved without one. */
  skb: Skb | null = null;
  /** The connection that looks for a new listener, null for a SYN. */
  migrating: SockCommon | null = null;

  private readonly dice: Random;
  /** Dice of dry runs: the stack's own must not roll. */
  private dryRoll = 0;
  /** Replaced by whoever knows more. */
  state: MemberState = NO_MEMBER_STATE;

  constructor(dice: Random) {
    this.dice = dice;
  }

  /** A random u32. */
  random(): number {
    if (!this.dryRun) return this.dice.u32();
    this.dryRoll = (this.dryRoll + 1) | 0;
    return jhash1word(this.dryRoll, this.hash) >>> 0;
  }

  /** A random index below `n`. */
  randomBelow(n: number): number {
    return reciprocalScale(this.random(), n);
  }

  /**
   * A number that stays with member `i` for as long as it is in the group, whatever index it has:
   * the lowest that nobody had when it joined, so that one who takes a leaver's place takes its
   * number.
   */
  key(i: number): number {
    return this.group.socks[i]!.reuseportKey;
  }

  /** See MemberState; `i` must be below `members`. */
  queueLength(i: number): number {
    return this.state.queueLength(this.group.socks[i]!);
  }

  connections(i: number): number {
    return this.state.connections(this.group.socks[i]!);
  }

  utilisation(i: number): number {
    return this.state.utilisation(this.group.socks[i]!);
  }

  heartbeatAgeMs(i: number): number {
    return this.state.heartbeatAgeMs(this.group.socks[i]!);
  }
}

/**
 * Picks a member by index; anything that is not an index of a member leaves the choice to the hash.
 * It runs in the middle of a lookup and must not open, close or change sockets.
 */
export type Selector = (request: SelectorRequest) => number;
