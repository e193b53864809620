/**
 * The table of all knobs: Linux's name, default, range, unit, one sentence, source. What it
 * describes is the object in sysctl.ts; a vector (tcp_rmem) is several entries of the same name, in
 * order.
 */
import type { SysctlField } from './sysctl.js';

export interface SysctlEntry {
  /** Linux's name. */
  readonly name: string;
  readonly field: SysctlField;
  readonly default: number;
  /** Default of profile 5.0 where it differs. */
  readonly default50?: number;
  readonly min: number;
  readonly max: number;
  /** '' = a plain number or a switch. */
  readonly unit: string;
  /** One sentence. */
  readonly text: string;
  /** Where the meaning and the default come from. */
  readonly source: string;
  /** Words that stand for 0, 1, …; such a knob is printed as its word. */
  readonly words?: readonly string[];
  readonly powerOfTwo?: boolean;
}

/**
 * Settings that a user may not choose yet, because the stack does not act on them: the smallest
 * value of a knob that is refused, and what happens instead. The core itself takes them.
 */
export const UNBUILT: Readonly<Record<string, { from: number; why: string }>> = {
  'net.ipv4.tcp_migrate_req': {
    from: 1,
    why: 'migration: connections queued at a closed listener are reset',
  },
};

const INT_MAX = 2_147_483_647;
const TCP = 'net/ipv4/tcp_ipv4.c: tcp_sk_init';
const MEM = 'net/ipv4/tcp.c: tcp_init';
const CORE = 'net/core/sysctl_net_core.c';
const AF = 'net/ipv4/af_inet.c: inet_init_net';
const FRAG = 'net/ipv4/ip_fragment.c: ipv4_frags_init_net';
const ICMP = 'net/ipv4/icmp.c: icmp_sk_init';

type Extra = Partial<Pick<SysctlEntry, 'default50' | 'words' | 'powerOfTwo'>>;

function knob(
  name: string,
  field: SysctlField,
  range: readonly [value: number, min: number, max: number, unit: string],
  text: string,
  source: string,
  extra: Extra = {},
): SysctlEntry {
  const [value, min, max, unit] = range;
  return { name: `net.${name}`, field, default: value, min, max, unit, text, source, ...extra };
}

