/**
 * The knobs of TCP's sending side: loss recovery, retransmission time-out, size of bursts. Part of
 * the table in sysctl-table.ts.
 */
import { knob, type SysctlEntry } from './sysctl-entry.js';

const INT_MAX = 2_147_483_647;
const TCP = 'net/ipv4/tcp_ipv4.c: tcp_sk_init';

export const SENDER_SYSCTLS: readonly SysctlEntry[] = [
  knob(
    'ipv4.tcp_recovery',
    'tcpRecovery',
    [1, 0, 255, ''],
    'RACK: 2 keeps its window at one step, 4 takes no notice of three duplicate ACKs.',
    TCP,
  ),
  knob(
    'ipv4.tcp_early_retrans',
    'tcpEarlyRetrans',
    [3, 0, 4, ''],
    'Tail loss probes: 3 or 4 on, less off.',
    TCP,
  ),
  knob(
    'ipv4.tcp_reordering',
    'tcpReordering',
    [3, 1, INT_MAX, 'segments'],
    'Reordering that a connection begins by expecting.',
    TCP,
  ),
  knob(
    'ipv4.tcp_max_reordering',
    'tcpMaxReordering',
    [300, 1, INT_MAX, 'segments'],
    'Most reordering that is believed.',
    TCP,
  ),
  knob(
    'ipv4.tcp_frto',
    'tcpFrto',
    [2, 0, 255, ''],
    'Find out by new segments whether a time-out was spurious (RFC 5682); 0 = no.',
    TCP,
  ),
  knob(
    'ipv4.tcp_retrans_collapse',
    'tcpRetransCollapse',
    [1, 0, 255, ''],
    'Small segments go out together when they are repeated.',
    TCP,
  ),
  knob(
    'ipv4.tcp_min_rtt_wlen',
    'tcpMinRttWlen',
    [300, 0, 86_400, 'seconds'],
    'How long the smallest RTT is remembered.',
    TCP,
  ),
  knob(
    'ipv4.tcp_rto_min_us',
    'tcpRtoMinUs',
    [200_000, 1, 1_000_000, 'µs'],
    'Least retransmission time-out.',
    TCP,
  ),
  knob(
    'ipv4.tcp_rto_max_ms',
    'tcpRtoMaxMs',
    [120_000, 1000, 120_000, 'ms'],
    'Largest retransmission time-out.',
    TCP,
  ),
  knob(
    'ipv4.tcp_min_tso_segs',
    'tcpMinTsoSegs',
    [2, 1, 65_535, 'segments'],
    'Least size of a burst.',
    TCP,
  ),
  knob(
    'ipv4.tcp_tso_rtt_log',
    'tcpTsoRttLog',
    [9, 0, 31, ''],
    'Bursts halve with each 2^N µs of RTT.',
    TCP,
  ),
  knob(
    'ipv4.tcp_tso_win_divisor',
    'tcpTsoWinDivisor',
    [3, 0, INT_MAX, ''],
    'Part of the window that is sent without waiting for more.',
    TCP,
  ),
  knob(
    'ipv4.tcp_pacing_ss_ratio',
    'tcpPacingSsRatio',
    [200, 0, 1000, '%'],
    'Pace in slow start: it sets the size of bursts.',
    TCP,
  ),
  knob(
    'ipv4.tcp_pacing_ca_ratio',
    'tcpPacingCaRatio',
    [120, 0, 1000, '%'],
    'Pace in congestion avoidance.',
    TCP,
  ),
];
