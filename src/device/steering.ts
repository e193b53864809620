/**
 * Has the kernel put each packet into the queue where its connection is (TUNSETSTEERINGEBPF): an
 * eBPF program that computes net/steering.ts: steerQueue. SYNs, which no connection has, go to
 * queue 0, and so does what is no whole TCP segment. Loading a program needs privilege or
 * kernel.unprivileged_bpf_disabled=0; without it the kernel spreads flows by a hash of its own and
 * learns from our packets where they belong, and what comes in by another queue is sent on.
 */
import { arch } from 'node:process';
import { STEER_MULTIPLIERS, STEER_SHIFTS } from '../net/steering.js';
import { TUNSETSTEERINGEBPF } from './ifreq.js';
import { mmapArena, munmapArena, native } from './native.js';

/** linux/bpf.h and linux/bpf_common.h: classes, sizes, modes, operations. */
const LD_ABS_W = 0x20;
const LD_ABS_H = 0x28;
const LD_ABS_B = 0x30;
const LD_IND_W = 0x40;
const LD_IND_B = 0x50;
const MOV64_REG = 0xbf;
const MOV64_IMM = 0xb7;
const MOV32_REG = 0xbc;
const AND32_IMM = 0x54;
const XOR32_IMM = 0xa4;
const XOR32_REG = 0xac;
const MUL32_IMM = 0x24;
const RSH32_IMM = 0x74;
const LSH32_IMM = 0x64;
const MUL64_IMM = 0x27;
const RSH64_IMM = 0x77;
const JNE_IMM = 0x55;
const JEQ_IMM = 0x15;
const EXIT = 0x95;

const PROG_LOAD = 5;
const SOCKET_FILTER = 1;
/** bpf(2). */
const SYS_BPF: Readonly<Record<string, number>> = { x64: 321, arm64: 280 };
const INSTRUCTION_BYTES = 8;
/** union bpf_attr of PROG_LOAD as far as we fill it in. */
const ATTR_BYTES = 72;

const SYN = 0x02;
const SYN_AND_ACK = 0x12;
const IPPROTO_TCP = 6;
/** Registers: the context, the length of the IP header, the hash. */
const CONTEXT = 6;
const HEADER = 7;
const HASH = 8;

/** Instructions: operation, target | source << 4, jump, immediate. */
type Instruction = readonly [code: number, registers: number, jump: number, immediate: number];

/** A jump to the end of the program, where the answer is queue 0. */
const TO_ZERO = -1;

/** The program for `queues` queues; `key` is int32. */
export function steeringProgram(queues: number, key: number): Uint8Array<ArrayBuffer> {
  const [m0, m1, m2] = STEER_MULTIPLIERS;
  const [s0, s1, s2] = STEER_SHIFTS;
  const reg = (to: number, from = 0): number => to | (from << 4);
  const mix = (shift: number, multiplier: number): Instruction[] => [
    [MOV32_REG, reg(1, HASH), 0, 0],
    [RSH32_IMM, reg(1), 0, shift],
    [XOR32_REG, reg(HASH, 1), 0, 0],
    [XOR32_REG, reg(HASH, 0), 0, 0],
    [MUL32_IMM, reg(HASH), 0, multiplier],
  ];
  return assemble([
    [MOV64_REG, reg(CONTEXT, 1), 0, 0],
    // IPv4 without options or with; TCP; no fragment; not the first SYN.
    [LD_ABS_B, 0, 0, 0],
    [MOV64_REG, reg(HEADER, 0), 0, 0],
    [RSH32_IMM, reg(0), 0, 4],
    [JNE_IMM, reg(0), TO_ZERO, 4],
    [AND32_IMM, reg(HEADER), 0, 15],
    [LSH32_IMM, reg(HEADER), 0, 2],
    [LD_ABS_B, 0, 0, 9],
    [JNE_IMM, reg(0), TO_ZERO, IPPROTO_TCP],
    [LD_ABS_H, 0, 0, 6],
    [AND32_IMM, reg(0), 0, 0x3fff],
    [JNE_IMM, reg(0), TO_ZERO, 0],
    [LD_IND_B, reg(0, HEADER), 0, 13],
    [AND32_IMM, reg(0), 0, SYN_AND_ACK],
    [JEQ_IMM, reg(0), TO_ZERO, SYN],
    // The source address, then both ports, then the destination.
    [LD_ABS_W, 0, 0, 12],
    [MOV32_REG, reg(HASH, 0), 0, 0],
    [XOR32_IMM, reg(HASH), 0, key],
    [MUL32_IMM, reg(HASH), 0, m0],
    [LD_IND_W, reg(0, HEADER), 0, 0],
    ...mix(s0, m1),
    [LD_ABS_W, 0, 0, 16],
    ...mix(s1, m2),
    [MOV32_REG, reg(0, HASH), 0, 0],
    [RSH32_IMM, reg(0), 0, s2],
    [XOR32_REG, reg(0, HASH), 0, 0],
    // The upper word of hash * queues.
    [MUL64_IMM, reg(0), 0, queues],
    [RSH64_IMM, reg(0), 0, 32],
    [EXIT, 0, 0, 0],
    [MOV64_IMM, reg(0), 0, 0],
    [EXIT, 0, 0, 0],
  ]);
}

function assemble(instructions: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(instructions.length * INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  const zero = instructions.length - 2;
  for (const [i, [code, registers, jump, immediate]] of instructions.entries()) {
    const at = i * INSTRUCTION_BYTES;
    view.setUint8(at, code);
    view.setUint8(at + 1, registers);
    view.setInt16(at + 2, jump === TO_ZERO ? zero - i - 1 : jump, true);
    view.setInt32(at + 4, immediate | 0, true);
  }
  return bytes;
}

/**
 * Gives the device behind `fd`, all of whose queues are open, the program.
 * @returns 0, or the errno of the call that was refused (ENOSYS on processors that we do not know)
 */
export function attachSteering(fd: number, queues: number, key: number): number {
  const number = SYS_BPF[arch];
  if (number === undefined) return ENOSYS;
  const calls = native();
  const program = steeringProgram(queues, key);
  const licence = new TextEncoder().encode('MIT\0');
  const length = ATTR_BYTES + program.length + licence.length;
  const { address, bytes } = mmapArena(length);
  try {
    bytes.set(program, ATTR_BYTES);
    bytes.set(licence, ATTR_BYTES + program.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, SOCKET_FILTER, true);
    view.setUint32(4, program.length / INSTRUCTION_BYTES, true);
    setAddress(view, 8, address + ATTR_BYTES);
    setAddress(view, 16, address + ATTR_BYTES + program.length);
    const loaded = calls.syscall(number, PROG_LOAD, address, ATTR_BYTES);
    if (loaded < 0) return calls.errno();
    view.setInt32(0, loaded, true);
    const attached = calls.ioctl(fd, TUNSETSTEERINGEBPF, address);
    const errno = attached < 0 ? calls.errno() : 0;
    // The device holds the program.
    calls.close(loaded);
    return errno;
  } finally {
    munmapArena(address, length);
  }
}

const ENOSYS = 38;

/** A 64-bit word without BigInt: addresses are below 2^53. */
function setAddress(view: DataView, at: number, address: number): void {
  view.setUint32(at, address, true);
  view.setUint32(at + 4, address / 2 ** 32, true);
}
