/**
 * Where idle connections are kept (ADR 11). A TCB is two kilobytes of object so that the hot path
 * reads plain fields; a connection that has been quiet for a while is parked: its fields become a
 * record of about a hundred bytes (record.ts), the object is another connection's. A packet (by
 * ehash) or a call (by descriptor) wakes it. Parking is only put away: nothing of the connection
 * changes, on the wire or for the application, whose control words stay where they are.
 *
 * Parked is what is ESTABLISHED, has no memory in its rings, no timer, nothing to send and nothing
 * unacknowledged. Who sees Tcb objects of other connections therefore asks `sockOf`.
 */
import { CellStore } from '../net/cell-store.js';
import { cubicState } from './cong/cubic.js';
import { Counts } from './counts.js';
import { type Fill, fillLike } from './fields.js';
import { MinFilter } from './min-filter.js';
import { RecordCodec, Shape } from './record.js';
import { Sender } from './sender.js';
import { Spares } from './spares.js';
import { TCP_ESTABLISHED } from './state.js';
import { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/**
 * A connection is idle after that long without text and ACKs, µs: less when there are more than
 * CROWD objects, so that a crowd that comes fast does not need many more.
 */
export const PARK_AFTER_US = 500_000;
const CROWD = 2048;
/** One look takes at most so many descriptors, connections among them, and parks so many. */
const DESCRIPTORS_MOST = 4096;
const LOOKED_AT_MOST = 256;
const PARKED_MOST = 64;
/** Between two looks of one round, µs. */
const LOOK_US = 1000;

/** Fields that follow from the descriptor, or are set when a connection is woken. */
const NOT_RECORDED: readonly (keyof Tcb)[] = [
  ...(['tcp', 'fd', 'at', 'rcvRing', 'sndRing', 'bindIndex', 'lastActiveUs'] as const),
];

const zeroCounts: Fill = fillLike(new Counts());

/** The shape of a TCB whose usual values are those of `tcb`. */
function shapeLike(tcb: Tcb): Shape {
  const minRtt = new Shape(new MinFilter(), () => new MinFilter());
  const makeSender = (owner: Tcb): Sender => new Sender(owner);
  const sender = tcb.sender ?? makeSender(tcb);
  const fresh = new Tcb(tcb.tcp, tcb.fd);
  return new Shape(tcb, () => fresh, NOT_RECORDED, {
    counts: new Shape(tcb.counts, () => new Counts()),
    sender: new Shape(sender, makeSender, [], { minRtt }),
    congestionState: new Shape(cubicState(fresh), cubicState),
  });
}

export class Parking {
  /** Connections that are parked. */
  parked = 0;
  /** When `turn` has something to do, µs; Infinity = not before something happens. */
  dueUs: number = Infinity;
  private readonly tcp: Tcp;
  private readonly afterUs: number;
  private readonly store = new CellStore();
  private readonly codec = new RecordCodec();
  /** The record of each parked descriptor, 0 = not parked. */
  private readonly recordOf: Int32Array;
  private readonly spare: Spares<Tcb> = new Spares([...NOT_RECORDED, 'counts']);
  /** Connections with an object of their own when the hand began its round, and since. */
  private awake = 0;
  private awakeSoFar = 0;
  /** How TCBs are recorded: like the first that was. */
  private shape: Shape | null = null;
  /** Next descriptor to look at, and whether some of this round were too young. */
  private hand = 0;
  private again = false;

  /** @param afterUs how long a connection must have been quiet; Infinity = none is parked */
  constructor(tcp: Tcp, afterUs: number = PARK_AFTER_US) {
    this.tcp = tcp;
    this.afterUs = afterUs;
    this.recordOf = new Int32Array(tcp.mem.maxFds);
    tcp.hashinfo.ehash.wake = (fd) => this.wake(fd);
  }

  /** Memory of the records, bytes. */
  get bytes(): number {
    return this.store.bytes;
  }

  /** @param fd any number: it may come from an application */
  isParked(fd: number): boolean {
    return (this.recordOf[fd] ?? 0) !== 0;
  }

  /** There is an awake connection, or one that keep-alive does not keep awake any more. */
  stir(): void {
    if (this.dueUs === Infinity) this.dueUs = this.tcp.net.nowUs + this.afterUs;
  }

  /**
   * Parks some of what has become idle. The hand goes round the descriptors as long as there is
   * something that only time keeps from being parked.
   */
  turn(nowUs: number): void {
    this.spare.reclaim();
    this.tcp.spareRequests.reclaim();
    this.tcp.spareTimewaits.reclaim();
    this.tcp.spareSenders.reclaim();
    if (nowUs < this.dueUs) return;
    const restUs = this.afterUs * Math.min(1, CROWD / this.awake);
    const { socks } = this.tcp;
    const end = Math.min(this.hand + DESCRIPTORS_MOST, socks.length);
    let looked = 0;
    let parked = 0;
    for (; this.hand < end && looked < LOOKED_AT_MOST && parked < PARKED_MOST; this.hand++) {
      const tcb = socks[this.hand];
      if (!tcb || tcb.state !== TCP_ESTABLISHED) continue;
      looked++;
      if (nowUs - lastUsedUs(tcb) >= restUs && mayPark(tcb)) {
        this.park(tcb);
        parked++;
      } else if (tcb.keepUs === Infinity) this.again = true;
    }
    this.awakeSoFar += looked - parked;
    if (this.hand < socks.length) {
      this.dueUs = nowUs + LOOK_US;
      return;
    }
    this.hand = 0;
    this.dueUs = this.again ? nowUs + Math.max(LOOK_US, restUs) : Infinity;
    this.again = false;
    this.awake = this.awakeSoFar;
    this.awakeSoFar = 0;
  }

  /** The descriptor of `tcb` is free: from the next turn on the object may be another's. */
  retire(tcb: Tcb): void {
    // Requests may refer to what was a listener once.
    if (this.afterUs === Infinity || tcb.listen !== null || tcb.reuseportCb !== null) return;
    this.spare.retire(tcb);
  }

  private park(tcb: Tcb): void {
    const { tcp, codec } = this;
    const { fd } = tcb;
    tcp.hashinfo.ehash.park(tcb, fd);
    if (tcb.bindBucket !== null) tcp.hashinfo.bhash.park(tcb);
    this.shape ??= shapeLike(tcb);
    this.recordOf[fd] = this.store.put(codec.words, codec.encode(this.shape, tcb));
    tcp.socks[fd] = null;
    this.parked++;
    this.spare.add(tcb);
  }

  /** The object of a parked connection, as it was. */
  wake(fd: number): Tcb {
    const { tcp, codec } = this;
    const tcb = this.spare.take() ?? new Tcb(tcp, fd);
    this.store.remove(this.recordOf[fd]!, codec.words);
    this.recordOf[fd] = 0;
    codec.decode(this.shape!, tcb);
    tcb.seat(tcp.mem.blockAt(fd), fd);
    tcp.hashinfo.ehash.unpark(tcb);
    if (tcb.bindBucket !== null) tcp.hashinfo.bhash.unpark(tcb);
    tcp.socks[fd] = tcb;
    this.parked--;
    tcb.lastActiveUs = tcp.net.nowUs;
    this.stir();
    return tcb;
  }

  /** A TCB for the new descriptor `fd`, in an object that is spare or a new one. */
  newTcb(fd: number): Tcb {
    const { tcp } = this;
    const tcb = this.spare.take();
    if (tcb === undefined) return new Tcb(tcp, fd);
    this.spare.renew(tcb, () => new Tcb(tcp, fd));
    zeroCounts(tcb.counts);
    tcb.bindIndex = -1;
    tcb.lastActiveUs = 0;
    tcb.begin(fd);
    return tcb;
  }
}

/** Text or an ACK went or came last, or the connection was woken, µs. */
function lastUsedUs(tcb: Tcb): number {
  return Math.max(tcb.lastActiveUs, tcb.lastReceivedUs, tcb.lastSentUs, tcb.lastAckedUs);
}

/** Nothing is under way, and no table but those that know of parking holds the object. */
function mayPark(tcb: Tcb): boolean {
  const { sender } = tcb;
  return (
    tcb.timerIndex < 0 &&
    tcb.ringedIndex < 0 &&
    !tcb.dirty &&
    tcb.pending === 0 &&
    !tcb.orphan &&
    tcb.ehashSlot >= 0 &&
    (sender === null || sender.packetsOut === 0) &&
    (tcb.ofo === null || tcb.ofo.count === 0) &&
    tcb.fastopenQueue === null &&
    // Requests may refer to what was a listener once.
    tcb.listen === null &&
    tcb.reuseportCb === null
  );
}

/** The socket of a descriptor, woken if need be; null = there is none. */
export function sockOf(tcp: Tcp, fd: number): Tcb | null {
  const tcb = tcp.socks[fd];
  if (tcb) return tcb;
  return tcp.parking.isParked(fd) ? tcp.parking.wake(fd) : null;
}
