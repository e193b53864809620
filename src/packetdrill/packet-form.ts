/** Packets in the language of the scripts, for messages: what was expected, what came. */

import { ACK } from '../net/layout.js';
import { ICMP_TYPES } from './icmp-names.js';
import type { IcmpBody, TcpOption } from './script.js';

/** A segment as it is shown; null = not said. */
export interface ShownSegment {
  flags: number;
  ace: number | null;
  seq: number;
  length: number;
  ack: number | null;
  win: number | null;
  urg: number | null;
  options: readonly TcpOption[] | null;
}

const LETTERS: readonly [number, string][] = [
  [0x01, 'F'],
  [0x02, 'S'],
  [0x04, 'R'],
  [0x08, 'P'],
  [0x20, 'U'],
];
const ECN_LETTERS: readonly [number, string][] = [
  [0x40, 'E'],
  [0x80, 'W'],
  [0x100, 'A'],
];

const ECN_NAMES: readonly (readonly string[])[] = [
  ['e0b', 'ceb', 'e1b'],
  ['e1b', 'ceb', 'e0b'],
];

export function flagsForm(flags: number, ace: number | null): string {
  const pick = ([bit, letter]: readonly [number, string]): string => (flags & bit ? letter : '');
  const ecn = ace === null ? ECN_LETTERS.map(pick).join('') : '';
  const dot = (flags & ACK) !== 0 ? '.' : '';
  return LETTERS.map(pick).join('') + ecn + dot + (ace ?? '') || '-';
}

export function optionForm(option: TcpOption): string {
  switch (option.kind) {
    case 'mss':
    case 'wscale':
      return `${option.kind} ${option.value}`;
    case 'sack':
      return `sack ${option.blocks.map(([left, right]) => `${left}:${right}`).join(' ')}`;
    case 'TS':
      return `TS val ${option.val ?? '...'} ecr ${option.ecr}`;
    case 'FO':
    case 'FOEXP':
      return `${option.kind} ${option.cookie}`.trim();
    case 'ECN':
      return ['ECN', ...option.counts.map((n, i) => `${ECN_NAMES[option.first]![i]} ${n}`)].join(
        ' ',
      );
    case 'md5':
      return `md5 ${option.digest}`;
    case 'raw':
      return `0x${option.hex}`;
  }
  return option.kind;
}

export function segmentForm(segment: ShownSegment): string {
  const { seq, length, ack, win, urg, options } = segment;
  let text = `${flagsForm(segment.flags, segment.ace)} ${seq}:${(seq + length) >>> 0}(${length})`;
  if (ack !== null) text += ` ack ${ack}`;
  if (win !== null) text += ` win ${win}`;
  if (urg !== null && urg !== 0) text += ` urg ${urg}`;
  if (options === null) text += ' <...>';
  else if (options.length > 0) text += ` <${options.map(optionForm).join(',')}>`;
  return text;
}

/** @param icmp `mtu` and `id`: null or not there = not said */
export function icmpForm(icmp: Pick<IcmpBody, 'type' | 'code'> & Partial<IcmpBody>): string {
  const name = Object.entries(ICMP_TYPES).find(([, number]) => number === icmp.type)?.[0];
  let text = `icmp ${name ?? `type_${icmp.type}`} code_${icmp.code}`;
  if (icmp.mtu != null) text += ` mtu ${icmp.mtu}`;
  if (icmp.id != null) text += ` id ${icmp.id}`;
  return text;
}
