/**
 * A crowd of established connections on a stack in memory: what each of them takes, and whether
 * lookup, insertion, removal and timers cost more in a crowd than among a thousand. No privilege,
 * no kernel beside it.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Device } from '../../net/env.js';
import { ACK, SYN } from '../../net/layout.js';
import type { Skb } from '../../net/skb.js';
import { type TimerEntry, TimerQueue } from '../../net/timer.js';
import { MemoryStack, seededRandom } from '../../testing/memory-stack.js';
import { type CurvePoint, measureLookupCurve } from '../bench-lookup.js';
import { FailedError } from '../command.js';
import type { AloneProbe, Figure, Row, Said } from './measure.js';
import { median, rowOf } from './pairs.js';
import { SEGMENT_BYTES, SegmentWriter } from './segment.js';

const PORT = 80;
/** A thousand is what the crowd is compared with. */
const FEW = 1000;
const PORTS_PER_ADDRESS = 15_000;
const FIRST_PORT = 32_768;
const FIRST_ADDRESS: number = 10 << 24;
const OPERATIONS = 1 << 14;
const ROUNDS = 7;
/**
 * Tables that are made one after the other, and rounds on each: where its memory comes to lie makes
 * a table of 40 MB faster or slower by a fifth, and its control as well.
 */
const TABLES = 5;
const TABLE_ROUNDS = 13;
const WARM_UP_ROUNDS = 3;
const IP_BYTES = 20;
/** How fast the crowd comes, in the stack's time, and how long it has been idle when counted. */
const OPENED_PER_MS = 20;
const IDLE_MS = 5000;
const COLLECTIONS = 3;
const COLLECTED_MS = 300;

/** The stack's end of the wire: keeps the sequence number of what it sent last. */
class LastSequence implements Device {
  readonly mtu = 1500;
  readonly offload = { checksum: false, gsoMaxBytes: 0 };
  value = 0;

  transmit({ bytes, start }: Skb): boolean {
    const at = start + IP_BYTES + 4;
    this.value =
      (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
    return true;
  }
}

/**
 * Collects garbage, so that what is counted is what is in use. The pages go back to the system from
 * another thread, some of them only with the next collection.
 */
function collector(): () => void {
  setFlagsFromString('--expose_gc');
  const gc = runInNewContext('gc') as () => void;
  const nobody = new Int32Array(new SharedArrayBuffer(4));
  return () => {
    for (let i = 0; i < COLLECTIONS; i++) {
      gc();
      Atomics.wait(nobody, 0, 0, COLLECTED_MS);
    }
  };
}

class Crowd {
  private readonly device = new LastSequence();
  private readonly host: MemoryStack;
  private readonly listenFd: number;
  private readonly packet: Uint8Array = new Uint8Array(SEGMENT_BYTES);
  private readonly writer: SegmentWriter;
  private size = 0;

  constructor(most: number) {
    this.host = new MemoryStack({
      fds: most + 64,
      device: this.device,
      sysctl: { 'net.ipv4.tcp_ehash_entries': 1 << 20 },
    });
    this.listenFd = this.host.listen(PORT);
    this.host.poll();
    this.writer = new SegmentWriter(this.packet, this.host.address, PORT);
  }

  private inject(saddr: number, sport: number, flags: number, seq: number, ack: number): void {
    const length = this.writer.write(saddr, sport, flags, seq, ack);
    this.host.inject(this.packet.subarray(0, length));
  }

