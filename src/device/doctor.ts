/**
 * Can this machine run the stack, and if not, what is to be typed: one check for each thing that is
 * needed. Probing the machine (`probeMachine`) and judging what was found (`judgeMachine`, pure)
 * are apart. It makes no device.
 */
import { statSync } from 'node:fs';
import { checkAddresses, formatIpv4, type LinkAddresses } from './address.js';
import { type Clash, clashError, findClash, readNetworkState } from './clash.js';
import { DeviceError } from './errors.js';
import { native, O_CLOEXEC, O_RDWR } from './native.js';
import { explainFailure, type ProcessFacts, readProcessFacts, sudoCommand } from './permission.js';
import { judgeUserNamespaces, probeUserNamespaces, type UserNamespaceFacts } from './rootless.js';
import { DEFAULT_ADDRESS, DEFAULT_PEER, DEFAULT_TUN_NAME } from './tun.js';

export interface DoctorCheck {
  name: string;
  ok: boolean;
  /** What was found. */
  detail: string;
  /** What to do when it is not ok. */
  remedy: string | null;
  /** False: another way works without it. */
  required: boolean;
}

export interface DoctorReport {
  /** Every required check is ok: `serve` will start. */
  ok: boolean;
  checks: DoctorCheck[];
}

/** What the probe found. */
export interface MachineFacts {
  /** `process.versions.node`. */
  nodeVersion: string;
  process: ProcessFacts;
  /** null = koffi works. */
  koffiError: DeviceError | null;
  /** Permission bits of /dev/net/tun; null = it does not exist. */
  tunMode: number | null;
  /** errno of opening it, 0 = it opens; null = could not be tried (no koffi). */
  openErrno: number | null;
  /** A device of that name exists already (made beforehand, perhaps). */
  deviceExists: boolean;
  device: string;
  link: LinkAddresses;
  clash: Clash | null;
  userNamespaces: UserNamespaceFacts;
}

/** Oldest Node that works. */
const NODE_MAJOR = 20;
const NODE_MINOR = 19;
const TUN_PATH = '/dev/net/tun';

export interface DoctorOptions {
  tun?: string;
  address?: string;
  peer?: string;
}

/**
 * Looks at the machine and judges it. Throws DeviceError (exit code 2) for addresses that cannot be
 * right.
 */
export function diagnose(options: DoctorOptions = {}): DoctorReport {
  return judgeMachine(probeMachine(options));
}

/** Looks at the machine: reads, opens and closes /dev/net/tun, tries `unshare`; changes nothing. */
export function probeMachine(options: DoctorOptions = {}): MachineFacts {
  const device = options.tun ?? DEFAULT_TUN_NAME;
  const link = checkAddresses(options.address ?? DEFAULT_ADDRESS, options.peer ?? DEFAULT_PEER);
  const { koffiError, openErrno } = probeOpen();
  return {
    nodeVersion: process.versions.node,
    process: readProcessFacts(),
    koffiError,
    tunMode: modeOf(TUN_PATH),
    openErrno,
    deviceExists: modeOf(`/sys/class/net/${device}`) !== null,
    device,
    link,
    clash: findClash(link, readNetworkState(), device),
    userNamespaces: probeUserNamespaces(),
  };
}

