/**
 * Socket options whose value is a text (Linux core/sock.c: sk_setsockopt, sk_getsockopt). What is
 * not here is refused with -ENOPROTOOPT, never ignored.
 */
import { EINVAL, ENOENT, ENOPROTOOPT } from '../net/errno.js';
import { IPPROTO_TCP } from '../net/layout.js';
import { RENO } from './cong/reno.js';
import { fastopenKey, setFastopenKey } from './fastopen-option.js';
import { attachSelector, selectorName } from './selector-option.js';
import { bindToDevice } from './sockopt/bind-to-device.js';
import { setCongestion } from './sockopt/tcp-level.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

const SOL_SOCKET = 1;
const SO_BINDTODEVICE = 25;
/** Our own. */
const SO_ATTACH_REUSEPORT_SELECTOR = 0x7401;
const TCP_CONGESTION = 13;
const TCP_ULP = 31;
const TCP_FASTOPEN_KEY = 33;

/** Names of congestion controls, in the order of net.ipv4.tcp_congestion_control's numbers. */
const CONGESTION: readonly string[] = ['reno', 'cubic'];

/** 0 or -errno. */
export function tcpSetsockoptText(
  tcp: Tcp,
  tcb: Tcb,
  level: number,
  name: number,
  text: string,
): number {
  if (level === IPPROTO_TCP && name === TCP_CONGESTION) return setCongestionName(tcb, text);
  // There is no upper-layer protocol to be had (Linux: tcp_set_ulp).
  if (level === IPPROTO_TCP && name === TCP_ULP) return text === '' ? -EINVAL : -ENOENT;
  if (level === IPPROTO_TCP && name === TCP_FASTOPEN_KEY) return setFastopenKey(tcb, text);
  if (level !== SOL_SOCKET) return -ENOPROTOOPT;
  switch (name) {
    case SO_BINDTODEVICE:
      return bindToDevice(tcp, tcb, text);
    case SO_ATTACH_REUSEPORT_SELECTOR:
      return attachSelector(tcp, tcb, text);
  }
  return -ENOPROTOOPT;
}

/** The option's text, or -errno. */
export function tcpGetsockoptText(
  tcp: Tcp,
  tcb: Tcb,
  level: number,
  name: number,
): string | number {
  if (level === IPPROTO_TCP && name === TCP_CONGESTION) {
    return CONGESTION[tcb.congestion === RENO ? 0 : 1]!;
  }
  if (level === IPPROTO_TCP && name === TCP_ULP) return '';
  if (level === IPPROTO_TCP && name === TCP_FASTOPEN_KEY) return fastopenKey(tcp, tcb);
  if (level !== SOL_SOCKET) return -ENOPROTOOPT;
  switch (name) {
    case SO_BINDTODEVICE:
      return tcp.net.routes.device(tcb.boundDevIf)?.name ?? '';
    case SO_ATTACH_REUSEPORT_SELECTOR:
      return selectorName(tcb);
  }
  return -ENOPROTOOPT;
}

/** Linux tcp_set_congestion_control. */
function setCongestionName(tcb: Tcb, text: string): number {
  if (text === '') return -EINVAL;
  const number = CONGESTION.indexOf(text.split('\0', 1)[0]!);
  return number < 0 ? -ENOENT : setCongestion(tcb, number);
}
