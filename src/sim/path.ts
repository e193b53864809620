/**
 * One direction between two hosts: what it is like and what it does to a packet. A queue with a
 * rate, then delay, jitter, loss (independent and in bursts, Gilbert-Elliott), reordering,
 * duplication, corruption, marks of congestion, periods in which nothing passes. Owns the dice of
 * its packets, not the packets: those are router.ts's.
 */
import { Dice, FOR_PACKETS, FOR_PATH } from './dice.js';
import type { Fault, SimParameters } from './parameters.js';

/** Bursts of loss: probability per packet of going bad and good, and of loss while bad. */
export interface BurstLoss {
  readonly enter: number;
  readonly leave: number;
  readonly loss: number;
}

const NO_BURSTS: BurstLoss = { enter: 0, leave: 1, loss: 0 };
/** What a packet needs that is overtaken by others, µs. */
const REORDER_MAX_US = 30_000;

/** Fate.lost: why a packet does not arrive. */
export const ARRIVES = 0;
const LOST_ALONE = 1;
export const LOST_IN_BURST = 2;
export const SWALLOWED = 3;

/** What becomes of a packet that has been let in. */
export interface Fate {
  lost: typeof ARRIVES | typeof LOST_ALONE | typeof LOST_IN_BURST | typeof SWALLOWED;
  arrivalUs: number;
  /** It was held back by jitter; it arrives before one that was sent earlier. */
  jittered: boolean;
  overtakes: boolean;
  /** Arrival of a second copy, 0 = there is none. */
  copyUs: number;
  /** Which bit to begin to corrupt at and how many, 0 bits = none. */
  bit: number;
  bits: number;
  /** A queue on the way was about to be full: what is ECN-capable is marked (RFC 3168 5). */
  marked: boolean;
}

function freshFate(): Fate {
  return {
    lost: ARRIVES,
    arrivalUs: 0,
    jittered: false,
    overtakes: false,
    copyUs: 0,
    bit: 0,
    bits: 0,
    marked: false,
  };
}

export class Path {
  delayUs: number;
  jitterUs = 0;
  loss = 0;
  burst: BurstLoss = NO_BURSTS;
  reorder = 0;
  reorderUs = 0;
  duplicate = 0;
  corrupt = 0;
  mark = 0;
  /** Somebody on the way clears the ECN bits of every packet. */
  bleaches = false;
  /** Bits per second; Infinity = no queue. */
  rateBps: number = Infinity;
  queueBytes: number = Infinity;
  /** Largest packet, bytes, and whether a sender is told of it (else the packet just vanishes). */
  mtu: number;
  tellsMtu = true;
  /** Nothing passes. */
  down = false;
  /** While down, senders are told that the host cannot be reached. */
  tellsDown = false;
  /** Something on this path has ever been able to swallow packets. */
  treacherous = false;
  readonly fate: Fate = freshFate();
  /** When the last bit of what waits will have left, and the last arrival in order, µs. */
  private departureUs = 0;
  private lastArrivalUs = 0;
  /** The last arrival of all, overtaken or not, µs. */
  private furthestUs = 0;
  private bad = false;
  private waits = false;
  private readonly dice: Dice;

  constructor(dice: Dice, delayUs: number, mtu: number) {
    this.dice = dice;
    this.delayUs = delayUs;
    this.mtu = mtu;
  }

  /** Does what was queued last wait for others? */
  get hasQueue(): boolean {
    return this.waits;
  }

  /** Queues a packet of `bytes`; false = the queue is full. */
  enqueue(nowUs: number, bytes: number): boolean {
    const waitingUs = Math.max(0, this.departureUs - nowUs);
    const waiting = waitingUs === 0 ? 0 : (waitingUs * this.rateBps) / 8e6;
    if (waiting > 0 && waiting + bytes > this.queueBytes) return false;
    this.waits = waitingUs > 0;
    this.departureUs = nowUs + waitingUs + (bytes * 8e6) / this.rateBps;
    return true;
  }

