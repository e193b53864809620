/**
 * One HTTP/1.x request head, parsed from a byte buffer into a reused object (RFC 9112 2-3, 5-6, RFC
 * 9110 7.2). Strict: where the RFC lets a server choose between repairing and rejecting, it
 * rejects, because two parsers that repair differently are how requests are smuggled (RFC 9112
 * 11.2). Bodies are body-reader.ts's; what a target means is the application's.
 *
 * `find` looks for the end of the head and remembers how far it has looked, so that a head arriving
 * byte by byte is scanned once; `parse` then reads a head known to be complete.
 */
import {
  COLON,
  CR,
  equals,
  equalsIgnoreCase,
  HTAB,
  LF,
  SP,
  skipDomain,
  skipTarget,
  skipToken,
  skipValue,
} from './scan.js';

/** A head, from its first byte to its empty line, is at most this long, bytes: more is 431. */
export const HEAD_MAX_BYTES = 16384;
/**
 * A request line, with its CRLF, is at most this long, bytes: more is 414 (RFC 9112 3 asks for at
 * least 8000).
 */
export const REQUEST_LINE_MAX_BYTES = 8192;
/** Field lines of one head: more is 431. */
export const FIELDS_MAX = 100;

/** `HTTP/1.1` */
const VERSION_BYTES = 8;

/** Results of `find` below 100 are no status codes. */
export const HEAD_INCOMPLETE = 0;
export const HEAD_COMPLETE = 1;

/** How far `find` has looked at a head that is still arriving, relative to its first byte. */
export interface HeadProgress {
  /** Bytes already scanned. */
  scanned: number;
  /** Where the line being scanned began. */
  lineStart: number;
}

/** Heads up to this length are remembered, bytes. */
const REMEMBERED_MAX_BYTES = 512;

export class RequestHead {
  method = '';
  /** Path and query, starting with '/', or '*'. */
  target = '';
  /** Minor version: 0 or 1. */
  minor = 1;
  /** The connection may carry another request after this one. */
  keepAlive = true;
  /** Content-Length, or -1 when absent. */
  contentLength = -1;
  chunked = false;
  expectContinue = false;
  accept = '';
  range = '';
  ifModifiedSince = '';
  /**
   * Length of the head found by `find`, bytes from its first byte (leading empty lines included).
   */
  length = 0;

  /** Where the next line begins. */
  private at = 0;
  /** Target of the request before: clients ask for the same again and again. */
  private lastTarget = '';
  private hosts = 0;
  private codings = 0;
  private closeAsked = false;
  private keepAliveAsked = false;
  /** The last head that was accepted by `parse`; its length, 0 = none, or it has been changed. */
  private readonly remembered: Buffer = Buffer.allocUnsafeSlow(REMEMBERED_MAX_BYTES);
  private rememberedLength = 0;
  private rememberedKeepAlive = true;

  /**
   * Do bytes [start, end) begin with the very head that was parsed last? Then all fields of this
   * object say what `find` and `parse` would: clients ask for the same again and again.
   */
  findAgain(bytes: Buffer, start: number, end: number): boolean {
    const { remembered, rememberedLength: length } = this;
    if (length === 0 || end - start < length) return false;
    for (let i = 0; i < length; i++) {
      if (bytes[start + i] !== remembered[i]) return false;
    }
    this.length = length;
    this.keepAlive = this.rememberedKeepAlive;
    return true;
  }

  private remember(bytes: Buffer, start: number): void {
    const { length, remembered } = this;
    if (length > REMEMBERED_MAX_BYTES) return;
    for (let i = 0; i < length; i++) remembered[i] = bytes[start + i]!;
    this.rememberedLength = length;
    this.rememberedKeepAlive = this.keepAlive;
  }

  /**
   * Looks for the empty line that ends a head in bytes [start, end), going on where `progress`
   * says.
   * @returns HEAD_INCOMPLETE, HEAD_COMPLETE (`length` is set), or the status code of the refusal
   */
  find(bytes: Buffer, start: number, end: number, progress: HeadProgress): number {
    let from = start + progress.scanned;
    for (;;) {
      let lf = from; // a loop: lines are short, and a call of indexOf costs more than it saves
      while (lf < end && bytes[lf] !== LF) lf++;
      const found = lf < end;
      const seen = (found ? lf + 1 : end) - start;
      const onRequestLine = this.isRequestLine(bytes, start, progress);
      if (onRequestLine && seen > REQUEST_LINE_MAX_BYTES) return 414;
      if (seen > HEAD_MAX_BYTES) return 431;
      progress.scanned = seen;
      if (!found) return HEAD_INCOMPLETE;
      // A line ends in CRLF; a lone LF is how desynchronised parsers disagree (RFC 9112 2.2).
      if (lf === start || bytes[lf - 1] !== CR) return 400;
      const line = start + progress.lineStart;
      progress.lineStart = seen;
      from = lf + 1;
      if (lf - 1 === line && !onRequestLine) {
        this.length = seen;
        return HEAD_COMPLETE;
      }
    }
  }

