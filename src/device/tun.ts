/**
 * Opens a TUN device and sets it up by ioctl: /dev/net/tun, TUNSETIFF, offloads, the host's
 * address, netmask, MTU, queue length, up. The device is not persistent: the kernel removes it when
 * the descriptor closes, also after a kill -9. One made beforehand (`ip tuntap add dev X mode tun
 * user U`) is used as it is when it is set up as wanted, and then no privilege is needed. Of a
 * device with several queues each is opened apart, the first one first. Every refusal is a
 * DeviceError from permission.ts, address.ts or clash.ts.
 */
import { checkAddresses, formatIpv4, type LinkAddresses, netmaskOf } from './address.js';
import { clashError, findClash, readNetworkState } from './clash.js';
import { usageError } from './errors.js';
import {
  IFF_MULTI_QUEUE,
  IFF_NO_PI,
  IFF_TUN,
  IFF_UP,
  IFF_VNET_HDR,
  IFNAME_MAX,
  IfReq,
  SIOCGIFADDR,
  SIOCGIFMTU,
  SIOCGIFNETMASK,
  SIOCSIFADDR,
  SIOCSIFMTU,
  SIOCSIFNETMASK,
  TUN_F_CSUM,
  TUN_F_TSO4,
  TUN_F_TSO6,
  TUNSETOFFLOAD,
  TUNSETVNETHDRSZ,
} from './ifreq.js';
import { native, O_CLOEXEC, O_NONBLOCK, O_RDWR } from './native.js';
import { type DeviceFailure, explainFailure, readProcessFacts } from './permission.js';
import { setQueueLength } from './queue-length.js';
import { PACKET_MAX_BYTES, TunDevice } from './tun-device.js';
import { VNET_HDR_BYTES } from './vnet.js';

/** What to open. Defaults are those of the command line. */
export interface TunOptions {
  /** Interface name, 1 to 15 bytes; default `tunstack0`. */
  name?: string;
  /** The stack's address: CIDR, or a plain address with `prefix`; default `198.18.0.1/24`. */
  address?: string;
  prefix?: number;
  /** The host's address on the device; default `198.18.0.254`. */
  peer?: string;
  /** Largest IP packet, 68..65535 bytes; default 1500. */
  mtu?: number;
  /** Virtio-net header, checksum and segmentation offload; default true. */
  offload?: boolean;
  /**
   * Packets that the kernel queues for us before it drops; default 2000. A wish: on a device made
   * beforehand it needs privilege. TunDevice.txqueuelen says what came of it.
   */
  txqueuelen?: number;
  /** Queues, 1 to 256: more are opened with openTunQueue; default 1. */
  queues?: number;
}

export const DEFAULT_TUN_NAME = 'tunstack0';
export const DEFAULT_ADDRESS = '198.18.0.1/24';
export const DEFAULT_PEER = '198.18.0.254';
export const DEFAULT_MTU = 1500;
/** The kernel's 500 drops bursts. */
export const DEFAULT_TXQUEUELEN = 2000;

/** Of the kernel (drivers/net/tun.c: MAX_TAP_QUEUES). */
const QUEUES_MAX = 256;

/** RFC 791: every link carries packets of 68 bytes. */
const MTU_MIN = 68;

/** Checked options, defaults filled in. */
export interface TunPlan {
  name: string;
  link: LinkAddresses;
  mtu: number;
  offload: boolean;
  txqueuelen: number;
  queues: number;
}

/** A failed ioctl on the way: negated errno and the call's name. */
interface Refusal {
  errno: number;
  syscall: string;
}

/**
 * Opens the device.
 *
 * @throws DeviceError: exit code 2 for options that cannot be right, 77 for what the machine
 *   refuses
 */
export function openTun(options: TunOptions = {}): TunDevice {
  const plan = checkTunOptions(options);
  const clash = findClash(plan.link, readNetworkState(), plan.name);
  if (clash !== null) throw clashError(plan.link, clash);
  let txqueuelen = 0;
  const fd = openAttached(plan, (request) => {
    txqueuelen = setQueueLength(request, plan.txqueuelen);
    configure(request, plan);
  });
  return deviceOf(fd, plan, txqueuelen);
}

/**
 * Opens one more queue of the device that openTun has opened with these options (`queues` above 1).
 * @throws DeviceError, as openTun
 */
export function openTunQueue(options: TunOptions): TunDevice {
  const plan = checkTunOptions(options);
  return deviceOf(
    openAttached(plan, () => {}),
    plan,
    plan.txqueuelen,
  );
}

/** A descriptor of the device, after `body` has done what else is to be done to it. */
function openAttached(plan: TunPlan, body: (request: IfReq) => void): number {
  const calls = native();
  const fd = calls.open('/dev/net/tun', O_RDWR | O_NONBLOCK | O_CLOEXEC, 0);
  if (fd < 0) throw refusal({ step: 'open', errno: calls.errno(), device: plan.name });
  const request = new IfReq(plan.name);
  try {
    attach(request, fd, plan);
    body(request);
  } catch (error) {
    calls.close(fd);
    throw error;
  } finally {
    request.close();
  }
  return fd;
}

