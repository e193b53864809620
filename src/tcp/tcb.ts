/**
 * The transmission control block (RFC 9293 3.3.1): one class of fixed shape with the RFC's
 * variables. Sequence numbers are int32, times µs, sizes bytes. A connection's payload lives in two
 * rings of the shared memory (net/ring.ts); the block words that applications see are written by
 * publish.ts. No behaviour here.
 */
import { BLOCK_RCV, BLOCK_SND, BLOCK_SOFT_ERROR } from '../net/sockmem.js';
import { SK_FULL } from '../reuseport/sock-common.js';
import { CA_OPEN, INFINITE_SSTHRESH } from './ca-state.js';
import type { Congestion } from './cong/congestion.js';
import { RENO } from './cong/reno.js';
import { Counts } from './counts.js';
import type { ActiveFastopen } from './fastopen-path.js';
import type { Lent } from './lend.js';
import type { ListenState } from './listen-state.js';
import type { MtuSearch } from './mtu-probe.js';
import type { Ranges } from './ranges.js';
import type { Sender } from './sender.js';
import { TcpSock } from './sock.js';
import { NO_RARE_OPTIONS, type RareOptions } from './sockopt/rare.js';
import type { Tcp } from './tcp.js';
import { TIME_PROBE0 } from './timer-arm.js';

/** Bits of Tcb.shutdown (Linux: sk_shutdown). */
export const RCV_SHUTDOWN = 1;
export const SEND_SHUTDOWN = 2;

/**
 * Tcb.socketState, what connect() and listen() look at (Linux: enum socket_state). A connection
 * that was opened without waiting is CONNECTING until connect() or shutdown() is called again.
 */
export const SS_UNCONNECTED = 1;
export const SS_CONNECTING = 2;
export const SS_CONNECTED = 3;
export const SS_DISCONNECTING = 4;

/** Values of Tcb.pmtudisc (Linux: IP_PMTUDISC_*). */
export const PMTUDISC_DONT = 0;
export const PMTUDISC_WANT = 1;
export const PMTUDISC_DO = 2;
export const PMTUDISC_PROBE = 3;

/** RFC 9293 MUST-15. */
export const DEFAULT_MSS = 536;
/** RFC 6298 2.1, 2.4, 2.5 with Linux's floor. */
export const RTO_INITIAL_US = 1_000_000;
export const RTO_MIN_US = 200_000;
export const RTO_MAX_US = 120_000_000;

export class Tcb extends TcpSock {
  /** Changes when the object becomes another connection's (parking.ts). */
  fd = 0;
  /** First control word of the block, and of its rings. */
  at = 0;
  rcvRing = 0;
  sndRing = 0;
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
   * No window above either is offered: what the space allows, and what the segments that have come
   * so far make believable (Linux: window_clamp, rcv_ssthresh).
   */
  windowClamp = 0x7fffffff;
  rcvSsthresh = 0x7fffffff;
  /** TCP_WINDOW_CLAMP, 0 = none. */
  userClamp = 0;
  /**
   * Auto-tuning: start of the measuring interval, where the reader was then, and the most that it
   * has read in one (Linux: rcvq_space).
   */
  rcvSpaceUs = 0;
  rcvSpaceSeq = 0;
  rcvqSpace = 0;
  /**
   * The receiver's round-trip time, 0 = not known, and what it is measured with: the window of text
   * that began at a time ends there; the last timestamp echo seen.
   */
  rcvRttUs = 0;
  rcvRttStampUs = 0;
  rcvRttSeq = 0;
  rcvRttEcho = 0;
  /** Out-of-order data in the ring past RCV.NXT, and the sequence number that arrived last. */
  ofo: Ranges | null = null;
  ofoNewest = 0;
  /** Packet buffers with text that has not been read (lend.ts), null = there never were any. */
  lent: Lent | null = null;
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
  /** ECN_* (ecn.ts); text below the second has left once and is not marked again. */
  ecnFlags = 0;
  ectNxt = 0;

  // Fast Open (fastopen.ts, fastopen-client.ts).
  /** Of a listener: most children that wait for their third ACK. */
  fastopenMax = 0;
  fastopenNoCookie = false;
  /** TCP_FASTOPEN_KEY: one key or two; null = those of net.ipv4.tcp_fastopen_key. */
  fastopenKeys: Int32Array | null = null;
  /** connect() leaves the SYN to the first write. */
  fastopenConnect = false;
  /** Of a child that waits for its third ACK: where it is counted. */
  fastopenQueue: ListenState | null = null;
  /** Of a connection that was opened that way from here. */
  tfo: ActiveFastopen | null = null;
  /** Option of the next SYN or SYN-ACK, null = none; empty = asks for a cookie. */
  fastopenCookie: Uint8Array | null = null;
  fastopenExp = false;
  /** Text came, or went and was acknowledged, with a SYN. */
  synDataAcked = false;

  // Loss recovery and congestion control.
  caState: number = CA_OPEN;
  /** What is known of the sending side since the first transmission of text (sender.ts). */
  sender: Sender | null = null;
  /** Segments. */
  cwnd = 0;
  ssthresh: number = INFINITE_SSTHRESH;
  congestion: Congestion = RENO;
  congestionState: object | null = null;

  // Round-trip time (RFC 6298, Linux's estimator).
  srttUs = 0;
  mdevUs = 0;
  mdevMaxUs = 0;
  rttvarUs = 0;
  rttvarSeq = 0;
  rtoUs: number = RTO_INITIAL_US;
  /** When our SYN (or its SYN-ACK) left, which is timed while rttTimed. */
  rttSentUs = 0;
  rttTimed = false;

