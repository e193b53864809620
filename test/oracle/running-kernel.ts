/**
 * The running kernel as a profile of ours: upstream versions in which each difference that
 * src/reuseport/profile.ts knows came about. Distributions backport: a kernel that answers
 * otherwise than its version says is told from its row here.
 */

import type { Profile } from '../../src/net/sysctl.js';
import { type KernelProfile, kernelProfile } from '../../src/reuseport/profile.js';
import { kernelAtLeast } from './kernel-sockets.js';

/** The profile that comes nearest, for all that is not in `runningProfile`. */
export function nearestProfile(): Profile {
  return kernelAtLeast(5, 4) ? '6.18' : '5.0';
}

/** Tables and groups as the running kernel has them. */
export function runningProfile(): KernelProfile {
  const old = kernelProfile('5.0');
  const scores = kernelProfile(kernelAtLeast(5, 15) ? '6.18' : '5.0');
  return {
    ...kernelProfile('6.18'),
    ehashAddsPort: kernelAtLeast(6, 15),
    scoreBoundDevice: scores.scoreBoundDevice,
    scoreUnboundDevice: scores.scoreUnboundDevice,
    scoreInet: scores.scoreInet,
    scoreOtherFamily: scores.scoreOtherFamily,
    pickByCpu: kernelAtLeast(6, 2),
    synQueueSlack: kernelAtLeast(6, 14) ? 1 : 0,
    bindsDeviceOnce: kernelAtLeast(5, 7),
    migrates: kernelAtLeast(5, 14),
    detachesSelector: kernelAtLeast(5, 3),
    perturbSlots: kernelAtLeast(5, 18) ? 65_536 : old.perturbSlots,
    perturbRandomly: kernelAtLeast(5, 18),
    fastReuseSeesFirst: !kernelAtLeast(6, 8),
    portForgetsBinds: kernelAtLeast(6, 18),
    localPortRange: kernelAtLeast(6, 8),
  };
}
