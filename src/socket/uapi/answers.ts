/**
 * The shapes of what the stack thread answers to the opener's questions (OP_LIST) and of the
 * batches of traced packets that it posts. Types only: who answers is stack/questions.ts and
 * stack/packet-tap.ts, who asks is stack-questions.ts.
 */

/** A half-open or TIME-WAIT connection, or an orphan's FIN-WAIT-2. */
export interface MinisockRow {
  state: 'SYN-RECV' | 'TIME-WAIT' | 'FIN-WAIT-2';
  local: { address: string; port: number };
  peer: { address: string; port: number };
  /** A half-open connection's listener and who owns that; null = a TIME-WAIT one. */
  listener: number | null;
  thread: number | null;
  /** The choice, as in SocketRow. */
  group: number;
  slot: number | null;
  hash: number;
  /** SYN-ACKs sent again. */
  retransmits: number;
  /** Until its timer fires. */
  expiresMs: number;
  uid: number;
}

/** struct tcp_info, as far as ss -i shows it. */
export interface TcpInfo {
  congestion: 'reno' | 'cubic';
  timestamps: boolean;
  sack: boolean;
  /** null = not agreed on. */
  sndWscale: number | null;
  rcvWscale: number | null;
  rtoMs: number;
  rttMs: number;
  rttvarMs: number;
  mss: number;
  pmtu: number;
  rcvMss: number;
  advMss: number;
  /** Segments; ssthresh null = not set yet. */
  cwnd: number;
  ssthresh: number | null;
  unacked: number;
  lost: number;
  retrans: number;
  retransTotal: number;
  lastSentMs: number;
  lastReceivedMs: number;
  lastAckMs: number;
  rcvSpace: number;
}

/** What ss -e and -i show of a descriptor. */
export interface SocketDetail {
  fd: number;
  uid: number;
  /** Selector of its reuseport group; null = none, or no group. */
  selector: string | null;
  /** Listener only: half-open connections. */
  synQueue: number | null;
  /** null for a listener. */
  info: TcpInfo | null;
}

/** A piece of a list; `next` = cursor of the next one, null = this was the last. */
export interface Piece<T> {
  rows: T[];
  next: number | null;
}

/** Traced packets. */
export interface TracedBatch {
  /** Records of stack/tap-record.ts. */
  packets: Uint8Array;
  /** How many. */
  count: number;
  /** Decisions (Explanation of reuseport/decision-json.ts), with the number of their packet. */
  decisions: [packet: number, decision: object][];
}
