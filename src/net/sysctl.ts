/**
 * The knobs of a stack under Linux's names (Documentation/networking/ip-sysctl.rst): one object of
 * fixed shape that the rooms read, filled from the table in sysctl-table.ts, and its text form.
 * Nothing here has an effect of its own.
 */
import { PortSet, parsePortSet } from './port-set.js';
import { SYSCTLS, type SysctlEntry } from './sysctl-table.js';

export { SYSCTLS, type SysctlEntry } from './sysctl-table.js';

/** The kernel to be like. */
export type Profile = '5.0' | '6.18';

export class Sysctl {
  readonly profile: Profile;
  tcpSyncookies = 0;
  tcpMaxSynBacklog = 0;
  somaxconn = 0;
  tcpSynackRetries = 0;
  tcpSynRetries = 0;
  tcpSynLinearTimeouts = 0;
  tcpRetries1 = 0;
  tcpRetries2 = 0;
  tcpOrphanRetries = 0;
  tcpFinTimeout = 0;
  tcpMaxTwBuckets = 0;
  tcpMaxOrphans = 0;
  tcpTwReuse = 0;
  tcpTwReuseDelay = 0;
  tcpAbortOnOverflow = 0;
  tcpTimestamps = 0;
  tcpWindowScaling = 0;
  tcpSack = 0;
  tcpEcn = 0;
  tcpEcnFallback = 0;
  tcpFastopen = 0;
  tcpFastopenBlackholeTimeoutSec = 0;
  /** Words of the key, or of two; none = one is made up when it is wanted. */
  tcpFastopenKey: Int32Array = new Int32Array(0);
  tcpRmemMin = 0;
  tcpRmemDefault = 0;
  tcpRmemMax = 0;
  tcpWmemMin = 0;
  tcpWmemDefault = 0;
  tcpWmemMax = 0;
  rmemMax = 0;
  wmemMax = 0;
  tcpModerateRcvbuf = 0;
  /** u32: 2^32 - 1 is no limit. */
  tcpNotsentLowat = 0;
  tcpRfc1337 = 0;
  tcpInvalidRatelimit = 0;
  tcpChallengeAckLimit = 0;
  tcpSlowStartAfterIdle = 0;
  tcpRecovery = 0;
  tcpEarlyRetrans = 0;
  tcpReordering = 0;
  tcpMaxReordering = 0;
  tcpFrto = 0;
  tcpRetransCollapse = 0;
  tcpMinRttWlen = 0;
  tcpRtoMinUs = 0;
  tcpRtoMaxMs = 0;
  tcpMinTsoSegs = 0;
  tcpTsoRttLog = 0;
  tcpTsoWinDivisor = 0;
  tcpPacingSsRatio = 0;
  tcpPacingCaRatio = 0;
  tcpKeepaliveTime = 0;
  tcpKeepaliveIntvl = 0;
  tcpKeepaliveProbes = 0;
  tcpMigrateReq = 0;
  tcpMinSndMss = 0;
  tcpMtuProbing = 0;
  tcpBaseMss = 0;
  tcpMtuProbeFloor = 0;
  tcpProbeThreshold = 0;
  tcpProbeInterval = 0;
  /** 0 reno, 1 cubic. */
  tcpCongestionControl = 0;
  tcpChildEhashEntries = 0;
  ipLocalPortRangeLow = 0;
  ipLocalPortRangeHigh = 0;
  /** Ports that are not chosen for bind(0) and connect(); bind() may still ask for them. */
  readonly ipLocalReservedPorts: PortSet = new PortSet();
  ipUnprivilegedPortStart = 0;
  ipNonlocalBind = 0;
  ipAutobindReuse = 0;
  ipDefaultTtl = 0;
  ipfragHighThresh = 0;
  ipfragTime = 0;
  ipfragMaxDist = 0;
  icmpRatelimit = 0;
  icmpRatemask = 0;
  icmpMsgsPerSec = 0;
  icmpMsgsBurst = 0;
  icmpEchoIgnoreAll = 0;

  constructor(profile: Profile = '6.18') {
    this.profile = profile;
    for (const entry of SYSCTLS) {
      this[entry.field] = profile === '5.0' ? (entry.default50 ?? entry.default) : entry.default;
    }
  }
}

/** The numeric fields of Sysctl. */
export type SysctlField = Exclude<
  keyof Sysctl,
  'profile' | 'ipLocalReservedPorts' | 'tcpFastopenKey'
>;

const PORT_RANGE = 'net.ipv4.ip_local_port_range';
const UNPRIVILEGED_PORTS = 'net.ipv4.ip_unprivileged_port_start';
/** The two knobs that are no numbers and not in the table. */
const RESERVED_PORTS = 'net.ipv4.ip_local_reserved_ports';
const FASTOPEN_KEY = 'net.ipv4.tcp_fastopen_key';

/** All names, for those who look for one that was misspelt. */
export const SYSCTL_NAMES: readonly string[] = [
  ...new Set(SYSCTLS.map((entry) => entry.name)),
  RESERVED_PORTS,
  FASTOPEN_KEY,
];

function groupByName(entries: readonly SysctlEntry[]): Map<string, SysctlEntry[]> {
  const groups = new Map<string, SysctlEntry[]>();
  for (const entry of entries) {
    const group = groups.get(entry.name);
    if (group === undefined) groups.set(entry.name, [entry]);
    else group.push(entry);
  }
  return groups;
}

