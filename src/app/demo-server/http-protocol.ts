/**
 * HTTP/1.x over the connections of one worker: reads into one shared buffer, parses, answers into
 * another, writes once per batch of pipelined requests, and waits for EPOLLOUT when the send ring
 * is full, without reading on meanwhile (so the peer feels the back-pressure). A connection that
 * has nothing unfinished costs a null. Framing: http/; meaning of targets: endpoints.ts; who is too
 * slow: slow-peers.ts.
 */
// The global of that name is a getter.
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../../net/epoll-bits.js';
import { EAGAIN, ECONNRESET } from '../../net/errno.js';
import { SHUT_WR, SIOCOUTQ, SO_LINGER, SOL_SOCKET } from '../../socket/uapi/constants.js';
import {
  HEAD_COMPLETE,
  HEAD_INCOMPLETE,
  HEAD_MAX_BYTES,
  type HeadProgress,
  RequestHead,
} from '../http/request-head.js';
import { CONTINUE, ResponseHeads, reasonPhrase } from '../http/response.js';
import { Answer, type Endpoint, type MutableExchange, TEXT } from './answer.js';
import { type BodySource, MemorySource } from './body-source.js';
import type { Endpoints } from './endpoints.js';
import { HttpState } from './http-state.js';
import type { Connections, Protocol } from './protocol.js';
import { SlowPeers } from './slow-peers.js';
import { BYTES_IN, BYTES_OUT, REQUESTS, RESETS, TIMEOUTS } from './worker-counters.js';

const READ_BYTES = 262144;
/** An unfinished head is kept before what is read next. */
const INPUT_BYTES: number = HEAD_MAX_BYTES + READ_BYTES;
const OUTPUT_BYTES = 131072;
/** Above this the output is written before the next pipelined request is answered. */
const OUTPUT_FLUSH_BYTES = 65536;
/** Reads per event, and bytes of one long body per event: then it is the turn of the others. */
const READS_PER_EVENT = 4;
const SOURCE_BYTES_PER_EVENT = 1048576;
/** Letters. */
const SHORT_TEXT = 64;
/** How long the rest of a refused request is read and dropped before the close. */
export const LINGER_MS = 2000;
/** Unused states that are kept. */
const POOL_MAX = 1024;
/** While the worker leaves: how often it looks whether the last bytes have arrived. */
const DRAIN_LOOK_MS = 20;
const READING: number = EPOLLIN | EPOLLRDHUP;
const EMPTY_SHA256: string = createHash('sha256').digest('hex');

export class HttpProtocol implements Protocol {
  private readonly connections: Connections;
  private readonly endpoints: Endpoints;
  private readonly heads: ResponseHeads;
  /** By descriptor: undefined = not ours, null = nothing unfinished. */
  private readonly states: (HttpState | null | undefined)[] = [];
  private readonly pool: HttpState[] = [];
  private readonly lingering = new Set<number>();
  private readonly slow = new SlowPeers();
  private readonly input: Buffer = Buffer.allocUnsafeSlow(INPUT_BYTES);
  private readonly output: Buffer = Buffer.allocUnsafeSlow(OUTPUT_BYTES);
  private outputLength = 0;
  private head: RequestHead = new RequestHead();
  private readonly progress: HeadProgress = { scanned: 0, lineStart: 0 };
  private readonly answer = new Answer();
  private readonly exchange: MutableExchange;
  private readonly unsent: Int32Array = new Int32Array(1);
  private draining = false;

  /** @param wallMs wall clock for the Date field, milliseconds since 1970 */
  constructor(connections: Connections, endpoints: Endpoints, wallMs: () => number) {
    this.connections = connections;
    this.endpoints = endpoints;
    this.heads = new ResponseHeads(wallMs);
    this.exchange = { fd: -1, head: this.head, path: '', bodyBytes: 0, bodySha256: '' };
  }

  opened(fd: number): void {
    while (this.states.length <= fd) this.states.push(undefined);
    this.states[fd] = null;
  }

  onEvents(fd: number, _events: number): void {
    const state = this.states[fd];
    if (state?.writing) this.writable(fd, state);
    else this.readable(fd);
  }

  drain(fd: number): void {
    this.draining = true;
    if (!this.states[fd]?.writing) this.readable(fd); // a request that is there already is answered
    if (this.states[fd] === null) this.end(fd);
  }

  closed(fd: number): void {
    const state = this.states[fd];
    this.states[fd] = undefined;
    this.lingering.delete(fd);
    this.slow.settled(fd);
    if (state) this.recycle(state);
  }

