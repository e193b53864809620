/**
 * An application thread for tests: runs one of the tasks below on a stack in another thread, posts
 * what it returns.
 */
import { parentPort, workerData } from 'node:worker_threads';
import type { EpollEvent, Sys } from '../../src/socket/sys.js';
import { createSys } from '../../src/socket/sys.js';
import {
  AF_INET,
  EPOLL_CTL_ADD,
  EPOLLET,
  EPOLLEXCLUSIVE,
  EPOLLIN,
  EPOLLOUT,
  SHUT_WR,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from '../../src/socket/uapi/constants.js';
import { OP_SOCKET } from '../../src/socket/uapi/layout.js';
import { openShared, wakeInMemory } from '../../src/socket/uapi/shared.js';
import { ThreadPort } from '../../src/socket/uapi/thread-port.js';

export interface TaskData {
  ctl: SharedArrayBuffer;
  arena: SharedArrayBuffer;
  number: number;
  task: keyof typeof tasks;
  fd: number;
  bytes: number;
}

export const ADDRESS = '198.18.0.1';

/** Byte `i` of the test stream: a pattern that shows shifts, losses and repetitions. */
export function patternByte(i: number): number {
  return (i * 7 + (i >>> 8) * 13 + (i >>> 16)) & 0xff;
}

/** Index of the first byte that is not the pattern from `at` on, -1 = none. */
function mismatch(bytes: Uint8Array, count: number, at: number): number {
  for (let i = 0; i < count; i++) if (bytes[i] !== patternByte(at + i)) return at + i;
  return -1;
}

const tasks = {
  /** Accepts connections on `fd` and echoes each to its end; blocking calls only. */
  echo(sys: Sys, { fd }: TaskData): unknown {
    const child = sys.accept4(fd, 0);
    const buffer = new Uint8Array(5000);
    let total = 0;
    for (;;) {
      const count = sys.read(child, buffer);
      if (count <= 0) {
        sys.close(child);
        return { total, end: count };
      }
      const written = sys.write(child, buffer, 0, count);
      if (written !== count) return { written };
      total += count;
    }
  },

  /** Sends `bytes` to an echo server and reads them back, both at once, edge-triggered. */
  client(sys: Sys, { bytes }: TaskData): unknown {
    const fd = sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    sys.connect(fd, { address: ADDRESS, port: 80 });
    const epfd = sys.epoll_create1(0);
    const events: EpollEvent[] = [];
    sys.epoll_ctl(epfd, EPOLL_CTL_ADD, fd, { events: EPOLLIN | EPOLLOUT | EPOLLET, data: fd });
    const out = new Uint8Array(7000);
    const into = new Uint8Array(9000);
    let sent = 0;
    let received = 0;
    let waits = 0;
    for (;;) {
      while (sent < bytes) {
        const size = Math.min(out.length, bytes - sent);
        for (let i = 0; i < size; i++) out[i] = patternByte(sent + i);
        const count = sys.write(fd, out, 0, size);
        if (count < 0) break;
        sent += count;
        if (sent === bytes) sys.shutdown(fd, SHUT_WR);
      }
      for (;;) {
        const count = sys.read(fd, into);
        if (count === 0) return { sent, received, waits: waits > 0, closed: sys.close(fd) };
        if (count < 0) break;
        const wrong = mismatch(into, count, received);
        if (wrong >= 0) return { wrong };
        received += count;
      }
      waits++;
      if (sys.epoll_wait(epfd, events, 8, 5000) !== 1) return { stuck: [sent, received] };
    }
  },

  /**
   * Accepts what it gets from a listener shared with others until the eventfd `bytes` says stop.
   */
  acceptor(sys: Sys, { fd, bytes }: TaskData): unknown {
    const epfd = sys.epoll_create1(0);
    const events: EpollEvent[] = [];
    const ports: number[] = [];
    const peer = { family: 0, address: '', port: 0 };
    const exclusive = { events: EPOLLIN | EPOLLEXCLUSIVE, data: fd };
    sys.epoll_ctl(epfd, EPOLL_CTL_ADD, fd, exclusive);
    sys.epoll_ctl(epfd, EPOLL_CTL_ADD, bytes, { events: EPOLLIN, data: bytes });
    parentPort!.postMessage('listening');
    for (;;) {
      const count = sys.epoll_wait(epfd, events, 8, 5000);
      if (count <= 0) return { stuck: count };
      if (events.slice(0, count).some(({ data }) => data === bytes)) return { ports };
      for (;;) {
        const child = sys.accept4(fd, SOCK_NONBLOCK, peer);
        if (child < 0) break;
        ports.push(peer.port);
        sys.close(child);
      }
    }
  },

  /** A blocking read, and what it says. */
  reader(sys: Sys, { fd }: TaskData): unknown {
    parentPort!.postMessage('reading');
    const buffer = new Uint8Array(8);
    return { result: sys.read(fd, buffer), bytes: [...buffer] };
  },

  /** A blocking write of `bytes` as an eventfd count. */
  counter(sys: Sys, { fd, bytes }: TaskData): unknown {
    parentPort!.postMessage('writing');
    const buffer = new Uint8Array(8);
    new DataView(buffer.buffer).setUint32(0, bytes, true);
    return { result: sys.write(fd, buffer) };
  },

  /** Blocking connects to a port nobody answers on. */
  connector(sys: Sys, { bytes }: TaskData): unknown {
    const fd = sys.socket(AF_INET, SOCK_STREAM, 0);
    parentPort!.postMessage('connecting');
    return { result: sys.connect(fd, { address: ADDRESS, port: bytes }) };
  },

  /** Posts `bytes` commands that nobody waits for: how many the port refused. */
  flooder(_sys: Sys, { bytes }: TaskData, port: ThreadPort): unknown {
    let refused = 0;
    for (let i = 0; i < bytes; i++) if (!port.post(OP_SOCKET, 0)) refused++;
    return { refused };
  },

  /** Waits in epoll_wait for ever. */
  sleeper(sys: Sys): unknown {
    const epfd = sys.epoll_create1(0);
    parentPort!.postMessage('sleeping');
    return { result: sys.epoll_wait(epfd, [], 8, -1) };
  },

  /** Waits in poll for ever. */
  poller(sys: Sys, { fd }: TaskData): unknown {
    const fds = [{ fd, events: EPOLLIN, revents: 0 }];
    parentPort!.postMessage('polling');
    return { result: sys.poll(fds, -1), revents: fds[0]!.revents };
  },
};

if (parentPort !== null && workerData !== null) {
  const data = workerData as TaskData;
  const shared = openShared(data.ctl, new Uint8Array(data.arena));
  const port = new ThreadPort(shared, data.number, () => wakeInMemory(shared.ctl));
  parentPort.postMessage({ done: tasks[data.task](createSys(port), data, port) });
}
