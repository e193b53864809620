/**
 * What the simulator turns: sysctls by seed, and socket options with values good and bad. Only what
 * exists is here; what a value means is the stack's affair.
 */
import {
  IP_BIND_ADDRESS_NO_PORT,
  IP_FREEBIND,
  IP_LOCAL_PORT_RANGE,
  IP_MINTTL,
  IP_MTU_DISCOVER,
  IP_TOS,
  IP_TRANSPARENT,
  IP_TTL,
  IPPROTO_IP,
  IPPROTO_TCP,
  SO_BUF_LOCK,
  SO_DETACH_REUSEPORT_BPF,
  SO_INCOMING_CPU,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_MARK,
  SO_MAX_PACING_RATE,
  SO_OOBINLINE,
  SO_PRIORITY,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_RCVLOWAT,
  SO_RCVTIMEO,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SO_SNDTIMEO,
  SOL_SOCKET,
  TCP_CONGESTION,
  TCP_CORK,
  TCP_DEFER_ACCEPT,
  TCP_FASTOPEN,
  TCP_FASTOPEN_CONNECT,
  TCP_FASTOPEN_NO_COOKIE,
  TCP_INFO,
  TCP_INQ,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_LINGER2,
  TCP_MAXSEG,
  TCP_NODELAY,
  TCP_NOTSENT_LOWAT,
  TCP_QUICKACK,
  TCP_SAVE_SYN,
  TCP_SYNCNT,
  TCP_USER_TIMEOUT,
  TCP_WINDOW_CLAMP,
} from '../socket/uapi/constants.js';
import type { Dice } from './dice.js';

const TCP = 'net.ipv4.tcp_';

/** Sysctls and the values that a run may have. */
const SYSCTLS: readonly (readonly [name: string, values: readonly string[]])[] = [
  [`${TCP}syncookies`, ['0', '1', '1', '2']],
  [`${TCP}max_syn_backlog`, ['4', '128', '512']],
  ['net.core.somaxconn', ['1', '4', '4096']],
  [`${TCP}synack_retries`, ['1', '3', '5']],
  [`${TCP}syn_retries`, ['1', '3', '6']],
  [`${TCP}syn_linear_timeouts`, ['0', '1', '4']],
  [`${TCP}retries2`, ['5', '8', '15']],
  [`${TCP}orphan_retries`, ['0', '1', '5']],
  [`${TCP}fin_timeout`, ['1', '10', '60', '120']],
  [`${TCP}max_tw_buckets`, ['0', '2', '64', '32768']],
  [`${TCP}max_orphans`, ['0', '2', '32768', '32768']],
  [`${TCP}tw_reuse`, ['0', '1', '2']],
  [`${TCP}tw_reuse_delay`, ['1', '1000']],
  [`${TCP}abort_on_overflow`, ['0', '0', '1']],
  [`${TCP}timestamps`, ['0', '1', '1', '2']],
  [`${TCP}window_scaling`, ['0', '1', '1']],
  [`${TCP}sack`, ['0', '1', '1']],
  [`${TCP}rmem`, ['4096 131072 6291456', '4096 2304 4096', '4096 16384 65536', '4096 4096 8192']],
  [`${TCP}wmem`, ['4096 16384 4194304', '4096 4608 8192', '4096 65536 1048576']],
  [`${TCP}moderate_rcvbuf`, ['0', '1', '1']],
  [`${TCP}rfc1337`, ['0', '1']],
  [`${TCP}invalid_ratelimit`, ['0', '500']],
  [`${TCP}challenge_ack_limit`, ['0', '1', '1000', '2147483647']],
  [`${TCP}slow_start_after_idle`, ['0', '1']],
  [`${TCP}keepalive_time`, ['7200', '2']],
  [`${TCP}keepalive_intvl`, ['75', '1']],
  [`${TCP}keepalive_probes`, ['9', '3']],
  [`${TCP}migrate_req`, ['0', '1']],
  [`${TCP}min_snd_mss`, ['48', '500']],
  [`${TCP}congestion_control`, ['reno', 'cubic']],
  ['net.ipv4.ip_local_port_range', ['32768 60999', '40000 40007', '50000 50100']],
  ['net.ipv4.ip_autobind_reuse', ['0', '1']],
  ['net.ipv4.icmp_ratelimit', ['0', '1000']],
  ['net.ipv4.icmp_msgs_per_sec', ['1', '1000']],
  ['net.ipv4.icmp_msgs_burst', ['1', '50']],
  ['net.ipv4.ip_default_ttl', ['64', '1', '255']],
  ['net.ipv4.ipfrag_high_thresh', ['200000', '4194304']],
  ['net.ipv4.ipfrag_time', ['1', '30']],
  ['net.ipv4.ipfrag_max_dist', ['0', '1', '64']],
  ['net.core.rmem_max', ['2304', '4194304']],
  ['net.core.wmem_max', ['4608', '4194304']],
  [`${TCP}notsent_lowat`, ['1', '16384', '4294967295']],
  [`${TCP}retries1`, ['0', '3']],
  [`${TCP}ecn`, ['0', '1', '1', '2']],
  [`${TCP}ecn_fallback`, ['0', '1']],
  [`${TCP}fastopen`, ['0', '1', '3', '519', '1027', '1543']],
  [`${TCP}fastopen_blackhole_timeout_sec`, ['0', '10']],
  [`${TCP}recovery`, ['0', '1', '3', '5']],
  [`${TCP}early_retrans`, ['0', '3', '4']],
  [`${TCP}reordering`, ['1', '3', '30']],
  [`${TCP}max_reordering`, ['1', '300']],
  [`${TCP}frto`, ['0', '2']],
  [`${TCP}retrans_collapse`, ['0', '1']],
  [`${TCP}min_rtt_wlen`, ['0', '1', '300']],
  [`${TCP}rto_min_us`, ['1', '5000', '200000', '1000000']],
  [`${TCP}rto_max_ms`, ['1000', '10000', '120000']],
  [`${TCP}min_tso_segs`, ['1', '2', '40']],
  [`${TCP}tso_rtt_log`, ['0', '9', '20']],
  [`${TCP}tso_win_divisor`, ['0', '1', '3']],
  [`${TCP}pacing_ss_ratio`, ['0', '200']],
  [`${TCP}pacing_ca_ratio`, ['0', '120']],
];

