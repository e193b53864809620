/**
 * IPv4 and ICMP of our stack beside the running kernel's: the same packets, the same answers byte
 * for byte but for identifications and the time of day, and the same counters of ICMP and UDP.
 */
import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import { suiteWith } from '../e2e/machine.js';
import { sideBySide } from './compare.js';
import { FLOOD, PROBES, type Probe } from './ip-probes.js';
import { enterFreshNamespace, setKernelSysctl } from './kernel-sockets.js';
import { OurMachine } from './machine.js';
import { TunPeer } from './tun-peer.js';

const KNOBS: Readonly<Record<string, number>> = {
  'net.ipv4.icmp_ratelimit': 0,
  'net.ipv4.icmp_msgs_per_sec': 1_000_000,
  'net.ipv4.icmp_msgs_burst': 1_000_000,
};

const ICMP = 1;
const TIMESTAMP_REPLY = 14;

/** A packet as text; what is random or a clock is named, not shown. */
function text(packet: Uint8Array): string {
  const view = Buffer.from(packet);
  const header = (view[0]! & 15) * 4;
  const id = view.readUInt16BE(4) === 0 ? '0' : 'some';
  view.fill(0, 4, 6);
  view.fill(0, 10, 12);
  blindTimes(view, 20, header);
  const body = view.subarray(header);
  if (view[9] === ICMP && body[0] === TIMESTAMP_REPLY) body.fill(0, 2, 4).fill(0, 12, 20);
  const quotesOptions = view[9] === ICMP && [3, 11, 12].includes(body[0]!) && body.length > 28;
  if (quotesOptions && body[8]! > 0x45) {
    // The quoted header has been written to by us: times, and its checksum.
    blindTimes(body, 28, 8 + (body[8]! & 15) * 4);
    body.fill(0, 2, 4);
  }
  return `id ${id} ${view.subarray(0, header).toString('hex')} ${body.toString('hex')}`;
}

/** Milliseconds of the day in a timestamp option of flags 0, 1 or 3 at [from, to). */
function blindTimes(view: Buffer, from: number, to: number): void {
  for (let at = from; at < to; ) {
    const type = view[at]!;
    if (type === 0) return;
    const length = type === 1 ? 1 : view[at + 1]!;
    if (length === 0) return;
    if (type === 68 && at + length <= to) view.fill(0, Math.min(at + 4, to), at + length);
    at += length;
  }
}

interface Side {
  write(packet: Uint8Array): void;
  read(): Uint8Array | null;
}

function answers(side: Side, { packets }: Probe): string[] {
  for (const packet of packets) side.write(packet);
  const lines: string[] = [];
  for (let packet = side.read(); packet !== null; packet = side.read()) lines.push(text(packet));
  return lines;
}

suiteWith(['netns', 'tun', 'root', 'ip'], 'the kernel as oracle: IPv4 and ICMP', () => {
  let leave: () => void;
  let tun: TunPeer;
  let ours: OurMachine;
  let kernelSide: Side;
  let ourSide: Side;

  before(() => {
    leave = enterFreshNamespace();
    tun = new TunPeer();
    execFileSync('ip', ['route', 'add', 'default', 'dev', 'oracle0']);
    ours = new OurMachine();
    ours.calls.stack.net.utcUs = 0;
    kernelSide = { write: (packet) => tun.write(packet), read: () => tun.readAny() };
    ourSide = { write: (packet) => ours.write(packet, 0), read: () => ours.read() };
  });

  after(() => {
    tun.close();
    ours.close();
    leave();
  });

  it(`answers ${PROBES.length} packets as the kernel does`, () => {
    for (const [name, value] of Object.entries(KNOBS)) setKernelSysctl(name, value);
    ours.set(KNOBS);
    const found: string[] = [];
    for (const probe of PROBES) {
      const difference = sideBySide(answers(kernelSide, probe), answers(ourSide, probe));
      if (difference === null && probe.differs) found.push(`${probe.name}: no difference any more`);
      if (difference !== null && !probe.differs) found.push(`${probe.name}\n${difference}`);
    }
    expect(found.join('\n')).to.equal('');
  });

  it('says that ports are unreachable as often as the kernel does', () => {
    const limits = {
      'net.ipv4.icmp_ratelimit': 1000,
      'net.ipv4.icmp_msgs_per_sec': 10_000,
      'net.ipv4.icmp_msgs_burst': 10_000,
    };
    for (const [name, value] of Object.entries(limits)) setKernelSysctl(name, value);
    ours.set(limits);
    const probe = { name: 'flood', packets: FLOOD };
    const counts = [kernelSide, ourSide].map((side) => answers(side, probe).length);
    expect(counts).to.deep.equal([6, 6]);
  });
});
