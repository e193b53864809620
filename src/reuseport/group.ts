/**
 * SO_REUSEPORT groups (Linux net/core/sock_reuseport.c): an array of listeners in listen() order.
 * Removal fills the hole with the last member. Listeners that stopped but still own unfinished
 * connections that may migrate stand in the closed section at the end of the array, growing
 * downward. Picking a member is select.ts; who may join whom is decided in hash-listen.ts
 * (inet_reuseport_add_sock) and get-port.ts.
 */
import { assert } from '../net/assert.js';
import { EBUSY, EINVAL, ENOENT, ENOMEM } from '../net/errno.js';
import type { InetHashinfo } from './hashinfo.js';
import { LowestNumber } from './lowest-number.js';
import type { Selector } from './selector-request.js';
import type { SockCommon } from './sock-common.js';

/** Linux: INIT_SOCKS, and the bound that reuseport_grow puts on the doubled size. */
const INIT_SOCKS = 128;
const U16_MAX = 65_535;

export class ReuseportGroup {
  readonly id: number;
  /** Members at [0, numSocks), closed ones at [maxSocks - numClosedSocks, maxSocks). */
  socks: (SockCommon | null)[] = new Array<SockCommon | null>(INIT_SOCKS).fill(null);
  maxSocks: number = INIT_SOCKS;
  numSocks = 0;
  numClosedSocks = 0;
  /** Members, live and closed, with SO_INCOMING_CPU. */
  incomingCpu = 0;
  /** The members listen on 0.0.0.0. */
  bindInany: boolean;
  /**
   * When a SYN cookie was last sent by a member, µs (Linux: synq_overflow_ts); -Infinity = never.
   */
  synqOverflowUs: number = Number.NEGATIVE_INFINITY;
  selector: Selector | null = null;
  /** What the selector is called in messages: a built-in's name or a file. */
  selectorName = '';
  /**
   * The selector also places unfinished connections of closed members
   * (BPF_SK_REUSEPORT_SELECT_OR_MIGRATE).
   */
  selectorMigrates = false;
  /** Its calls are measured and it may lose its place by being slow; a built-in may not. */
  selectorTimed = true;
  /** Why the last selector was detached without having been asked for; null = it was not. */
  selectorError: string | null = null;
  /** Time beyond its budget that the selector has taken and not saved since, µs. */
  selectorArrearsUs = 0;
  /** The user has been told that it names what is no member. */
  selectorStrayed = false;
  /** Numbers of the live members. */
  readonly keys: LowestNumber = new LowestNumber();

  constructor(id: number, bindInany: boolean) {
    this.id = id;
    this.bindInany = bindInany;
  }

  get empty(): boolean {
    return this.numSocks + this.numClosedSocks === 0;
  }
}

/** Linux: reuseport_get_incoming_cpu. */
function countIncomingCpu(group: ReuseportGroup, sk: SockCommon, n: 1 | -1): void {
  if (sk.incomingCpu >= 0) group.incomingCpu += n;
}

/** Linux: __reuseport_add_sock. */
function addLive(group: ReuseportGroup, sk: SockCommon): void {
  const slot = group.numSocks++;
  group.socks[slot] = sk;
  sk.reuseportSlot = slot;
  sk.reuseportKey = group.keys.take();
  sk.reuseportCb = group;
  countIncomingCpu(group, sk, 1);
}

/** Linux: __reuseport_add_closed_sock. Nobody can choose it: it has no number. */
function addClosed(group: ReuseportGroup, sk: SockCommon): void {
  group.numClosedSocks++;
  const slot = group.maxSocks - group.numClosedSocks;
  group.socks[slot] = sk;
  sk.reuseportSlot = slot;
  sk.reuseportCb = group;
  countIncomingCpu(group, sk, 1);
}

function isClosedMember(group: ReuseportGroup, sk: SockCommon): boolean {
  return sk.reuseportSlot >= group.maxSocks - group.numClosedSocks;
}

/**
 * Linux: __reuseport_detach_sock and __reuseport_detach_closed_sock: the hole is filled from the
 * section's edge.
 */
