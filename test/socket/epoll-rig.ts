/** Sockets of an inline stack and an epoll instance that watches them. */
import type { EpollEvent, Sys } from '../../src/socket/sys.js';
import {
  AF_INET,
  EPOLL_CTL_ADD,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from '../../src/socket/uapi/constants.js';
import type { ThreadPort } from '../../src/socket/uapi/thread-port.js';
import { type InlineStack, inlineStack } from '../stack/inline-stack.js';

const ADDRESS = '198.18.0.1';

/** A stack, a thread of it, and its epoll instance. */
interface Watching {
  inline: InlineStack;
  sys: Sys;
  port: ThreadPort;
  epfd: number;
}

/** What a test does with the stack that `fresh` has made last. */
export interface EpollRig {
  fresh(): Watching;
  listener(number?: number): number;
  client(number?: number): number;
  /** A connection: the descriptors of both ends. */
  pair(): [number, number];
  add(fd: number, events: number, data?: number): number;
  /** What is ready now, as [data, events] in the order of delivery. */
  ready(most?: number, from?: number, of?: Sys): [number, number][];
}

export function epollRig(): EpollRig {
  let now: Watching;
  const socket = (): number => now.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const rig: EpollRig = {
    fresh() {
      const inline = inlineStack();
      const { sys, port } = inline.thread();
      now = { inline, sys, port, epfd: sys.epoll_create1(0) };
      return now;
    },
    listener(number = 80) {
      const fd = socket();
      now.sys.bind(fd, { address: ADDRESS, port: number });
      now.sys.listen(fd, 16);
      return fd;
    },
    client(number = 80) {
      const fd = socket();
      now.sys.connect(fd, { address: ADDRESS, port: number });
      return fd;
    },
    pair() {
      const number = 1000 + now.inline.shared.mem.fdsInUse;
      const listening = rig.listener(number);
      const fd = rig.client(number);
      return [fd, now.sys.accept4(listening, SOCK_NONBLOCK)];
    },
    add: (fd, events, data = fd) =>
      now.sys.epoll_ctl(now.epfd, EPOLL_CTL_ADD, fd, { events, data }),
    ready(most = 16, from = now.epfd, of = now.sys) {
      const events: EpollEvent[] = [];
      const count = of.epoll_wait(from, events, most, 0);
      return events.slice(0, count).map((event) => [event.data, event.events]);
    },
  };
  return rig;
}
