/**
 * Throughput of one long transfer over loss, round-trip time and window, beside what theory allows:
 * the link's rate, window / RTT, and for loss the formula of Mathis, Semke, Mahdavi and Ott (1997),
 * MSS / RTT · sqrt(3 / 2p). Virtual time: the same numbers on every machine, so that a table that
 * is kept shows every change of behaviour.
 */
import { EAGAIN, EINPROGRESS } from '../net/errno.js';
import { ArenaPool } from './arena.js';
import { Dice, FOR_PACKETS } from './dice.js';
import { must } from './failure.js';
import { SimHost } from './host.js';
import { Path } from './path.js';
import { addressOf, HostLink, Router } from './router.js';

const LOSSES = [0, 0.001, 0.01, 0.05];
/** Round trips, and the time of an experiment: so that every row has thousands of segments. */
const SECONDS: Readonly<Record<number, number>> = { 1: 2, 10: 5, 50: 15, 200: 20 };
const RTTS_MS = Object.keys(SECONDS).map(Number);
const WINDOWS_KIB = [32, 256, 2048];
const CONTROLS = ['reno', 'cubic'] as const;

const RATE_BPS = 20e6;
/** Half a bandwidth-delay product of 100 ms, or a bit more than the smallest window. */
const QUEUE_BYTES = 128 << 10;
const START_US = 1_000_000;
const MTU = 1500;
/** MTU less headers with timestamps. */
const MSS = 1448;
const PORT = 80;
const ARENA_BYTES = 32 << 20;
const PIECE_BYTES = 65_536;

/** One row of the table. */
export interface Cell {
  readonly loss: number;
  readonly rttMs: number;
  readonly windowKib: number;
}

export const CELLS: readonly Cell[] = LOSSES.flatMap((loss) =>
  RTTS_MS.flatMap((rttMs) => WINDOWS_KIB.map((windowKib) => ({ loss, rttMs, windowKib }))),
);

/** What limits a transfer, and the rate that it allows, bits per second. */
export function theory({ loss, rttMs, windowKib }: Cell): { limit: string; bps: number } {
  const rttS = rttMs / 1000;
  // Headers of every segment are the link's, not the application's.
  const link = (RATE_BPS * MSS) / MTU;
  const window = (windowKib * 1024 * 8) / rttS;
  const mathis = loss === 0 ? Infinity : ((MSS * 8) / rttS) * Math.sqrt(1.5 / loss);
  const bps = Math.min(link, window, mathis);
  const limit = bps === link ? 'link' : bps === window ? 'window' : 'loss';
  return { limit, bps };
}

const ARENAS = new ArenaPool();

class Transfer {
  private readonly router: Router;
  private readonly sender: SimHost;
  private readonly receiver: SimHost;
  private readonly client: number;
  private readonly listener: number;
  private server = -EAGAIN;
  private nowUs: number = START_US;
  private received = 0;
  private readonly piece: Uint8Array = new Uint8Array(PIECE_BYTES);

  constructor(cell: Cell, control: string) {
    const delayUs = (cell.rttMs * 1000) / 2;
    const paths = [0, 1, 2, 3].map((i) => {
      const path = new Path(new Dice(FOR_PACKETS, i, cell.rttMs, cell.loss * 1e6), delayUs, MTU);
      path.rateBps = RATE_BPS;
      path.queueBytes = QUEUE_BYTES;
      // From the sender to the receiver.
      if (i === 1) path.loss = cell.loss;
      return path;
    });
    this.router = new Router(2, paths);
    const buffer = cell.windowKib * 2048;
    const sysctl = {
      'net.ipv4.tcp_ehash_entries': '256',
      'net.ipv4.tcp_rmem': `4096 ${buffer} ${buffer}`,
      'net.ipv4.tcp_moderate_rcvbuf': '0',
      'net.ipv4.tcp_congestion_control': control,
    };
    [this.sender, this.receiver] = [0, 1].map((index) => this.host(index, sysctl)) as [
      SimHost,
      SimHost,
    ];
    const { stack } = this.receiver;
    this.listener = stack.socket(0);
    stack.bind(this.listener, 0, PORT);
    stack.listen(this.listener, 1);
    this.client = this.sender.stack.socket(0);
    const result = this.sender.stack.connect(this.client, addressOf(1), PORT);
    must(result === -EINPROGRESS, 'netsim', () => `connect: ${result}`);
    this.sender.turnUs = this.nowUs;
  }

