/** The options of `new Socket`, Node's but for `handle`. */
import type { DuplexOptions } from 'node:stream';
import { invalidArgValue } from './errors.js';
import type { TcpHandle } from './handle.js';

/** Options of `new Socket` (Node's, plus `handle` for the server). */
export interface SocketOptions extends DuplexOptions {
  /** A connected descriptor of the stack to take over. */
  fd?: number | undefined;
  handle?: TcpHandle | undefined;
  readable?: boolean | undefined;
  writable?: boolean | undefined;
  /** Do not read until `resume()` or `read()`. */
  pauseOnCreate?: boolean | undefined;
  noDelay?: boolean | undefined;
  keepAlive?: boolean | undefined;
  keepAliveInitialDelay?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Reads into this buffer and calls back instead of emitting 'data'. */
  onread?:
    | {
        buffer: Uint8Array | (() => Uint8Array);
        callback: (nread: number, buffer: Uint8Array) => boolean | undefined;
      }
    | undefined;
}

/** Throws for options that a socket cannot have. */
export function checkOptions(options: SocketOptions): void {
  for (const name of ['objectMode', 'readableObjectMode', 'writableObjectMode'] as const) {
    if (options[name]) throw invalidArgValue(`options.${name}`, options[name], 'is not supported');
  }
}
