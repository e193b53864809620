/** Options of IPPROTO_IP (Linux ip_sockglue.c: do_ip_setsockopt, do_ip_getsockopt). */
import { EINVAL, ENOPROTOOPT, ENOTCONN } from '../../net/errno.js';
import { pathMtu } from '../mss.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';

const IP_TOS = 1;
const IP_TTL = 2;
const IP_MTU_DISCOVER = 10;
const IP_MTU = 14;
const IP_MINTTL = 21;
const IP_BIND_ADDRESS_NO_PORT = 24;
const IP_LOCAL_PORT_RANGE = 51;

/** Largest value of IP_MTU_DISCOVER (IP_PMTUDISC_OMIT). */
const PMTUDISC_MOST = 5;
/** SO_PRIORITY by the four TOS bits (Linux: ip_tos2prio): nothing, bulk, interactive, both. */
const PRIORITIES: readonly number[] = [0, 2, 6, 4];

/** 0 or -errno. */
export function setIpOption(tcb: Tcb, name: number, value: number): number {
  switch (name) {
    case IP_TOS:
      // RFC 9293 MUST-48, SHLD-21, SHLD-22. The ECN bits belong to TCP.
      if (tcb.tos !== (value & 0xfc)) tcb.priority = PRIORITIES[(value & 0x1e) >> 3]!;
      tcb.tos = value & 0xfc;
      return 0;
    case IP_TTL:
      if (value !== -1 && (value < 1 || value > 255)) return -EINVAL;
      // RFC 9293 MUST-49.
      tcb.ttl = value === -1 ? tcb.tcp.net.sysctl.ipDefaultTtl : value;
      return 0;
    case IP_MTU_DISCOVER:
      if (value < 0 || value > PMTUDISC_MOST) return -EINVAL;
      tcb.pmtudisc = value;
      return 0;
    case IP_MINTTL:
      if (value < 0 || value > 255) return -EINVAL;
      tcb.minTtl = value;
      return 0;
    case IP_BIND_ADDRESS_NO_PORT:
      tcb.bindAddressNoPort = value !== 0;
      return 0;
    case IP_LOCAL_PORT_RANGE:
      return setLocalPortRange(tcb, value);
  }
  return -ENOPROTOOPT;
}

/** `range` is low | high << 16; a half that is 0 is not set. */
function setLocalPortRange(tcb: Tcb, range: number): number {
  if (!tcb.tcp.hashinfo.profile.localPortRange) return -ENOPROTOOPT;
  const low = range & 0xffff;
  const high = range >>> 16;
  if (low !== 0 && high !== 0 && low > high) return -EINVAL;
  tcb.localPortRange = range | 0;
  return 0;
}

/** Writes the option's word to `out`: 1 or -errno. */
export function getIpOption(tcp: Tcp, tcb: Tcb, name: number, out: Int32Array): number {
  switch (name) {
    case IP_TOS:
      out[0] = tcb.tos;
      return 1;
    case IP_TTL:
      out[0] = tcb.ttl;
      return 1;
    case IP_MTU_DISCOVER:
      out[0] = tcb.pmtudisc;
      return 1;
    case IP_MTU:
      if (tcb.dport === 0) return -ENOTCONN;
      out[0] = pathMtu(tcp, tcb);
      return 1;
    case IP_MINTTL:
      out[0] = tcb.minTtl;
      return 1;
    case IP_BIND_ADDRESS_NO_PORT:
      out[0] = tcb.bindAddressNoPort ? 1 : 0;
      return 1;
    case IP_LOCAL_PORT_RANGE:
      if (!tcp.hashinfo.profile.localPortRange) return -ENOPROTOOPT;
      out[0] = tcb.localPortRange;
      return 1;
  }
  return -ENOPROTOOPT;
}
