/**
 * SO_ATTACH_REUSEPORT_SELECTOR, our own: gives the group of a listener a selector, a built-in one
 * by name or a user's own by the absolute path of its module. The rules of who may attach are those
 * of SO_ATTACH_REUSEPORT_CBPF (Linux core/filter.c: __reuseport_attach_prog, reuseport/group.ts).
 * Reading modules is the business of whoever runs the stack: Tcp.loadSelector.
 */
import { EINVAL, ENOENT } from '../net/errno.js';
import { reuseportAttachSelector } from '../reuseport/group.js';
import type { Selector } from '../reuseport/selector-request.js';
import { builtinSelector, SELECTOR_NAMES } from '../reuseport/selectors/builtin.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** What getsockopt says of the group's selector. */
export const SELECTOR_NONE = 0;
export const SELECTOR_ATTACHED = 1;
/** It had one, which failed and was detached. */
export const SELECTOR_FAILED = 2;

/**
 * 0; -EINVAL: SO_REUSEPORT was not set in time, no such name, or a module that gives no function;
 * -ENOENT: no such file. Why a name or a module was refused is told to the trace.
 */
export function attachSelector(tcp: Tcp, tcb: Tcb, name: string): number {
  const builtin = builtinSelector(name);
  if (builtin !== null) {
    return reuseportAttachSelector(tcp.hashinfo, tcb, builtin, false, name, false);
  }
  if (!mayAttach(tcb)) return -EINVAL;
  if (!name.startsWith('/') || tcp.loadSelector === null) {
    const names = SELECTOR_NAMES.join(', ');
    return refuse(tcp, name, `it is none of ${names} and no absolute path`, -EINVAL);
  }
  let selector: Selector;
  try {
    selector = tcp.loadSelector(name);
  } catch (error) {
    const missing = (error as { code?: unknown } | null)?.code === 'ENOENT';
    const reason = error instanceof Error ? error.message : String(error);
    return refuse(tcp, name, reason, missing ? -ENOENT : -EINVAL);
  }
  return reuseportAttachSelector(tcp.hashinfo, tcb, selector, false, name);
}

/** Before a module runs: what reuseportAttachSelector would refuse anyway. */
function mayAttach(tcb: Tcb): boolean {
  return tcb.reuseportCb !== null || (tcb.reuseport && tcb.lhash2Slot < 0 && tcb.ehashSlot < 0);
}

function refuse(tcp: Tcp, name: string, reason: string, error: number): number {
  tcp.net.trace?.selector?.(`selector ${name} refused: ${reason}`);
  return error;
}

/** SELECTOR_* of the group of `tcb`. */
export function selectorState(tcb: Tcb): number {
  const group = tcb.reuseportCb;
  if (group === null) return SELECTOR_NONE;
  if (group.selector !== null) return SELECTOR_ATTACHED;
  return group.selectorError === null ? SELECTOR_NONE : SELECTOR_FAILED;
}

/** Name of the selector that the group of `tcb` has, '' = none: the hash chooses. */
export function selectorName(tcb: Tcb): string {
  const group = tcb.reuseportCb;
  return group === null || group.selector === null ? '' : group.selectorName;
}
