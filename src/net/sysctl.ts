/**
 * The knobs of a stack under Linux's names (Documentation/networking/ip-sysctl.rst): one object of
 * fixed shape that the rooms read, filled from the table in sysctl-table.ts, and its text form.
 * Nothing here has an effect of its own.
 */
import { SYSCTLS, type SysctlEntry, UNBUILT } from './sysctl-table.js';

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
  tcpRmemMin = 0;
  tcpRmemDefault = 0;
  tcpRmemMax = 0;
  tcpWmemMin = 0;
  tcpWmemDefault = 0;
  tcpWmemMax = 0;
  rmemMax = 0;
  wmemMax = 0;
  tcpModerateRcvbuf = 0;
  tcpRfc1337 = 0;
  tcpInvalidRatelimit = 0;
  tcpChallengeAckLimit = 0;
  tcpSlowStartAfterIdle = 0;
  tcpKeepaliveTime = 0;
  tcpKeepaliveIntvl = 0;
  tcpKeepaliveProbes = 0;
  tcpMigrateReq = 0;
  tcpMinSndMss = 0;
  /** 0 reno, 1 cubic. */
  tcpCongestionControl = 0;
  tcpChildEhashEntries = 0;
  ipLocalPortRangeLow = 0;
  ipLocalPortRangeHigh = 0;
  ipUnprivilegedPortStart = 0;
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
export type SysctlField = Exclude<keyof Sysctl, 'profile'>;

const PORT_RANGE = 'net.ipv4.ip_local_port_range';

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
  const value = word >= 0 ? word : /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
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
  // Linux: ipv4_local_port_range refuses half a range and a range upside down.
  if (name === PORT_RANGE && (values.length !== 2 || values[0]! > values[1]!)) {
    return `${name} takes the lowest and the highest port`;
  }
  for (const [i, parsed] of values.entries()) sysctl[entries[i]!.field] = parsed;
  return null;
}

/** Why a user may not set knob `name` to `value` in this release, or null when it works. */
export function unbuiltSysctl(name: string, value: string | number): string | null {
  const unbuilt = UNBUILT[name];
  if (unbuilt === undefined || Number(value) < unbuilt.from) return null;
  return `not built in this release (${unbuilt.why})`;
}

/** Text form of knob `name` as sysctl(8) prints it, or null when there is no such knob. */
export function getSysctl(sysctl: Sysctl, name: string): string | null {
  const entries = BY_NAME.get(name);
  if (entries === undefined) return null;
  return entries
    .map((entry) => entry.words?.[sysctl[entry.field]] ?? String(sysctl[entry.field]))
    .join(' ');
}