const BY_NAME: ReadonlyMap<string, readonly SysctlEntry[]> = groupByName(SYSCTLS);

/**
 * One component of a value: its number, or null when it is not a decimal number or known word in
 * range.
 */
function parseComponent(entry: SysctlEntry, text: string): number | null {
  const word = entry.words?.indexOf(text) ?? -1;
  const value =
    word >= 0 ? word : /^(?:[0-9]+|0x[0-9a-f]+)$/i.test(text) ? Number(text) : Number.NaN;
  if (!(value >= entry.min && value <= entry.max)) return null;
  if (entry.powerOfTwo === true && (value & (value - 1)) !== 0) return null;
  return value;
}

function rangeText(entry: SysctlEntry): string {
  if (entry.words !== undefined) return entry.words.join(' or ');
  const power = entry.powerOfTwo === true ? 'a power of two ' : '';
  return `${power}${entry.min}..${entry.max}${entry.unit === '' ? '' : ` ${entry.unit}`}`;
}

/**
 * Sets knob `name` from its text form ("1", "cubic", "4096 131072 6291456"; a vector may be given
 * in part, its first components). Returns what is wrong, or null; on an error nothing has changed.
 */
export function setSysctl(sysctl: Sysctl, name: string, value: string | number): string | null {
  if (name === RESERVED_PORTS) return setReservedPorts(sysctl, String(value).trim());
  if (name === FASTOPEN_KEY) return setFastopenKey(sysctl, String(value).trim());
  const entries = BY_NAME.get(name);
  if (entries === undefined) return `unknown sysctl ${name}`;
  const texts = String(value).trim().split(/\s+/);
  if (texts.length > entries.length) return `${name} takes ${entries.length} number(s)`;
  const values: number[] = [];
  for (const [i, text] of texts.entries()) {
    const entry = entries[i]!;
    const parsed = parseComponent(entry, text);
    if (parsed === null) return `${name}: "${text}" is not ${rangeText(entry)}`;
    values.push(parsed);
  }
  const refused = portsRefused(sysctl, name, values);
  if (refused !== null) return refused;
  for (const [i, parsed] of values.entries()) sysctl[entries[i]!.field] = parsed;
  return null;
}

/**
 * What Linux does not allow of the two knobs about ports (ipv4_local_port_range,
 * ipv4_privileged_ports): half a range, one upside down, and privileged ports in it.
 */
function portsRefused(sysctl: Sysctl, name: string, values: readonly number[]): string | null {
  const [first, last] = values;
  if (name === PORT_RANGE) {
    if (last === undefined || first! > last) {
      return `${name} takes the lowest and the highest port`;
    }
    const start = sysctl.ipUnprivilegedPortStart;
    if (first! < start) return `${name} must not begin below ${UNPRIVILEGED_PORTS} (${start})`;
  } else if (name === UNPRIVILEGED_PORTS && first! > sysctl.ipLocalPortRangeLow) {
    return `${name} must not be above the first of ${PORT_RANGE} (${sysctl.ipLocalPortRangeLow})`;
  }
  return null;
}

function setReservedPorts(sysctl: Sysctl, text: string): string | null {
  const set = parsePortSet(text);
  if (typeof set === 'string') {
    return `${RESERVED_PORTS}: "${set}" is not a port or a range of ports (8080,9148-9150)`;
  }
  sysctl.ipLocalReservedPorts.replace(set);
  return null;
}

/**
 * Linux proc_tcp_fastopen_key: four words in hexadecimal with dashes between them, and a second key
 * after a comma.
 */
function setFastopenKey(sysctl: Sysctl, text: string): string | null {
  const keys = text.split(',').map((key) => key.split('-'));
  const words = keys.flat();
  const wellFormed =
    keys.length <= 2 &&
    keys.every((key) => key.length === 4) &&
    words.every((word) => /^[0-9a-f]{1,8}$/i.test(word));
  if (!wellFormed) {
    return `${FASTOPEN_KEY}: "${text}" is not like 00112233-44556677-8899aabb-ccddeeff`;
  }
  sysctl.tcpFastopenKey = Int32Array.from(words, (word) => Number.parseInt(word, 16) | 0);
  return null;
}

function fastopenKeyText(sysctl: Sysctl): string {
  const words = sysctl.tcpFastopenKey.length === 0 ? new Int32Array(4) : sysctl.tcpFastopenKey;
  const texts = Array.from(words, (word) => (word >>> 0).toString(16).padStart(8, '0'));
  const first = texts.slice(0, 4).join('-');
  return texts.length > 4 ? `${first},${texts.slice(4).join('-')}` : first;
}

/** Text form of knob `name` as sysctl(8) prints it, or null when there is no such knob. */
export function getSysctl(sysctl: Sysctl, name: string): string | null {
  if (name === RESERVED_PORTS) return sysctl.ipLocalReservedPorts.toString();
  if (name === FASTOPEN_KEY) return fastopenKeyText(sysctl);
  const entries = BY_NAME.get(name);
  if (entries === undefined) return null;
  return entries
    .map((entry) => entry.words?.[sysctl[entry.field]] ?? String(sysctl[entry.field]))
    .join(' ');
}