  /** Throws the dice for a packet of `bytes` that is in the queue; the answer is reused. */
  decide(bytes: number): Fate {
    const { dice, fate } = this;
    const bad = dice.chance(this.bad ? 1 - this.burst.leave : this.burst.enter);
    this.bad = bad;
    const alone = dice.chance(this.loss);
    const inBurst = bad && dice.chance(this.burst.loss);
    fate.lost = alone ? LOST_ALONE : inBurst ? LOST_IN_BURST : ARRIVES;
    if (this.down) fate.lost = SWALLOWED;
    const lateUs = Math.floor(dice.uniform() * this.jitterUs);
    fate.jittered = lateUs > 0;
    let arrivalUs = Math.ceil(this.departureUs) + this.delayUs + lateUs;
    if (dice.chance(this.reorder)) {
      arrivalUs += dice.int(1, this.reorderUs + 1);
    } else {
      // Jitter alone does not reorder.
      arrivalUs = Math.max(arrivalUs, this.lastArrivalUs);
      this.lastArrivalUs = arrivalUs;
    }
    fate.arrivalUs = arrivalUs;
    fate.overtakes = arrivalUs < this.furthestUs;
    if (fate.lost === ARRIVES) this.furthestUs = Math.max(this.furthestUs, arrivalUs);
    fate.copyUs = dice.chance(this.duplicate) ? arrivalUs + dice.int(0, this.jitterUs + 10) : 0;
    fate.bits = dice.chance(this.corrupt) ? dice.int(1, 15) : 0;
    fate.bit = dice.int(0, bytes * 8 - 1);
    fate.marked = dice.chance(this.mark);
    return fate;
  }

  /** Everything that has gone wrong is over; what the path is like (delay, rate, MTU) stays. */
  calm(): void {
    this.loss = this.reorder = this.duplicate = this.corrupt = this.mark = 0;
    this.burst = NO_BURSTS;
    this.bad = false;
    this.down = this.tellsDown = false;
    this.tellsMtu = true;
  }
}

/** Both directions are alike in this. */
interface Distance {
  readonly delayUs: number;
  readonly jitterUs: number;
  readonly mtu: number;
}

/** What a pair of hosts (in either order) has between them. */
function distance(seed: number, a: number, b: number, has: (fault: Fault) => boolean): Distance {
  const dice = new Dice(FOR_PATH, seed, Math.min(a, b), Math.max(a, b));
  const delayUs = dice.chance(0.1) ? 0 : dice.spread(10, 300_000);
  const jitterUs = dice.int(0, delayUs + 200);
  const mtu = dice.chance(0.5) ? dice.pick([1500, 1400, 1280, 576, 552, 300, 9000]) : 9000;
  return { delayUs, jitterUs: has('jitter') ? jitterUs : 0, mtu: has('mtu') ? mtu : 9000 };
}

/** The path from host `from` to host `to`. */
export function makePath(parameters: SimParameters, from: number, to: number): Path {
  const { seed, faults } = parameters;
  const has = (fault: Fault): boolean => faults.has(fault);
  const { delayUs, jitterUs, mtu } = distance(seed, from, to, has);
  const path = new Path(new Dice(FOR_PACKETS, seed, from, to), delayUs, mtu);
  const dice = new Dice(FOR_PATH, seed, from, to, 1);
  path.jitterUs = jitterUs;
  const loss = dice.chance(0.7) ? dice.uniform() ** 2 * 0.3 : 0;
  const burst = { enter: dice.uniform() * 0.05, leave: 0.05 + dice.uniform() * 0.5, loss: 0.9 };
  const reorder = dice.uniform() ** 2 * 0.3;
  const reorderUs = dice.spread(1, REORDER_MAX_US);
  const duplicate = dice.uniform() ** 2 * 0.2;
  const corrupt = dice.uniform() ** 2 * 0.1;
  const rateBps = dice.spread(100_000, 1e9);
  const queueBytes = dice.spread(3000, 500_000);
  const tellsMtu = dice.chance(0.6);
  const mark = dice.chance(0.7) ? dice.uniform() ** 2 * 0.5 : 0;
  const bleaches = dice.chance(0.2);
  if (has('loss')) path.loss = loss;
  if (has('burst')) path.burst = burst;
  if (has('reorder')) [path.reorder, path.reorderUs] = [reorder, reorderUs];
  if (has('duplicate')) path.duplicate = duplicate;
  if (has('corrupt')) path.corrupt = corrupt;
  if (has('rate')) [path.rateBps, path.queueBytes] = [rateBps, queueBytes];
  if (has('mtu')) path.tellsMtu = tellsMtu;
  if (has('ecn')) [path.mark, path.bleaches] = [mark, bleaches];
  const losing: Fault[] = ['loss', 'burst', 'corrupt', 'mtu', 'rate', 'blackhole'];
  path.treacherous = losing.some(has);
  return path;
}
