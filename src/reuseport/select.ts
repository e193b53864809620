/**
 * Picking a member of a reuseport group (Linux net/core/sock_reuseport.c: reuseport_select_sock,
 * _migrate_sock): by the group's selector, else by hash. Once per SYN; a connection remembers its
 * listener. Nothing is allocated here.
 */
import { reciprocalScale } from '../net/hash.js';
import { Mib } from '../net/mib.js';
import type { Skb } from '../net/skb.js';
import { TCP_ESTABLISHED } from '../net/tcp-states.js';
import { mayMigrate, type ReuseportGroup } from './group.js';
import type { InetHashinfo } from './hashinfo.js';
import type { SelectorRequest } from './selector-request.js';
import type { SockCommon } from './sock-common.js';

/** What made the last pick. */
export const PICKED_BY_NONE = 0;
export const PICKED_BY_HASH = 1;
export const PICKED_BY_CPU = 2;
export const PICKED_BY_SELECTOR = 3;

/**
 * What one call of a user's selector may take, µs. What it takes beyond that is owed; calls that
 * take less pay back. Who owes more than SELECTOR_ARREARS_MAX_US is detached. One call adds at most
 * half of that, so that no single pause of the machine costs a good selector its place.
 */
export const SELECTOR_BUDGET_US = 50;
export const SELECTOR_ARREARS_MAX_US = 20_000;
const SELECTOR_CHARGE_MAX_US: number = SELECTOR_ARREARS_MAX_US / 2;

/**
 * Linux 6.1 net/core/sock_reuseport.c: reuseport_select_sock_by_hash. The member at floor(hash * n
 * / 2^32); on kernels that look at CPUs the first from there on that belongs to `cpu`, if any
 * member asked for CPUs at all.
 */
function selectByHash(
  hashinfo: InetHashinfo,
  group: ReuseportGroup,
  hash: number,
  cpu: number,
): SockCommon | null {
  const n = group.numSocks;
  const start = reciprocalScale(hash, n);
  hashinfo.pickedBy = PICKED_BY_HASH;
  if (!hashinfo.profile.pickByCpu) return group.socks[start]!;
  let first: SockCommon | null = null;
  let i = start;
  do {
    const sk = group.socks[i]!;
    // Only a connected UDP socket is ESTABLISHED here.
    if (sk.state !== TCP_ESTABLISHED) {
      if (group.incomingCpu === 0) return sk;
      if (sk.incomingCpu === cpu) {
        hashinfo.pickedBy = PICKED_BY_CPU;
        return sk;
      }
      first ??= sk;
    }
    i = i + 1 === n ? 0 : i + 1;
  } while (i !== start);
  return first;
}

/**
 * The member that the group's selector names, or null: the choice is the hash's. A selector that
 * throws, takes too long or answers a promise is detached on the spot. In a dry run it cannot lose
 * anything.
 */
function runSelector(
  hashinfo: InetHashinfo,
  group: ReuseportGroup,
  request: SelectorRequest,
): SockCommon | null {
  const clock = request.dryRun || !group.selectorTimed ? null : hashinfo.selectorClock;
  const startUs = clock === null ? 0 : clock();
  let index: unknown;
  try {
    index = group.selector!(request);
  } catch (error) {
    if (!request.dryRun) detachFailed(hashinfo, group, `it threw ${textOf(error)}`);
    return null;
  }
  if (clock !== null) chargeSelector(hashinfo, group, clock() - startUs);
  if (
    typeof index === 'number' &&
    index >= 0 &&
    index < group.numSocks &&
    Number.isInteger(index)
  ) {
    return group.socks[index]!;
  }
  if (index === HASHS_TURN || request.dryRun) return null;
  if (isThenable(index)) {
    detachFailed(hashinfo, group, 'it answered a promise, which a SYN cannot wait for');
  } else if (group.selector !== null) {
    recordStray(hashinfo, group, index);
  }
  return null;
}

/** What a selector returns to leave the choice to the hash. */
const HASHS_TURN = -1;

/** The end of a selector that failed; said once, as the group has none afterwards. */
function detachFailed(hashinfo: InetHashinfo, group: ReuseportGroup, why: string): void {
  const { net } = hashinfo;
  group.selector = null;
  group.selectorError = why;
  net.count(Mib.TunSelectorDetached);
  net.trace?.selector?.(
    `selector ${group.selectorName} detached: ${why}; the hash chooses from now on`,
  );
}

