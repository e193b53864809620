/**
 * What must hold of every connection after every turn of its host (RFC 9293 3.3.1, 3.8.6; RFC 5681;
 * RFC 6298; RFC 2018): the order of the sequence variables, windows that do not shrink, rings whose
 * cursors are those variables, a timer wherever something is waited for. Looks and remembers,
 * changes nothing.
 */

import { Mib } from '../net/mib.js';
import { RING_CAPACITY, RING_HEAD, RING_PAGE, RING_TAIL } from '../net/ring.js';
import { BLOCK_GEN, BLOCK_STATE } from '../net/sockmem.js';
import type { Ranges } from '../tcp/ranges.js';
import { LOST, NONE, SACKED_ACKED, SACKED_RETRANS } from '../tcp/rtx-queue.js';
import {
  inStates,
  STATE_NAMES,
  states,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_ESTABLISHED,
  TCP_LISTEN,
  TCP_SYN_SENT,
  TRANSMITS,
} from '../tcp/state.js';
import { RTO_MAX_US, RTO_MIN_US, type Tcb } from '../tcp/tcb.js';
import { SimFailure } from './failure.js';
import type { SimHost } from './host.js';

const CURR_ESTAB = states(TCP_ESTABLISHED, TCP_CLOSE_WAIT);

/** Time-outs without an answer when nothing is lost: some may be spurious. */
const UNANSWERED_MOST = 5;

/** What is remembered of a connection from one turn to the next. */
class Watch {
  readonly tcb: Tcb;
  /**
   * The object may have become another connection's; that of a SYN cookie may even have the same
   * ISS as the one before.
   */
  readonly iss: number;
  readonly gen: number;
  rcvNxt: number;
  /** Right edges: what we have offered, and what the peer has. */
  rcvEdge: number;
  sndEdge: number;
  sndUna: number;
  /** Time-outs in a row when SND.UNA last moved, or when the calm began. */
  retransAtUna = 0;

  constructor(tcb: Tcb) {
    this.tcb = tcb;
    this.iss = tcb.iss;
    this.gen = generation(tcb);
    this.rcvNxt = tcb.rcvNxt;
    this.rcvEdge = (tcb.rcvWup + tcb.rcvWnd) | 0;
    this.sndUna = tcb.sndUna;
    // What left before the first look may have been within a window that is smaller by now.
    const edge = (tcb.sndUna + tcb.sndWnd) | 0;
    this.sndEdge = ((tcb.sndNxt - edge) | 0) > 0 ? tcb.sndNxt : edge;
  }

  isOf(tcb: Tcb): boolean {
    return this.tcb === tcb && this.iss === tcb.iss && this.gen === generation(tcb);
  }
}

/** How often the descriptor has been given out. */
function generation({ tcp, at }: Tcb): number {
  return tcp.ctl[at + BLOCK_GEN]!;
}

/** The main variables of a connection in one line. */
export function describe(tcb: Tcb): string {
  const { ctl } = tcb.tcp;
  const cursor = (ring: number): string => {
    const used = (ctl[ring + RING_TAIL]! - ctl[ring + RING_HEAD]!) | 0;
    return `${used}/${ctl[ring + RING_CAPACITY]}`;
  };
  const rel = (seq: number, base: number): number => (seq - base) | 0;
  const due = (atUs: number): string =>
    atUs === Infinity ? '-' : `${Math.round((atUs - tcb.tcp.net.nowUs) / 1000)}ms`;
  const state = `${STATE_NAMES[tcb.state]}${tcb.orphan ? ' orphan' : ''}`;
  return [
    `fd ${tcb.fd} ${state} :${tcb.num}>:${tcb.dport}`,
    `una ${rel(tcb.sndUna, tcb.iss)} nxt +${rel(tcb.sndNxt, tcb.sndUna)} wnd ${tcb.sndWnd}`,
    `cwnd ${tcb.cwnd} mss ${tcb.sndMss} ca ${tcb.caState} sacked ${tcb.sender?.sackedOut ?? 0}`,
    `snd ${cursor(tcb.sndRing)} fin ${tcb.finQueued}/${tcb.finSent} cork ${tcb.cork}`,
    `rcv.nxt ${rel(tcb.rcvNxt, tcb.irs)} wnd ${tcb.rcvWnd} rcv ${cursor(tcb.rcvRing)}`,
    `ofo ${tcb.ofo?.count ?? 0} rto ${tcb.rtoUs / 1000}ms x${tcb.backoff} probing ${tcb.probing}`,
    `timers ${due(tcb.retransUs)} ${due(tcb.delackUs)} ${due(tcb.keepUs)}`,
    `pending ${tcb.pending} pmtu ${tcb.pmtu} lost ${tcb.sender?.lostOut ?? 0}`,
  ].join(', ');
}