  tick(nowMs: number): number {
    for (let fd = this.slow.takeOverdue(nowMs); fd >= 0; fd = this.slow.takeOverdue(nowMs)) {
      this.giveUp(fd);
    }
    let next = this.slow.nextMs();
    for (const fd of this.lingering) {
      const untilMs = this.states[fd]!.lingerUntilMs;
      if (untilMs <= nowMs || (this.draining && this.allAcknowledged(fd))) {
        this.connections.close(fd);
      } else {
        next = Math.min(next, this.draining ? nowMs + DRAIN_LOOK_MS : untilMs);
      }
    }
    return next;
  }

  /** RFC 9110 15.5.9 for a request that is not complete; who takes no response is reset. */
  private giveUp(fd: number): void {
    const state = this.states[fd]!;
    this.connections.counters[TIMEOUTS]!++;
    if (state.writing) {
      this.connections.sys.setsockopt(fd, SOL_SOCKET, SO_LINGER, 1, 0);
      this.connections.close(fd);
      return;
    }
    if (state.endpoint !== null) state.endBody();
    state.input = null;
    this.refuse(fd, 408);
    this.flush(fd);
  }

  /** Is the rest of a request awaited? Each part of a body begins the wait anew, a head has one. */
  private awaitRequest(fd: number): void {
    const state = this.states[fd];
    if (state && !state.closeAfterOutput && state.lingerUntilMs === 0 && !state.writing) {
      const body = state.endpoint !== null;
      if (body || state.input !== null) {
        this.slow.waits(fd, this.connections.nowMs(), body);
        return;
      }
    }
    if (this.slow.size > 0 && !state?.writing) this.slow.settled(fd);
  }

  private readable(fd: number): void {
    for (let reads = 0; reads < READS_PER_EVENT; reads++) {
      const state = this.states[fd];
      const kept = state?.input?.copy(this.input) ?? 0;
      const room = INPUT_BYTES - kept;
      const got = this.connections.sys.read(fd, this.input, kept, room);
      if (got === -EAGAIN) return;
      if (got <= 0) {
        this.gone(fd, got);
        return;
      }
      this.connections.counters[BYTES_IN]! += got;
      if (state && state.lingerUntilMs !== 0) continue; // dropped
      if (!this.process(fd, kept + got) || got < room) return;
    }
  }

  private writable(fd: number, state: HttpState): void {
    if (!this.advanceOutput(fd, state)) return;
    // What was read before the output got stuck has waited here.
    const kept = this.states[fd]?.input?.copy(this.input) ?? 0;
    if (kept > 0) this.process(fd, kept);
  }

  /** Everything in [0, end) of the input buffer. @returns true when more may be read */
  private process(fd: number, end: number): boolean {
    let at = 0;
    let stuck = false;
    for (let before = -1; at < end && at !== before && !stuck; ) {
      before = at;
      at = this.states[fd]?.endpoint ? this.takeBody(fd, at, end) : this.takeHead(fd, at, end);
      const state = this.states[fd];
      if (state?.closeAfterOutput && at < end) state.lingerAfterOutput = true;
      const pause = state?.source || state?.closeAfterOutput;
      stuck = Boolean(pause || this.outputLength > OUTPUT_FLUSH_BYTES) && !this.flush(fd);
    }
    if (this.states[fd] === undefined) return false;
    this.keepInput(fd, at, end);
    const goesOn = !stuck && this.flush(fd);
    this.awaitRequest(fd);
    return goesOn;
  }

  /**
   * Keeps bytes [at, end) for later: an unfinished head, or requests that wait behind stuck output.
   */
  private keepInput(fd: number, at: number, end: number): void {
    const state = at < end ? this.stateOf(fd) : this.states[fd];
    if (!state) return;
    const wanted = at < end && !state.closeAfterOutput && state.lingerUntilMs === 0;
    state.input = wanted ? Buffer.from(this.input.subarray(at, end)) : null;
  }

  /** @returns where the next request or its body begins, `at` when the head is not complete */
  private takeHead(fd: number, at: number, end: number): number {
    const kept = this.states[fd];
    if (!kept && this.head.findAgain(this.input, at, end)) {
      at += this.head.length;
      this.begin(fd);
      return at;
    }
    const progress = kept ?? this.progress;
    if (!kept) {
      progress.scanned = 0;
      progress.lineStart = 0;
    }
    const found = this.head.find(this.input, at, end, progress);
    if (found === HEAD_INCOMPLETE) {
      const state = this.stateOf(fd);
      state.scanned = progress.scanned;
      state.lineStart = progress.lineStart;
      return at;
    }
    progress.scanned = 0;
    progress.lineStart = 0;
    const refused = found === HEAD_COMPLETE ? this.head.parse(this.input, at) : found;
    if (refused !== 0) {
      this.refuse(fd, refused);
      return at;
    }
    at += this.head.length;
    this.begin(fd);
    return at;
  }

