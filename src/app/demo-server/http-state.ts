/**
 * What one HTTP connection keeps between two events, and only while something of it is unfinished:
 * input that is no whole head yet, a body on its way in, output that the send ring had no room for.
 * An idle connection has no state at all. Objects are pooled per worker.
 */
import { createHash, type Hash } from 'node:crypto';
import { BodyReader, type BodySink } from '../http/body-reader.js';
import { type HeadProgress, RequestHead } from '../http/request-head.js';
import type { Endpoint } from './answer.js';
import type { BodySource } from './body-source.js';

export class HttpState implements BodySink, HeadProgress {
  /** Bytes read and not used up; null = none. */
  input: Buffer | null = null;
  /** How far the incomplete head in `input` has been looked at. */
  scanned = 0;
  lineStart = 0;

  /** The request whose body is arriving belongs to this endpoint; null = none is arriving. */
  endpoint: Endpoint | null = null;
  path = '';
  head: RequestHead = new RequestHead();
  readonly body: BodyReader = new BodyReader();
  private hash: Hash | null = null;

  /** Bytes that wait for room in the send ring, from `outputAt`; null = none. */
  output: Buffer | null = null;
  outputAt = 0;
  /** Content that follows `output`, from `sourceAt` up to `sourceEnd`. */
  source: BodySource | null = null;
  sourceAt = 0;
  sourceEnd = 0;

  /** Registered for EPOLLOUT instead of EPOLLIN. */
  writing = false;
  /** Closed once all output is out. */
  closeAfterOutput = false;
  /**
   * Before that close, what still comes in is read and dropped for a while (a reset would eat the
   * response).
   */
  lingerAfterOutput = false;
  /** Dropping input until the peer closes or this time, ms; 0 = no. */
  lingerUntilMs = 0;

  /** Nothing to remember. */
  get empty(): boolean {
    return (
      this.input === null &&
      this.endpoint === null &&
      !this.writing &&
      !this.closeAfterOutput &&
      this.lingerUntilMs === 0
    );
  }

  /** The request in `head` has a body for `endpoint`. */
  beginBody(endpoint: Endpoint, path: string): void {
    this.endpoint = endpoint;
    this.path = path;
    this.body.begin(this.head.contentLength, this.head.chunked, endpoint.bodyMaxBytes);
    this.hash = endpoint.hashesBody ? createHash('sha256') : null;
  }

  content(bytes: Buffer, from: number, to: number): void {
    this.hash?.update(bytes.subarray(from, to));
  }

  /** The body has ended. @returns its digest, '' for an endpoint that does not want one */
  endBody(): string {
    const digest = this.hash?.digest('hex') ?? '';
    this.hash = null;
    this.endpoint = null;
    return digest;
  }

  /** Back to what a new object is; releases what it held. */
  reset(): void {
    this.source?.close();
    this.input = null;
    this.scanned = 0;
    this.lineStart = 0;
    this.endpoint = null;
    this.path = '';
    this.hash = null;
    this.output = null;
    this.outputAt = 0;
    this.source = null;
    this.sourceAt = 0;
    this.sourceEnd = 0;
    this.writing = false;
    this.closeAfterOutput = false;
    this.lingerAfterOutput = false;
    this.lingerUntilMs = 0;
  }
}
