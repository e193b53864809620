/**
 * What the TUN device costs by itself, without a stack: one packet written, one read, of 64 KiB, of
 * an MTU and of 40 bytes. Two devices in the run's namespace with forwarding between them: what is
 * written to the first lies in the second's queue when write() returns, and is read from there. So
 * a write's time holds the kernel's receive path and its forwarding, a read's only the way out of
 * the queue. Beside them the bare cost of a system call through koffi, and of a copy.
 */
import { writeFileSync } from 'node:fs';
import { mmapArena, native } from '../../device/native.js';
import { openTun } from '../../device/tun.js';
import type { TunDevice } from '../../device/tun-device.js';
import { pseudoSum } from '../../net/checksum.js';
import { ACK } from '../../net/layout.js';
import { CHECKSUM_PARTIAL, Skb } from '../../net/skb.js';
import { BLOCK_WORDS, SocketMemory } from '../../net/sockmem.js';
import { ipv4 } from '../../testing/memory-stack.js';
import { FailedError } from '../command.js';
import type { AloneProbe, Figure, Said } from './measure.js';
import { rowOf } from './pairs.js';
import { SegmentWriter } from './segment.js';

const FROM = { name: 'bench-a', address: '198.18.8.1/24', peer: '198.18.8.254' };
const TO = { name: 'bench-b', address: '198.18.9.1/24', peer: '198.18.9.254' };
const MTU = 1500;
const MSS = 1460;
const HEADER_BYTES = 40;
const PORT = 9;
/** Packets written before they are read: fewer than the queue holds. */
const BATCH = 64;
const ROUNDS = 60;
const WARM_UP_ROUNDS = 20;
const COPY_BYTES = 65_536;
const ARENA_BYTES = 4 << 20;
const SKB_BYTES = 68 << 10;
const CALLS = 1000;

const SIZES: readonly (readonly [name: string, bytes: number, words: string])[] = [
  ['64k', 65_160, 'one superpacket of 65,160 bytes'],
  ['mtu', MTU, 'one packet of 1,500 bytes'],
  ['small', HEADER_BYTES, 'one packet of 40 bytes'],
];

function figure(name: string, about: string): Figure {
  return { name: `device-${name}`, unit: 'µs', goal: null, about };
}

const FIGURES: readonly Figure[] = [
  ...SIZES.flatMap(([name, , words]) => [
    figure(`write-${name}`, `write ${words} to a TUN device, kernel's receive path included`),
    figure(`read-${name}`, `read ${words} from a TUN device`),
  ]),
  figure('read-nothing', 'a read that finds nothing: system call and koffi'),
  figure('poll', 'poll() that finds nothing and does not wait'),
  figure('copy-64k', 'a copy of 64 KiB in JavaScript, for comparison'),
];

/** The packet of `bytes` bytes in `skb`: a TCP segment, cut by the device where it is too large. */
function fill(skb: Skb, bytes: number): void {
  skb.reset();
  skb.end = skb.start + bytes;
  const [saddr, daddr] = [FROM, TO].map(({ address }) => ipv4(address.replace('/24', ''))) as [
    number,
    number,
  ];
  const writer = new SegmentWriter(skb.bytes.subarray(skb.start, skb.end + 4), daddr, PORT);
  writer.write(saddr, PORT, ACK, 1, 1, bytes - HEADER_BYTES);
  skb.csumStart = skb.start + 20;
  skb.csumOffset = 16;
  skb.ipSummed = CHECKSUM_PARTIAL;
  const sum = pseudoSum(saddr, daddr, 6, bytes - 20);
  skb.view.setUint16(skb.csumStart + 16, sum);
  skb.gsoSize = bytes > MTU ? MSS : 0;
}

interface Devices {
  readonly from: TunDevice;
  readonly to: TunDevice;
  readonly out: Skb;
  readonly in: Skb;
}

/** One round: a batch written, then read. @returns µs a packet of each */
function round({ from, to, out, in: into }: Devices): [write: number, read: number] {
  const started = performance.now();
  for (let i = 0; i < BATCH; i++) from.transmit(out);
  const written = performance.now();
  let read = 0;
  // The kernel may have a word of its own to the device, of another size or family.
  while (to.receive(into)) if (into.length === out.length) read++;
  const ended = performance.now();
  if (read !== BATCH) throw new FailedError(`bench: ${read} of ${BATCH} packets came through`, '');
  return [((written - started) * 1000) / BATCH, ((ended - written) * 1000) / BATCH];
}

/** µs of each of CALLS calls, a value a round. */
function timed(deed: () => void): number[] {
  return Array.from({ length: ROUNDS }, () => {
    const started = performance.now();
    for (let i = 0; i < CALLS; i++) deed();
    return ((performance.now() - started) * 1000) / CALLS;
  });
}

function bareCosts(devices: Devices): number[][] {
  const calls = native();
  const copied = mmapArena(2 * COPY_BYTES).bytes;
  const half = copied.subarray(0, COPY_BYTES);
  return [
    timed(() => devices.to.receive(devices.in)),
    timed(() => calls.poll(0, 0, 0)),
    timed(() => copied.set(half, COPY_BYTES)),
  ];
}

function measure(devices: Devices): number[][] {
  const values: number[][] = [];
  for (const [, bytes] of SIZES) {
    fill(devices.out, bytes);
    const rounds = Array.from({ length: WARM_UP_ROUNDS + ROUNDS }, () => round(devices));
    const kept = rounds.slice(WARM_UP_ROUNDS);
    values.push(
      kept.map(([write]) => write),
      kept.map(([, read]) => read),
    );
  }
  return [...values, ...bareCosts(devices)];
}

export const deviceLimits: AloneProbe = {
  kind: 'alone',
  needsNetwork: true,
  figures: FIGURES,
  run(): Said {
    writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
    const { bytes } = mmapArena(ARENA_BYTES);
    const mem = new SocketMemory(new Int32Array(8 * BLOCK_WORDS), bytes, 0, 8);
    const from = openTun({ ...FROM, mtu: MTU });
    const to = openTun({ ...TO, mtu: MTU });
    try {
      const out = new Skb(mem, 4096, SKB_BYTES);
      const devices = { from, to, out, in: new Skb(mem, 1 << 20, SKB_BYTES) };
      while (to.receive(devices.in)); // what the kernel had to say to the new device
      const values = measure(devices);
      const rows = FIGURES.map((row, i) => rowOf(row, { ours: values[i]!, kernel: [] }));
      return { json: rows, lines: [], rows };
    } finally {
      from.close();
      to.close();
    }
  },
};