  /** The request in `head` is complete but for its body. */
  private begin(fd: number): void {
    const head = this.head;
    const { endpoint, path } = this.endpoints.route(head.method, head.target);
    if (head.contentLength <= 0 && !head.chunked) {
      this.respond(fd, head, endpoint, path, 0, endpoint.hashesBody ? EMPTY_SHA256 : '');
      return;
    }
    const tooLarge = head.contentLength > endpoint.bodyMaxBytes;
    if (endpoint.refuses && (tooLarge || head.chunked || head.expectContinue)) {
      // The body is not worth waiting for; without it the connection cannot be kept.
      head.keepAlive = false;
      this.respond(fd, head, endpoint, path, 0, '');
      this.stateOf(fd).lingerAfterOutput = true;
      return;
    }
    if (tooLarge) {
      this.refuse(fd, 413);
      return;
    }
    if (head.expectContinue) this.put(CONTINUE);
    const state = this.stateOf(fd);
    this.head = state.head; // the head lives on in the state until its body is complete
    state.head = head;
    state.beginBody(endpoint, path);
  }

  private takeBody(fd: number, at: number, end: number): number {
    const state = this.states[fd]!;
    at = state.body.feed(this.input, at, end, state);
    if (state.body.refused !== 0) {
      state.endBody();
      this.refuse(fd, state.body.refused);
    } else if (state.body.complete) {
      const endpoint = state.endpoint!;
      const digest = state.endBody();
      this.respond(fd, state.head, endpoint, state.path, state.body.received, digest);
    }
    return at;
  }

  private respond(
    fd: number,
    head: RequestHead,
    endpoint: Endpoint,
    path: string,
    bodyBytes: number,
    bodySha256: string,
  ): void {
    const { exchange, answer } = this;
    exchange.fd = fd;
    exchange.head = head;
    exchange.path = path;
    exchange.bodyBytes = bodyBytes;
    exchange.bodySha256 = bodySha256;
    answer.reset();
    endpoint.answer(exchange, answer);
    this.connections.counters[REQUESTS]!++;
    this.emit(fd, head.minor, head.method === 'HEAD', head.keepAlive && !this.draining);
  }

  /** Answers what is no valid request, and takes no more from this connection. */
  private refuse(fd: number, status: number): void {
    this.answer.reset();
    this.answer.set(status, TEXT, `${status} ${reasonPhrase(status)}\n`);
    this.connections.counters[REQUESTS]!++;
    this.emit(fd, 1, false, false);
    this.stateOf(fd).lingerAfterOutput = true;
  }

  /** Puts `answer` into the output; what does not fit becomes the connection's source. */
  private emit(fd: number, minor: number, headOnly: boolean, keepAlive: boolean): void {
    const { answer } = this;
    const textBytes = answer.source === null ? answer.textBytes() : 0;
    const bytes = answer.source === null ? textBytes : answer.sourceBytes;
    const length = answer.bodiless ? -1 : bytes;
    const { status, contentType, fields } = answer;
    this.putHead(this.heads.bytes(status, contentType, length, minor, keepAlive, fields));
    if (!keepAlive) this.stateOf(fd).closeAfterOutput = true;
    if (headOnly || bytes === 0) {
      answer.source?.close();
    } else if (answer.source !== null) {
      this.start(fd, answer.source, bytes);
    } else if (textBytes <= OUTPUT_BYTES - this.outputLength) {
      this.putText(answer.text);
    } else {
      this.start(fd, new MemorySource(Buffer.from(answer.text)), bytes);
    }
  }

  /** Sends `bytes` of `source` after what is in the output; the first stretch shares its write. */
  private start(fd: number, source: BodySource, bytes: number): void {
    const room = Math.min(bytes, OUTPUT_BYTES - this.outputLength);
    const ready = room === 0 ? 0 : source.present(0, room);
    this.output.set(source.bytes.subarray(source.offset, source.offset + ready), this.outputLength);
    this.outputLength += ready;
    if (ready === bytes) {
      source.close();
      return;
    }
    const state = this.stateOf(fd);
    state.source = source;
    state.sourceAt = ready;
    state.sourceEnd = bytes;
  }

  /** The caller has kept OUTPUT_BYTES - OUTPUT_FLUSH_BYTES free, more than any head is long. */
  private putHead(head: Uint8Array): void {
    this.output.set(head, this.outputLength);
    this.outputLength += head.length;
  }

  /** UTF-8 of a text that fits. A few letters are quicker written here than by a call. */
  private putText(text: string): void {
    const { output } = this;
    const { length } = text;
    let ascii = length <= SHORT_TEXT;
    for (let i = 0; ascii && i < length; i++) {
      const code = text.charCodeAt(i);
      output[this.outputLength + i] = code;
      ascii = code < 0x80;
    }
    this.outputLength += ascii ? length : output.write(text, this.outputLength);
  }

  /**
   * ASCII text; the caller has kept OUTPUT_BYTES - OUTPUT_FLUSH_BYTES free, more than any head is
   * long.
   */
  private put(text: string): void {
    this.outputLength += this.output.write(text, this.outputLength, 'latin1');
  }

