/**
 * The three classic services over TCP: echo (RFC 862), discard (RFC 863) and chargen (RFC 864), on
 * the worker's event loop. Each is a `Protocol`; what echo could not send yet is kept per
 * connection, and nothing is read while it waits.
 */
import { EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../../net/epoll-bits.js';
import { EAGAIN } from '../../net/errno.js';
import type { Connections, Protocol } from './protocol.js';
import { BYTES_IN, BYTES_OUT, RESETS } from './worker-counters.js';

export const ECHO_PORT = 7;
export const DISCARD_PORT = 9;
export const CHARGEN_PORT = 19;

const BUFFER_BYTES = 65536;
/** Turns of one connection per event. */
const TURNS_PER_EVENT = 16;
const READING: number = EPOLLIN | EPOLLRDHUP;

/** What the three have in common: a buffer, counting, and the end of a connection. */
abstract class StreamService implements Protocol {
  protected readonly connections: Connections;
  protected readonly buffer: Uint8Array = new Uint8Array(BUFFER_BYTES);

  constructor(connections: Connections) {
    this.connections = connections;
  }

  abstract opened(fd: number): void;
  abstract onEvents(fd: number, events: number): void;
  abstract closed(fd: number): void;

  /** These connections end when their peer says so: cut off at the end of the grace period. */
  drain(_fd: number): void {}

  tick(_nowMs: number): number {
    return Number.POSITIVE_INFINITY;
  }

  /**
   * @returns bytes read into `buffer`, 0 = nothing there now, -1 = over, the connection is closed
   */
  protected take(fd: number): number {
    const got = this.connections.sys.read(fd, this.buffer, 0, BUFFER_BYTES);
    if (got === -EAGAIN) return 0;
    if (got <= 0) return this.gone(fd, got);
    this.connections.counters[BYTES_IN]! += got;
    return got;
  }

  /** @returns bytes sent, -1 = over, the connection is closed */
  protected give(fd: number, bytes: Uint8Array, offset: number, length: number): number {
    const sent = this.connections.sys.write(fd, bytes, offset, length);
    if (sent === -EAGAIN) return 0;
    if (sent < 0) return this.gone(fd, sent);
    this.connections.counters[BYTES_OUT]! += sent;
    return sent;
  }

  private gone(fd: number, result: number): -1 {
    if (result < 0) this.connections.counters[RESETS]!++;
    this.connections.close(fd);
    return -1;
  }
}

/** RFC 862: what comes in goes out. */
export class EchoService extends StreamService {
  private readonly unsent = new Map<number, Uint8Array>();

  opened(_fd: number): void {}

  onEvents(fd: number, _events: number): void {
    const waiting = this.unsent.get(fd);
    if (waiting !== undefined) {
      const sent = this.give(fd, waiting, 0, waiting.length);
      if (sent < 0) return;
      if (sent < waiting.length) {
        this.unsent.set(fd, waiting.subarray(sent));
        return;
      }
      this.unsent.delete(fd);
      this.connections.interest(fd, READING);
    }
    for (let turn = 0; turn < TURNS_PER_EVENT; turn++) {
      const got = this.take(fd);
      if (got <= 0) return;
      const sent = this.give(fd, this.buffer, 0, got);
      if (sent < 0) return;
      if (sent < got) {
        this.unsent.set(fd, this.buffer.slice(sent, got));
        this.connections.interest(fd, EPOLLOUT);
        return;
      }
    }
  }

  closed(fd: number): void {
    this.unsent.delete(fd);
  }
}

/** RFC 863: what comes in is thrown away. */
export class DiscardService extends StreamService {
  opened(_fd: number): void {}

  onEvents(fd: number, _events: number): void {
    for (let turn = 0; turn < TURNS_PER_EVENT; turn++) {
      if (this.take(fd) < BUFFER_BYTES) return;
    }
  }

  closed(_fd: number): void {}
}

const CHARGEN_COLUMNS = 72;
const PRINTABLE_FIRST = 0x20;
const PRINTABLE_COUNT = 95;

/**
 * One period of RFC 864's stream: 95 lines of 72 characters, each starting one character further
 * on.
 */
export function chargenPeriod(): Uint8Array {
  const lines: string[] = [];
  for (let line = 0; line < PRINTABLE_COUNT; line++) {
    let text = '';
    for (let column = 0; column < CHARGEN_COLUMNS; column++) {
      text += String.fromCharCode(PRINTABLE_FIRST + ((line + column) % PRINTABLE_COUNT));
    }
    lines.push(`${text}\r\n`);
  }
  return Buffer.from(lines.join(''), 'latin1');
}

/** RFC 864: characters until the peer closes; what it sends is thrown away. */
export class ChargenService extends StreamService {
  private readonly period: Uint8Array = chargenPeriod();
  private readonly text: Uint8Array = repeat(this.period, 8);
  private readonly positions = new Map<number, number>();

  opened(fd: number): void {
    this.positions.set(fd, 0);
    this.connections.interest(fd, READING | EPOLLOUT);
  }

  onEvents(fd: number, events: number): void {
    if ((events & ~EPOLLOUT) !== 0 && this.take(fd) < 0) return;
    let position = this.positions.get(fd)!;
    for (let turn = 0; turn < TURNS_PER_EVENT; turn++) {
      const length = this.text.length - position;
      const sent = this.give(fd, this.text, position, length);
      if (sent < 0) return;
      position = (position + sent) % this.period.length;
      if (sent < length) break;
    }
    this.positions.set(fd, position);
  }

  closed(fd: number): void {
    this.positions.delete(fd);
  }
}

function repeat(bytes: Uint8Array, times: number): Uint8Array {
  const all = new Uint8Array(bytes.length * times);
  for (let i = 0; i < times; i++) all.set(bytes, i * bytes.length);
  return all;
}
