/**
 * The protocol object: what all TCP sockets of one stack share (tables, counters, secrets, the list
 * of sockets with something to send) and the seams through which rooms that may not import each
 * other meet. It decides nothing.
 */

import type { NetNs } from '../net/netns.js';
import type { SocketMemory } from '../net/sockmem.js';
import type { ReuseportGroup } from '../reuseport/group.js';
import type { InetHashinfo } from '../reuseport/hashinfo.js';
import type { Selector } from '../reuseport/selector-request.js';
import { AckEvent } from './ack-event.js';
import type { FastopenCache } from './fastopen-path.js';
import { HeldAcks } from './held-acks.js';
import { LEND_LEAST_BYTES } from './lend.js';
import type { RequestSock, TimewaitSock } from './minisocks.js';
import { Parking } from './parking.js';
import type { PathCache } from './path-cache.js';
import type { ProvenPeers } from './proven-peers.js';
import type { TcpQueues } from './queues.js';
import { RtxTable } from './rtx-queue.js';
import { siphashKeys } from './secure-seq.js';
import { Segment } from './segment.js';
import type { TcpSock } from './sock.js';
import { SpareSenders } from './spare-senders.js';
import { Spares } from './spares.js';
import type { CookieKeys } from './syncookies.js';
import type { Tcb } from './tcb.js';

/** Told when a descriptor may have become ready; `events` are EPOLL* bits. */
export interface ReadyListener {
  ready(fd: number, events: number): void;
}

/** What timers and input call although it lives to their right; set once by protocol.ts. */
export interface TcpWiring {
  tcbTimer(tcb: Tcb, nowUs: number): void;
  requestTimer(req: RequestSock, nowUs: number): void;
  timewaitTimer(tw: TimewaitSock): void;
  /**
   * The RST for a segment that belongs to no connection: the only segment that input sends itself.
   */
  sendReset(tcp: Tcp, seg: Segment): void;
  /** The RST of a connection that is about to be forgotten (Linux: tcp_send_active_reset). */
  sendActiveReset(tcp: Tcp, tcb: Tcb): void;
}

export class Tcp {
  readonly net: NetNs;
  readonly mem: SocketMemory;
  readonly ctl: Int32Array;
  readonly hashinfo: InetHashinfo;
  readonly events: ReadyListener;
  /** Sockets by descriptor; null = none, or a parked one: see `sockOf` (parking.ts). */
  readonly socks: (Tcb | null)[] = [];
  /** What was sent and is not acknowledged, of all connections. */
  readonly rtx: RtxTable = new RtxTable();
  /** What the ACK that is being looked at says. */
  readonly ackEvent: AckEvent = new AckEvent();
  /** The one segment that is being looked at. */
  readonly seg: Segment = new Segment();
  wiring!: TcpWiring;
  /**
   * Reads a user's selector: the function that the module at an absolute path gives. Throws with
   * the reason; its `code` is ENOENT when there is no such file. Null = there are no files here.
   */
  loadSelector: ((path: string) => Selector) | null = null;

  /** The stacks of the other queues; null = there is one queue. */
  queues: TcpQueues | null = null;
  /** The queue that is ours. */
  queue = 0;

  /** Sockets marked for output, oldest mark first. */
  private dirtyHead: TcpSock | null = null;
  private dirtyTail: TcpSock | null = null;

  /** Sockets that hold ring memory (Tcb.ringedIndex is the place here), for the idle sweep. */
  readonly ringed: Tcb[] = [];
  /** Where that sweep goes on, downwards; 0 = at the end. */
  sweepAt = 0;
  /** Sockets that packet buffers were lent to, and the last that was asked for them (lend.ts). */
  readonly lenders: Tcb[] = [];
  lenderHand = 0;
  /** Text of so many bytes stays in its packet's buffer. */
  lendLeastBytes: number = LEND_LEAST_BYTES;
  /** Rings whose memory could not be taken back because an application thread held the lock. */
  readonly lateDetach: Tcb[] = [];
  /** Reuseport groups whose members have changed since they were last published. */
  readonly changedGroups: Set<ReuseportGroup> = new Set();
  /** Made with the first SYN cookie. */
  cookieKeys: CookieKeys | null = null;
  /** Made with the first Fast Open of a client. */
  fastopenCache: FastopenCache | null = null;
  /** Made with the first path MTU that a router tells. */
  paths: PathCache | null = null;
  /** Made with the first connection that ends while SYN cookies are off. */
  provenPeers: ProvenPeers | null = null;
  /** SO_COOKIE of the last socket that was asked for it. */
  cookies = 0;
  orphans = 0;
  timewaits = 0;
  /** Challenge ACKs that may still be sent in that second (net.nowUs / 10^6). */
  challengeSecond = -1;
  challengesLeft = 0;
  /** Keys of the ISN hash and of the timestamp offsets. */
  readonly isnKeys: Int32Array;
  readonly tsKeys: Int32Array;
  /** Quick ACKs that wait for an answer. */
  readonly heldAcks: HeldAcks = new HeldAcks(this);
  /** Where idle connections are. */
  readonly parking: Parking;
  /** Objects of small sockets that have ended. */
  readonly spareRequests: Spares<RequestSock> = new Spares(['tcp', 'listener']);
  readonly spareTimewaits: Spares<TimewaitSock> = new Spares(['tcp']);
  readonly spareSenders: SpareSenders = new SpareSenders();

  /** @param parkAfterUs when a quiet connection is parked; Infinity = never */
  constructor(net: NetNs, hashinfo: InetHashinfo, events: ReadyListener, parkAfterUs?: number) {
    this.net = net;
    this.mem = net.mem;
    this.ctl = net.mem.ctl;
    this.hashinfo = hashinfo;
    this.events = events;
    this.isnKeys = siphashKeys(net.random);
    this.tsKeys = siphashKeys(net.random);
    this.parking = new Parking(this, parkAfterUs);
  }

  /** Marks `sock` with PENDING_* bits and links it on the dirty list (once). */
  mark(sock: TcpSock, pending: number): void {
    sock.pending |= pending;
    if (sock.dirty) return;
    sock.dirty = true;
    sock.dirtyNext = null;
    if (this.dirtyTail === null) this.dirtyHead = sock;
    else this.dirtyTail.dirtyNext = sock;
    this.dirtyTail = sock;
  }

  /** Takes the oldest marked socket off the list, or null. */
  takeDirty(): TcpSock | null {
    const sock = this.dirtyHead;
    if (sock === null) return null;
    this.dirtyHead = sock.dirtyNext;
    if (this.dirtyHead === null) this.dirtyTail = null;
    sock.dirtyNext = null;
    sock.dirty = false;
    return sock;
  }

  get hasDirty(): boolean {
    return this.dirtyHead !== null;
  }
}