function deviceOf(fd: number, plan: TunPlan, txqueuelen: number): TunDevice {
  return new TunDevice({
    fd,
    name: plan.name,
    address: formatIpv4(plan.link.address),
    peer: formatIpv4(plan.link.peer),
    prefix: plan.link.prefix,
    mtu: plan.mtu,
    txqueuelen,
    vnet: plan.offload,
  });
}

/** Checks options without touching the machine. Throws DeviceError with exit code 2. */
export function checkTunOptions(options: TunOptions): TunPlan {
  const name = options.name ?? DEFAULT_TUN_NAME;
  const mtu = options.mtu ?? DEFAULT_MTU;
  const txqueuelen = options.txqueuelen ?? DEFAULT_TXQUEUELEN;
  if (!isInterfaceName(name)) {
    throw usageError(
      `--tun ${name}: not a name for a network interface`,
      `1 to ${IFNAME_MAX} bytes without spaces, "/", ":" and "%", for example ${DEFAULT_TUN_NAME}`,
    );
  }
  if (!Number.isInteger(mtu) || mtu < MTU_MIN || mtu > PACKET_MAX_BYTES) {
    throw usageError(
      `--mtu ${mtu}: out of range`,
      `use ${MTU_MIN} to ${PACKET_MAX_BYTES} bytes, usually ${DEFAULT_MTU}`,
    );
  }
  if (!Number.isInteger(txqueuelen) || txqueuelen < 1 || txqueuelen > 1_000_000) {
    throw usageError(
      `txqueuelen ${txqueuelen}: out of range`,
      `use 1 to 1000000 packets, usually ${DEFAULT_TXQUEUELEN}`,
    );
  }
  const queues = options.queues ?? 1;
  if (!Number.isInteger(queues) || queues < 1 || queues > QUEUES_MAX) {
    throw usageError(`${queues} queues: out of range`, `use 1 to ${QUEUES_MAX} queues`);
  }
  const link = checkAddresses(
    options.address ?? DEFAULT_ADDRESS,
    options.peer ?? DEFAULT_PEER,
    options.prefix,
  );
  return { name, link, mtu, offload: options.offload ?? true, txqueuelen, queues };
}

/** Linux net/core/dev.c: dev_valid_name, and no `%`, which TUNSETIFF would take for a template. */
function isInterfaceName(name: string): boolean {
  return (
    /^[^\s/:%\0]+$/.test(name) &&
    name !== '.' &&
    name !== '..' &&
    new TextEncoder().encode(name).length <= IFNAME_MAX
  );
}

/** Makes (or takes) the device and sets its link header and offloads. */
function attach(request: IfReq, fd: number, plan: TunPlan): void {
  const several = plan.queues > 1;
  const flags =
    IFF_TUN | IFF_NO_PI | (plan.offload ? IFF_VNET_HDR : 0) | (several ? IFF_MULTI_QUEUE : 0);
  const attached = request.attach(fd, flags);
  if (attached < 0) {
    const { queues, name: device } = plan;
    throw refusal({ step: 'TUNSETIFF', errno: -attached, device, queues });
  }
  const bits = plan.offload ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 : 0;
  if (plan.offload) {
    must(plan, 'TUNSETVNETHDRSZ', request.setPointed(fd, TUNSETVNETHDRSZ, VNET_HDR_BYTES));
  }
  // Also without offload: a device made beforehand keeps what its last user set.
  must(plan, 'TUNSETOFFLOAD', request.setValue(fd, TUNSETOFFLOAD, bits));
}

function must(plan: TunPlan, name: string, result: number): void {
  if (result >= 0) return;
  const syscall = `ioctl(${name})`;
  throw refusal({ step: 'offload', errno: -result, device: plan.name, syscall });
}

/** Gives the device the host's address, netmask and MTU and raises it, unless it is so already. */
function configure(request: IfReq, plan: TunPlan): void {
  if (isConfigured(request, plan)) return;
  const failed = setUp(request, plan);
  if (failed === null) return;
  throw refusal({
    step: 'configure',
    errno: failed.errno,
    device: plan.name,
    syscall: failed.syscall,
    wanted: { address: `${formatIpv4(plan.link.peer)}/${plan.link.prefix}`, mtu: plan.mtu },
  });
}

function isConfigured(request: IfReq, plan: TunPlan): boolean {
  const flags = request.getFlags();
  return (
    flags >= 0 &&
    (flags & IFF_UP) !== 0 &&
    request.getInt(SIOCGIFMTU) === plan.mtu &&
    request.getAddress(SIOCGIFADDR) === plan.link.peer &&
    request.getAddress(SIOCGIFNETMASK) === netmaskOf(plan.link.prefix)
  );
}

function setUp(request: IfReq, plan: TunPlan): Refusal | null {
  const { peer, prefix } = plan.link;
  const steps: [string, () => number][] = [
    ['SIOCSIFADDR', () => request.setAddress(SIOCSIFADDR, peer)],
    ['SIOCSIFNETMASK', () => request.setAddress(SIOCSIFNETMASK, netmaskOf(prefix))],
    ['SIOCSIFMTU', () => request.setInt(SIOCSIFMTU, plan.mtu)],
    ['SIOCSIFFLAGS', () => request.up()],
  ];
  for (const [name, step] of steps) {
    const result = step();
    if (result < 0) return { errno: -result, syscall: `ioctl(${name})` };
  }
  return null;
}

function refusal(failure: DeviceFailure): Error {
  return explainFailure(failure, readProcessFacts());
}