export class Invariants {
  private readonly host: SimHost;
  private readonly watches: (Watch | null)[] = [];
  /** Checks made. */
  checks = 0;
  /** Links are well, and everybody who was ever there: what is sent again is answered. */
  answered = false;

  constructor(host: SimHost) {
    this.host = host;
  }

  /** Looks at every socket of the host. */
  check(): void {
    const { tcp, net } = this.host.stack;
    let established = 0;
    let orphans = 0;
    for (let fd = 0; fd < tcp.socks.length; fd++) {
      const tcb = tcp.socks[fd];
      if (!tcb) {
        // Its object may be another connection's by now.
        this.watches[fd] = null;
        if (tcp.parking.isParked(fd)) established++;
        continue;
      }
      if (inStates(tcb.state, CURR_ESTAB)) established++;
      if (tcb.orphan) orphans++;
      this.checkTcb(tcb);
    }
    if (net.mib[Mib.TcpCurrEstab] !== established) {
      throw this.wrong('CurrEstab', `${net.mib[Mib.TcpCurrEstab]}, not ${established}`);
    }
    if (tcp.orphans !== orphans) throw this.wrong('orphans', `${tcp.orphans}, not ${orphans}`);
    if (net.outputSkbs.out !== net.loopback.length) {
      const { out: inputs, lent } = net.inputSkbs;
      const large = inputs - lent - 1 - (net.ipFrags?.size ?? 0);
      const small = net.loopback.length - large;
      const out = net.outputSkbs.out;
      if (out !== small) throw this.wrong('skbs', `${out} of the output pool are out`);
    }
  }

  private wrong(name: string, sentence: string, tcb: Tcb | null = null): SimFailure {
    const where = `host ${this.host.index} at ${this.host.stack.net.nowUs} µs`;
    const about = tcb === null ? '' : `\n  ${describe(tcb)}`;
    return new SimFailure(`invariant ${name}`, `${where}: ${sentence}${about}`);
  }

  private checkTcb(tcb: Tcb): void {
    this.checks++;
    const { ctl } = tcb.tcp;
    if (ctl[tcb.at + BLOCK_STATE] !== tcb.state) {
      throw this.wrong('BLOCK_STATE', `${ctl[tcb.at + BLOCK_STATE]}`, tcb);
    }
    if (tcb.state === TCP_CLOSE || tcb.state === TCP_LISTEN || tcb.state === TCP_SYN_SENT) {
      this.watches[tcb.fd] = null;
      return;
    }
    let watch = this.watches[tcb.fd];
    if (!watch?.isOf(tcb)) {
      watch = new Watch(tcb);
      this.watches[tcb.fd] = watch;
    }
    this.checkSend(tcb, watch);
    this.checkReceive(tcb, watch);
    this.checkRecovery(tcb);
    this.checkTimers(tcb);
  }

