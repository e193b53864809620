/**
 * Response heads (RFC 9112 4, RFC 9110 6.6.1): status line, Date, framing and connection fields as
 * one ASCII string. The Date string is made once a second. Bodies are not its business.
 */

/** Reason phrases of the status codes that this server sends. */
const REASONS: Readonly<Record<number, string>> = {
  200: 'OK',
  204: 'No Content',
  206: 'Partial Content',
  301: 'Moved Permanently',
  304: 'Not Modified',
  400: 'Bad Request',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  413: 'Content Too Large',
  414: 'URI Too Long',
  416: 'Range Not Satisfiable',
  417: 'Expectation Failed',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  505: 'HTTP Version Not Supported',
};

/** The interim response that asks for the body (RFC 9110 15.2.1). */
export const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';

export function reasonPhrase(status: number): string {
  return REASONS[status] ?? 'Unknown';
}

export class ResponseHeads {
  private readonly nowMs: () => number;
  private second = -1;
  private date = '';
  /** The head that `bytes` made last, and of what. */
  private made: Uint8Array = new Uint8Array(0);
  private madeSecond = -1;
  private madeStatus = 0;
  private madeType = '';
  private madeLength = 0;
  private madeMinor = 0;
  private madeKeepAlive = false;
  private madeExtra = '';

  /** @param nowMs wall clock, milliseconds since 1970 */
  constructor(nowMs: () => number) {
    this.nowMs = nowMs;
  }

  /**
   * `head` as bytes, which hold until the next call: most answers of a server have the same head as
   * the one before.
   */
  bytes(
    status: number,
    contentType: string,
    contentLength: number,
    minor: number,
    keepAlive: boolean,
    extra: string,
  ): Uint8Array {
    if (
      this.madeSecond !== Math.floor(this.nowMs() / 1000) ||
      this.madeStatus !== status ||
      this.madeLength !== contentLength ||
      this.madeKeepAlive !== keepAlive ||
      this.madeMinor !== minor ||
      this.madeType !== contentType ||
      this.madeExtra !== extra
    ) {
      const text = this.head(status, contentType, contentLength, minor, keepAlive, extra);
      this.made = Buffer.from(text, 'latin1');
      this.madeSecond = this.second;
      this.madeStatus = status;
      this.madeLength = contentLength;
      this.madeKeepAlive = keepAlive;
      this.madeMinor = minor;
      this.madeType = contentType;
      this.madeExtra = extra;
    }
    return this.made;
  }

  /**
   * One head with its empty line.
   * @param contentLength bytes of content that a GET would get, or -1 for a response that has none
   * by definition
   * @param minor minor version of the request: a 1.0 client is told when its connection is kept
   * @param extra further complete field lines, each with its CRLF
   */
  head(
    status: number,
    contentType: string,
    contentLength: number,
    minor: number,
    keepAlive: boolean,
    extra: string,
  ): string {
    let text = `HTTP/1.1 ${status} ${reasonPhrase(status)}\r\n${this.dateLine()}`;
    if (contentLength >= 0) {
      text += `Content-Type: ${contentType}\r\nContent-Length: ${contentLength}\r\n`;
    }
    if (!keepAlive) text += 'Connection: close\r\n';
    else if (minor === 0) text += 'Connection: keep-alive\r\n';
    return `${text}${extra}\r\n`;
  }

  private dateLine(): string {
    const nowMs = this.nowMs();
    const second = Math.floor(nowMs / 1000);
    if (second !== this.second) {
      this.second = second;
      this.date = `Server: tunstack\r\nDate: ${new Date(nowMs).toUTCString()}\r\n`;
    }
    return this.date;
  }
}
