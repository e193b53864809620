/**
 * The settings that the shell text of scripts changes, on the knobs of the stack under test: those
 * that the public suites set for all of their scripts, those that mean nothing here, and what a
 * script sets by itself. A knob that we do not have makes the script one for another system.
 */
import { getSysctl, SYSCTL_NAMES, type Sysctl, setSysctl } from '../net/sysctl.js';
import { UnsupportedError } from './script.js';

/** The common start of the public suites (their defaults.sh), by the names of the knobs. */
const BASELINE: Readonly<Record<string, string>> = {
  'net.ipv4.tcp_rmem': '4096 540000 15728640',
  'net.ipv4.tcp_wmem': '4096 262144 4194304',
  'net.ipv4.tcp_timestamps': '1',
  'net.ipv4.tcp_sack': '1',
  'net.ipv4.tcp_frto': '2',
  'net.ipv4.tcp_reordering': '3',
  'net.ipv4.tcp_early_retrans': '4',
  'net.ipv4.tcp_recovery': '1',
  'net.ipv4.tcp_tso_win_divisor': '3',
  'net.ipv4.tcp_slow_start_after_idle': '0',
  'net.ipv4.tcp_syn_retries': '5',
  'net.ipv4.tcp_synack_retries': '5',
  'net.ipv4.tcp_syncookies': '1',
  'net.ipv4.tcp_congestion_control': 'cubic',
  'net.ipv4.tcp_ecn': '0',
  'net.ipv4.tcp_fastopen': '0x70403',
  'net.ipv4.tcp_fastopen_key': 'a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4',
};

/** Knobs whose values change nothing here: those of offload, queues and accounting. */
const WITHOUT_EFFECT = new Set([
  'net.ipv4.tcp_no_metrics_save',
  'net.ipv4.tcp_autocorking',
  'net.ipv4.tcp_limit_output_bytes',
  'net.core.default_qdisc',
]);

/** Knobs that are not built, and the one value that asks for nothing that is missing. */
const ONLY_VALUE: Readonly<Record<string, string>> = {
  'net.ipv4.tcp_dsack': '1',
  'net.ipv4.tcp_fack': '0',
  'net.ipv4.tcp_shrink_window': '0',
  'net.ipv4.tcp_stdurg': '0',
};

const ASSIGNMENT = /^\/?(?:proc\/sys\/)?(net[./][\w./]+)=([\s\S]*)$/;

/** What the kernel's own suite sets otherwise: there only who asks for it gets Fast Open. */
const KERNEL_BASELINE: Readonly<Record<string, string>> = { 'net.ipv4.tcp_fastopen': '3' };

/** Sets the baseline of a suite. */
export function applyBaseline(sysctl: Sysctl, suite: 'google' | 'kernel' = 'google'): void {
  const more = suite === 'kernel' ? KERNEL_BASELINE : {};
  for (const [name, value] of Object.entries({ ...BASELINE, ...more })) {
    const error = setSysctl(sysctl, name, value);
    if (error !== null) throw new RangeError(`${name}=${value}: ${error}`);
  }
}

/** Name and value of `net.ipv4.X=V`, `net/ipv4/X=V` or `/proc/sys/net/ipv4/X=V`. */
export function assignmentOf(word: string, line: number): { name: string; value: string } {
  const match = ASSIGNMENT.exec(word);
  const other = /^(?:net\.inet6?|kern|vm|hw|dev|security)\.[\w.]+(?==)/.exec(word)?.[0];
  if (other !== undefined) throw new UnsupportedError(line, `FreeBSD's sysctl ${other}`);
  if (match === null) throw new UnsupportedError(line, `the setting ${word}`);
  const text = match[2]!.trim().replace(/\s+/g, ' ');
  const value = /^0x[0-9a-f]+$/i.test(text) ? String(Number(text)) : text;
  return { name: match[1]!.replaceAll('/', '.'), value };
}

/** True when the stack under test knows this name, or need not. */
export function isKnownSysctl(name: string): boolean {
  return SYSCTL_NAMES.includes(name) || WITHOUT_EFFECT.has(name) || name in ONLY_VALUE;
}

/** What a knob says now, or null when it is none of ours. */
export function readSysctl(sysctl: Sysctl, name: string): string | null {
  if (!SYSCTL_NAMES.includes(name)) return null;
  return String(getSysctl(sysctl, name)).replace(/\s+/g, ' ');
}

/** Throws UnsupportedError for a knob or a value that this stack does not have. */
export function assignSysctl(sysctl: Sysctl, name: string, value: string, line: number): void {
  if (WITHOUT_EFFECT.has(name)) return;
  if (!SYSCTL_NAMES.includes(name)) {
    if (ONLY_VALUE[name] === value) return;
    const what = name in ONLY_VALUE ? `${name}=${value}` : `the sysctl ${name}`;
    throw new UnsupportedError(line, what);
  }
  if (name === 'net.ipv4.tcp_ecn' && /^[345]$/.test(value)) {
    throw new UnsupportedError(line, `${name}=${value}: AccECN`);
  }
  const error = setSysctl(sysctl, name, value);
  if (error !== null) throw new UnsupportedError(line, `${name}=${value}: ${error}`);
  // A setting that reads back as something else was not understood.
  const now = readSysctl(sysctl, name);
  if (now !== value) throw new UnsupportedError(line, `${name}=${value}: it is ${now} here`);
}
