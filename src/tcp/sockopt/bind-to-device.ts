/**
 * SO_BINDTODEVICE and SO_BINDTOIFINDEX (Linux core/sock.c: sock_setbindtodevice,
 * sock_bindtoindex_locked): by name and by index. Nothing else is looked at: no conflict is tested
 * again, a listener stays in its group and in its place.
 */
import { EINVAL, ENODEV, EPERM } from '../../net/errno.js';
import { IFNAME_MAX } from '../../net/route.js';
import { syncMss } from '../mss.js';
import { inStates, SYNCHRONIZED } from '../state.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';

/**
 * The empty name unbinds. Users without privilege may bind a socket that is bound to nothing (Linux
 * 5.7; never before). 0 or -errno.
 */
export function bindToDevice(tcp: Tcp, tcb: Tcb, text: string): number {
  const { net, hashinfo } = tcp;
  if (tcb.uid !== 0 && !hashinfo.profile.bindsDeviceOnce) return -EPERM;
  const name = text.split('\0', 1)[0]!.slice(0, IFNAME_MAX);
  if (name === '') return bindTo(tcp, tcb, 0);
  const dev = net.routes.deviceByName(name);
  return dev === null ? -ENODEV : bindTo(tcp, tcb, dev.ifindex);
}

/** 0 unbinds. The device need not be there: nothing reaches such a socket. 0 or -errno. */
export function bindToIndex(tcp: Tcp, tcb: Tcb, ifindex: number): number {
  if (tcb.uid !== 0 && !tcp.hashinfo.profile.bindsDeviceOnce) return -EPERM;
  if (tcb.uid !== 0 && tcb.boundDevIf !== 0) return -EPERM;
  return ifindex < 0 ? -EINVAL : bindTo(tcp, tcb, ifindex);
}

function bindTo(tcp: Tcp, tcb: Tcb, ifindex: number): number {
  if (tcb.uid !== 0 && tcb.boundDevIf !== 0) return -EPERM;
  tcb.boundDevIf = ifindex;
  if (tcb.ehashSlot >= 0) tcp.hashinfo.ehash.updateDevice(tcb);
  // The way may lead over a link with another MTU now (Linux: sk_dst_reset, tcp_current_mss).
  if (inStates(tcb.state, SYNCHRONIZED)) syncMss(tcp, tcb, tcb.mssClamp);
  return 0;
}
