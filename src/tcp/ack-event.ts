/**
 * What one ACK says, collected while it is taken (Linux: the flags of tcp_ack, struct
 * tcp_sacktag_state and struct rate_sample). There is one such object, reused for each ACK: nothing
 * holds on to it.
 */
import type { Segment } from './segment.js';
import { highestSackSeq, type Sender } from './sender.js';
import type { Tcb } from './tcb.js';

/** Linux FLAG_*, those that are asked for here. */
export const FLAG_DATA = 0x1;
export const FLAG_WIN_UPDATE = 0x2;
/** New text was acknowledged; some of it had been sent more than once. */
export const FLAG_DATA_ACKED = 0x4;
export const FLAG_RETRANS_DATA_ACKED = 0x8;
/** Text was newly SACKed. */
export const FLAG_DATA_SACKED = 0x20;
export const FLAG_ECE = 0x40;
export const FLAG_LOST_RETRANS = 0x80;
/** Text from before the episode was delivered by its first transmission. */
export const FLAG_ORIG_SACK_ACKED = 0x200;
export const FLAG_SND_UNA_ADVANCED = 0x400;
export const FLAG_DSACKING_ACK = 0x800;
/** The timer is to be set anew: TLP or RTO. */
export const FLAG_SET_XMIT_TIMER = 0x1000;
/** The head is SACKed: the peer has lost what it had. */
export const FLAG_SACK_RENEGING = 0x2000;
/** The D-SACK is for a loss probe. */
export const FLAG_DSACK_TLP = 0x8000;
export const FLAG_ACK_MAYBE_DELAYED = 0x10000;

export const FLAG_NOT_DUP: number = FLAG_DATA | FLAG_WIN_UPDATE | FLAG_DATA_ACKED;
export const FLAG_CA_ALERT: number = FLAG_DATA_SACKED | FLAG_ECE | FLAG_DSACKING_ACK;
export const FLAG_FORWARD_PROGRESS: number = FLAG_DATA_ACKED | FLAG_DATA_SACKED;

export class AckEvent {
  flag = 0;
  /** SND.UNA and highestSackSeq before it. */
  priorSndUna = 0;
  priorFack = 0;
  /** Sender.delivered and .lost before it. */
  deliveredBefore = 0;
  lostBefore = 0;
  /** Sender.delivered when the latest of the delivered segments was sent; 0 = none was. */
  priorDelivered = 0;
  priorDeliveredUs = -1;
  /** Times of the first and last segment that was newly SACKed without having been repeated. */
  firstSackUs = -1;
  lastSackUs = -1;
  /** Segments delivered out of order, needless ones among them. */
  sackDelivered = 0;
  /** Lowest sequence number that was delivered late. */
  reord = 0;
  /** RTT of the last segment delivered, µs; -1 = not known. */
  rttUs = -1;
  /** The ACK echoes this timestamp. */
  hasEcho = false;
  tsecr = 0;

  /** The ACK `seg` has come; nothing of it is taken yet. `s`: null = nothing was ever sent. */
  begin(tcb: Tcb, s: Sender | null, seg: Segment): void {
    this.flag = 0;
    this.priorSndUna = tcb.sndUna;
    this.priorFack = tcb.sndUna;
    if (s !== null) {
      if (tcb.sackOk) this.priorFack = highestSackSeq(tcb, s);
      this.deliveredBefore = s.delivered;
      this.lostBefore = s.lost;
    }
    this.priorDelivered = 0;
    this.priorDeliveredUs = -1;
    this.firstSackUs = -1;
    this.lastSackUs = -1;
    this.sackDelivered = 0;
    this.reord = tcb.sndNxt;
    this.rttUs = -1;
    this.hasEcho = seg.hasTimestamp && seg.tsecr !== 0;
    this.tsecr = seg.tsecr;
  }
}
