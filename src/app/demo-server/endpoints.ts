/**
 * The endpoints of the demo server: which path answers what. Knows neither sockets nor HTTP
 * framing; what it needs of the worker (who am I, which connection is this, counters) comes in
 * through `WorkerView`.
 */
import { prefersHtml } from '../http/negotiate.js';
import { type Answer, type Endpoint, type Exchange, HTML, JSON_TYPE, TEXT } from './answer.js';
import { PatternSource } from './body-source.js';
import { type ConnectionInfo, hashText } from './connection-info.js';
import { indexHtml, indexText } from './pages.js';

/** Largest N of /bytes/N and largest body of /sink, bytes. */
const BYTES_MAX: number = 10 * 2 ** 30;
/** Longest /work/MS. */
const WORK_MAX_MS = 60000;
/**
 * Bodies that nobody asked for are read and dropped up to this size, so that the connection can be
 * kept.
 */
export const DRAIN_MAX_BYTES = 65536;

export interface WorkerView {
  readonly worker: number;
  connection(fd: number): ConnectionInfo;
  /** The object that /stats prints. */
  stats(): object;
  /** Monotonic clock, milliseconds. */
  nowMs(): number;
}

const GET: readonly string[] = ['GET'];
const POST: readonly string[] = ['POST', 'PUT'];

function reader(answer: (exchange: Exchange, answer: Answer) => void): Endpoint {
  return { methods: GET, bodyMaxBytes: DRAIN_MAX_BYTES, hashesBody: false, refuses: false, answer };
}

/** Answers every request with one status. */
function refusal(status: number, text: string, fields: string): Endpoint {
  return {
    methods: [],
    bodyMaxBytes: DRAIN_MAX_BYTES,
    hashesBody: false,
    refuses: true,
    answer(_, answer): void {
      answer.set(status, TEXT, text);
      answer.fields = fields;
    },
  };
}

const NOT_FOUND: Endpoint = refusal(404, 'There is nothing here; GET / says what is.\n', '');

/** What may be asked of an endpoint, as the Allow field says it (RFC 9110 10.2.1). */
function allowed(methods: readonly string[]): string {
  const head = methods.includes('GET') ? ['HEAD'] : [];
  return [...methods, ...head, 'OPTIONS'].join(', ');
}

/** 405 with Allow; OPTIONS gets Allow alone. */
function notAllowed(methods: readonly string[]): Endpoint {
  const allow = allowed(methods);
  return refusal(405, `Allowed here: ${allow}\n`, `Allow: ${allow}\r\n`);
}

function options(methods: readonly string[]): Endpoint {
  return reader((_, answer) => {
    answer.status = 204;
    answer.bodiless = true;
    answer.fields = `Allow: ${allowed(methods)}\r\n`;
  });
}

/** Where a request goes. */
export interface Route {
  readonly path: string;
  readonly endpoint: Endpoint;
}

export class Endpoints {
  private readonly exact = new Map<string, Endpoint>();
  private readonly byPrefix = new Map<string, Endpoint>();
  private readonly view: WorkerView;
  /** The request that was routed last, and where: mostly the next one is the same. */
  private method = '';
  private target = '';
  private routed: Route = { path: '', endpoint: NOT_FOUND };
  private readonly pattern: PatternSource;

  /**
   * @param files what answers /files/…
   * @param debug adds /debug/throw and /debug/exit, with which a test makes a worker fail
   * @param pattern what answers /bytes/N
   */
  constructor(
    view: WorkerView,
    files: Endpoint,
    debug: boolean,
    pattern: PatternSource = new PatternSource(),
  ) {
    this.view = view;
    this.pattern = pattern;
    this.exact.set(
      '/',
      reader((exchange, answer) => this.index(exchange, answer)),
    );
    this.exact.set(
      '/ok',
      reader((_, answer) => answer.set(200, TEXT, 'OK')),
    );
    this.exact.set(
      '/whoami',
      reader((exchange, answer) => this.whoami(exchange, answer)),
    );
    this.exact.set(
      '/stats',
      reader((_, answer) => json(answer, this.view.stats())),
    );
    this.exact.set('/events', reader(noEvents));
    this.exact.set('/sink', {
      methods: POST,
      bodyMaxBytes: BYTES_MAX,
      hashesBody: true,
      refuses: false,
      answer: sink,
    });
    this.byPrefix.set(
      '/bytes/',
      reader((exchange, answer) => this.bytes(exchange, answer)),
    );
    this.byPrefix.set(
      '/work/',
      reader((exchange, answer) => this.work(exchange, answer)),
    );
    this.byPrefix.set('/files/', files);
    if (debug) {
      this.exact.set('/debug/throw', reader(fail));
      this.exact.set('/debug/exit', reader(leave));
    }
  }

