/**
 * `cpu`: the member with the number of the queue on which the SYN came in. Good for: one worker per
 * queue, so that a connection's packets and its worker stay on one core (the kernel's selftest
 * reuseport_bpf_cpu does the same). With fewer members than queues the hash places the rest.
 */
import type { Selector } from '../selector-request.js';

export const selectCpu: Selector = (request) => (request.cpu < request.members ? request.cpu : -1);