  /** Opens and accepts connections until there are `size`. Throws when one does not come about. */
  growTo(size: number): void {
    for (; this.size < size; this.size++) {
      const saddr = (FIRST_ADDRESS + Math.floor(this.size / PORTS_PER_ADDRESS)) | 0;
      const sport = FIRST_PORT + (this.size % PORTS_PER_ADDRESS);
      this.inject(saddr, sport, SYN, this.size, 0);
      this.inject(saddr, sport, ACK, this.size + 1, (this.device.value + 1) | 0);
      const fd = this.host.accept(this.listenFd);
      if (fd < 0) throw new FailedError(`connection ${this.size}: errno ${-fd}`, '');
      if (this.size % OPENED_PER_MS === 0) this.host.advance(1);
    }
    this.host.advance(IDLE_MS);
    this.host.events.length = 0;
  }
}

/** Bytes of memory of this process per connection, at each size. */
function bytesEach(sizes: readonly number[]): { size: number; bytes: number }[] {
  const collect = collector();
  const most = sizes.at(-1)!;
  const crowd = new Crowd(most + FEW);
  crowd.growTo(FEW); // what is made once, and compiled code, is no connection's
  collect();
  const before = process.memoryUsage.rss();
  return sizes.map((size) => {
    crowd.growTo(FEW + size);
    collect();
    return { size, bytes: (process.memoryUsage.rss() - before) / size };
  });
}

class Alarm implements TimerEntry {
  timerIndex = -1;
  onTimer(): void {}
}

function cpuMicros(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

interface Costs {
  readonly arm: number[];
  readonly cancel: number[];
}

/** CPU time to arm a timer beside `size` others and to cancel it, ns, a value each round. */
function timerCosts(size: number): () => Costs {
  const queue = new TimerQueue();
  const random = seededRandom(size);
  const due = Float64Array.from({ length: size }, () => random.u32());
  for (const at of due) queue.arm(new Alarm(), at);
  const fresh = Array.from({ length: OPERATIONS }, () => new Alarm());
  const times = Float64Array.from({ length: OPERATIONS }, () => random.u32());
  const costs: Costs = { arm: [], cancel: [] };
  return () => {
    const started = cpuMicros();
    for (let i = 0; i < OPERATIONS; i++) queue.arm(fresh[i]!, times[i]!);
    const armed = cpuMicros();
    for (let i = 0; i < OPERATIONS; i++) queue.cancel(fresh[i]!);
    costs.arm.push(((armed - started) * 1000) / OPERATIONS);
    costs.cancel.push(((cpuMicros() - armed) * 1000) / OPERATIONS);
    return costs;
  };
}

/** Rounds of both sizes in turn; those before the last ROUNDS warm the compiler up. */
function timerRounds(crowd: number): { few: Costs; many: Costs } {
  const few = timerCosts(FEW);
  const many = timerCosts(crowd);
  for (let round = 1; round < WARM_UP_ROUNDS + ROUNDS; round++) {
    few();
    many();
  }
  const kept = ({ arm, cancel }: Costs): Costs => ({
    arm: arm.slice(-ROUNDS),
    cancel: cancel.slice(-ROUNDS),
  });
  return { few: kept(few()), many: kept(many()) };
}

const BYTES: Figure = {
  name: 'idle-bytes-1m',
  unit: 'bytes',
  goal: { of: 'ours', atMost: 600 },
  about: 'memory of an established connection in memory, among --crowd N (no privilege)',
};

const COSTS = ['lookup', 'insert', 'remove', 'arm', 'cancel'] as const;
type Cost = (typeof COSTS)[number];
type TableCost = Exclude<Cost, 'arm' | 'cancel'>;

function costFigure(cost: Cost): Figure {
  const what = cost === 'arm' || cost === 'cancel' ? `${cost} a timer` : cost;
  const reads = cost === 'lookup' || cost === 'insert' ? ', beyond cache misses' : '';
  return {
    name: `crowd-${cost}`,
    unit: 'x',
    goal: { of: 'ours', atMost: 1.5 },
    about: `${what} among --crowd N, over that among 1,000${reads}`,
  };
}

/**
 * Cost among many over cost among few on one table of each size, of medians of interleaved rounds;
 * what the same reads of plain arrays grow by (bench-lookup-reads.ts) is the caches', and taken
 * off, round by round: what else the machine does falls on both. The curve between the two is
 * `bench lookup`.
 */
function tableCosts(crowd: number): Record<TableCost, number> {
  const sizes = { members: [], connections: [FEW, crowd], rounds: TABLE_ROUNDS, made: collector() };
  const { points } = measureLookupCurve(sizes);
  const of = (operation: CurvePoint['operation'], size: number): CurvePoint =>
    points.find((point) => point.operation === operation && point.size === size)!;
  const ratio = (operation: CurvePoint['operation']): number => {
    const [few, many] = [of(operation, FEW), of(operation, crowd)];
    if (few.beyond === null || many.beyond === null) return many.median / few.median;
    return (few.median + many.beyond - few.beyond) / few.median;
  };
  return { lookup: ratio('lookup'), insert: ratio('insert'), remove: ratio('remove') };
}

export const crowd: AloneProbe = {
  kind: 'alone',
  needsNetwork: false,
  figures: [BYTES, ...COSTS.map(costFigure)],
  run({ crowd: size }): Said {
    const sizes = [FEW, 10_000, 100_000].filter((smaller) => smaller < size);
    const curve = bytesEach([...sizes, size]);
    const { few, many } = timerRounds(size);
    const ratios = (cost: 'arm' | 'cancel'): number[] => [median(many[cost]) / median(few[cost])];
    const tables = Array.from({ length: TABLES }, () => tableCosts(size));
    const ofTables = (cost: TableCost): number[] => tables.map((costs) => costs[cost]);
    const costs = {
      ...{ lookup: ofTables('lookup'), insert: ofTables('insert'), remove: ofTables('remove') },
      ...{ arm: ratios('arm'), cancel: ratios('cancel') },
    };
    const rows: Row[] = [
      { ...rowOf(BYTES, { ours: [curve.at(-1)!.bytes], kernel: [] }), points: curve },
      ...COSTS.map((cost) => rowOf(costFigure(cost), { ours: costs[cost], kernel: [] })),
    ];
    return { json: rows, lines: [], rows };
  },
};
