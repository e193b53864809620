/**
 * Why the machine refused the device, and what to do about it: a pure function from (step, errno,
 * facts about the process) to DeviceError, one row a situation. `readProcessFacts` collects the
 * facts. Opening the device is tun.ts's.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { getSystemErrorName } from 'node:util';
import { EACCES, EBUSY, EINVAL, ENOENT, EPERM } from '../net/errno.js';
import { DeviceError, EXIT_FAILED, EXIT_PRIVILEGE } from './errors.js';

/** What is known about this process. */
export interface ProcessFacts {
  /** Effective user. */
  uid: number;
  /** CapEff of /proc/self/status, 16 hexadecimal digits; '' when unknown. */
  capEff: string;
  /** Bit 12 of it: CAP_NET_ADMIN. */
  netAdmin: boolean;
  /** Runs in a container, as far as one can see. */
  container: boolean;
  /** The directory of the node program is one that sudo searches (nvm's is not). */
  nodeOnSudoPath: boolean;
}

/** A step of opening the device that failed. */
export interface DeviceFailure {
  step: 'open' | 'TUNSETIFF' | 'offload' | 'configure';
  /** Positive errno. */
  errno: number;
  /** Name of the device. */
  device: string;
  /** TUNSETIFF: queues asked for. */
  queues?: number;
  /** What was being done, for steps with several system calls: `ioctl(SIOCSIFADDR)`. */
  syscall?: string;
  /** configure: what the device should look like and does not. */
  wanted?: { address: string; mtu: number };
}

const ENODEV = 19;
const ENXIO = 6;
const CAP_NET_ADMIN = 12;
const TUN_PATH = '/dev/net/tun';

/** What sudo searches when nobody configured it otherwise (secure_path of Debian, Fedora, Arch). */
const SUDO_PATH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** The CapEff line of /proc/self/status, or ''. */
export function parseCapEff(status: string): string {
  return /^CapEff:\s*([0-9a-f]+)$/im.exec(status)?.[1] ?? '';
}

/** True when bit `bit` (0..31) of a capability mask in hexadecimal is set. */
export function hasCapability(mask: string, bit: number): boolean {
  const low = Number.parseInt(mask.slice(-8), 16);
  return Number.isFinite(low) && ((low >>> bit) & 1) === 1;
}

