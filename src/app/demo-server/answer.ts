/**
 * What an endpoint is asked and what it says, as objects that are reused for every request of a
 * worker: endpoints fill an `Answer`, the connection turns it into bytes (http-protocol.ts).
 */
// The global of that name is a getter.
import { Buffer } from 'node:buffer';
import type { RequestHead } from '../http/request-head.js';
import type { BodySource } from './body-source.js';

/** A request whose body has been read. */
export interface Exchange {
  readonly fd: number;
  readonly head: RequestHead;
  /** Path without query. */
  readonly path: string;
  /** What an endpoint with `hashesBody` has read. */
  readonly bodyBytes: number;
  readonly bodySha256: string;
}

/** The one exchange object of a worker. */
export interface MutableExchange extends Exchange {
  fd: number;
  head: RequestHead;
  path: string;
  bodyBytes: number;
  bodySha256: string;
}

export interface Endpoint {
  /** Methods that are answered; GET implies HEAD. */
  readonly methods: readonly string[];
  /** Largest body that is read, bytes. */
  readonly bodyMaxBytes: number;
  readonly hashesBody: boolean;
  /** Says no to every request; such a request's body is not waited for. */
  readonly refuses: boolean;
  answer(exchange: Exchange, answer: Answer): void;
}

export const TEXT = 'text/plain; charset=utf-8';
export const JSON_TYPE = 'application/json';
export const HTML = 'text/html; charset=utf-8';

export class Answer {
  status = 200;
  contentType: string = TEXT;
  /** The whole body, unless `source` is set. */
  text = '';
  source: BodySource | null = null;
  /** Bytes of `source`. */
  sourceBytes = 0;
  /** Further field lines, each with its CRLF. */
  fields = '';
  /** A response without content by definition (204, 304). */
  bodiless = false;
  /** The text that was counted last, and its bytes: mostly the next one is the same. */
  private countedText = '';
  private countedBytes = 0;

  /** UTF-8 bytes of `text`. */
  textBytes(): number {
    if (this.text !== this.countedText) {
      this.countedText = this.text;
      this.countedBytes = Buffer.byteLength(this.text);
    }
    return this.countedBytes;
  }

  reset(): void {
    this.status = 200;
    this.contentType = TEXT;
    this.text = '';
    this.source = null;
    this.sourceBytes = 0;
    this.fields = '';
    this.bodiless = false;
  }

  set(status: number, contentType: string, text: string): void {
    this.status = status;
    this.contentType = contentType;
    this.text = text;
  }

  setSource(source: BodySource, bytes: number, contentType: string): void {
    this.source = source;
    this.sourceBytes = bytes;
    this.contentType = contentType;
  }
}
