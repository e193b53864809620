/**
 * BPF programs for reuseport groups: classic ones as the bytes of a struct sock_fprog, and one
 * eBPF program that reports the flow hash of every SYN, loaded through bpf(2).
 */
import { libc, systemCallNumbers } from './kernel-sockets.js';

/** One instruction of classic BPF: code, jump offsets, operand. */
export type Instruction = readonly [code: number, jt: number, jf: number, k: number];

export const BPF_RET_K = 0x06;
export const BPF_RET_A = 0x16;

/** Instructions whose addresses were given to the kernel as part of a struct: must not move. */
const kept: Uint8Array[] = [];

/** struct sock_fprog of `instructions`. */
export function classicProgram(instructions: readonly Instruction[]): Uint8Array {
  const code = fixed(instructions.length * 8);
  const view = new DataView(code.buffer);
  instructions.forEach(([opcode, jt, jf, k], i) => {
    view.setUint16(i * 8, opcode, true);
    view.setUint8(i * 8 + 2, jt);
    view.setUint8(i * 8 + 3, jf);
    view.setUint32(i * 8 + 4, k >>> 0, true);
  });
  kept.push(code);
  const program = new Uint8Array(16);
  const header = new DataView(program.buffer);
  header.setUint16(0, instructions.length, true);
  header.setBigUint64(8, libc().addressOf(code), true);
  return program;
}

const constants = new Map<number, Uint8Array>();

/** A program that always names member `member`. */
export function constantProgram(member: number): Uint8Array {
  const known = constants.get(member);
  if (known !== undefined) return known;
  const program = classicProgram([[BPF_RET_K, 0, 0, member]]);
  constants.set(member, program);
  return program;
}

const BPF_MAP_CREATE = 0;
const BPF_MAP_LOOKUP_ELEM = 1;
const BPF_PROG_LOAD = 5;
const BPF_MAP_TYPE_ARRAY = 2;
const BPF_PROG_TYPE_SK_REUSEPORT = 21;
const ATTRIBUTE_BYTES = 128;
const EPERM = 1;

type Opcode = readonly [code: number, registers: number, offset: number, immediate: number];

/**
 * An eBPF program of type SK_REUSEPORT that writes sk_reuseport_md.hash into word 0 of a map's only
 * value, counts in word 1, and passes without a choice, so that the hash chooses.
 */
function reportingProgram(map: number): readonly Opcode[] {
  return [
    [0xbf, 0x16, 0, 0], // r6 = r1 (the context)
    [0x62, 0x0a, -4, 0], // *(u32 *)(r10 - 4) = 0 (the key)
    [0xbf, 0xa2, 0, 0], // r2 = r10
    [0x07, 0x02, 0, -4], // r2 += -4
    [0x18, 0x11, 0, map], // r1 = the map, two slots
    [0x00, 0x00, 0, 0],
    [0x85, 0x00, 0, 1], // r0 = bpf_map_lookup_elem(r1, r2)
    [0x15, 0x00, 5, 0], // if r0 == 0 skip five
    [0x61, 0x61, 32, 0], // r1 = *(u32 *)(r6 + 32) (hash)
    [0x63, 0x10, 0, 0], // *(u32 *)(r0 + 0) = r1
    [0x61, 0x01, 4, 0], // r1 = *(u32 *)(r0 + 4)
    [0x07, 0x01, 0, 1], // r1 += 1
    [0x63, 0x10, 4, 0], // *(u32 *)(r0 + 4) = r1
    [0xb7, 0x00, 0, 1], // r0 = SK_PASS
    [0x95, 0x00, 0, 0], // exit
  ];
}

/** bpf(2): a descriptor or value ≥ 0, or a negated errno. */
function bpf(command: number, fill: (view: DataView) => void): number {
  const attributes = new Uint8Array(ATTRIBUTE_BYTES);
  fill(new DataView(attributes.buffer));
  const c = libc();
  const result = c.bpf(systemCallNumbers().bpf, command, attributes, attributes.length);
  return result < 0 ? -c.errno() : result;
}

/** Bytes at an address that does not move: the collector moves small arrays without a buffer. */
function fixed(length: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(length));
}

/** Reports the flow hash of the SYNs that a group got. */
export class HashReporter {
  /** Descriptor of the program, for SO_ATTACH_REUSEPORT_EBPF. */
  readonly program: number;
  private readonly map: number;
  private readonly key = fixed(4);
  private readonly value = fixed(8);

  /** Throws when the kernel does not let us load it. */
  constructor() {
    this.map = bpf(BPF_MAP_CREATE, (view) => {
      for (const [i, word] of [BPF_MAP_TYPE_ARRAY, 4, 8, 1].entries()) {
        view.setUint32(i * 4, word, true);
      }
    });
    this.program = this.map < 0 ? this.map : this.load(reportingProgram(this.map));
    if (this.program === -EPERM) throw new Error('bpf(2) is not permitted here');
    if (this.program < 0) throw new Error(`bpf(2): errno ${-this.program}`);
  }

  private load(program: readonly Opcode[]): number {
    const code = fixed(program.length * 8);
    const codeView = new DataView(code.buffer);
    program.forEach(([opcode, registers, offset, immediate], i) => {
      codeView.setUint8(i * 8, opcode);
      codeView.setUint8(i * 8 + 1, registers);
      codeView.setInt16(i * 8 + 2, offset, true);
      codeView.setInt32(i * 8 + 4, immediate, true);
    });
    const license = fixed(4);
    license.set(new TextEncoder().encode('GPL'));
    return bpf(BPF_PROG_LOAD, (view) => {
      view.setUint32(0, BPF_PROG_TYPE_SK_REUSEPORT, true);
      view.setUint32(4, program.length, true);
      view.setBigUint64(8, libc().addressOf(code), true);
      view.setBigUint64(16, libc().addressOf(license), true);
    });
  }

  /** Hash of the last SYN that a group with the program got, int32; how many there were so far. */
  read(): { hash: number; count: number } {
    const error = bpf(BPF_MAP_LOOKUP_ELEM, (view) => {
      view.setUint32(0, this.map, true);
      view.setBigUint64(8, libc().addressOf(this.key), true);
      view.setBigUint64(16, libc().addressOf(this.value), true);
    });
    if (error < 0) throw new Error(`BPF_MAP_LOOKUP_ELEM: errno ${-error}`);
    const view = new DataView(this.value.buffer);
    return { hash: view.getInt32(0, true), count: view.getUint32(4, true) };
  }

  close(): void {
    libc().close(this.program);
    libc().close(this.map);
  }
}
