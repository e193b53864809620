/** The steering program against the function that it is to compute, by a small eBPF machine. */
import { expect } from 'chai';
import fc from 'fast-check';
import { steeringProgram } from '../../src/device/steering.js';
import { steerQueue } from '../../src/net/steering.js';
import { encodePacket } from '../../src/testing/index.js';

/** What a program does with a packet; loads beyond its end make it 0, as in the kernel. */
function run(program: Uint8Array<ArrayBuffer>, packet: Uint8Array): number {
  const code = new DataView(program.buffer);
  const data = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const r = new Array<bigint>(11).fill(0n);
  const low = (value: bigint): bigint => BigInt.asUintN(32, value);
  for (let pc = 0; ; pc++) {
    const op = code.getUint8(pc * 8);
    const to = code.getUint8(pc * 8 + 1) & 15;
    const from = code.getUint8(pc * 8 + 1) >> 4;
    const immediate = BigInt(code.getInt32(pc * 8 + 4, true));
    const jump = code.getInt16(pc * 8 + 2, true);
    switch (op) {
      case 0x20:
      case 0x28:
      case 0x30:
      case 0x40:
      case 0x50: {
        const at = Number(immediate) + ((op & 0x40) !== 0 ? Number(low(r[from]!)) : 0);
        const size = { 0: 4, 8: 2, 16: 1 }[op & 0x18]!;
        if (at + size > packet.length) return 0;
        let value = 0n;
        for (let i = 0; i < size; i++) value = (value << 8n) | BigInt(data.getUint8(at + i));
        r[0] = value;
        break;
      }
      case 0xbf:
        r[to] = r[from]!;
        break;
      case 0xb7:
        r[to] = BigInt.asUintN(64, immediate);
        break;
      case 0xbc:
        r[to] = low(r[from]!);
        break;
      case 0x54:
        r[to] = low(r[to]! & low(immediate));
        break;
      case 0xa4:
        r[to] = low(r[to]! ^ immediate);
        break;
      case 0xac:
        r[to] = low(r[to]! ^ r[from]!);
        break;
      case 0x24:
        r[to] = low(r[to]! * immediate);
        break;
      case 0x74:
        r[to] = low(r[to]!) >> immediate;
        break;
      case 0x64:
        r[to] = low(r[to]! << immediate);
        break;
      case 0x27:
        r[to] = BigInt.asUintN(64, r[to]! * immediate);
        break;
      case 0x77:
        r[to] = r[to]! >> immediate;
        break;
      case 0x55:
        if (r[to] !== immediate) pc += jump;
        break;
      case 0x15:
        if (r[to] === immediate) pc += jump;
        break;
      case 0x95:
        return Number(r[0]);
      default:
        throw new Error(`instruction 0x${op.toString(16)} at ${pc}`);
    }
  }
}

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const port = fc.integer({ min: 0, max: 65_535 });

/** A packet of a flow, with `words` words of IP options. */
function packet(
  [source, sport, destination, dport]: readonly [number, number, number, number],
  flags: string,
  words = 0,
): Uint8Array {
  const fields = { source, destination, sport, dport, flags, payload: new Uint8Array(3) };
  const rest = { seq: 1, ack: 2, window: 3, urgent: 0, options: [], ttl: 64, tos: 0, id: 0 };
  const plain = encodePacket({ ...fields, ...rest, df: true });
  const bytes = new Uint8Array(plain.length + words * 4).fill(1);
  bytes.set(plain.subarray(0, 20));
  bytes.set(plain.subarray(20), 20 + words * 4);
  bytes[0] = 0x45 + words;
  return bytes;
}

describe('device: steering', () => {
  it('the program computes steerQueue for each flow, key and number of queues', () => {
    const flow = fc.tuple(u32, port, u32, port);
    const options = fc.constantFrom(0, 1, 10);
    fc.assert(
      fc.property(flow, u32, fc.integer({ min: 1, max: 16 }), options, (own, key, queues, ip) => {
        const [saddr, sport, daddr, dport] = own;
        const wanted = steerQueue(saddr | 0, sport, daddr | 0, dport, key | 0, queues);
        expect(wanted).to.be.within(0, queues - 1);
        const program = steeringProgram(queues, key | 0);
        for (const flags of ['.', 'P.', 'F.', 'R', 'S.', 'R.']) {
          expect(run(program, packet(own, flags, ip))).to.equal(wanted);
        }
        expect(run(program, packet(own, 'S', ip)), 'a SYN').to.equal(0);
      }),
      { numRuns: 200 },
    );
  });

  it('what is no whole TCP segment goes to queue 0', () => {
    const program = steeringProgram(16, 77);
    const bytes = (change: (bytes: Uint8Array) => void, port_: number): Uint8Array => {
      const made = packet([1, port_, 2, 80], '.');
      change(made);
      return made;
    };
    const changes: readonly ((bytes: Uint8Array) => void)[] = [
      (own) => own.set([0x65]),
      (own) => own.set([17], 9),
      (own) => own.set([0x20, 0], 6),
      (own) => own.set([0, 5], 6),
    ];
    for (const change of changes) {
      for (let i = 0; i < 20; i++) expect(run(program, bytes(change, i))).to.equal(0);
    }
    const cut = packet([1, 1, 2, 80], '.').slice(0, 30);
    expect(run(program, cut)).to.equal(0);
  });

  it('spreads flows that differ in one port evenly', () => {
    for (const queues of [2, 3, 8]) {
      const counts = new Array<number>(queues).fill(0);
      for (let sport = 30_000; sport < 38_000; sport++) {
        counts[steerQueue(0x0a000001, sport, 0x0a000002, 80, 0x1234, queues)]!++;
      }
      const mean = 8000 / queues;
      for (const count of counts) expect(count).to.be.within(mean * 0.9, mean * 1.1);
    }
  });
});