/** Looks at this process. */
export function readProcessFacts(): ProcessFacts {
  const capEff = parseCapEff(readText('/proc/self/status'));
  return {
    uid: process.geteuid?.() ?? -1,
    capEff,
    netAdmin: hasCapability(capEff, CAP_NET_ADMIN),
    container: looksLikeContainer(),
    nodeOnSudoPath: SUDO_PATH.includes(dirname(process.execPath)),
  };
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function looksLikeContainer(): boolean {
  if (existsSync('/.dockerenv') || existsSync('/run/.containerenv')) return true;
  return /docker|kubepods|containerd|lxc/.test(readText('/proc/1/cgroup'));
}

/** How to become root here: sudo as it is finds node only in its own path. */
export function sudoCommand(facts: ProcessFacts): string {
  return facts.nodeOnSudoPath ? 'sudo npm start' : 'sudo env "PATH=$PATH" npm start';
}

/** One row of the permission table: the error for `failure` in a process like `facts`. */
export function explainFailure(failure: DeviceFailure, facts: ProcessFacts): DeviceError {
  const { step, errno } = failure;
  if (step === 'open') return explainOpen(failure, facts);
  if (step === 'TUNSETIFF') return explainSetIff(failure, facts);
  if (step === 'configure' && errno === EPERM) return explainConfigure(failure, facts);
  return unexpected(failure);
}

function explainOpen(failure: DeviceFailure, facts: ProcessFacts): DeviceError {
  const { errno } = failure;
  if (errno === ENOENT || errno === ENODEV || errno === ENXIO) {
    const why = errno === ENOENT ? 'does not exist' : 'has no driver behind it';
    return refused(
      errno,
      `${TUN_PATH} ${why}: the tun module is not loaded, or this is a container without the device`,
      facts.container
        ? 'start the container with --device /dev/net/tun --cap-add NET_ADMIN\n' +
            'and on the host, if it has no such device either: sudo modprobe tun'
        : 'sudo modprobe tun\nin a container: --device /dev/net/tun --cap-add NET_ADMIN',
    );
  }
  if (errno === EACCES) {
    return refused(
      errno,
      `${TUN_PATH} may be opened only by root, and this process has uid ${facts.uid}`,
      `${sudoCommand(facts)}\n` +
        `sudo chmod 666 ${TUN_PATH} (harmless: making a device needs a capability)\n` +
        'then --rootless needs no privilege at all: it runs in a network namespace of its own',
    );
  }
  if (errno === EPERM) {
    return refused(
      errno,
      `${TUN_PATH} exists but may not be opened: the device rules of this container forbid it`,
      'start the container with --device /dev/net/tun --cap-add NET_ADMIN',
    );
  }
  return unexpected(failure);
}

function explainSetIff(failure: DeviceFailure, facts: ProcessFacts): DeviceError {
  const { errno, device } = failure;
  if (errno === EPERM) return explainNoCapability(device, facts);
  if (errno === EBUSY) {
    return refused(
      errno,
      `device ${device} is in use by another program (another tunstack?)`,
      `another --tun, for example --tun ${nextName(device)}, with another --address`,
    );
  }
  if (errno === EINVAL && (failure.queues ?? 1) > 1) {
    return refused(
      errno,
      `${device} exists and is no TUN device with several queues (a TAP, no tunnel, or made ` +
        'without multi_queue)',
      `another --tun, for example --tun ${nextName(device)}, or --queues 1\n` +
        `or make it anew: sudo ip link del ${device}; ` +
        `sudo ip tuntap add dev ${device} mode tun multi_queue user $USER`,
    );
  }
  if (errno === EINVAL) {
    return refused(
      errno,
      `${device} exists and is no single-queue TUN device (a TAP, multi_queue, or no tunnel)`,
      `another --tun, for example --tun ${nextName(device)}\n` +
        `or make it anew: sudo ip link del ${device}; ` +
        `sudo ip tuntap add dev ${device} mode tun user $USER`,
    );
  }
  return unexpected(failure);
}

/**
 * TUNSETIFF said EPERM: CAP_NET_ADMIN is missing in the user namespace that owns this network
 * namespace.
 */
function explainNoCapability(device: string, facts: ProcessFacts): DeviceError {
  const mask = facts.capEff === '' ? 'unknown' : `0x${facts.capEff}`;
  if (facts.uid === 0) {
    const bit = facts.netAdmin
      ? 'bit 12 is set, but counts only in the user namespace that owns this network'
      : 'bit 12, CAP_NET_ADMIN, is not set';
    return refused(
      EPERM,
      `root may not make device ${device}: CapEff is ${mask}, ${bit}`,
      'give the container the capability: --cap-add NET_ADMIN --device /dev/net/tun\n' +
        'or --rootless, where user namespaces are allowed',
    );
  }
  return refused(
    EPERM,
    `uid ${facts.uid} may not make device ${device}: CAP_NET_ADMIN is missing (bit 12 of CapEff ` +
      `${mask})`,
    `${sudoCommand(facts)}\n` +
      'a device made beforehand, then no privilege is needed: ' +
      `sudo ip tuntap add dev ${device} mode tun user $USER\n` +
      'the capability alone: sudo setpriv --reuid $USER --init-groups --inh-caps +net_admin ' +
      '--ambient-caps +net_admin npm start, or in a systemd unit ' +
      'AmbientCapabilities=CAP_NET_ADMIN\n' +
      '--rootless: in a network namespace of its own',
  );
}

/** A device made beforehand may be used, but not set up, without privilege. */
function explainConfigure(failure: DeviceFailure, facts: ProcessFacts): DeviceError {
  const { device, wanted, syscall } = failure;
  const address = wanted?.address ?? 'PEER/PREFIX';
  const mtu = wanted?.mtu ?? 1500;
  return refused(
    EPERM,
    `device ${device} is not set up as ${address}, mtu ${mtu}, up, and uid ${facts.uid} may not ` +
      `change that (${syscall ?? 'ioctl'})`,
    `sudo ip addr add ${address} dev ${device}; sudo ip link set ${device} mtu ${mtu} up\n` +
      'or options that fit the device as it is: --address, --peer, --mtu',
  );
}

function refused(errno: number, message: string, remedy: string): DeviceError {
  return new DeviceError({
    code: getSystemErrorName(-errno),
    message,
    remedy,
    exitCode: EXIT_PRIVILEGE,
  });
}

/** No row of the table: say exactly what the system said. */
function unexpected(failure: DeviceFailure): DeviceError {
  const code = getSystemErrorName(-failure.errno);
  const call = failure.syscall ?? (failure.step === 'open' ? `open(${TUN_PATH})` : failure.step);
  return new DeviceError({
    code,
    message: `${call} for device ${failure.device} failed: ${code}`,
    remedy: 'npx tunstack doctor',
    exitCode: EXIT_FAILED,
  });
}

/**
 * `tunstack0` → `tunstack1`, `vpn` → `vpn1`, never longer than the 15 characters of an interface
 * name.
 */
export function nextName(device: string): string {
  const stem = device.replace(/\d+$/, '');
  const number = device === stem ? 1 : Number(device.slice(stem.length)) + 1;
  return `${stem.slice(0, 15 - String(number).length)}${number}`;
}