/** Books a call that took `tookUs`; a selector that owes too much is detached. */
function chargeSelector(hashinfo: InetHashinfo, group: ReuseportGroup, tookUs: number): void {
  const beyondUs = Math.min(tookUs - SELECTOR_BUDGET_US, SELECTOR_CHARGE_MAX_US);
  const arrearsUs = Math.max(0, group.selectorArrearsUs + beyondUs);
  group.selectorArrearsUs = arrearsUs;
  if (arrearsUs <= SELECTOR_ARREARS_MAX_US) return;
  const took = tookUs < 1000 ? `${Math.round(tookUs)} µs` : `${(tookUs / 1000).toFixed(1)} ms`;
  detachFailed(
    hashinfo,
    group,
    `it is too slow (its last call took ${took}, it may take ${SELECTOR_BUDGET_US} µs)`,
  );
}

/** An answer that names no member: counted, and said the first time. */
function recordStray(hashinfo: InetHashinfo, group: ReuseportGroup, index: unknown): void {
  const { net } = hashinfo;
  net.count(Mib.TunSelectorFallback);
  if (group.selectorStrayed) return;
  group.selectorStrayed = true;
  const members = `members are 0 to ${group.numSocks - 1}`;
  net.trace?.selector?.(
    `selector ${group.selectorName} answered ${textOf(index)} (${members}): ` +
      'the hash chooses whenever it does; said once',
  );
}

/** Whatever a user's code has thrown or returned, in one line; it must not throw again. */
function textOf(value: unknown): string {
  try {
    const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
    const line = text.replace(/\s+/g, ' ').slice(0, 200);
    return typeof value === 'bigint' ? `${line}n` : line;
  } catch {
    return 'something that has no text';
  }
}

/** A promise, or what behaves like one: an async function has been given. */
function isThenable(value: unknown): boolean {
  try {
    return typeof value === 'object' && value !== null && 'then' in value;
  } catch {
    return false;
  }
}

/** Fills the stack's one request for `group`. */
function fillRequest(
  hashinfo: InetHashinfo,
  group: ReuseportGroup,
  hash: number,
  skb: Skb | null,
): SelectorRequest {
  const request = hashinfo.selectorRequest;
  request.hash = hash >>> 0;
  request.members = group.numSocks;
  request.group = group;
  request.skb = skb;
  request.cpu = skb === null ? 0 : skb.cpu;
  return request;
}

/**
 * Linux 6.1 net/core/sock_reuseport.c: reuseport_select_sock. A member of the group of `sk`, or
 * null when there is no group or nobody in it. Without a packet the selector is not asked.
 * @param hash flow hash, int32
 */
export function reuseportSelectSock(
  hashinfo: InetHashinfo,
  sk: SockCommon,
  hash: number,
  saddr: number,
  sport: number,
  daddr: number,
  dport: number,
  skb: Skb | null,
): SockCommon | null {
  const group = sk.reuseportCb;
  if (group === null || group.numSocks === 0) return null;
  if (group.selector !== null && skb !== null) {
    const request = fillRequest(hashinfo, group, hash, skb);
    request.saddr = saddr >>> 0;
    request.sport = sport;
    request.daddr = daddr >>> 0;
    request.dport = dport;
    request.migrating = null;
    const picked = runSelector(hashinfo, group, request);
    request.skb = null;
    if (picked !== null) {
      hashinfo.pickedBy = PICKED_BY_SELECTOR;
      return picked;
    }
  }
  return selectByHash(hashinfo, group, hash, skb === null ? 0 : skb.cpu);
}

/**
 * Linux 6.1 net/core/sock_reuseport.c: reuseport_migrate_sock. A live member that takes over
 * `migrating`, an unfinished connection of `sk`, which stopped listening; by its own hash
 * (`migrating.hash`). Null when `sk` has no group; null and TCPMigrateReqFailure when nobody is
 * left or migration is off. The caller counts success.
 */
export function reuseportMigrateSock(
  hashinfo: InetHashinfo,
  sk: SockCommon,
  migrating: SockCommon,
  skb: Skb | null,
): SockCommon | null {
  const group = sk.reuseportCb;
  if (group === null) return null;
  let picked: SockCommon | null = null;
  if (group.numSocks > 0 && mayMigrate(hashinfo, group)) {
    if (group.selector !== null && group.selectorMigrates) {
      const request = fillRequest(hashinfo, group, migrating.hash, skb);
      request.saddr = migrating.daddr >>> 0;
      request.sport = migrating.dport;
      request.daddr = migrating.rcvSaddr >>> 0;
      request.dport = migrating.num;
      request.migrating = migrating;
      picked = runSelector(hashinfo, group, request);
      request.skb = null;
      request.migrating = null;
    }
    picked ??= selectByHash(hashinfo, group, migrating.hash, skb === null ? 0 : skb.cpu);
  }
  if (picked === null) hashinfo.net.count(Mib.TCPMigrateReqFailure);
  return picked;
}