  /** Path (without query) of `target`, and who answers `method` on it. */
  route(method: string, target: string): Route {
    if (method !== this.method || target !== this.target) {
      const query = target.indexOf('?');
      const path = query < 0 ? target : target.slice(0, query);
      this.routed = { path, endpoint: this.resolve(method, path) };
      this.method = method;
      this.target = target;
    }
    return this.routed;
  }

  /** Who answers `method` on `path` (without query); a refusal when nobody does. */
  resolve(method: string, path: string): Endpoint {
    if (path === '*') return options(['GET', 'POST', 'PUT']);
    const endpoint = this.find(path);
    if (endpoint === null) return NOT_FOUND;
    const { methods } = endpoint;
    if (methods.includes(method) || (method === 'HEAD' && methods.includes('GET'))) return endpoint;
    return method === 'OPTIONS' ? options(methods) : notAllowed(methods);
  }

  private find(path: string): Endpoint | null {
    const exact = this.exact.get(path);
    if (exact !== undefined) return exact;
    const slash = path.indexOf('/', 1);
    if (slash < 0) return null;
    return this.byPrefix.get(path.slice(0, slash + 1)) ?? null;
  }

  private index(exchange: Exchange, answer: Answer): void {
    const connection = this.view.connection(exchange.fd);
    answer.fields = 'Vary: Accept\r\n';
    if (prefersHtml(exchange.head.accept)) {
      answer.set(200, HTML, indexHtml(this.view.worker, connection));
    } else {
      answer.set(200, TEXT, indexText(this.view.worker, connection));
    }
  }

  private whoami(exchange: Exchange, answer: Answer): void {
    const connection = this.view.connection(exchange.fd);
    json(answer, {
      worker: this.view.worker,
      slot: connection.members === 0 ? null : connection.slot,
      members: connection.members,
      hash: hashText(connection),
      remoteAddress: connection.remoteAddress,
      remotePort: connection.remotePort,
      localAddress: connection.localAddress,
      localPort: connection.localPort,
    });
  }

  private bytes(exchange: Exchange, answer: Answer): void {
    const count = integerAfter(exchange.path, '/bytes/', BYTES_MAX);
    if (count < 0) {
      answer.set(400, TEXT, `/bytes/N: N is a number of bytes, 0 to ${BYTES_MAX}\n`);
    } else {
      answer.setSource(this.pattern, count, 'application/octet-stream');
    }
  }

  private work(exchange: Exchange, answer: Answer): void {
    const milliseconds = integerAfter(exchange.path, '/work/', WORK_MAX_MS);
    if (milliseconds < 0) {
      answer.set(400, TEXT, `/work/MS: MS is a number of milliseconds, 0 to ${WORK_MAX_MS}\n`);
      return;
    }
    const until = this.view.nowMs() + milliseconds;
    while (this.view.nowMs() < until);
    answer.set(200, TEXT, 'OK');
  }
}

function json(answer: Answer, value: object): void {
  answer.set(200, JSON_TYPE, `${JSON.stringify(value)}\n`);
}

function sink(exchange: Exchange, answer: Answer): void {
  json(answer, { bytes: exchange.bodyBytes, sha256: exchange.bodySha256 });
}

function noEvents(_: Exchange, answer: Answer): void {
  answer.set(
    404,
    TEXT,
    'The event stream is not part of this release; GET /stats has the counters.\n',
  );
}

function fail(exchange: Exchange): void {
  throw new Error(`asked to fail by ${exchange.path}`);
}

/** Ends the thread as a program would that has lost its way. */
function leave(): void {
  process.exit(3);
}

/** The decimal number after `prefix`, 0 to `max`, or -1. */
function integerAfter(path: string, prefix: string, max: number): number {
  const digits = path.slice(prefix.length);
  if (!/^\d{1,15}$/.test(digits)) return -1;
  const value = Number(digits);
  return value <= max ? value : -1;
}
