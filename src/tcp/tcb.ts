/**
 * The transmission control block (RFC 9293 3.3.1): one class of fixed shape with the RFC's
 * variables. Sequence numbers are int32, times µs, sizes bytes. A connection's payload lives in two
 * rings of the shared memory (net/ring.ts); the block words that applications see are written by
 * publish.ts. No behaviour here.
 */
import { BLOCK_RCV, BLOCK_SND } from '../net/sockmem.js';
import { SK_FULL } from '../reuseport/sock-common.js';
import type { Congestion } from './cong/congestion.js';
import { RENO } from './cong/reno.js';
import type { ListenState } from './listen-state.js';
import type { Ranges } from './ranges.js';
import { TcpSock } from './sock.js';
import type { Tcp } from './tcp.js';

/** Bits of Tcb.shutdown (Linux: sk_shutdown). */
export const RCV_SHUTDOWN = 1;
export const SEND_SHUTDOWN = 2;

/** Tcb.socketState, what connect() and listen() look at (Linux: enum socket_state). */
export const SS_UNCONNECTED = 1;
export const SS_CONNECTING = 2;
export const SS_CONNECTED = 3;

/** Loss recovery states with Linux's numbers (tcpi_ca_state). */
export const CA_OPEN = 0;
export const CA_DISORDER = 1;
export const CA_CWR = 2;
export const CA_RECOVERY = 3;
export const CA_LOSS = 4;

export const DEFAULT_MSS = 536;
/** RFC 6298 2.1, 2.4, 2.5 with Linux's floor. */
export const RTO_INITIAL_US = 1_000_000;
export const RTO_MIN_US = 200_000;
export const RTO_MAX_US = 120_000_000;

export class Tcb extends TcpSock {
  readonly fd: number;
  /** First control word of the block, and of its rings. */
  readonly at: number;
  readonly rcvRing: number;
  readonly sndRing: number;
  /** Place in tcp.ringed, -1 = holds no ring memory. */
  ringedIndex = -1;
  lastActiveUs = 0;

  // Send sequence variables.
  iss = 0;
  sndUna = 0;
  sndNxt = 0;
  /** Scaled. */
  sndWnd = 0;
  sndWl1 = 0;
  sndWl2 = 0;
  sndWscale = 0;
  /** Largest window ever offered to us. */
  maxWindow = 0;
  /** Bytes ever acknowledged, as far as that is below 2^30. */
  bytesAcked = 0;
  /** Peer's MSS bounded by the path, without options. */
  sndMss: number = DEFAULT_MSS;
  /** End of the last segment smaller than the MSS (Minshall's Nagle). */
  sndSml = 0;
  /** The application has closed its sending side: FIN follows the last byte of the ring. */
  finQueued = false;
  finSent = false;

  // Receive sequence variables.
  irs = 0;
  rcvNxt = 0;
  /** RCV.NXT and window of the last ACK sent: the right edge offered is their sum. */
  rcvWup = 0;
  rcvWnd = 0;
  rcvWscale = 0;
  /** Estimate of the peer's segment size, and the size of the last segment below it. */
  rcvMss: number = DEFAULT_MSS;
  lastSegBytes = 0;
  /** Window we are willing to offer; the ring is twice as large. */
  rcvSpace = 65_536;
  rcvBufLocked = false;
  /**
   * Receiver-side estimate: start of the measuring interval and bytes consumed before it
   * (auto-tuning).
   */
  rcvSpaceUs = 0;
  rcvSpaceSeq = 0;
  /** Out-of-order data in the ring past RCV.NXT, and the sequence number that arrived last. */
  ofo: Ranges | null = null;
  ofoNewest = 0;
  /** D-SACK block to report with the next ACK (empty when equal). */
  dsackLeft = 0;
  dsackRight = 0;
  /** A FIN has arrived out of order: the sequence number that it occupies. */
  ofoFin = false;
  ofoFinSeq = 0;

  // Options agreed on.
  tsOk = false;
  sackOk = false;
  wscaleOk = false;
  tsOffset = 0;
  tsRecent = 0;
  tsRecentUs = 0;

