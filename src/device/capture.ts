/**
 * Captures what a stack receives and sends as pcapng: a Trace that writes each packet, and puts the
 * decision that a SYN led to into that packet's comment. The file is written by a sink; `fileSink`
 * is one. It formats no decision itself.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import type { Trace } from '../net/env.js';
import type { Skb } from '../net/skb.js';
import { DeviceError, EXIT_FAILED } from './errors.js';
import { type PcapngSink, PcapngWriter, type PcapngWriterOptions } from './pcapng.js';

export interface CaptureOptions extends PcapngWriterOptions {
  /** The stack's time, µs; `epochUs` + this is the timestamp. */
  nowUs: () => number;
  /** µs since 1970 at the stack's time 0. */
  epochUs: number;
  /** A decision as one line or more of text. Without it decisions are not written. */
  describe?: (decision: object) => string;
}

/** A Trace that writes pcapng. Call `flush` when the stack goes to sleep and at the end. */
export class Capture implements Trace {
  readonly writer: PcapngWriter;
  private readonly nowUs: () => number;
  private readonly epochUs: number;
  private readonly describe: ((decision: object) => string) | null;

  constructor(sink: PcapngSink, options: CaptureOptions) {
    this.writer = new PcapngWriter(sink, options);
    this.nowUs = options.nowUs;
    this.epochUs = options.epochUs;
    this.describe = options.describe ?? null;
  }

  packet(direction: 'in' | 'out', skb: Skb): void {
    this.writer.skb(Math.round(this.epochUs + this.nowUs()), skb, direction);
  }

  /** A decision belongs to the packet that is being looked at, which is the one written last. */
  decision(decision: object): void {
    if (this.describe !== null) this.writer.annotate(this.describe(decision));
  }

  flush(): void {
    this.writer.flush();
  }
}

/**
 * A file (`-` = stdout) as a sink. Writing is synchronous; after the first failure the rest is
 * dropped.
 */
export interface FileSink {
  write: PcapngSink;
  close(): void;
  /** Symbolic errno of the failure that ended the capture (`ENOSPC`, `EPIPE`), or null. */
  failure(): string | null;
}

const STDOUT = 1;

/**
 * Opens `path`. Throws DeviceError when that fails.
 * @param flag by which the user named it
 * @param joins another sink has opened the file, and both write to it; else it is truncated
 */
export function fileSink(path: string, flag = '--pcap', joins = false): FileSink {
  const fd = path === '-' ? STDOUT : openForWriting(path, flag, joins);
  let failed: string | null = null;
  return {
    write: (chunk) => {
      if (failed === null) failed = writeAll(fd, chunk);
    },
    close: () => {
      if (fd !== STDOUT) closeSync(fd);
    },
    failure: () => failed,
  };
}

function openForWriting(path: string, flag: string, joins: boolean): number {
  const { O_APPEND, O_CREAT, O_TRUNC, O_WRONLY } = constants;
  try {
    return openSync(path, O_WRONLY | O_CREAT | O_APPEND | (joins ? 0 : O_TRUNC));
  } catch (error) {
    const code = codeOf(error);
    throw new DeviceError({
      code,
      message: `cannot write the capture to ${path}: ${code}`,
      remedy: `a ${flag} FILE in a directory where this user may write, or ${flag} - for stdout`,
      exitCode: EXIT_FAILED,
    });
  }
}

/**
 * Writes everything; null, or why not. A pipe that is full (EAGAIN) is tried again: its reader is
 * another process.
 */
function writeAll(fd: number, chunk: Uint8Array): string | null {
  let at = 0;
  while (at < chunk.length) {
    try {
      at += writeSync(fd, chunk, at);
    } catch (error) {
      const code = codeOf(error);
      if (code !== 'EAGAIN') return code;
    }
  }
  return null;
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'EIO';
}
