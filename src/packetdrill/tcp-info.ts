/**
 * What `%{ }%` blocks may ask of the socket under test: the fields of struct tcp_info that this
 * stack fills (include/uapi/linux/tcp.h), and the constants that scripts compare them with.
 */
import {
  IPPROTO_TCP,
  SO_RCVBUF,
  SO_SNDBUF,
  SOL_SOCKET,
  TCP_INFO,
} from '../socket/uapi/constants.js';
import type { ScriptCalls } from './script-world.js';

/** Bytes of the first two words. */
const BYTES = ['state', 'ca_state', 'retransmits', 'probes', 'backoff', 'options'];
/** The words from the third on. */
const WORDS = [
  ...['rto', 'ato', 'snd_mss', 'rcv_mss', 'unacked', 'sacked', 'lost', 'retrans', 'fackets'],
  ...['last_data_sent', 'last_ack_sent', 'last_data_recv', 'last_ack_recv', 'pmtu'],
  ...['rcv_ssthresh', 'rtt', 'rttvar', 'snd_ssthresh', 'snd_cwnd', 'advmss', 'reordering'],
  ...['rcv_rtt', 'rcv_space', 'total_retrans'],
];

/** Later words, by their place; those of 64 bits take two. Only what the stack fills. */
const LATER: readonly (readonly [number, string])[] = [
  ...([
    [34, 'segs_out'],
    [35, 'segs_in'],
    [36, 'notsent_bytes'],
    [37, 'min_rtt'],
  ] as const),
  ...([
    [38, 'data_segs_in'],
    [39, 'data_segs_out'],
    [48, 'delivered'],
  ] as const),
  ...([
    [49, 'delivered_ce'],
    [54, 'dsack_dups'],
    [55, 'reord_seen'],
  ] as const),
  ...([
    [56, 'rcv_ooopack'],
    [57, 'snd_wnd'],
    [58, 'rcv_wnd'],
    [60, 'total_rto'],
  ] as const),
];
const LATER_LONG: readonly (readonly [number, string])[] = [
  ...([
    [30, 'bytes_acked'],
    [32, 'bytes_received'],
  ] as const),
  ...([
    [50, 'bytes_sent'],
    [52, 'bytes_retrans'],
  ] as const),
];

const CONSTANTS: Readonly<Record<string, number>> = {
  TCP_ESTABLISHED: 1,
  TCP_SYN_SENT: 2,
  TCP_SYN_RECV: 3,
  TCP_FIN_WAIT1: 4,
  TCP_FIN_WAIT2: 5,
  TCP_TIME_WAIT: 6,
  TCP_CLOSE: 7,
  TCP_CLOSE_WAIT: 8,
  TCP_LAST_ACK: 9,
  TCP_LISTEN: 10,
  TCP_CLOSING: 11,
  TCP_CA_Open: 0,
  TCP_CA_Disorder: 1,
  TCP_CA_CWR: 2,
  TCP_CA_Recovery: 3,
  TCP_CA_Loss: 4,
  TCPI_OPT_TIMESTAMPS: 1,
  TCPI_OPT_SACK: 2,
  TCPI_OPT_WSCALE: 4,
  TCPI_OPT_ECN: 8,
  TCPI_OPT_ECN_SEEN: 16,
  TCPI_OPT_SYN_DATA: 32,
};

/** Of SO_MEMINFO what has a meaning here: the limits. */
const MEMINFO: readonly (readonly [string, number])[] = [
  ['SK_MEMINFO_RCVBUF', SO_RCVBUF],
  ['SK_MEMINFO_SNDBUF', SO_SNDBUF],
];

/** Names and values for one block; without a socket only the constants. */
export function tcpInfoFacts(sys: ScriptCalls, fd: number): Map<string, number> {
  const facts = new Map(Object.entries(CONSTANTS));
  for (const [name, option] of MEMINFO) {
    const value = sys.getsockopt(fd, SOL_SOCKET, option);
    if (value >= 0) facts.set(name, value);
  }
  const out = new Int32Array(80);
  const words = sys.getsockopt(fd, IPPROTO_TCP, TCP_INFO, out);
  if (words < 0) return facts;
  const view = new DataView(out.buffer);
  BYTES.forEach((name, i) => {
    facts.set(`tcpi_${name}`, view.getUint8(i));
  });
  facts.set('tcpi_snd_wscale', view.getUint8(6) & 15);
  facts.set('tcpi_rcv_wscale', view.getUint8(6) >> 4);
  WORDS.forEach((name, i) => {
    facts.set(`tcpi_${name}`, out[i + 2]! >>> 0);
  });
  for (const [at, name] of LATER) facts.set(`tcpi_${name}`, out[at]! >>> 0);
  for (const [at, name] of LATER_LONG) {
    facts.set(`tcpi_${name}`, (out[at]! >>> 0) + out[at + 1]! * 2 ** 32);
  }
  return facts;
}
