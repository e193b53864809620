/**
 * How a script is to be run: its `--options` with those of the command line over them. Names that
 * only matter to a kernel are taken and change nothing; names that ask for what this stack does not
 * have make the script one for another system.
 */
import { ScriptError, type ScriptOption, UnsupportedError } from './script.js';

export interface RunOptions {
  toleranceUs: number;
  /** A share of the time that an event is expected to take. */
  toleranceShare: number;
  mtu: number;
  localAddress: string;
  remoteAddress: string;
  bindPort: number;
  connectPort: number;
  /** µs a tick of the timestamp clock; 0 = timestamps are not compared. */
  tsTickUs: number;
  tsEcrScaled: boolean;
  strictSegments: boolean;
  /** Programs that run before the script's own first shell text. */
  initScripts: readonly string[];
  /** Kinds of events whose failure is reported and survived. */
  nonFatal: ReadonlySet<string>;
  /**
   * Packets that nobody has expected when the script is over: a failure, or only said. Null = a
   * failure unless the script is one of the public suites, whose interpreter does not look at them.
   */
  leftover: 'fail' | 'note' | null;
}

/** What only arranges the original, its network or its memory. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  ...['send_omit_free', 'is_anyip', 'mss', 'speed', 'gateway_ip', 'netmask_ip', 'verbose'],
  ...['code_command', 'code_format', 'code_sockopt'],
  // The lexer reads it.
  'define',
]);
const IP_VERSIONS = ['ipv4', 'ipv4-mapped-ipv6', 'ipv6'];
const NON_FATAL = ['packet', 'syscall'];
const LEFTOVER = ['fail', 'note'] as const;
const LEAST_MTU = 68;
const MOST_MTU = 65_535;
const MOST_PORT = 65_535;

function number(option: ScriptOption): number {
  const value = Number(option.value);
  if (option.value !== '' && Number.isFinite(value) && value >= 0) return value;
  throw new ScriptError(option.line, `--${option.name}=${option.value}: a number is meant`);
}

/** The value, if it is one of `values`. */
function oneOf<T extends string>({ name, value, line }: ScriptOption, values: readonly T[]): T {
  const found = values.find((candidate) => candidate === value);
  if (found !== undefined) return found;
  const meant = values.join(', ') === '' ? 'it has no value' : values.join(', ');
  throw new ScriptError(line, `--${name}=${value}: ${meant}`);
}

/** A whole number within its bounds. */
function whole(option: ScriptOption, least: number, most: number): number {
  const value = number(option);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new ScriptError(option.line, `--${option.name}=${option.value}: ${least} to ${most}`);
}

function address(option: ScriptOption): string {
  const { name, value, line } = option;
  if (value.includes(':')) throw new UnsupportedError(line, `--${name}=${value}: IPv6`);
  const parts = value.split('.');
  const valid = parts.length === 4 && parts.every((part) => /^\d{1,3}$/.test(part) && +part <= 255);
  if (valid) return value;
  throw new ScriptError(line, `--${name}=${value}: an address is meant, as 192.0.2.1`);
}

/** Later options win. Throws ScriptError and UnsupportedError. */
export function runOptions(options: readonly ScriptOption[]): RunOptions {
  const run: RunOptions = {
    toleranceUs: 4000,
    toleranceShare: 0.125,
    mtu: 1500,
    localAddress: '192.168.0.1',
    remoteAddress: '192.0.2.1',
    bindPort: 8080,
    connectPort: 8080,
    tsTickUs: 0,
    tsEcrScaled: false,
    strictSegments: false,
    initScripts: [],
    nonFatal: new Set(),
    leftover: null,
  };
  for (const option of options) applyOption(run, option);
  return run;
}

function applyOption(run: RunOptions, option: ScriptOption): void {
  const { name, value, line } = option;
  switch (name) {
    case 'tolerance_usecs':
      run.toleranceUs = number(option);
      return;
    case 'tolerance_percent':
      run.toleranceShare = number(option) / 100;
      return;
    case 'mtu':
      run.mtu = whole(option, LEAST_MTU, MOST_MTU);
      return;
    case 'local_ip':
      run.localAddress = address(option);
      return;
    case 'remote_ip':
      run.remoteAddress = address(option);
      return;
    case 'bind_port':
      run.bindPort = whole(option, 1, MOST_PORT);
      return;
    case 'connect_port':
      run.connectPort = whole(option, 1, MOST_PORT);
      return;
    case 'tcp_ts_tick_usecs':
      run.tsTickUs = number(option);
      return;
    case 'tcp_ts_ecr_scaled':
      run.tsEcrScaled = oneOf(option, ['']) === '';
      return;
    case 'strict_segments':
      run.strictSegments = oneOf(option, ['']) === '';
      return;
    case 'non_fatal':
      run.nonFatal = new Set(
        value.split(',').map((kind) => oneOf({ ...option, value: kind }, NON_FATAL)),
      );
      return;
    case 'leftover':
      run.leftover = oneOf(option, LEFTOVER);
      return;
    case 'init_scripts':
      run.initScripts = value.split(',');
      return;
    case 'ip_version':
      if (oneOf(option, IP_VERSIONS) !== 'ipv4')
        throw new UnsupportedError(line, `--ip_version=${value}`);
      return;
  }
  if (!WITHOUT_EFFECT.has(name)) throw new UnsupportedError(line, `--${name}`);
}
