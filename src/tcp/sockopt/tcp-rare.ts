/**
 * Options of IPPROTO_TCP that few programs know (Linux tcp.c: do_tcp_setsockopt,
 * do_tcp_getsockopt). TCP_REPAIR and TCP_AO do not exist: without privilege the refusal is Linux's.
 */
import { EINVAL, ENOPROTOOPT, EPERM } from '../../net/errno.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { tsNow } from '../ts-clock.js';
import { setRare } from './rare.js';

const TCP_THIN_DUPACK = 17;
const TCP_REPAIR = 19;
const TCP_TIMESTAMP = 24;
const TCP_CC_INFO = 26;
const TCP_SAVE_SYN = 27;
const TCP_SAVED_SYN = 28;
const TCP_AO_REPAIR = 42;

/** 0 or -errno. */
export function setRareTcpOption(tcb: Tcb, name: number, value: number): number {
  switch (name) {
    case TCP_SAVE_SYN:
      if (value < 0 || value > 2) return -EINVAL;
      setRare(tcb, { saveSyn: value });
      return 0;
    case TCP_THIN_DUPACK:
      // Taken and forgotten since Linux 4.15.
      return value < 0 || value > 1 ? -EINVAL : 0;
    case TCP_REPAIR:
    case TCP_AO_REPAIR:
      return tcb.uid === 0 ? -ENOPROTOOPT : -EPERM;
    case TCP_TIMESTAMP:
      // Only under TCP_REPAIR.
      return -EPERM;
  }
  return -ENOPROTOOPT;
}

/** Writes the option's words to `out`; their number or -errno. */
export function getRareTcpOption(tcp: Tcp, tcb: Tcb, name: number, out: Int32Array): number {
  switch (name) {
    case TCP_SAVE_SYN:
      out[0] = tcb.rare.saveSyn;
      return 1;
    case TCP_SAVED_SYN:
      return takeSavedSyn(tcb, out);
    case TCP_THIN_DUPACK:
    case TCP_REPAIR:
      out[0] = 0;
      return 1;
    case TCP_TIMESTAMP:
      out[0] = tsNow(tcp.net.nowUs, tcb.tsOffset);
      return 1;
    case TCP_CC_INFO:
      // Neither reno nor cubic has something to tell.
      return 0;
  }
  return -ENOPROTOOPT;
}

/**
 * Headers are whole words. They are given once, and stay when there is no room for all of them.
 */
function takeSavedSyn(tcb: Tcb, out: Int32Array): number {
  const syn = tcb.savedSyn;
  if (syn === null) return 0;
  const words = syn.length >> 2;
  if (words > out.length) return -EINVAL;
  new Uint8Array(out.buffer, out.byteOffset, syn.length).set(syn);
  tcb.savedSyn = null;
  return words;
}
