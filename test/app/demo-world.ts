/** One worker of the demo server on a FakeSys, with a clock that tests move. */
import { Endpoints, type WorkerView } from '../../src/app/demo-server/endpoints.js';
import { FilesEndpoint } from '../../src/app/demo-server/files.js';
import { HttpProtocol } from '../../src/app/demo-server/http-protocol.js';
import { ServerLoop } from '../../src/app/demo-server/server-loop.js';
import { WorkerCounters } from '../../src/app/demo-server/worker-counters.js';
import { FakeSys } from './fake-sys.js';

/** What the fake stack says of every connection. */
export const CONNECTION = {
  remoteAddress: '198.18.0.254',
  remotePort: 51702,
  localAddress: '198.18.0.1',
  localPort: 80,
  hash: 0x5d1c22aa,
  slot: 2,
  members: 4,
};

export class DemoWorld {
  readonly sys: FakeSys = new FakeSys();
  readonly counters: WorkerCounters = new WorkerCounters(4);
  readonly row: Float64Array = this.counters.row(2);
  readonly listenFd: number = this.sys.listener();
  readonly stopFd: number = this.sys.eventfd(0);
  readonly loop: ServerLoop;
  readonly http: HttpProtocol;
  nowMs = 1000;
  draining = false;
  /** Group members that the fake stack reports. */
  members: number = CONNECTION.members;

  constructor(root: string | null = null) {
    const view: WorkerView = {
      worker: 2,
      connection: () => ({ ...CONNECTION, members: this.members }),
      stats: () => ({ workers: this.counters.stats() }),
      nowMs: () => this.nowMs++,
    };
    this.loop = new ServerLoop({
      sys: this.sys,
      counters: this.row,
      nowMs: () => this.nowMs,
      onDraining: () => {
        this.draining = true;
      },
    });
    const endpoints = new Endpoints(view, new FilesEndpoint(root), true);
    this.http = new HttpProtocol(this.loop, endpoints, () => Date.UTC(1994, 10, 6, 8, 49, 37));
    this.loop.serve(this.listenFd, this.http, true);
    this.loop.watchStop(this.stopFd);
  }

  /** An accepted connection. */
  connect(): number {
    const fd = this.sys.arrive(this.listenFd);
    this.loop.turn();
    return fd;
  }

  /** Sends `data` on `fd`, lets the worker run, returns what it wrote. */
  exchange(fd: number, data: string | Uint8Array): string {
    this.sys.peerSends(fd, data);
    this.loop.turn();
    return this.sys.isOpen(fd) ? this.sys.peerReads(fd).toString('latin1') : '';
  }

  /** The answer to one request on a new connection. */
  get(path: string, ...fields: string[]): string {
    return this.exchange(this.connect(), request('GET', path, ...fields));
  }

  /** Runs the worker until it has nothing to do. */
  settle(): void {
    while (this.sys.pending()) this.loop.turn();
  }

  stop(): void {
    this.sys.write(this.stopFd, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]), 0, 8);
    this.loop.turn();
  }
}

export function request(method: string, path: string, ...fields: string[]): string {
  return `${[`${method} ${path} HTTP/1.1`, 'Host: x', ...fields].join('\r\n')}\r\n\r\n`;
}

/** Splits a stream of responses (each with Content-Length or without content). */
export function responses(text: string): { status: number; head: string; body: string }[] {
  const all: { status: number; head: string; body: string }[] = [];
  let rest = text;
  while (rest !== '') {
    const end = rest.indexOf('\r\n\r\n') + 4;
    if (end < 4) throw new Error(`no head in ${JSON.stringify(rest.slice(0, 100))}`);
    const head = rest.slice(0, end);
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
    all.push({ status: Number(head.slice(9, 12)), head, body: rest.slice(end, end + length) });
    rest = rest.slice(end + length);
  }
  return all;
}