  /** The line that `progress` stands in is the request line or an empty line before it. */
  private isRequestLine(bytes: Buffer, start: number, progress: HeadProgress): boolean {
    // Only empty lines may stand before the request line (RFC 9112 2.2), so every line before is
    // CRLF.
    for (let at = start; at < start + progress.lineStart; at += 2) {
      if (!isCrlf(bytes, at)) return false;
    }
    return true;
  }

  /**
   * Parses the complete head of `length` bytes at `start`.
   * @returns 0, or the status code with which to refuse (400, 417, 431, 501, 505)
   */
  parse(bytes: Buffer, start: number): number {
    this.reset();
    const end = start + this.length;
    let at = start;
    while (isCrlf(bytes, at)) at += 2; // empty lines before the request line
    const refused = this.parseRequestLine(bytes, at, end);
    if (refused !== 0) return refused;
    for (let fields = 0; !isCrlf(bytes, this.at); fields++) {
      if (fields === FIELDS_MAX) return 431;
      const wrong = this.parseField(bytes, this.at, end);
      if (wrong !== 0) return wrong;
    }
    const verdict = this.conclude();
    if (verdict === 0) this.remember(bytes, start);
    return verdict;
  }

  private reset(): void {
    this.rememberedLength = 0;
    this.method = '';
    this.target = '';
    this.minor = 1;
    this.keepAlive = true;
    this.contentLength = -1;
    this.chunked = false;
    this.expectContinue = false;
    this.accept = '';
    this.range = '';
    this.ifModifiedSince = '';
    this.hosts = 0;
    this.codings = 0;
    this.closeAsked = false;
    this.keepAliveAsked = false;
  }

  /** RFC 9112 3: method SP request-target SP HTTP-version, one space each. */
  private parseRequestLine(bytes: Buffer, at: number, end: number): number {
    const methodEnd = skipToken(bytes, at, end);
    if (methodEnd === at || bytes[methodEnd] !== SP) return 400;
    const targetEnd = skipTarget(bytes, methodEnd + 1, end);
    if (targetEnd === methodEnd + 1 || bytes[targetEnd] !== SP) return 400;
    const version = this.parseVersion(bytes, targetEnd + 1);
    if (version !== 0) return version;
    this.at = targetEnd + 1 + VERSION_BYTES + 2;
    this.method = text(bytes, at, methodEnd, 'GET');
    this.lastTarget = text(bytes, methodEnd + 1, targetEnd, this.lastTarget);
    this.target = originForm(this.method, this.lastTarget);
    return this.target === '' ? 400 : 0;
  }

  /** RFC 9112 2.3: "HTTP/" DIGIT "." DIGIT; a higher minor version is served as 1.1. */
  private parseVersion(bytes: Buffer, at: number): number {
    if (!equals(bytes, at, at + 5, 'HTTP/') || bytes[at + 6] !== 46) return 400;
    if (!isCrlf(bytes, at + VERSION_BYTES)) return 400;
    const major = bytes[at + 5]! - 48;
    const minor = bytes[at + 7]! - 48;
    if (major < 0 || major > 9 || minor < 0 || minor > 9) return 400;
    if (major !== 1) return 505;
    this.minor = minor === 0 ? 0 : 1;
    return 0;
  }

  /**
   * RFC 9112 5: name ":" OWS value OWS. A line that starts with a space (obs-fold, 5.2) has no
   * name: 400.
   */
  private parseField(bytes: Buffer, at: number, end: number): number {
    const nameEnd = skipToken(bytes, at, end);
    // Also refuses a space before the colon (5.1).
    if (nameEnd === at || bytes[nameEnd] !== COLON) return 400;
    const valueEnd = skipValue(bytes, nameEnd + 1, end);
    if (!isCrlf(bytes, valueEnd)) return 400; // a bare CR, NUL or another control
    this.at = valueEnd + 2;
    let from = nameEnd + 1;
    let to = valueEnd;
    while (from < to && isBlank(bytes[from]!)) from++;
    while (to > from && isBlank(bytes[to - 1]!)) to--;
    return this.takeField(bytes, at, nameEnd, from, to);
  }