function removeFromSection(group: ReuseportGroup, sk: SockCommon): void {
  const slot = sk.reuseportSlot;
  assert(group.socks[slot] === sk, 'socket is not in its reuseport group');
  let edge = group.maxSocks - group.numClosedSocks;
  if (isClosedMember(group, sk)) {
    group.numClosedSocks--;
  } else {
    edge = --group.numSocks;
    group.keys.give(sk.reuseportKey);
    sk.reuseportKey = -1;
  }
  const last = group.socks[edge]!;
  group.socks[slot] = last;
  last.reuseportSlot = slot;
  group.socks[edge] = null;
  sk.reuseportSlot = -1;
  sk.reuseportCb = null;
  countIncomingCpu(group, sk, -1);
}

/**
 * Linux: reuseport_grow. Makes room for one more; false = the group has as many members as a group
 * can have.
 */
function makeRoom(group: ReuseportGroup): boolean {
  if (group.numSocks + group.numClosedSocks < group.maxSocks) return true;
  const maxSocks = group.maxSocks * 2;
  if (maxSocks > U16_MAX) {
    if (group.numClosedSocks === 0) return false;
    // The newest closed member goes: its children have moved already, only half-open connections
    // lose their way.
    removeFromSection(group, group.socks[group.maxSocks - group.numClosedSocks]!);
    return true;
  }
  const socks = new Array<SockCommon | null>(maxSocks).fill(null);
  for (let i = 0; i < group.numSocks; i++) socks[i] = group.socks[i]!;
  for (let i = 1; i <= group.numClosedSocks; i++) {
    const sk = group.socks[group.maxSocks - i]!;
    socks[maxSocks - i] = sk;
    sk.reuseportSlot = maxSocks - i;
  }
  group.socks = socks;
  group.maxSocks = maxSocks;
  return true;
}

/** True when `sk` stopped listening and stands in its group's closed section. */
export function reuseportIsClosed(sk: SockCommon): boolean {
  return sk.reuseportCb !== null && isClosedMember(sk.reuseportCb, sk);
}

/**
 * Linux 6.1 net/core/sock_reuseport.c: reuseport_alloc. A group of its own for `sk`, unless it has
 * one; a socket that stopped listening leaves its old group (and the old group's selector). Always
 * 0.
 */
export function reuseportAlloc(hashinfo: InetHashinfo, sk: SockCommon, bindInany: boolean): number {
  const group = sk.reuseportCb;
  if (group === null) {
    addLive(new ReuseportGroup(++hashinfo.groupsMade, bindInany), sk);
    return 0;
  }
  if (isClosedMember(group, sk)) return reuseportResurrect(hashinfo, sk, null, bindInany);
  if (bindInany) group.bindInany = true;
  return 0;
}

/**
 * Linux 6.1 net/core/sock_reuseport.c: reuseport_add_sock. `sk` joins the group of `sk2` as its
 * last member.
 * @returns 0, -EBUSY when `sk` is in a group with others, -ENOMEM when the group is full
 */
export function reuseportAddSock(
  hashinfo: InetHashinfo,
  sk: SockCommon,
  sk2: SockCommon,
  bindInany: boolean,
): number {
  if (sk2.reuseportCb === null) reuseportAlloc(hashinfo, sk2, bindInany);
  const group = sk2.reuseportCb!;
  const old = sk.reuseportCb;
  if (old !== null) {
    if (isClosedMember(old, sk)) return reuseportResurrect(hashinfo, sk, group, group.bindInany);
    if (old.numSocks !== 1) return -EBUSY;
  }
  if (!makeRoom(group)) return -ENOMEM;
  if (old !== null) removeFromSection(old, sk);
  addLive(group, sk);
  return 0;
}

/**
 * Linux 6.1 net/core/sock_reuseport.c: reuseport_resurrect. A socket of a closed section listens
 * again: back into its own group, into another one, or (null) into a new one, which starts without
 * a selector. 0 or -ENOMEM.
 */
export function reuseportResurrect(
  hashinfo: InetHashinfo,
  sk: SockCommon,
  group: ReuseportGroup | null,
  bindInany: boolean,
): number {
  const old = sk.reuseportCb;
  assert(old !== null && isClosedMember(old, sk), 'resurrect: socket is not in a closed section');
  const target = group ?? new ReuseportGroup(++hashinfo.groupsMade, bindInany);
  if (target !== old && !makeRoom(target)) return -ENOMEM;
  removeFromSection(old, sk);
  addLive(target, sk);
  return 0;
}