  // Loss recovery and congestion control.
  caState: number = CA_OPEN;
  /** What the peer holds past SND.UNA. */
  sacked: Ranges | null = null;
  dupAcks = 0;
  /** Recovery ends when SND.UNA reaches it. */
  recoveryPoint = 0;
  /**
   * Everything unsacked below it counts as lost; what of it lies below rtxNxt has been sent again.
   */
  lossPoint = 0;
  rtxNxt = 0;
  cwnd = 0;
  ssthresh: number = Infinity;
  /**
   * In the current window of data cwnd was the limit, or the most in flight was (slow start may
   * count that too).
   */
  cwndLimited = false;
  maxInFlight = 0;
  /** The window of data for which these two hold ends here. */
  cwndUsageSeq = 0;
  congestion: Congestion = RENO;
  congestionState: object | null = null;

  // Round-trip time (RFC 6298, Linux's estimator).
  srttUs = 0;
  mdevUs = 0;
  mdevMaxUs = 0;
  rttvarUs = 0;
  rttvarSeq = 0;
  rtoUs: number = RTO_INITIAL_US;
  /**
   * The one segment that is being timed: its end, and when it left; rttTimed = a measurement is
   * running.
   */
  rttSeq = 0;
  rttSentUs = 0;
  rttTimed = false;

  // Timers (µs; Infinity = off). The earliest is in net.timers.
  /** Retransmission, or window probe while `probing`. */
  retransUs: number = Infinity;
  probing = false;
  delackUs: number = Infinity;
  /** Keep-alive, or the limit of FIN-WAIT-2 for an orphan. */
  keepUs: number = Infinity;
  retransmits = 0;
  backoff = 0;
  /** Window and keep-alive probes since the peer was last heard of. */
  probesOut = 0;
  /** When the first of the current series of retransmissions left. */
  retransStampUs = 0;
  totalRetrans = 0;

  // Acknowledgement policy (Linux: inet_csk_ack).
  /** ACKs still to be sent at once. */
  quickAcks = 0;
  pingpong = false;
  atoUs = 0;
  lastReceivedUs = 0;
  lastSentUs = 0;
  /** Last acceptable ACK (Linux: rcv_tstamp). */
  lastAckedUs = 0;
  /** Duplicate ACKs owed for out-of-order segments of this batch. */
  dupAcksOwed = 0;
  /** Last time an ACK was sent for something invalid (rate limit). */
  lastOowUs: number = -Infinity;

  // Socket options and application state.
  shutdown = 0;
  /** SS_*: differs from `state` once the connection is over. */
  socketState: number = SS_UNCONNECTED;
  /** No application holds it any more. */
  orphan = false;
  error = 0;
  softError = 0;
  nodelay = false;
  cork = false;
  keepalive = false;
  lingerOn = false;
  lingerSeconds = 0;
  userMss = 0;
  keepIdleUs = 0;
  keepIntvlUs = 0;
  keepCount = 0;
  synRetries = 0;
  sndBufLocked = false;
  tos = 0;
  ttl = 64;
  ipId = 0;
  /** Path MTU learnt from ICMP, 0 = the device's. */
  pmtu = 0;
  /** ICMP claimed less than Linux believes: packets of the least size go without DF. */
  pmtuLocked = false;
  /** Listener only. */
  listen: ListenState | null = null;
  /** fd of the listener this one came from, 0 = none. */
  listenerFd = 0;

  constructor(tcp: Tcp, fd: number) {
    super(tcp, SK_FULL);
    this.fd = fd;
    this.at = tcp.mem.blockAt(fd);
    this.rcvRing = this.at + BLOCK_RCV;
    this.sndRing = this.at + BLOCK_SND;
    this.ipId = tcp.net.random.u32() & 0xffff;
    this.rcvSpace = tcp.net.sysctl.tcpRmemDefault >> 1;
    this.ttl = tcp.net.sysctl.ipDefaultTtl;
  }

  override onTimer(nowUs: number): void {
    this.tcp.wiring.tcbTimer(this, nowUs);
  }
}
