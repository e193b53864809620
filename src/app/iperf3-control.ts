/**
 * The control connection of an iperf3 test as messages: what comes is collected until a state byte
 * or a length and its JSON are complete, what goes waits when the socket is full. Knows no states.
 */
import { EAGAIN } from '../net/errno.js';
import { EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../socket/uapi/constants.js';
import type { Connections } from './demo-server/protocol.js';

/** What a read has found. */
export type Heard =
  /** Nothing that is complete. */
  | { kind: 'nothing' }
  /** The peer has closed (errno 0) or reset the connection. */
  | { kind: 'gone'; errno: number }
  | { kind: 'state'; state: number }
  | { kind: 'json'; text: string }
  /** A length beyond the limit: what follows cannot be found any more. */
  | { kind: 'oversize'; bytes: number };

const NOTHING: Heard = { kind: 'nothing' };
const LENGTH_BYTES = 4;

export class ControlChannel {
  readonly fd: number;
  private readonly connections: Connections;
  private readonly head: Buffer = Buffer.alloc(LENGTH_BYTES);
  private headGot = 0;
  private body: Buffer | null = null;
  private bodyGot = 0;
  private unsent: Buffer = Buffer.alloc(0);

  constructor(connections: Connections, fd: number) {
    this.connections = connections;
    this.fd = fd;
  }

  /** The next state byte, if it has come. */
  readState(): Heard {
    const got = this.connections.sys.read(this.fd, this.head, 0, 1);
    return got === 1 ? { kind: 'state', state: this.head.readInt8() } : this.without(got);
  }

  /** The next JSON of at most `limit` bytes, if all of it has come. */
  readJson(limit: number): Heard {
    const { sys } = this.connections;
    while (this.headGot < LENGTH_BYTES) {
      const got = sys.read(this.fd, this.head, this.headGot, LENGTH_BYTES - this.headGot);
      if (got <= 0) return this.without(got);
      this.headGot += got;
    }
    const bytes = this.head.readUInt32BE();
    if (bytes > limit) return { kind: 'oversize', bytes };
    this.body ??= Buffer.alloc(bytes);
    while (this.bodyGot < bytes) {
      const got = sys.read(this.fd, this.body, this.bodyGot, bytes - this.bodyGot);
      if (got <= 0) return this.without(got);
      this.bodyGot += got;
    }
    const text = this.body.toString('utf8');
    this.headGot = 0;
    this.bodyGot = 0;
    this.body = null;
    return { kind: 'json', text };
  }

  private without(got: number): Heard {
    return got === -EAGAIN ? NOTHING : { kind: 'gone', errno: -got };
  }

  sendState(state: number): void {
    this.send(Uint8Array.of(state & 0xff));
  }

  /** Sends now what fits and the rest when the socket takes it. */
  send(bytes: Uint8Array): void {
    this.unsent = Buffer.concat([this.unsent, bytes]);
    this.flush();
  }

  /** Writes what waits. A connection that is gone is told by the next read. */
  flush(): void {
    while (this.unsent.length > 0) {
      const sent = this.connections.sys.write(this.fd, this.unsent, 0, this.unsent.length);
      if (sent < 0) break;
      this.unsent = this.unsent.subarray(sent);
    }
    const waiting = this.unsent.length > 0 ? EPOLLOUT : 0;
    this.connections.interest(this.fd, EPOLLIN | EPOLLRDHUP | waiting);
  }
}
