/**
 * Urgent data of a connection as reader and stack thread share it (RFC 9293 3.8.5, RFC 6093; Linux
 * tcp_sock.urg_data and urg_seq): one mark in the received stream, and the byte at it. The byte
 * stays in its place in the ring; without SO_OOBINLINE reading passes over it. The stack announces
 * marks (tcp/input/urgent.ts), the reader takes them away; a number in the word tells a new mark
 * from the one that a reader has just looked at.
 */
import {
  BLOCK_OPTIONS,
  BLOCK_URG,
  BLOCK_URG_HOLE,
  BLOCK_URG_SEQ,
  FILE_OOBINLINE,
} from './sockmem.js';

/** Bits of BLOCK_URG (Linux: TCP_URG_*): the low byte is there, has not come yet, was taken. */
export const URG_VALID = 0x100;
export const URG_NOTYET = 0x200;
export const URG_READ = 0x400;
/** BLOCK_URG_HOLE is the place of an earlier urgent byte that nobody has read past. */
const URG_HOLE = 0x800;
const URG_STATE = 0xfff;
/** Above it: counts the marks. */
const URG_COUNT = 0x1000;

/** A mark at sequence number `seq`, whose byte has not come yet. Stack thread only. */
export function urgentAnnounce(ctl: Int32Array, at: number, seq: number): void {
  const old = Atomics.load(ctl, at + BLOCK_URG);
  Atomics.store(ctl, at + BLOCK_URG_SEQ, seq);
  Atomics.store(ctl, at + BLOCK_URG, ((old & ~URG_STATE) + URG_COUNT) | URG_NOTYET);
}

/**
 * The same when the reader stands at the present mark: it must pass over that byte all the same
 * (Linux tcp_check_urg moves copied_seq itself; ours belongs to the reader).
 */
export function urgentReplace(ctl: Int32Array, at: number, seq: number): void {
  const old = Atomics.load(ctl, at + BLOCK_URG);
  Atomics.store(ctl, at + BLOCK_URG_HOLE, Atomics.load(ctl, at + BLOCK_URG_SEQ));
  Atomics.store(ctl, at + BLOCK_URG_SEQ, seq);
  const count = (old & ~URG_STATE) + URG_COUNT;
  Atomics.store(ctl, at + BLOCK_URG, count | URG_HOLE | URG_NOTYET);
}

/** The byte at the mark has come. Stack thread only. */
export function urgentArrive(ctl: Int32Array, at: number, byte: number): void {
  const old = Atomics.load(ctl, at + BLOCK_URG);
  Atomics.store(ctl, at + BLOCK_URG, (old & ~(URG_NOTYET | 0xff)) | URG_VALID | byte);
}

/** Forgets the mark: the connection is gone. */
export function urgentForget(ctl: Int32Array, at: number): void {
  Atomics.and(ctl, at + BLOCK_URG, ~URG_STATE);
}

/**
 * URG_* bits and the byte; 0 = there is no mark. A mark is announced before the text behind it is
 * published, so whoever has read the tail of the ring sees it.
 */
export function urgentState(ctl: Int32Array, at: number): number {
  return ctl[at + BLOCK_URG]! & URG_STATE;
}

/** Where the mark is, if there is one. */
export function urgentSeq(ctl: Int32Array, at: number): number {
  return Atomics.load(ctl, at + BLOCK_URG_SEQ);
}

/** Is urgent data part of the stream (SO_OOBINLINE)? */
export function urgentInline(ctl: Int32Array, at: number): boolean {
  return (ctl[at + BLOCK_OPTIONS]! & FILE_OOBINLINE) !== 0;
}

/** Where reading goes on from `head`: behind a byte that an earlier mark pointed at. */
export function urgentHead(ctl: Int32Array, at: number, head: number): number {
  if ((urgentState(ctl, at) & URG_HOLE) === 0) return head;
  return Atomics.load(ctl, at + BLOCK_URG_HOLE) === head ? (head + 1) | 0 : head;
}

/**
 * Bytes at `head` that reading passes over: one that an earlier mark pointed at, and an urgent byte
 * out of line.
 */
export function urgentSkip(ctl: Int32Array, at: number, head: number): number {
  if (urgentState(ctl, at) === 0) return 0;
  const from = urgentHead(ctl, at, head);
  const skip = (from - head) | 0;
  return urgentSeq(ctl, at) === from && !urgentInline(ctl, at) ? skip + 1 : skip;
}

/**
 * Bytes from `head` to the mark when that lies ahead of it and below `head + length`; else
 * `length`.
 */
export function urgentStop(ctl: Int32Array, at: number, head: number, length: number): number {
  if (urgentState(ctl, at) === 0) return length;
  const distance = (urgentSeq(ctl, at) - head) | 0;
  return distance > 0 && distance < length ? distance : length;
}

/** The reader has come to `head`: a mark behind it is forgotten. */
export function urgentPassed(ctl: Int32Array, at: number, head: number): void {
  const seen = Atomics.load(ctl, at + BLOCK_URG);
  if ((seen & URG_STATE) === 0) return;
  if (((head - urgentSeq(ctl, at)) | 0) <= 0) return;
  Atomics.compareExchange(ctl, at + BLOCK_URG, seen, seen & ~URG_STATE);
}

/**
 * Takes the urgent byte (or looks at it).
 * @returns the byte; -1 = it has not come yet; -2 = there is none, or it was taken
 */
export function urgentTake(ctl: Int32Array, at: number, peek: boolean): number {
  for (;;) {
    const seen = Atomics.load(ctl, at + BLOCK_URG);
    const state = seen & URG_STATE & ~URG_HOLE;
    if (state === 0 || (state & URG_READ) !== 0) return -2;
    if ((state & URG_VALID) === 0) return -1;
    if (peek) return state & 0xff;
    const taken = (seen & ~(URG_VALID | 0xff)) | URG_READ;
    if (Atomics.compareExchange(ctl, at + BLOCK_URG, seen, taken) === seen) return state & 0xff;
  }
}
