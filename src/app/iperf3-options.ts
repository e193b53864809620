/** The command line of `iperf3`: its flags, and what their values may be. Opens nothing. */
import { checkAddresses } from '../device/address.js';
import { UsageError } from './command.js';
import { type Flag, HELP_FLAG, parseFlags } from './flags.js';

export const IPERF3_FLAGS: readonly Flag[] = [
  { name: 'server', short: 's', text: 'be the server: the only role there is' },
  { name: 'port', short: 'p', value: 'P', text: 'listening port (5201)' },
  { name: 'one-off', short: '1', text: 'leave after one test' },
  { name: 'interval', short: 'i', value: 'SECONDS', text: 'between two lines (1)' },
  { name: 'json', short: 'J', text: 'one JSON object a test, under the names of iperf3 -J' },
  { name: 'tun', value: 'NAME', text: 'device (tunstack0)' },
  { name: 'address', value: 'CIDR', text: "the stack's address (198.18.0.1/24)" },
  { name: 'peer', value: 'IP', text: "the host's address on the device (198.18.0.254)" },
  { name: 'mtu', value: 'N', text: 'largest packet, bytes (1500)' },
  { name: 'no-offload', text: 'packet by packet, checksums in software' },
  HELP_FLAG,
];

export interface Iperf3Options {
  port: number;
  oneOff: boolean;
  intervalMs: number;
  json: boolean;
  tun: string;
  /** CIDR. */
  address: string;
  peer: string;
  mtu: number;
  offload: boolean;
  help: boolean;
}

const INTERVAL_MIN = 0.1;
const INTERVAL_MAX = 60;

/** Throws UsageError, and what checkAddresses throws (which has exit code 2, too). */
export function parseIperf3Options(argv: readonly string[]): Iperf3Options {
  const { values, given } = parseFlags('iperf3', IPERF3_FLAGS, argv);
  const number = (name: string, min: number, max: number, otherwise: number): number => {
    const text = values.get(name);
    if (text === undefined) return otherwise;
    const value = /^\d{1,9}(\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max && (name === 'interval' || Number.isInteger(value))) {
      return value;
    }
    const kind = name === 'interval' ? 'a number' : 'a whole number';
    throw new UsageError(
      `iperf3: --${name} ${text}: must be ${kind} from ${min} to ${max}`,
      `tunstack iperf3 -s --${name} ${otherwise}`,
    );
  };
  const options: Iperf3Options = {
    port: number('port', 1, 65535, 5201),
    oneOff: given.has('one-off'),
    intervalMs: number('interval', INTERVAL_MIN, INTERVAL_MAX, 1) * 1000,
    json: given.has('json'),
    tun: values.get('tun') ?? 'tunstack0',
    address: values.get('address') ?? '198.18.0.1/24',
    peer: values.get('peer') ?? '198.18.0.254',
    mtu: number('mtu', 68, 65535, 1500),
    offload: !given.has('no-offload'),
    help: given.has('help'),
  };
  if (!options.help && !given.has('server')) {
    throw new UsageError('iperf3: there is only the server, -s', 'tunstack iperf3 -s');
  }
  checkAddresses(options.address, options.peer);
  return options;
}
