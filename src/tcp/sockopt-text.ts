/**
 * Socket options whose value is a text (Linux core/sock.c: sk_setsockopt, sk_getsockopt). What is
 * not here is refused with -ENOPROTOOPT, never ignored.
 */
import { ENODEV, ENOENT, ENOPROTOOPT, EPERM } from '../net/errno.js';
import { IFNAME_MAX } from '../net/route.js';
import { RENO } from './cong/reno.js';
import { syncMss } from './mss.js';
import { attachSelector, selectorName } from './selector-option.js';
import { setCongestion } from './sockopt/tcp-level.js';
import { inStates, SYNCHRONIZED } from './state.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

const SOL_SOCKET = 1;
const IPPROTO_TCP = 6;
const SO_BINDTODEVICE = 25;
/** Our own. */
const SO_ATTACH_REUSEPORT_SELECTOR = 0x7401;
const TCP_CONGESTION = 13;

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
  if (level !== SOL_SOCKET) return -ENOPROTOOPT;
  switch (name) {
    case SO_BINDTODEVICE:
      return setBindToDevice(tcp, tcb, text);
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
  const number = CONGESTION.indexOf(text.split('\0', 1)[0]!);
  return number < 0 ? -ENOENT : setCongestion(tcb, number);
}

/**
 * Linux sock_setbindtodevice, sock_bindtoindex_locked. The empty name unbinds. Users without
 * privilege may bind a socket that is bound to nothing (Linux 5.7; never before). Nothing else is
 * looked at: no conflict is tested again, a listener stays in its group and in its place.
 */
function setBindToDevice(tcp: Tcp, tcb: Tcb, text: string): number {
  const { net, hashinfo } = tcp;
  const privileged = tcb.uid === 0;
  if (!privileged && !hashinfo.profile.bindsDeviceOnce) return -EPERM;
  const name = text.split('\0', 1)[0]!.slice(0, IFNAME_MAX);
  let ifindex = 0;
  if (name !== '') {
    const dev = net.routes.deviceByName(name);
    if (dev === null) return -ENODEV;
    ifindex = dev.ifindex;
  }
  if (!privileged && tcb.boundDevIf !== 0) return -EPERM;
  tcb.boundDevIf = ifindex;
  if (tcb.ehashSlot >= 0) hashinfo.ehash.updateDevice(tcb);
  // The way may lead over a link with another MTU now (Linux: sk_dst_reset, tcp_current_mss).
  if (inStates(tcb.state, SYNCHRONIZED)) syncMss(tcp, tcb, tcb.mssClamp);
  return 0;
}