/** The search for the path MTU (RFC 4821). */
const PROBING: typeof SYSCTLS = [
  [`${TCP}mtu_probing`, ['1', '1', '2']],
  [`${TCP}base_mss`, ['48', '512', '1024', '1024', '8000']],
  [`${TCP}mtu_probe_floor`, ['48', '48', '500']],
  [`${TCP}probe_threshold`, ['0', '8', '8', '200']],
  [`${TCP}probe_interval`, ['0', '1', '600', '600']],
  // Black holes are noticed before the connection is given up.
  [`${TCP}retries1`, ['0', '1', '3']],
];

const KEYS = ['01234567-89abcdef-02468ace-13579bdf', '13579bdf-02468ace-89abcdef-01234567'];

/** What hardly anybody turns. */
const RARE: typeof SYSCTLS = [
  [`${TCP}fastopen_key`, [KEYS[0]!, KEYS.join(), KEYS.toReversed().join()]],
  ['net.ipv4.ip_nonlocal_bind', ['0', '1']],
  ['net.ipv4.ip_unprivileged_port_start', ['0', '81', '8081']],
  ['net.ipv4.icmp_ratemask', ['0', '6168', '2147483647']],
  ['net.ipv4.icmp_echo_ignore_all', ['0', '1']],
];

/** Tables of a simulated host are small: there are many hosts. */
const ALWAYS: Readonly<Record<string, string>> = { 'net.ipv4.tcp_ehash_entries': '256' };

/** The sysctls of a host; `wild` = others than the defaults. */
export function drawSysctls(dice: Dice, wild: boolean): Record<string, string> {
  const settings: Record<string, string> = { ...ALWAYS };
  for (const [name, values] of SYSCTLS) {
    const chosen = dice.chance(0.4);
    const value = dice.pick(values);
    if (wild && chosen) settings[name] = value;
  }
  return settings;
}

/** Sysctls of the search for the path MTU. */
export function drawProbing(dice: Dice): Record<string, string> {
  return Object.fromEntries(PROBING.map(([name, values]) => [name, dice.pick(values)]));
}

export function drawRareSysctls(dice: Dice): Record<string, string> {
  return Object.fromEntries(RARE.map(([name, values]) => [name, dice.pick(values)]));
}

/** A socket option and a value for it. */
export interface OptionValue {
  readonly level: number;
  readonly name: number;
  readonly value: number;
  readonly value2: number;
}

const USER_TIMEOUT_MOST_MS = 300_000;
const NONSENSE = [-2147483648, -1, 0, 1, 2147483647] as const;

type Draw = (dice: Dice) => number;
const flag: Draw = (dice) => dice.int(0, 1);
const bytes: Draw = (dice) => dice.spread(1, 4_000_000);
const few: Draw = (dice) => dice.int(1, 8);