  private checkSend(tcb: Tcb, watch: Watch): void {
    const { ctl } = tcb.tcp;
    const { sndUna, sndNxt, sndRing } = tcb;
    const moved = (sndUna - watch.sndUna) | 0;
    if (moved < 0) throw this.wrong('SND.UNA', `went back by ${-moved}`, tcb);
    // A stray ACK may pass for a SYN cookie's: the peer of such a ghost waits in TIME-WAIT.
    const ghost = tcb.tcp.net.mib[Mib.SyncookiesRecv]! > 0;
    if (moved > 0 || ghost || !this.answered) watch.retransAtUna = tcb.retransmits;
    const again = tcb.retransmits - watch.retransAtUna;
    if (again > UNANSWERED_MOST) throw this.wrong('unanswered', `${again} time-outs`, tcb);
    watch.sndUna = sndUna;
    const flight = (sndNxt - sndUna) | 0;
    if (flight < 0) throw this.wrong('SND.NXT', `below SND.UNA by ${-flight}`, tcb);
    const edge = (sndUna + tcb.sndWnd) | 0;
    if (((edge - watch.sndEdge) | 0) > 0) watch.sndEdge = edge;
    const fin = tcb.finSent ? 1 : 0;
    const beyond = (sndNxt - fin - watch.sndEdge) | 0;
    const syn = ((sndNxt - tcb.iss) | 0) === 1;
    if (beyond > 0 && !syn) throw this.wrong('window', `${beyond} bytes beyond the peer's`, tcb);
    const head = ctl[sndRing + RING_HEAD]!;
    const tail = ctl[sndRing + RING_TAIL]!;
    const queued = (tail - head) | 0;
    if (queued < 0) throw this.wrong('send ring', `tail below head by ${-queued}`, tcb);
    if (queued > 0 && queued > ctl[sndRing + RING_CAPACITY]!) {
      throw this.wrong('send ring', `${queued} bytes in it`, tcb);
    }
    if (((sndNxt - fin - tail) | 0) > 0 && !syn) {
      throw this.wrong('send ring', 'SND.NXT is beyond its tail', tcb);
    }
    const acked = ((sndUna - tail) | 0) > 0 ? tail : sndUna;
    if (tcb.synAcked && head !== acked) throw this.wrong('send ring', 'head is not SND.UNA', tcb);
    if (tcb.cwnd < 1 || !Number.isFinite(tcb.cwnd)) throw this.wrong('cwnd', `${tcb.cwnd}`, tcb);
    if (!(tcb.ssthresh > 0)) throw this.wrong('ssthresh', `${tcb.ssthresh}`, tcb);
    if (tcb.sndMss < 1) throw this.wrong('MSS', `${tcb.sndMss}`, tcb);
  }

  private checkReceive(tcb: Tcb, watch: Watch): void {
    const { ctl } = tcb.tcp;
    const { rcvNxt, rcvRing } = tcb;
    const moved = (rcvNxt - watch.rcvNxt) | 0;
    if (moved < 0) throw this.wrong('RCV.NXT', `went back by ${-moved}`, tcb);
    watch.rcvNxt = rcvNxt;
    const edge = (tcb.rcvWup + tcb.rcvWnd) | 0;
    const shrunk = (watch.rcvEdge - edge) | 0;
    if (shrunk > 0) throw this.wrong('right edge', `went back by ${shrunk}`, tcb);
    watch.rcvEdge = edge;
    if (((rcvNxt - tcb.rcvWup) | 0) < 0) throw this.wrong('RCV.WUP', 'beyond RCV.NXT', tcb);
    const head = ctl[rcvRing + RING_HEAD]!;
    const tail = ctl[rcvRing + RING_TAIL]!;
    const fin = tcb.finReceived ? 1 : 0;
    if (((rcvNxt - fin) | 0) !== tail) throw this.wrong('receive ring', 'tail is not RCV.NXT', tcb);
    const used = (tail - head) | 0;
    const capacity = ctl[rcvRing + RING_CAPACITY]!;
    if (used < 0 || used > capacity) throw this.wrong('receive ring', `${used} bytes in it`, tcb);
    if (used > 0 && ctl[rcvRing + RING_PAGE] === 0) {
      throw this.wrong('receive ring', 'bytes without memory', tcb);
    }
    const { ofo } = tcb;
    if (ofo === null || ofo.count === 0) return;
    this.checkRanges('out of order', ofo, tcb);
    if (((ofo.left(0) - rcvNxt) | 0) <= 0) throw this.wrong('out of order', 'no hole', tcb);
    // A FIN has a number but no byte, and a peer may lie about more than one.
    if (capacity === 0 && !tcb.ofoFin) throw this.wrong('out of order', 'no ring', tcb);
    const furthest = (ofo.right(ofo.count - 1) - head) | 0;
    if (capacity > 0 && furthest > capacity + 1) {
      throw this.wrong('out of order', 'beyond the ring', tcb);
    }
  }

