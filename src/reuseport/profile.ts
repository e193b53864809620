/**
 * The kernel to be like, as one table: every difference between Linux 5.0 and today's Linux (6.18)
 * that lookup, groups, port choice and the SYN queue know is a field here, and the code reads
 * fields. Defaults of knobs that differ (somaxconn, tcp_rmem, …) belong to net/sysctl.ts.
 */
import type { Profile as ProfileName } from '../net/sysctl.js';

export interface KernelProfile {
  readonly name: ProfileName;
  /**
   * Where the local port enters inetEhashfn. False: upper half of the third word (up to 6.14).
   * True: added to the hash (6.15, commit 9544d60a2605), so dport + 1 gives hash + 1.
   */
  readonly ehashAddsPort: boolean;
  /** Score terms of an IPv4 listener (inet_hashtables.c: compute_score). */
  readonly scoreBoundDevice: number;
  readonly scoreUnboundDevice: number;
  readonly scoreInet: number;
  readonly scoreOtherFamily: number;
  readonly scoreCpu: number;
  /** The hash pick of a group skips ESTABLISHED members and prefers members of this CPU (6.2). */
  readonly pickByCpu: boolean;
  /**
   * Requests that a SYN queue takes beyond the backlog (inet_csk_reqsk_queue_is_full: >= then, >
   * now).
   */
  readonly synQueueSlack: number;
  /** SO_BINDTODEVICE by who has no capability, once per socket (5.7). */
  readonly bindsDeviceOnce: boolean;
  /** tcp_migrate_req and selectors that migrate (5.14). */
  readonly migrates: boolean;
  /** SO_DETACH_REUSEPORT_BPF (5.3). */
  readonly detachesSelector: boolean;
  /**
   * Slots of the table that perturbs connect()'s first port; 1 = the one global hint of old, a
   * power of two.
   */
  readonly perturbSlots: number;
  /**
   * After a connect() the perturbation moves on by a random number of ports (RFC 6056 3.3.4, Linux
   * 5.18).
   */
  readonly perturbRandomly: boolean;
  /** Where connect() begins for a destination is drawn anew every ten seconds (5.18). */
  readonly reshufflesPorts: boolean;
  /** The first owner of a port opens the short way for those that come after it (up to 6.7). */
  readonly fastReuseSeesFirst: boolean;
  /** A port whose last bind() is gone is as free for connect() as if there had been none (6.18). */
  readonly portForgetsBinds: boolean;
  /** IP_LOCAL_PORT_RANGE (6.3), whose ports connect() takes one after another (6.8). */
  readonly localPortRange: boolean;
}

const LINUX_5_0: KernelProfile = {
  name: '5.0',
  ehashAddsPort: false,
  scoreBoundDevice: 0,
  scoreUnboundDevice: 0,
  scoreInet: 2,
  scoreOtherFamily: 1,
  scoreCpu: 1,
  pickByCpu: false,
  synQueueSlack: 0,
  bindsDeviceOnce: false,
  migrates: false,
  detachesSelector: false,
  perturbSlots: 1,
  perturbRandomly: false,
  reshufflesPorts: false,
  fastReuseSeesFirst: true,
  portForgetsBinds: false,
  localPortRange: false,
};

const LINUX_6_18: KernelProfile = {
  name: '6.18',
  ehashAddsPort: true,
  scoreBoundDevice: 2,
  scoreUnboundDevice: 1,
  scoreInet: 1,
  scoreOtherFamily: 0,
  scoreCpu: 1,
  pickByCpu: true,
  synQueueSlack: 1,
  bindsDeviceOnce: true,
  migrates: true,
  detachesSelector: true,
  perturbSlots: 65_536,
  perturbRandomly: true,
  reshufflesPorts: true,
  fastReuseSeesFirst: false,
  portForgetsBinds: true,
  localPortRange: true,
};

const PROFILES: Readonly<Record<ProfileName, KernelProfile>> = {
  '5.0': LINUX_5_0,
  '6.18': LINUX_6_18,
};

/** The row of the kernel called `name`. */
export function kernelProfile(name: ProfileName): KernelProfile {
  return PROFILES[name];
}

/**
 * Linux include/net/inet_connection_sock.h: inet_csk_reqsk_queue_is_full.
 * @param reqs requests in the SYN queue of this listener
 * @param backlog min(listen()'s argument, somaxconn)
 */
export function synQueueFull(profile: KernelProfile, reqs: number, backlog: number): boolean {
  return reqs >= backlog + profile.synQueueSlack;
}
