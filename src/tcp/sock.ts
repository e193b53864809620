/**
 * What full, request and time-wait sockets have in common beyond lookup: a timer and a place on the
 * dirty list.
 */
import type { TimerEntry } from '../net/timer.js';
import { SockCommon } from '../reuseport/sock-common.js';
import type { Tcp } from './tcp.js';

/** Marks set by input, calls and timers, and served by output after the batch. */
export const PENDING_OUTPUT = 0x1;
/** An ACK must go out even if there is no data to carry it. */
export const PENDING_ACK = 0x2;
export const PENDING_SYN = 0x4;
export const PENDING_SYNACK = 0x8;
export const PENDING_PROBE = 0x10;
/** The application has read on: a window update may be due. */
export const PENDING_WINDOW = 0x40;
/** The head of what is under way must go out again whatever cwnd says (RTO). */
export const PENDING_HEAD = 0x20;
/** A tail loss probe is due. */
export const PENDING_TLP = 0x80;
/** RACK's timer has found something to be lost. */
export const PENDING_LOST = 0x100;
/** An ACK is owed that may wait for the next segment, or for its release (held-acks.ts). */
export const PENDING_HELD_ACK = 0x200;

export abstract class TcpSock extends SockCommon implements TimerEntry {
  readonly tcp: Tcp;
  timerIndex = -1;
  /** PENDING_* bits. */
  pending = 0;
  dirty = false;
  dirtyNext: TcpSock | null = null;
  /** The socket has ended, and the object waits for another (spares.ts). */
  retired = false;

  constructor(tcp: Tcp, kind: number) {
    super(kind);
    this.tcp = tcp;
  }

  abstract onTimer(nowUs: number): void;
}