  private host(index: number, sysctl: Record<string, string>): SimHost {
    const link = new HostLink(this.router, index, MTU, 0);
    this.router.links[index] = link;
    const host = new SimHost({
      seed: 1,
      index,
      address: addressOf(index),
      life: 0,
      profile: '6.18',
      sysctl,
      link,
      fds: 64,
      arena: ARENAS.take(ARENA_BYTES),
      slownessUs: 0,
      log: null,
    });
    host.poll(START_US);
    return host;
  }

  /** Bytes that the receiving application has got after so many seconds. */
  run(seconds: number): number {
    const endUs = START_US + seconds * 1e6;
    const { flights } = this.router;
    const hosts = [this.sender, this.receiver];
    for (;;) {
      const next = Math.min(flights.nextUs(), this.sender.turnUs, this.receiver.turnUs);
      if (next > endUs) break;
      this.nowUs = Math.max(this.nowUs, next);
      this.router.nowUs = this.nowUs;
      for (let f = flights.takeDue(this.nowUs); f; f = flights.takeDue(this.nowUs)) {
        hosts[f.to]!.receive(f, this.nowUs);
      }
      for (const host of hosts) if (host.turnUs <= this.nowUs) this.turn(host);
    }
    for (const host of hosts) ARENAS.release(host.mem);
    return this.received;
  }

  private turn(host: SimHost): void {
    host.takePackets(this.nowUs);
    host.ready.length = 0;
    if (host === this.sender) this.send();
    else this.receive();
    host.poll(this.nowUs);
  }

  private send(): void {
    while (this.sender.write(this.client, this.piece) > 0);
  }

  private receive(): void {
    const { receiver } = this;
    if (this.server < 0) this.server = receiver.accept(this.listener);
    if (this.server < 0) return;
    for (;;) {
      const count = receiver.read(this.server, this.piece, PIECE_BYTES);
      if (count <= 0) return;
      this.received += count;
    }
  }
}

/** Goodput of a cell with one congestion control, bits per second. */
export function measure(cell: Cell, control: string): number {
  const seconds = SECONDS[cell.rttMs]!;
  return (new Transfer(cell, control).run(seconds) * 8) / seconds;
}

const WIDTHS = [6, 7, 8, 10, 10, 10, 9];

function line(columns: readonly string[]): string {
  return columns.map((text, i) => text.padStart(WIDTHS[i]!)).join(' ');
}

function mbps(bps: number): string {
  return (bps / 1e6).toFixed(3);
}

/** What the table begins with. */
export function header(): string[] {
  const rate = RATE_BPS / 1e6;
  const times = RTTS_MS.map((rttMs) => `${SECONDS[rttMs]} s at ${rttMs} ms`).join(', ');
  return [
    'npm run sim -- --table --write',
    '',
    `One transfer over a link of ${rate} Mbit/s, both directions, with a queue of`,
    `${QUEUE_BYTES >> 10} KiB; loss in the direction of the data. Virtual time: ${times}.`,
    'Goodput in Mbit/s. Theory is the least of the link, window / RTT, and',
    'MSS / RTT · sqrt(3 / 2p) (Mathis et al.).',
    '',
    line(['loss', 'RTT ms', 'win KiB', ...CONTROLS, 'theory', 'limit']),
  ];
}

/** The row of a cell. */
export function row(cell: Cell): string {
  const { limit, bps } = theory(cell);
  const measured = CONTROLS.map((control) => mbps(measure(cell, control)));
  const { loss, rttMs, windowKib } = cell;
  return line([`${loss * 100}%`, `${rttMs}`, `${windowKib}`, ...measured, mbps(bps), limit]);
}

/** The whole table, row by row. */
export function* table(): Generator<string> {
  yield* header();
  for (const cell of CELLS) yield row(cell);
}
