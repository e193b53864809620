/**
 * The transmit queue length of an interface: how many packets the kernel keeps for us before it
 * drops. The ioctl asks for privilege on the whole machine, also for a device of one's own network
 * namespace; rtnetlink (RFC 3549) asks for it in that namespace only, so it is tried second: the
 * one message RTM_SETLINK with IFLA_TXQLEN. Nothing else here.
 */
import { EPERM } from '../net/errno.js';
import { type IfReq, SIOCGIFINDEX, SIOCGIFTXQLEN, SIOCSIFTXQLEN } from './ifreq.js';
import { mmapArena, munmapArena, native, O_CLOEXEC } from './native.js';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_ROUTE = 0;
const RTM_SETLINK = 19;
const NLM_F_REQUEST = 1;
const IFLA_TXQLEN = 13;

/** nlmsghdr (16 bytes), ifinfomsg (16), one rtattr with a 32-bit value (8). */
const MESSAGE_BYTES = 40;
const IFINFO = 16;
const ATTRIBUTE = 32;

/**
 * Asks for `packets`, in whichever way is allowed. Returns the length that the interface has then.
 */
export function setQueueLength(request: IfReq, packets: number): number {
  if (request.setInt(SIOCSIFTXQLEN, packets) === -EPERM) {
    const index = request.getInt(SIOCGIFINDEX);
    if (index > 0) setByNetlink(index, packets);
  }
  return Math.max(0, request.getInt(SIOCGIFTXQLEN));
}

/** Who may not, or cannot talk to rtnetlink, lives with the queue as it is. */
function setByNetlink(index: number, packets: number): void {
  const calls = native();
  const fd = calls.socket(AF_NETLINK, SOCK_RAW | O_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return;
  const { address, bytes } = mmapArena(MESSAGE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MESSAGE_BYTES, true);
  view.setUint16(4, RTM_SETLINK, true);
  view.setUint16(6, NLM_F_REQUEST, true);
  view.setInt32(IFINFO + 4, index, true);
  view.setUint16(ATTRIBUTE, MESSAGE_BYTES - ATTRIBUTE, true);
  view.setUint16(ATTRIBUTE + 2, IFLA_TXQLEN, true);
  view.setUint32(ATTRIBUTE + 4, packets, true);
  // The kernel has done it (or not) when write returns; its answer dies with the socket.
  calls.write(fd, address, MESSAGE_BYTES);
  calls.close(fd);
  munmapArena(address, MESSAGE_BYTES);
}
