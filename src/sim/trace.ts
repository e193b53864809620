/**
 * A run as lines, for whoever has to find out why it failed: packets with their fate, state
 * changes, and what applications do.
 */
import type { Trace } from '../net/env.js';
import { STATE_NAMES } from '../tcp/state.js';
import { quad } from './ledger.js';

/** Takes one line. */
export type Log = (line: string) => void;

/** 'host 3' and virtual milliseconds. */
export function stamp(nowUs: number, host: number): string {
  return `${(nowUs / 1000).toFixed(3).padStart(12)} h${host}`;
}

/** A packet in tcpdump's manner. */
export function packetLine(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const way = `${quad(view.getInt32(12))}>${quad(view.getInt32(16))}`;
  const fragment = view.getUint16(6) & 0x3fff;
  if (bytes[9] !== 6 || fragment !== 0 || bytes.length < 40) {
    return `${way} protocol ${bytes[9]} fragment ${fragment} ${bytes.length} bytes`;
  }
  const flags = [...'FSRP.U'].filter((_, i) => (bytes[33]! >> i) & 1).join('');
  const payload = bytes.length - 20 - (bytes[32]! >> 4) * 4;
  const numbers = `seq ${view.getUint32(24)}:${payload} ack ${view.getUint32(28)}`;
  const ports = `${view.getUint16(20)}>${view.getUint16(22)}`;
  return `${way} ${ports} [${flags}] ${numbers} win ${view.getUint16(34)}`;
}

/** A stack's own view of its packets and states. */
export function stackTrace(log: Log, host: number, nowUs: () => number): Trace {
  return {
    packet: (direction, skb) => {
      const bytes = new Uint8Array(skb.length);
      bytes.set(skb.bytes.subarray(skb.start, skb.end));
      log(`${stamp(nowUs(), host)} ${direction.padEnd(3)} ${packetLine(bytes)}`);
    },
    drop: (reason) => log(`${stamp(nowUs(), host)} drop ${reason}`),
    state: (fd, from, to) => {
      log(`${stamp(nowUs(), host)} fd ${fd} ${STATE_NAMES[from]} → ${STATE_NAMES[to]}`);
    },
  };
}