export const SYSCTLS: readonly SysctlEntry[] = [
  knob(
    'ipv4.tcp_syncookies',
    'tcpSyncookies',
    [1, 0, 2, ''],
    '0 never, 1 when the SYN queue is full, 2 always answer a SYN with a cookie.',
    TCP,
  ),
  knob(
    'ipv4.tcp_max_syn_backlog',
    'tcpMaxSynBacklog',
    [512, 0, INT_MAX, 'requests'],
    'Half-open connections of a listener while cookies are off (Linux: ehash entries / 128).',
    MEM,
  ),
  knob(
    'core.somaxconn',
    'somaxconn',
    [4096, 0, INT_MAX, 'connections'],
    'Upper limit of the backlog argument of listen().',
    CORE,
    { default50: 128 },
  ),
  knob(
    'ipv4.tcp_synack_retries',
    'tcpSynackRetries',
    [5, 0, 255, ''],
    'Retransmissions of a SYN-ACK before the request is given up.',
    TCP,
  ),
  knob(
    'ipv4.tcp_syn_retries',
    'tcpSynRetries',
    [6, 1, 127, ''],
    'Retransmissions of a SYN with doubling time-outs before connect() fails.',
    TCP,
  ),
  knob(
    'ipv4.tcp_syn_linear_timeouts',
    'tcpSynLinearTimeouts',
    [4, 0, 127, ''],
    'SYN time-outs of equal length before they begin to double (0 = as before Linux 6.5).',
    TCP,
    { default50: 0 },
  ),
  knob(
    'ipv4.tcp_retries1',
    'tcpRetries1',
    [3, 0, 255, ''],
    'Retransmissions after which the path is doubted.',
    TCP,
  ),
  knob(
    'ipv4.tcp_retries2',
    'tcpRetries2',
    [15, 0, INT_MAX, ''],
    'Retransmissions (turned into a time) after which a connection times out.',
    TCP,
  ),
  knob(
    'ipv4.tcp_orphan_retries',
    'tcpOrphanRetries',
    [0, 0, INT_MAX, ''],
    'Retries for a closed socket; 0 means 8.',
    TCP,
  ),
  knob(
    'ipv4.tcp_fin_timeout',
    'tcpFinTimeout',
    [60, 1, 2_147_483, 'seconds'],
    'How long a closed socket stays in FIN-WAIT-2.',
    TCP,
  ),
  knob(
    'ipv4.tcp_max_tw_buckets',
    'tcpMaxTwBuckets',
    [32_768, 0, INT_MAX, 'sockets'],
    'Most TIME-WAIT sockets (Linux: ehash entries / 2).',
    TCP,
  ),
  knob(
    'ipv4.tcp_max_orphans',
    'tcpMaxOrphans',
    [32_768, 0, INT_MAX, 'sockets'],
    'Most connections without a descriptor (Linux: ehash entries / 2).',
    MEM,
  ),
  knob(
    'ipv4.tcp_tw_reuse',
    'tcpTwReuse',
    [2, 0, 2, ''],
    'connect() may take over a TIME-WAIT socket: 0 no, 1 yes, 2 on loopback only.',
    TCP,
  ),
  knob(
    'ipv4.tcp_tw_reuse_delay',
    'tcpTwReuseDelay',
    [1000, 1, INT_MAX, 'ms'],
    'Age of the last timestamp before a TIME-WAIT socket may be taken over.',
    TCP,
  ),
  knob(
    'ipv4.tcp_abort_on_overflow',
    'tcpAbortOnOverflow',
    [0, 0, 1, ''],
    'Reset a connection that finds the accept queue full.',
    TCP,
  ),
  knob(
    'ipv4.tcp_timestamps',
    'tcpTimestamps',
    [1, 0, 2, ''],
    'Timestamps option: 0 off, 1 with a random offset per connection, 2 without.',
    TCP,
  ),
  knob(
    'ipv4.tcp_window_scaling',
    'tcpWindowScaling',
    [1, 0, 1, ''],
    'Window scale option (RFC 7323).',
    TCP,
  ),
  knob('ipv4.tcp_sack', 'tcpSack', [1, 0, 1, ''], 'Selective acknowledgements (RFC 2018).', TCP),
  knob('ipv4.tcp_rmem', 'tcpRmemMin', [4096, 1, INT_MAX, 'bytes'], 'Receive buffer: least.', MEM),
  knob(
    'ipv4.tcp_rmem',
    'tcpRmemDefault',
    [131_072, 1, INT_MAX, 'bytes'],
    'Receive buffer: to begin with.',
    MEM,
  ),
  knob(
    'ipv4.tcp_rmem',
    'tcpRmemMax',
    [33_554_432, 1, INT_MAX, 'bytes'],
    'Receive buffer: most that auto-tuning gives.',
    MEM,
    { default50: 6_291_456 },
  ),
  knob('ipv4.tcp_wmem', 'tcpWmemMin', [4096, 1, INT_MAX, 'bytes'], 'Send buffer: least.', MEM),
  knob(
    'ipv4.tcp_wmem',
    'tcpWmemDefault',
    [16_384, 1, INT_MAX, 'bytes'],
    'Send buffer: to begin with.',
    MEM,
  ),
  knob(
    'ipv4.tcp_wmem',
    'tcpWmemMax',
    [4_194_304, 1, INT_MAX, 'bytes'],
    'Send buffer: most that auto-tuning gives.',
    MEM,
  ),
  knob(
    'core.rmem_max',
    'rmemMax',
    [4_194_304, 2304, INT_MAX, 'bytes'],
    'Most that SO_RCVBUF may ask for.',
    CORE,
    { default50: 212_992 },
  ),
  knob(
    'core.wmem_max',
    'wmemMax',
    [4_194_304, 4608, INT_MAX, 'bytes'],
    'Most that SO_SNDBUF may ask for.',
    CORE,
    { default50: 212_992 },
  ),
  knob(
    'ipv4.tcp_moderate_rcvbuf',
    'tcpModerateRcvbuf',
    [1, 0, 1, ''],
    'Grow receive buffers to what the application reads per round trip.',
    TCP,
  ),
  knob(
    'ipv4.tcp_rfc1337',
    'tcpRfc1337',
    [0, 0, 1, ''],
    'Ignore a RST in TIME-WAIT (RFC 1337).',
    TCP,
  ),
  knob(
    'ipv4.tcp_invalid_ratelimit',
    'tcpInvalidRatelimit',
    [500, 0, INT_MAX, 'ms'],
    'Least time between two answers to out-of-window segments of a connection.',
    TCP,
  ),
  knob(
    'ipv4.tcp_challenge_ack_limit',
    'tcpChallengeAckLimit',
    [INT_MAX, 0, INT_MAX, 'a second'],
    'Most challenge ACKs of the whole stack (RFC 5961 7).',
    TCP,
    { default50: 1000 },
  ),
  knob(
    'ipv4.tcp_slow_start_after_idle',
    'tcpSlowStartAfterIdle',
    [1, 0, 1, ''],
    'Shrink cwnd while a connection is idle (RFC 2861).',
    TCP,
  ),
  knob(
    'ipv4.tcp_keepalive_time',
    'tcpKeepaliveTime',
    [7200, 1, 32_767, 'seconds'],
    'Idle time before the first keep-alive probe.',
    TCP,
  ),
  knob(
    'ipv4.tcp_keepalive_intvl',
    'tcpKeepaliveIntvl',
    [75, 1, 32_767, 'seconds'],
    'Time between keep-alive probes.',
    TCP,
  ),
  knob(
    'ipv4.tcp_keepalive_probes',
    'tcpKeepaliveProbes',
    [9, 1, 127, ''],
    'Unanswered keep-alive probes that end a connection.',
    TCP,
  ),
  knob(
    'ipv4.tcp_migrate_req',
    'tcpMigrateReq',
    [0, 0, 1, ''],
    'Move queued connections of a closed listener to another of its group.',
    TCP,
  ),
  knob(
    'ipv4.tcp_min_snd_mss',
    'tcpMinSndMss',
    [48, 48, 65_535, 'bytes'],
    'Smallest MSS that we obey.',
    TCP,
  ),
  knob(
    'ipv4.tcp_congestion_control',
    'tcpCongestionControl',
    [1, 0, 1, ''],
    'Congestion control of new connections.',
    TCP,
    { words: ['reno', 'cubic'] },
  ),
  knob(
    'ipv4.tcp_ehash_entries',
    'tcpChildEhashEntries',
    [65_536, 16, 16_777_216, 'buckets'],
    'Size of the established table.',
    MEM,
    { powerOfTwo: true },
  ),
  knob(
    'ipv4.ip_local_port_range',
    'ipLocalPortRangeLow',
    [32_768, 1, 65_535, ''],
    'Lowest port chosen for bind(0) and connect().',
    AF,
  ),
  knob(
    'ipv4.ip_local_port_range',
    'ipLocalPortRangeHigh',
    [60_999, 1, 65_535, ''],
    'Highest port chosen for bind(0) and connect().',
    AF,
  ),
  knob(
    'ipv4.ip_unprivileged_port_start',
    'ipUnprivilegedPortStart',
    [1024, 0, 65_535, ''],
    'Lowest port that anybody may bind.',
    AF,
  ),
  knob(
    'ipv4.ip_autobind_reuse',
    'ipAutobindReuse',
    [0, 0, 1, ''],
    'bind(0) may share ports of SO_REUSEADDR sockets when all others are taken.',
    AF,
  ),
  knob('ipv4.ip_default_ttl', 'ipDefaultTtl', [64, 1, 255, 'hops'], 'TTL of packets we send.', AF),
  knob(
    'ipv4.ipfrag_high_thresh',
    'ipfragHighThresh',
    [4_194_304, 0, INT_MAX, 'bytes'],
    'Memory for datagrams in reassembly.',
    FRAG,
  ),
  knob(
    'ipv4.ipfrag_time',
    'ipfragTime',
    [30, 1, 2_147_483, 'seconds'],
    'How long a datagram may wait for its missing fragments.',
    FRAG,
  ),
  knob(
    'ipv4.ipfrag_max_dist',
    'ipfragMaxDist',
    [64, 0, INT_MAX, 'fragments'],
    'Fragments of the same sender that may come between two of one datagram; 0 = any number.',
    FRAG,
  ),
  knob(
    'ipv4.icmp_ratelimit',
    'icmpRatelimit',
    [1000, 0, INT_MAX, 'ms'],
    'Least mean time between limited messages to one destination; 0 = no limit.',
    ICMP,
  ),
  knob(
    'ipv4.icmp_ratemask',
    'icmpRatemask',
    [0x1818, 0, INT_MAX, 'bits'],
    'ICMP types (1 << type) to which the limits apply.',
    ICMP,
  ),
  knob(
    'ipv4.icmp_msgs_per_sec',
    'icmpMsgsPerSec',
    [1000, 0, INT_MAX, 'a second'],
    'Most limited messages to all destinations.',
    ICMP,
  ),
  knob(
    'ipv4.icmp_msgs_burst',
    'icmpMsgsBurst',
    [50, 0, INT_MAX, 'messages'],
    'How many of those may come at once.',
    ICMP,
  ),
  knob(
    'ipv4.icmp_echo_ignore_all',
    'icmpEchoIgnoreAll',
    [0, 0, 1, ''],
    'Answer no echo requests.',
    ICMP,
  ),
];