  // Timers (µs; Infinity = off). The earliest is in net.timers.
  /** The sender's: xmitTimer (TIME_*, timer-arm.ts) says what for. */
  retransUs: number = Infinity;
  xmitTimer = 0;
  delackUs: number = Infinity;
  /** Keep-alive, or the limit of FIN-WAIT-2 for an orphan. */
  keepUs: number = Infinity;
  retransmits = 0;
  backoff = 0;
  /** Window and keep-alive probes since the peer was last heard of. */
  probesOut = 0;
  /** When the first probe of the window that is closed now left, 0 = none has. */
  probesStampUs = 0;
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
  /** Our SYN has been acknowledged. */
  synAcked = false;
  /** The peer's FIN has been taken: the end of the stream, whatever comes after (SOCK_DONE). */
  finReceived = false;
  /** No application holds it any more. */
  orphan = false;
  error = 0;
  nodelay = false;
  cork = false;
  /** The last write had MSG_MORE, and nothing has come since that would send what is held back. */
  more = false;
  /** The last write had MSG_MORE: no PSH at its end (Linux: tcp_push). */
  unpushed = false;
  /** What is queued goes whatever Nagle and the cork say (Linux: TCP_NAGLE_PUSH). */
  pushNow = false;
  /** Urgent data before SND.UP has not been acknowledged (RFC 9293 3.8.5). */
  urgent = false;
  sndUp = 0;
  /** RFC 9293 MUST-25: off. */
  keepalive = false;
  lingerOn = false;
  lingerSeconds = 0;
  userMss = 0;
  keepIdleUs = 0;
  keepIntvlUs = 0;
  keepCount = 0;
  synRetries = 0;
  /** TCP_LINGER2, seconds: 0 = as tcp_fin_timeout says, -1 = not at all. */
  linger2 = 0;
  /** RFC 5482, ms; 0 = the limits of the sysctls hold. */
  userTimeoutMs = 0;
  /** TCP_NOTSENT_LOWAT as it was set, int32; 0 = as the sysctl says. */
  notsentLowat = 0;
  rcvLowat = 1;
  sndBufLocked = false;
  debug = false;
  broadcast = false;
  priority = 0;
  /** SO_MARK. */
  packetMark = 0;
  /** SO_COOKIE, 0 = nobody has asked. */
  cookie = 0;
  /** IP_MTU_DISCOVER. */
  pmtudisc: number = PMTUDISC_WANT;
  tos = 0;
  ttl = 64;
  /** IP_MINTTL: packets with less are dropped. */
  minTtl = 0;
  rare: RareOptions = NO_RARE_OPTIONS;
  /** TCP_SAVED_SYN: headers of the SYN, until they are asked for. */
  savedSyn: Uint8Array | null = null;
  ipId = 0;
  /** Segment size that the peer takes, from its SYN (Linux: rx_opt.mss_clamp). */
  mssClamp: number = DEFAULT_MSS;
  /** Path MTU learnt from ICMP, 0 = the device's. */
  pmtu = 0;
  /** The search for the path MTU without ICMP (mtu-probe.ts), null = there is none. */
  mtuSearch: MtuSearch | null = null;
  /** ICMP claimed less than Linux believes: packets of the least size go without DF. */
  pmtuLocked = false;
  /** TCP_DEFER_ACCEPT as SYN-ACK time-outs: that long a third ACK without text is not enough. */
  deferAccept = 0;
  /** IP_BIND_ADDRESS_NO_PORT: bind() to port 0 leaves the choice to connect(). */
  bindAddressNoPort = false;
  /** Listener only; kept when it stops, for requests of that time. */
  listen: ListenState | null = null;
  /** The listener this one came from or was moved to: its fd, 0 = none, and where it is counted. */
  listenerFd = 0;
  parent: ListenState | null = null;
  /** The queue whose stack has the connection now (queues.ts); 0 = it is here. */
  away = 0;
  readonly counts: Counts = new Counts();

  constructor(tcp: Tcp, fd: number) {
    super(tcp, SK_FULL);
    this.begin(fd);
  }

  /** The last touch to a Tcb whose other fields are new: descriptor, and what is not constant. */
  begin(fd: number): void {
    const { mem, net } = this.tcp;
    this.seat(mem.blockAt(fd), fd);
    this.ipId = net.random.u32() & 0xffff;
    this.rcvSpace = net.sysctl.tcpRmemDefault >> 1;
    this.ttl = net.sysctl.ipDefaultTtl;
  }

  /** It is the one of descriptor `fd`, whose block is at word `at`. */
  seat(at: number, fd: number): void {
    this.fd = fd;
    this.at = at;
    this.rcvRing = at + BLOCK_RCV;
    this.sndRing = at + BLOCK_SND;
  }

  /** The window of the peer is being probed. */
  get probing(): boolean {
    return this.xmitTimer === TIME_PROBE0;
  }

  /** What ICMP has said that does not end the connection; in the block, for SO_ERROR. */
  get softError(): number {
    return this.tcp.ctl[this.at + BLOCK_SOFT_ERROR]!;
  }

  set softError(errno: number) {
    this.tcp.ctl[this.at + BLOCK_SOFT_ERROR] = errno;
  }

  override onTimer(nowUs: number): void {
    this.tcp.wiring.tcbTimer(this, nowUs);
  }
}