  private takeField(bytes: Buffer, at: number, nameEnd: number, from: number, to: number): number {
    switch (nameEnd - at) {
      case 4:
        if (!equalsIgnoreCase(bytes, at, nameEnd, 'host')) return 0;
        this.hosts++;
        return isHost(bytes, from, to) ? 0 : 400;
      case 5:
        if (equalsIgnoreCase(bytes, at, nameEnd, 'range'))
          this.range = bytes.toString('latin1', from, to);
        return 0;
      case 6:
        if (equalsIgnoreCase(bytes, at, nameEnd, 'accept')) {
          const more = text(bytes, from, to, '*/*');
          this.accept = this.accept === '' ? more : `${this.accept}, ${more}`;
        } else if (equalsIgnoreCase(bytes, at, nameEnd, 'expect')) {
          if (!equalsIgnoreCase(bytes, from, to, '100-continue')) return 417;
          this.expectContinue = true;
        }
        return 0;
      case 10:
        if (equalsIgnoreCase(bytes, at, nameEnd, 'connection')) {
          this.takeConnection(bytes.toString('latin1', from, to));
        }
        return 0;
      case 14:
        if (!equalsIgnoreCase(bytes, at, nameEnd, 'content-length')) return 0;
        return this.takeContentLength(bytes, from, to);
      case 17:
        if (equalsIgnoreCase(bytes, at, nameEnd, 'transfer-encoding')) {
          return this.takeTransferEncoding(bytes.toString('latin1', from, to).toLowerCase());
        }
        if (equalsIgnoreCase(bytes, at, nameEnd, 'if-modified-since')) {
          this.ifModifiedSince = bytes.toString('latin1', from, to);
        }
        return 0;
      default:
        return 0;
    }
  }

  /** RFC 9112 9.6: connection options are a list of tokens. */
  private takeConnection(value: string): void {
    for (const option of value.toLowerCase().split(',')) {
      const name = option.trim();
      if (name === 'close') this.closeAsked = true;
      else if (name === 'keep-alive') this.keepAliveAsked = true;
    }
  }

  /** RFC 9112 6.3 rule 5: digits only, and only one; up to 2^53 - 1. */
  private takeContentLength(bytes: Buffer, from: number, to: number): number {
    if (this.contentLength >= 0 || from === to) return 400;
    let length = 0;
    for (let at = from; at < to; at++) {
      const digit = bytes[at]! - 48;
      if (digit < 0 || digit > 9) return 400;
      length = length * 10 + digit;
    }
    if (length > Number.MAX_SAFE_INTEGER) return 413;
    this.contentLength = length;
    return 0;
  }

  /**
   * RFC 9112 6.1: `chunked` alone is understood; another coding before it is 501, anything else
   * 400.
   */
  private takeTransferEncoding(value: string): number {
    this.codings++;
    if (this.codings > 1) return 400;
    if (value === 'chunked') {
      this.chunked = true;
      return 0;
    }
    const codings = value.split(',').map((coding) => coding.trim());
    const chunkedOnce = codings.indexOf('chunked') === codings.length - 1;
    return chunkedOnce ? 501 : 400;
  }

  /** What can be judged only with all fields seen. */
  private conclude(): number {
    // RFC 9112 3.2: exactly one Host in 1.1, never more than one.
    if (this.hosts > 1 || (this.hosts === 0 && this.minor === 1)) return 400;
    if (this.chunked && (this.contentLength >= 0 || this.minor === 0)) return 400; // RFC 9112 6.1
    if (this.minor === 0) this.expectContinue = false; // RFC 9110 10.1.1
    this.keepAlive = !this.closeAsked && (this.minor === 1 || this.keepAliveAsked);
    return 0;
  }
}

/** Bytes [from, to) as a string; `likely` itself when they equal it, which saves making one. */
function text(bytes: Buffer, from: number, to: number, likely: string): string {
  return equals(bytes, from, to, likely) ? likely : bytes.toString('latin1', from, to);
}

function isBlank(byte: number): boolean {
  return byte === SP || byte === HTAB;
}

/**
 * RFC 9112 3.2: origin-form as it is, absolute-form cut to its path, '*' for OPTIONS; '' = refused.
 */
function originForm(method: string, target: string): string {
  if (target.charCodeAt(0) === 47) return target;
  if (target === '*') return method === 'OPTIONS' ? target : '';
  const absolute = /^https?:\/\/[^/?@]+(\/[^?]*)?(\?.*)?$/i.exec(target);
  if (absolute === null) return '';
  return `${absolute[1] ?? '/'}${absolute[2] ?? ''}`;
}

/** RFC 9110 7.2: uri-host [":" port]; empty is allowed. */
function isHost(bytes: Buffer, from: number, to: number): boolean {
  if (skipDomain(bytes, from, to) === to) return true; // nearly always
  const value = bytes.toString('latin1', from, to);
  return /^(\[[0-9a-fv:.]+\]|[a-z0-9._~%!$&'()*+,;=-]*)(:[0-9]*)?$/i.test(value);
}

function isCrlf(bytes: Buffer, at: number): boolean {
  return bytes[at] === CR && bytes[at + 1] === LF;
}