function probeOpen(): { koffiError: DeviceError | null; openErrno: number | null } {
  try {
    const calls = native();
    const fd = calls.open(TUN_PATH, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return { koffiError: null, openErrno: calls.errno() };
    calls.close(fd);
    return { koffiError: null, openErrno: 0 };
  } catch (error) {
    if (error instanceof DeviceError) return { koffiError: error, openErrno: null };
    throw error;
  }
}

function modeOf(path: string): number | null {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? null : stat.mode & 0o7777;
}

/** One verdict a row. */
export function judgeMachine(facts: MachineFacts): DoctorReport {
  const checks = [
    checkNode(facts),
    checkKoffi(facts),
    checkTunExists(facts),
    checkTunOpens(facts),
    checkCapability(facts),
    checkAddressFree(facts),
    checkUserNamespaces(facts),
  ];
  return { ok: checks.every((check) => check.ok || !check.required), checks };
}

function fine(name: string, detail: string): DoctorCheck {
  return { name, ok: true, detail, remedy: null, required: true };
}

function refused(name: string, error: DeviceError): DoctorCheck {
  return { name, ok: false, detail: error.message, remedy: error.remedy, required: true };
}

function checkNode(facts: MachineFacts): DoctorCheck {
  const [major = 0, minor = 0] = facts.nodeVersion.split('.').map(Number);
  if (major < NODE_MAJOR || (major === NODE_MAJOR && minor < NODE_MINOR)) {
    return {
      name: 'node',
      ok: false,
      detail: `Node ${facts.nodeVersion} is too old`,
      remedy: `install Node ${NODE_MAJOR}.${NODE_MINOR} or newer`,
      required: true,
    };
  }
  if (facts.process.nodeOnSudoPath || facts.process.uid === 0) {
    return fine('node', `Node ${facts.nodeVersion}`);
  }
  return {
    ...fine('node', `Node ${facts.nodeVersion}, where sudo does not look for it`),
    remedy: `with sudo: ${sudoCommand(facts.process)}`,
  };
}

function checkKoffi({ koffiError }: MachineFacts): DoctorCheck {
  return koffiError === null ? fine('koffi', 'loads') : refused('koffi', koffiError);
}

function checkTunExists({ tunMode, openErrno, device, process }: MachineFacts): DoctorCheck {
  if (tunMode !== null) return fine(TUN_PATH, `exists, mode 0${tunMode.toString(8)}`);
  const errno = openErrno === null || openErrno === 0 ? 2 : openErrno;
  return refused(TUN_PATH, explainFailure({ step: 'open', errno, device }, process));
}

function checkTunOpens({ openErrno, device, process }: MachineFacts): DoctorCheck {
  const name = 'open';
  if (openErrno === 0) return fine(name, `uid ${process.uid} may open ${TUN_PATH}`);
  if (openErrno !== null) {
    return refused(name, explainFailure({ step: 'open', errno: openErrno, device }, process));
  }
  return {
    name,
    ok: false,
    detail: 'not tried: koffi does not load',
    remedy: 'see koffi',
    required: true,
  };
}

/** Without the capability a device that was made beforehand still does. */
function checkCapability({ process, device, deviceExists }: MachineFacts): DoctorCheck {
  const name = 'CAP_NET_ADMIN';
  if (process.netAdmin) return fine(name, `CapEff 0x${process.capEff}, bit 12 is set`);
  const error = explainFailure({ step: 'TUNSETIFF', errno: 1, device }, process);
  if (!deviceExists) return refused(name, error);
  return {
    ...refused(name, error),
    detail: `missing, but device ${device} exists: enough if it belongs to uid ${process.uid}`,
    required: false,
  };
}

function checkAddressFree({ link, clash }: MachineFacts): DoctorCheck {
  if (clash !== null) return refused('address', clashError(link, clash));
  return fine('address', `nothing uses ${formatIpv4(link.address)}/${link.prefix}`);
}

function checkUserNamespaces({ userNamespaces, tunMode }: MachineFacts): DoctorCheck {
  const name = 'user namespaces';
  const verdict = judgeUserNamespaces(userNamespaces);
  const required = false;
  if (!verdict.ok) return { name, ...verdict, required };
  const open = tunMode !== null && (tunMode & 0o006) === 0o006;
  if (open) return { ...fine(name, `${verdict.detail}: --rootless is possible`), required };
  return {
    ...fine(name, `${verdict.detail}, but --rootless also needs ${TUN_PATH} with mode 0666`),
    remedy: `sudo chmod 666 ${TUN_PATH}`,
    required,
  };
}
