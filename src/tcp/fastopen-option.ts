/**
 * The knobs and socket options of Fast Open (Linux tcp.c: do_tcp_setsockopt, do_tcp_getsockopt;
 * tcp.h: fastopen_queue_tune; tcp_fastopen.c: tcp_fastopen_get_cipher).
 */
import { EINVAL, ENOPROTOOPT, EOPNOTSUPP } from '../net/errno.js';
import { inStates, states, TCP_CLOSE, TCP_LISTEN } from './state.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** Bits of net.ipv4.tcp_fastopen. */
export const TFO_CLIENT_ENABLE = 1;
export const TFO_SERVER_ENABLE = 2;
export const TFO_CLIENT_NO_COOKIE = 4;
export const TFO_SERVER_COOKIE_NOT_REQD = 0x200;
export const TFO_SERVER_WO_SOCKOPT1 = 0x400;

const TCP_FASTOPEN = 23;
const TCP_FASTOPEN_CONNECT = 30;
const TCP_FASTOPEN_NO_COOKIE = 34;

const UNCONNECTED: number = states(TCP_CLOSE, TCP_LISTEN);

/** Is the client's side on? */
export function fastopenClientOn(tcp: Tcp): boolean {
  return (tcp.net.sysctl.tcpFastopen & TFO_CLIENT_ENABLE) !== 0;
}

/** 0 or -errno; -ENOPROTOOPT: not an option of Fast Open. */
export function setFastopenOption(tcp: Tcp, tcb: Tcb, name: number, value: number): number {
  switch (name) {
    case TCP_FASTOPEN:
      if (value < 0 || !inStates(tcb.state, UNCONNECTED)) return -EINVAL;
      tcb.fastopenMax = Math.min(value, tcp.net.sysctl.somaxconn);
      return 0;
    case TCP_FASTOPEN_CONNECT:
      if (value > 1 || value < 0) return -EINVAL;
      if (!fastopenClientOn(tcp)) return -EOPNOTSUPP;
      if (tcb.state !== TCP_CLOSE) return -EINVAL;
      tcb.fastopenConnect = value !== 0;
      return 0;
    case TCP_FASTOPEN_NO_COOKIE:
      if (value > 1 || value < 0 || !inStates(tcb.state, UNCONNECTED)) return -EINVAL;
      tcb.fastopenNoCookie = value !== 0;
      return 0;
  }
  return -ENOPROTOOPT;
}

/** The option's value; null: not an option of Fast Open. */
export function getFastopenOption(tcb: Tcb, name: number): number | null {
  switch (name) {
    case TCP_FASTOPEN:
      return tcb.fastopenMax;
    case TCP_FASTOPEN_CONNECT:
      return tcb.fastopenConnect ? 1 : 0;
    case TCP_FASTOPEN_NO_COOKIE:
      return tcb.fastopenNoCookie ? 1 : 0;
  }
  return null;
}

/** Bytes of one key of TCP_FASTOPEN_KEY. */
const KEY_BYTES = 16;

/**
 * TCP_FASTOPEN_KEY: one key or two, the second only accepted.
 * @param text a character (0..255) for each byte
 */
export function setFastopenKey(tcb: Tcb, text: string): number {
  if (text.length !== KEY_BYTES && text.length !== 2 * KEY_BYTES) return -EINVAL;
  const keys = new Int32Array(text.length / 4);
  for (let i = 0; i < text.length; i++) {
    const byte = text.charCodeAt(i);
    if (byte > 255) return -EINVAL;
    keys[i >> 2] = keys[i >> 2]! | (byte << ((i & 3) * 8));
  }
  tcb.fastopenKeys = keys;
  return 0;
}

/** The keys that cookies of this listener are made with, in the same form; empty = none yet. */
export function fastopenKey(tcp: Tcp, tcb: Tcb): string {
  const keys = tcb.fastopenKeys ?? tcp.net.sysctl.tcpFastopenKey;
  let text = '';
  for (const word of keys) {
    for (let shift = 0; shift < 32; shift += 8) {
      text += String.fromCharCode((word >>> shift) & 255);
    }
  }
  return text;
}

/** listen(): with bit 0x400 every listener has Fast Open, as many as the backlog. */
export function fastopenListen(tcp: Tcp, listener: Tcb, backlog: number): void {
  const all = TFO_SERVER_ENABLE | TFO_SERVER_WO_SOCKOPT1;
  if ((tcp.net.sysctl.tcpFastopen & all) === all && listener.fastopenMax === 0) {
    listener.fastopenMax = backlog;
  }
}