/**
 * Linux 6.1 net/core/sock_reuseport.c: reuseport_detach_sock. `sk` leaves its group, whichever
 * section it is in; to be called when a socket is destroyed. Nothing happens when it is in none.
 */
export function reuseportDetachSock(sk: SockCommon): void {
  if (sk.reuseportCb !== null) removeFromSection(sk.reuseportCb, sk);
}

/**
 * Linux 6.1 net/core/sock_reuseport.c: reuseport_stop_listen_sock. A listener stops: it moves to
 * the closed section when its unfinished connections may migrate (tcp_migrate_req, or a migrating
 * selector), else it leaves the group.
 */
export function reuseportStopListenSock(hashinfo: InetHashinfo, sk: SockCommon): void {
  const group = sk.reuseportCb;
  if (group === null) return;
  removeFromSection(group, sk);
  if (mayMigrate(hashinfo, group)) addClosed(group, sk);
}

/**
 * Our own, for a listener that drains: it leaves the live members whatever happens to its
 * unfinished connections, and stays in its group. Nothing happens when it is in none.
 */
export function reuseportDrainSock(sk: SockCommon): void {
  const group = sk.reuseportCb;
  if (group === null) return;
  removeFromSection(group, sk);
  addClosed(group, sk);
}

/** Connections of a closed member of `group` may move to a live one. */
export function mayMigrate(hashinfo: InetHashinfo, group: ReuseportGroup): boolean {
  if (!hashinfo.profile.migrates) return false;
  return (
    hashinfo.net.sysctl.tcpMigrateReq !== 0 || (group.selector !== null && group.selectorMigrates)
  );
}

/** Linux 6.1 include/net/sock.h: sk_unhashed, for TCP: neither listening nor connected. */
function skUnhashed(sk: SockCommon): boolean {
  return sk.lhash2Slot < 0 && sk.ehashSlot < 0;
}

/**
 * Linux 6.1 net/core/sock_reuseport.c: reuseport_attach_prog. Gives the whole group of `sk` a
 * selector; a socket that is not hashed gets a group of its own first.
 * @param migrates the selector also places unfinished connections of closed members
 * @param name what messages call it
 * @param timed false: it is one of ours, whose cost is known (some look at every member), and no
 *   budget is kept
 * @returns 0; -EINVAL when SO_REUSEPORT was not set (before listen(), for a listener)
 */
export function reuseportAttachSelector(
  hashinfo: InetHashinfo,
  sk: SockCommon,
  selector: Selector,
  migrates = false,
  name = 'of the program',
  timed = true,
): number {
  if (skUnhashed(sk)) {
    if (!sk.reuseport) return -EINVAL;
    reuseportAlloc(hashinfo, sk, false);
  } else if (sk.reuseportCb === null) {
    return -EINVAL;
  }
  const group = sk.reuseportCb!;
  group.selector = selector;
  group.selectorName = name;
  group.selectorTimed = timed;
  group.selectorMigrates = migrates;
  group.selectorError = null;
  group.selectorArrearsUs = 0;
  group.selectorStrayed = false;
  return 0;
}

/**
 * Linux 6.1 net/core/sock_reuseport.c: reuseport_detach_prog.
 * @returns 0; without a group -ENOENT if SO_REUSEPORT is set, else -EINVAL; -ENOENT when there is
 *   no selector or `sk` is a member that stopped listening
 */
export function reuseportDetachSelector(sk: SockCommon): number {
  const group = sk.reuseportCb;
  if (group === null) return sk.reuseport ? -ENOENT : -EINVAL;
  if (skUnhashed(sk) && group.numClosedSocks > 0) return -ENOENT;
  if (group.selector === null) return -ENOENT;
  group.selector = null;
  return 0;
}

/**
 * Linux 6.1 net/core/sock_reuseport.c: reuseport_update_incoming_cpu. Sets SO_INCOMING_CPU, -1 =
 * none.
 */
export function reuseportUpdateIncomingCpu(sk: SockCommon, cpu: number): void {
  const group = sk.reuseportCb;
  if (group !== null) countIncomingCpu(group, sk, -1);
  sk.incomingCpu = cpu;
  if (group !== null) countIncomingCpu(group, sk, 1);
}