  private checkRanges(name: string, ranges: Ranges, tcb: Tcb): void {
    let bytes = 0;
    for (let i = 0; i < ranges.count; i++) {
      const size = (ranges.right(i) - ranges.left(i)) | 0;
      const gap = i === 0 ? 1 : (ranges.left(i) - ranges.right(i - 1)) | 0;
      if (size <= 0 || gap <= 0) throw this.wrong(name, `range ${i} of ${size}, gap ${gap}`, tcb);
      bytes += size;
    }
    if (bytes !== ranges.bytes) throw this.wrong(name, `${ranges.bytes} bytes, not ${bytes}`, tcb);
  }

  /** The records of what is under way: without gaps, and the counters are their sums. */
  private checkRecovery(tcb: Tcb): void {
    const s = tcb.sender;
    if (s === null) return;
    const { rtx: t } = tcb.tcp;
    let [out, sacked, lost, again] = [0, 0, 0, 0];
    // A SYN has no record.
    let end = tcb.sndUna === tcb.iss ? (tcb.iss + 1) | 0 : tcb.sndUna;
    for (let index = s.rtxHead; index !== NONE; index = t.next[index]!) {
      const marks = t.marks[index]!;
      const count = t.pcount[index]!;
      const first = index === s.rtxHead;
      const gap = (t.seq[index]! - end) | 0;
      if (first ? gap > 0 : gap !== 0) throw this.wrong('records', `a gap of ${gap} bytes`, tcb);
      end = t.end[index]!;
      if (((end - t.seq[index]!) | 0) <= 0) throw this.wrong('records', 'an empty one', tcb);
      out += count;
      if ((marks & SACKED_ACKED) !== 0) sacked += count;
      if ((marks & LOST) !== 0) lost += count;
      if ((marks & SACKED_RETRANS) !== 0) again += count;
    }
    if (s.rtxHead !== NONE && end !== tcb.sndNxt) throw this.wrong('records', 'end early', tcb);
    const wanted = [out, tcb.sackOk ? sacked : s.sackedOut, lost, again].join('/');
    const counted = [s.packetsOut, s.sackedOut, s.lostOut, s.retransOut].join('/');
    if (wanted !== counted) {
      throw this.wrong('counters', `out/sacked/lost/again ${counted}, not ${wanted}`, tcb);
    }
    if (s.sackedOut + s.lostOut > s.packetsOut) throw this.wrong('counters', 'left out', tcb);
  }

  /** Whatever is waited for has a timer: also what a cork holds back. */
  private checkTimers(tcb: Tcb): void {
    const { rtoUs, retransUs } = tcb;
    const leastUs = Math.min(RTO_MIN_US, tcb.tcp.net.sysctl.tcpRtoMinUs);
    if (rtoUs < leastUs || rtoUs > RTO_MAX_US) throw this.wrong('RTO', `${rtoUs} µs`, tcb);
    const armed = Math.min(retransUs, tcb.delackUs, tcb.keepUs) !== Infinity;
    if (armed && tcb.timerIndex < 0) throw this.wrong('timer', 'due but not armed', tcb);
    // A mark stands for output that is about to happen.
    if (tcb.dirty || !inStates(tcb.state, TRANSMITS)) return;
    if (tcb.sndUna !== tcb.sndNxt) {
      if (retransUs === Infinity) throw this.wrong('retransmission', 'no timer', tcb);
      return;
    }
    const tail = Atomics.load(tcb.tcp.ctl, tcb.sndRing + RING_TAIL);
    const unsent = (tail - tcb.sndNxt) | 0;
    const waiting = unsent > 0 || (tcb.finQueued && !tcb.finSent);
    if (waiting && retransUs === Infinity) {
      throw this.wrong('probe', `${unsent} bytes wait for nothing`, tcb);
    }
  }
}
