/**
 * What the shell text of a script means to a stack in memory: nothing is executed. Settings that
 * this stack has a knob for are set; a script that needs a program (tc, ip, nstat) or a knob that
 * we do not have is skipped with that reason.
 */
import { getSysctl, SYSCTL_NAMES, type Sysctl, setSysctl } from '../net/sysctl.js';
import { type Shell, UnsupportedError } from './script.js';

/** The common start of the public suites (their defaults.sh), by the names of the knobs. */
const BASELINE: Readonly<Record<string, string>> = {
  'net.ipv4.tcp_rmem': '4096 540000 15728640',
  'net.ipv4.tcp_wmem': '4096 262144 4194304',
  'net.ipv4.tcp_timestamps': '1',
  'net.ipv4.tcp_sack': '1',
  'net.ipv4.tcp_slow_start_after_idle': '0',
  'net.ipv4.tcp_syn_retries': '5',
  'net.ipv4.tcp_synack_retries': '5',
  'net.ipv4.tcp_syncookies': '1',
  'net.ipv4.tcp_congestion_control': 'cubic',
  'net.ipv4.tcp_ecn': '0',
  'net.ipv4.tcp_fastopen': '0x70403',
  'net.ipv4.tcp_fastopen_key': 'a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4',
};

/** Knobs whose other values would change nothing here: those of offload, queues and accounting. */
const WITHOUT_EFFECT = new Set([
  'net.ipv4.tcp_no_metrics_save',
  'net.ipv4.tcp_autocorking',
  'net.core.default_qdisc',
]);

const ASSIGNMENT = /^\/?(?:proc\/sys\/)?(net[./][\w./]+)=(.*)$/;
/** Commands that change nothing that a script can see. */
const HARMLESS = /^(?:true|:|echo\b.*|sleep\s+0|set\s+-e|\.?\/?\S*defaults\.sh)$/;
const DEFAULTS = /(?:^|\/)(?:\S*)defaults\.sh$/;

/** Sets the suites' baseline, as far as this stack has the knobs. */
export function applyBaseline(sysctl: Sysctl): void {
  for (const [name, value] of Object.entries(BASELINE)) {
    const error = setSysctl(sysctl, name, value);
    if (error !== null) throw new RangeError(`${name}=${value}: ${error}`);
  }
}

/**
 * Carries out shell text: `sysctl -q net.ipv4.X=V`, `sysctl -w …`, `set_sysctls.py /proc/sys/…=V`,
 * `defaults.sh`. Throws UnsupportedError for anything else.
 */
export function applyShell(sysctl: Sysctl, shell: Shell): void {
  const text = shell.text.replace(/\\\n/g, ' ').replace(/#[^\n]*/g, '');
  for (const command of text.split(/[\n;]|&&/)) applyCommand(sysctl, command.trim(), shell.line);
}

function applyCommand(sysctl: Sysctl, command: string, line: number): void {
  if (command === '') return;
  if (DEFAULTS.test(command)) {
    applyBaseline(sysctl);
    return;
  }
  if (HARMLESS.test(command)) return;
  const words = commandWords(command);
  const program = (words[0] ?? '').replace(/^.*\//, '');
  if (program === 'sysctl' || program === 'set_sysctls.py') {
    for (const word of words.slice(1)) if (!word.startsWith('-')) assign(sysctl, word, line);
    return;
  }
  throw new UnsupportedError(line, `the command \`${program}\``);
}

/** Words between blanks; quotes hold words together, also in the middle (`a="1 2"`). */
function commandWords(command: string): string[] {
  const words = command.match(/(?:[^\s"']|"[^"]*"|'[^']*')+/g) ?? [];
  return words.map((word) => word.replace(/["']/g, ''));
}

function assign(sysctl: Sysctl, word: string, line: number): void {
  const match = ASSIGNMENT.exec(word);
  if (match === null) throw new UnsupportedError(line, `the setting ${word}`);
  const name = match[1]!.replaceAll('/', '.');
  if (WITHOUT_EFFECT.has(name)) return;
  if (!SYSCTL_NAMES.includes(name)) {
    throw new UnsupportedError(line, `the sysctl ${name}`);
  }
  const text = match[2]!.trim().replace(/\s+/g, ' ');
  const value = /^0x[0-9a-f]+$/i.test(text) ? String(Number(text)) : text;
  const error = setSysctl(sysctl, name, value);
  if (error !== null) throw new UnsupportedError(line, `${name}=${value}: ${error}`);
  // A setting that reads back as something else was not understood.
  const now = String(getSysctl(sysctl, name)).replace(/\s+/g, ' ');
  if (now !== value) throw new UnsupportedError(line, `${name}=${value}: it is ${now} here`);
}
