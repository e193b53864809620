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
  /** Kinds of events whose failure is reported and survived. */
  nonFatal: ReadonlySet<string>;
  /**
   * Packets that nobody has expected when the script is over: a failure, or only said. Null = a
   * failure unless the script is one of the public suites, whose interpreter does not look at them.
   */
  leftover: 'fail' | 'note' | null;
}

const WITHOUT_EFFECT = new Set([
  ...['send_omit_free', 'is_anyip', 'init_scripts', 'mss', 'speed', 'gateway_ip', 'netmask_ip'],
  ...['verbose', 'wire_client', 'define', 'code_command', 'code_format', 'code_sockopt'],
]);

function number(option: ScriptOption): number {
  const value = Number(option.value);
  if (option.value !== '' && Number.isFinite(value) && value >= 0) return value;
  throw new ScriptError(option.line, `--${option.name}=${option.value}: a number is meant`);
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
      run.mtu = number(option);
      return;
    case 'local_ip':
      run.localAddress = value;
      return;
    case 'remote_ip':
      run.remoteAddress = value;
      return;
    case 'bind_port':
      run.bindPort = number(option);
      return;
    case 'connect_port':
      run.connectPort = number(option);
      return;
    case 'tcp_ts_tick_usecs':
      run.tsTickUs = number(option);
      return;
    case 'tcp_ts_ecr_scaled':
      run.tsEcrScaled = true;
      return;
    case 'strict_segments':
      run.strictSegments = true;
      return;
    case 'non_fatal':
      run.nonFatal = new Set(value.split(','));
      return;
    case 'leftover':
      if (value !== 'fail' && value !== 'note') {
        throw new ScriptError(line, `--leftover=${value}: fail or note`);
      }
      run.leftover = value;
      return;
    case 'ip_version':
      if (value !== 'ipv4') throw new UnsupportedError(line, `--ip_version=${value}`);
      return;
  }
  if (!WITHOUT_EFFECT.has(name)) throw new UnsupportedError(line, `--${name}`);
}
