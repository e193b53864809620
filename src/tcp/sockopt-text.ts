/**
 * Socket options whose value is a text (Linux core/sock.c: sk_setsockopt). What is not here is
 * refused with -ENOPROTOOPT, never ignored.
 */
import { ENOPROTOOPT } from '../net/errno.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** 0 or -errno. */
export function tcpSetsockoptText(
  _tcp: Tcp,
  _tcb: Tcb,
  _level: number,
  _name: number,
  _text: string,
): number {
  return -ENOPROTOOPT;
}