/** Level, name, value. Options that do not exist must be refused. */
const OPTIONS: readonly (readonly [level: number, name: number, draw: Draw])[] = [
  [SOL_SOCKET, SO_REUSEADDR, flag],
  [SOL_SOCKET, SO_SNDBUF, bytes],
  [SOL_SOCKET, SO_RCVBUF, bytes],
  [SOL_SOCKET, SO_KEEPALIVE, flag],
  [SOL_SOCKET, SO_LINGER, flag],
  [SOL_SOCKET, SO_REUSEPORT, flag],
  [SOL_SOCKET, SO_RCVLOWAT, few],
  [SOL_SOCKET, SO_INCOMING_CPU, few],
  [SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, flag],
  [IPPROTO_IP, IP_TOS, (dice) => dice.int(0, 255)],
  [IPPROTO_IP, IP_TTL, (dice) => dice.pick([-1, 0, 1, 64, 255, 256])],
  [IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, flag],
  [IPPROTO_IP, IP_LOCAL_PORT_RANGE, (dice) => 40_000 | (dice.int(40_000, 40_020) << 16)],
  [IPPROTO_TCP, TCP_NODELAY, flag],
  [IPPROTO_TCP, TCP_MAXSEG, (dice) => dice.spread(40, 40_000)],
  [IPPROTO_TCP, TCP_CORK, flag],
  [IPPROTO_TCP, TCP_KEEPIDLE, few],
  [IPPROTO_TCP, TCP_KEEPINTVL, few],
  [IPPROTO_TCP, TCP_KEEPCNT, few],
  [IPPROTO_TCP, TCP_SYNCNT, few],
  [IPPROTO_TCP, TCP_LINGER2, few],
  [IPPROTO_TCP, TCP_DEFER_ACCEPT, few],
  [IPPROTO_TCP, TCP_WINDOW_CLAMP, bytes],
  [IPPROTO_TCP, TCP_QUICKACK, flag],
  [IPPROTO_TCP, TCP_CONGESTION, (dice) => dice.int(0, 2)],
  [IPPROTO_TCP, TCP_USER_TIMEOUT, (dice) => dice.spread(1000, USER_TIMEOUT_MOST_MS)],
  [IPPROTO_TCP, TCP_NOTSENT_LOWAT, bytes],
  [IPPROTO_TCP, 99, flag],
  [SOL_SOCKET, SO_OOBINLINE, flag],
  [SOL_SOCKET, SO_PRIORITY, few],
  [SOL_SOCKET, SO_RCVTIMEO, few],
  [SOL_SOCKET, SO_SNDTIMEO, few],
  [IPPROTO_IP, IP_MTU_DISCOVER, (dice) => dice.int(0, 5)],
  [IPPROTO_TCP, TCP_INQ, flag],
  [IPPROTO_TCP, TCP_FASTOPEN, few],
  [IPPROTO_TCP, TCP_FASTOPEN_CONNECT, flag],
  [IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, flag],
];

/** What hardly any program sets. */
const RARE_OPTIONS: typeof OPTIONS = [
  [SOL_SOCKET, SO_SNDBUFFORCE, bytes],
  [SOL_SOCKET, SO_RCVBUFFORCE, bytes],
  [SOL_SOCKET, SO_BUF_LOCK, (dice) => dice.int(0, 4)],
  [SOL_SOCKET, SO_MARK, few],
  [SOL_SOCKET, SO_MAX_PACING_RATE, bytes],
  [IPPROTO_IP, IP_FREEBIND, flag],
  [IPPROTO_IP, IP_TRANSPARENT, flag],
  [IPPROTO_IP, IP_MINTTL, (dice) => dice.pick([-1, 0, 1, 64, 256])],
  [IPPROTO_TCP, TCP_SAVE_SYN, (dice) => dice.int(0, 3)],
];

export function drawRareOption(dice: Dice): OptionValue {
  const [level, name, draw] = dice.pick(RARE_OPTIONS);
  return { level, name, value: draw(dice), value2: 0 };
}

/** Any option with a likely value, sometimes an absurd one. */
export function drawOption(dice: Dice): OptionValue {
  const [level, name, draw] = dice.pick(OPTIONS);
  const likely = draw(dice);
  let value = dice.chance(0.1) ? dice.pick(NONSENSE) : likely;
  // Even a closed socket may go on for as long as its user has said, which a run would have to
  // wait.
  if (name === TCP_USER_TIMEOUT) value = Math.min(value, USER_TIMEOUT_MOST_MS);
  // A close() that resets is a plan of its own: here lingering has a time.
  return { level, name, value, value2: name === SO_LINGER ? dice.int(1, 60) : 0 };
}

/** Level and name of what getsockopt is asked for. */
export function drawQuestion(dice: Dice): [level: number, name: number] {
  if (dice.chance(0.3)) return [IPPROTO_TCP, TCP_INFO];
  if (dice.chance(0.1)) return [dice.int(-1, 300), dice.int(-1, 100)];
  const [level, name] = dice.pick(OPTIONS);
  return [level, name];
}

/** Selectors of a reuseport group by name; one does not exist. */
export const SELECTORS: readonly string[] = [
  'hash',
  'random',
  'rr',
  'least',
  'p2c',
  'consistent',
  'cpu',
  'none',
];
