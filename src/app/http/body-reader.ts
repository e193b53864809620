/**
 * The body of a request as it arrives (RFC 9112 6-7): none, Content-Length, or chunked with
 * extensions and trailers. Fed with whatever bytes came, in any cut; hands out stretches of content
 * and keeps a few numbers between calls, no bytes. What becomes of the content is the caller's.
 */
import { COLON, CR, HTAB, hexDigit, isFieldByte, isTokenByte, LF, SEMICOLON, SP } from './scan.js';

/** Chunk-size digits that are read: 13 hexadecimal digits stay below 2^53. */
const SIZE_DIGITS_MAX = 13;
/** Bytes of one chunk's extensions, and of all trailers together. */
export const CHUNK_EXTENSION_MAX_BYTES = 1024;
export const TRAILERS_MAX_BYTES = 8192;

const IDENTITY = 0;
const SIZE = 1;
const SIZE_BLANK = 2;
const EXTENSION = 3;
const SIZE_LF = 4;
const DATA = 5;
const DATA_CR = 6;
const DATA_LF = 7;
const TRAILER_START = 8;
const TRAILER_NAME = 9;
const TRAILER_VALUE = 10;
const TRAILER_LF = 11;
const END_LF = 12;
const COMPLETE = 13;

/** Somebody who takes content: bytes [from, to) of `bytes`, valid during the call. */
export interface BodySink {
  content(bytes: Buffer, from: number, to: number): void;
}

export class BodyReader {
  /** Content bytes handed out so far. */
  received = 0;
  /** 0, or the status code with which the body was refused. */
  refused = 0;

  private state = COMPLETE;
  /** Bytes of content still missing from this chunk, or from the whole body. */
  private remaining = 0;
  private digits = 0;
  /** Bytes of extensions or trailers seen. */
  private extra = 0;
  private maxBytes = 0;

  /**
   * Begins a body; `contentLength` -1 = none; more than `maxBytes` of content is refused with 413.
   */
  begin(contentLength: number, chunked: boolean, maxBytes: number): void {
    this.received = 0;
    this.refused = 0;
    this.digits = 0;
    this.extra = 0;
    this.maxBytes = maxBytes;
    this.remaining = chunked ? 0 : Math.max(contentLength, 0);
    this.state = chunked ? SIZE : IDENTITY;
    if (!chunked && this.remaining === 0) this.state = COMPLETE;
    if (this.remaining > maxBytes) this.refused = 413;
  }

  get complete(): boolean {
    return this.state === COMPLETE;
  }

  /**
   * Takes bytes [from, to) up to the end of the body. @returns where it stopped; look at `complete`
   * and `refused`
   */
  feed(bytes: Buffer, from: number, to: number, sink: BodySink): number {
    while (from < to && this.state !== COMPLETE && this.refused === 0) {
      if (this.state === IDENTITY || this.state === DATA) {
        from = this.takeContent(bytes, from, to, sink);
      } else {
        this.step(bytes[from]!);
        from++;
      }
    }
    return from;
  }

  private takeContent(bytes: Buffer, from: number, to: number, sink: BodySink): number {
    const length = Math.min(to - from, this.remaining);
    if (this.received + length > this.maxBytes) {
      this.refused = 413;
      return from;
    }
    sink.content(bytes, from, from + length);
    this.received += length;
    this.remaining -= length;
    if (this.remaining === 0) this.state = this.state === DATA ? DATA_CR : COMPLETE;
    return from + length;
  }

  /** One byte of framing. */
  private step(byte: number): void {
    switch (this.state) {
      case SIZE:
      case SIZE_BLANK:
      case EXTENSION:
        this.stepSizeLine(byte);
        break;
      case SIZE_LF:
        this.digits = 0;
        this.extra = 0;
        this.expect(byte, LF, this.remaining > 0 ? DATA : TRAILER_START);
        break;
      case DATA_CR:
        this.expect(byte, CR, DATA_LF);
        break;
      case DATA_LF:
        this.expect(byte, LF, SIZE);
        break;
      case TRAILER_LF:
        this.expect(byte, LF, TRAILER_START);
        break;
      case END_LF:
        this.expect(byte, LF, COMPLETE);
        break;
      default:
        this.stepTrailer(byte);
        break;
    }
  }

  private expect(byte: number, wanted: number, next: number): void {
    if (byte === wanted) this.state = next;
    else this.refused = 400;
  }

  /**
   * RFC 9112 7.1: 1*HEXDIG, then CRLF or extensions; blanks are allowed only before a ';' (7.1.1,
   * BWS).
   */
  private stepSizeLine(byte: number): void {
    if (this.state === SIZE) {
      const digit = hexDigit(byte);
      if (digit >= 0) {
        this.digits++;
        this.remaining = this.remaining * 16 + digit;
        if (this.digits > SIZE_DIGITS_MAX) this.refused = 400;
        return;
      }
      if (this.digits === 0) {
        this.refused = 400;
        return;
      }
    }
    if (++this.extra > CHUNK_EXTENSION_MAX_BYTES) this.refused = 400;
    else if (byte === CR && this.state !== SIZE_BLANK) this.state = SIZE_LF;
    else if (this.state === EXTENSION) {
      if (!isFieldByte(byte)) this.refused = 400;
    } else if (byte === SEMICOLON) this.state = EXTENSION;
    else if (byte === SP || byte === HTAB) this.state = SIZE_BLANK;
    else this.refused = 400;
  }

  /** RFC 9112 7.1.2: trailer fields are checked for syntax and dropped. */
  private stepTrailer(byte: number): void {
    if (++this.extra > TRAILERS_MAX_BYTES) {
      this.refused = 431;
    } else if (this.state === TRAILER_VALUE) {
      if (byte === CR) this.state = TRAILER_LF;
      else if (!isFieldByte(byte)) this.refused = 400;
    } else if (isTokenByte(byte)) {
      this.state = TRAILER_NAME;
    } else if (byte === COLON && this.state === TRAILER_NAME) {
      this.state = TRAILER_VALUE;
    } else if (byte === CR && this.state === TRAILER_START) {
      this.state = END_LF;
    } else {
      this.refused = 400;
    }
  }
}
