/**
 * Bodies that do not fit beside their head: a source copies any stretch of itself into a buffer, so
 * the connection needs to remember only how far it has come. Pattern (`/bytes/N`, byte i is i %
 * 251), text that is in memory, and files.
 */
import { closeSync, readSync } from 'node:fs';
import type { Sys } from '../../socket/sys-table.js';
import { MFD_CLOEXEC } from '../../socket/uapi/constants.js';

export interface BodySource {
  /**
   * Makes bytes from `position` on available.
   * @param length wanted, bytes (> 0)
   * @returns bytes presented in `bytes` from `offset`; 0 = the source has dried up (a file was cut)
   */
  present(position: number, length: number): number;
  /** Where `present` has put them. */
  bytes: Uint8Array;
  offset: number;
  /** A memory file that has the same bytes at the same offsets, to be sent from; -1 = none. */
  readonly file: number;
  /** The response is over or its connection gone. */
  close(): void;
}

/** The value under which `/bytes/N` repeats. */
const PATTERN_PERIOD = 251;
const PATTERN_PERIODS = 1045;

/** Any position of the pattern is served from one prebuilt buffer. */
export class PatternSource implements BodySource {
  readonly bytes: Uint8Array;
  offset = 0;
  readonly file: number;

  /** @param sys where to make the file; without it, or memory for it, bytes are written */
  constructor(sys: Pick<Sys, 'memfd_create' | 'pwrite' | 'close'> | null = null) {
    this.bytes = new Uint8Array(PATTERN_PERIOD * PATTERN_PERIODS);
    for (let i = 0; i < this.bytes.length; i++) this.bytes[i] = i % PATTERN_PERIOD;
    this.file = sys === null ? -1 : memoryFile(sys, this.bytes);
  }

  present(position: number, length: number): number {
    this.offset = position % PATTERN_PERIOD;
    return Math.min(length, this.bytes.length - this.offset);
  }

  /** Shared by all connections of a worker: nothing to release. */
  close(): void {}
}

/** A memory file of these bytes, or -1. */
function memoryFile(
  sys: Pick<Sys, 'memfd_create' | 'pwrite' | 'close'>,
  bytes: Uint8Array,
): number {
  const file = sys.memfd_create('pattern', MFD_CLOEXEC);
  if (file < 0 || sys.pwrite(file, bytes, 0) === bytes.length) return file;
  sys.close(file);
  return -1;
}

/** Bytes that are in memory already. */
export class MemorySource implements BodySource {
  readonly bytes: Uint8Array;
  offset = 0;
  readonly file: number = -1;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  present(position: number, length: number): number {
    this.offset = position;
    return Math.min(length, this.bytes.length - position);
  }

  close(): void {}
}

/**
 * A regular file, from byte `from` on; all files of a worker share one buffer, so what was not sent
 * is read again.
 */
export class FileSource implements BodySource {
  readonly bytes: Uint8Array;
  offset = 0;
  readonly file: number = -1;
  private readonly descriptor: number;
  private readonly from: number;

  /** Takes the open descriptor `file` over. */
  constructor(file: number, from: number, shared: Uint8Array) {
    this.descriptor = file;
    this.from = from;
    this.bytes = shared;
  }

  present(position: number, length: number): number {
    this.offset = 0;
    const wanted = Math.min(length, this.bytes.length);
    try {
      return readSync(this.descriptor, this.bytes, 0, wanted, this.from + position);
    } catch {
      return 0; // EIO: the response cannot be completed, which its connection shows by breaking off
    }
  }

  close(): void {
    closeSync(this.descriptor);
  }
}
