/**
 * What a script is played on: a machine that takes packets, sends packets, answers system calls,
 * and has a clock. The stack in memory is world.ts; tests put the kernel in its place.
 */
import type { Sysctl } from '../net/sysctl.js';
import type { Sys } from '../socket/sys-table.js';

export interface WorldOptions {
  mtu: number;
  /** The machine's address, u32. */
  address: number;
  /** Its knobs; shell text may turn them while the script runs. */
  sysctl: Sysctl;
  seed: number;
}

/** The system calls that scripts make. No call of a script ever waits in one of them. */
export type ScriptCalls = Omit<
  Sys,
  'eventfd' | 'memfd_create' | 'ftruncate' | 'pread' | 'pwrite' | 'sendfile'
>;

export interface ScriptWorld {
  readonly sys: ScriptCalls;
  /** Packets sent and not yet taken: bytes, and µs since the script began. Oldest first. */
  readonly sent: { timeUs: number; bytes: Uint8Array }[];
  /** When a call that waits has its own time-out, µs; time does not pass over it. */
  callDeadlineUs: number;
  /** The device takes no packet any more. */
  refusing: boolean;
  /** Runs after each step: calls that wait for something try again. */
  afterStep: () => void;
  /** µs since the script began. */
  readonly nowUs: number;
  /** Nothing will happen by itself any more. */
  readonly idle: boolean;
  /** Counters by the names of nstat(8). */
  counters(): Record<string, number>;
  /** Lets the machine answer what it has been given, and look at its knobs, now. */
  settle(): void;
  /** Hands over a packet. */
  inject(packet: Uint8Array): void;
  /** Lets time pass until `us`, or until `done` says so after something has happened. */
  advanceTo(us: number, done?: () => boolean): void;
  /** The run is over: nothing may be asked any more. */
  release(): void;
}