  /**
   * Writes the output of this batch. @returns true when all of it is out and the connection goes on
   */
  private flush(fd: number): boolean {
    const length = this.outputLength;
    this.outputLength = 0;
    const sent = length === 0 ? 0 : this.write(fd, this.output, 0, length);
    if (sent < 0) return false;
    if (sent < length) {
      const state = this.stateOf(fd);
      state.output = Buffer.from(this.output.subarray(sent, length));
      state.outputAt = 0;
      return this.wait(fd, state);
    }
    const state = this.states[fd];
    return state ? this.advanceOutput(fd, state) : true;
  }

  /** Goes on with output that got stuck and with the source. @returns as `flush` */
  private advanceOutput(fd: number, state: HttpState): boolean {
    if (state.output !== null) {
      const length = state.output.length - state.outputAt;
      const sent = this.write(fd, state.output, state.outputAt, length);
      if (sent < 0) return false;
      state.outputAt += sent;
      if (sent < length) return this.wait(fd, state);
      state.output = null;
    }
    if (state.source !== null && !this.advanceSource(fd, state, state.source)) return false;
    if (state.writing) this.slow.settled(fd);
    if (state.closeAfterOutput) return this.finish(fd, state);
    if (state.writing) {
      state.writing = false;
      this.connections.interest(fd, READING);
    }
    if (!state.empty) return true;
    this.states[fd] = null;
    this.recycle(state);
    if (!this.draining) return true;
    this.end(fd);
    return false;
  }

  private advanceSource(fd: number, state: HttpState, source: BodySource): boolean {
    let budget = SOURCE_BYTES_PER_EVENT;
    while (state.sourceAt < state.sourceEnd) {
      const ready = source.present(state.sourceAt, state.sourceEnd - state.sourceAt);
      if (ready === 0) {
        this.gone(fd, -ECONNRESET); // the file has been cut: only a broken connection can say so
        return false;
      }
      const sent = this.write(fd, source.bytes, source.offset, ready, source.file);
      if (sent < 0) return false;
      state.sourceAt += sent;
      budget -= sent;
      if (sent < ready || budget <= 0) return this.wait(fd, state);
    }
    source.close();
    state.source = null;
    return true;
  }

  /** write or sendfile with EAGAIN as 0. @returns bytes taken, or -1: the connection is gone */
  private write(fd: number, bytes: Uint8Array, offset: number, length: number, file = -1): number {
    const { sys } = this.connections;
    const sent =
      file < 0 ? sys.write(fd, bytes, offset, length) : sys.sendfile(fd, file, offset, length);
    if (sent === -EAGAIN) return 0;
    if (sent < 0) {
      this.gone(fd, sent);
      return -1;
    }
    this.connections.counters[BYTES_OUT]! += sent;
    return sent;
  }

  private wait(fd: number, state: HttpState): boolean {
    this.slow.waits(fd, this.connections.nowMs(), true);
    if (!state.writing) {
      state.writing = true;
      this.connections.interest(fd, EPOLLOUT);
    }
    return false;
  }

  /** All output is out and the connection ends. */
  private finish(fd: number, state: HttpState): boolean {
    state.closeAfterOutput = false;
    if (state.writing) {
      state.writing = false;
      this.connections.interest(fd, READING);
    }
    if (state.lingerAfterOutput) this.linger(fd, this.connections.nowMs() + LINGER_MS);
    else this.end(fd);
    return false;
  }

  /**
   * The orderly end of a connection. In a stack that is about to go, what has been written must
   * have arrived first: its send ring goes with it.
   */
  private end(fd: number): void {
    if (!this.draining || this.allAcknowledged(fd)) this.connections.close(fd);
    else this.linger(fd, Number.POSITIVE_INFINITY);
  }

  private linger(fd: number, untilMs: number): void {
    this.connections.sys.shutdown(fd, SHUT_WR);
    this.stateOf(fd).lingerUntilMs = untilMs;
    this.lingering.add(fd);
  }

  private allAcknowledged(fd: number): boolean {
    const status = this.connections.sys.ioctl(fd, SIOCOUTQ, this.unsent);
    return status < 0 || this.unsent[0] === 0;
  }

  /** End of input (0) or an error of the connection (-errno). */
  private gone(fd: number, result: number): void {
    if (result < 0) this.connections.counters[RESETS]!++;
    this.connections.close(fd);
  }

  private stateOf(fd: number): HttpState {
    let state = this.states[fd];
    if (!state) {
      state = this.pool.pop() ?? new HttpState();
      this.states[fd] = state;
    }
    return state;
  }

  private recycle(state: HttpState): void {
    state.reset();
    if (this.pool.length < POOL_MAX) this.pool.push(state);
  }
}
