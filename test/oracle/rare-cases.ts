/**
 * Flags of send and receive calls, bit by bit, and options that few programs know, as programs for
 * one world each (see option-table.ts).
 */
import type { Case } from './option-table.js';
import { ipv4, outcome, type SocketCalls } from './socket-calls.js';

const LOCALHOST = ipv4('127.0.0.1');
const FOREIGN = ipv4('203.0.113.7');
const [SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP] = [1, 0, 6];
const [MSG_PEEK, MSG_FASTOPEN, MSG_MORE] = [2, 0x20000000, 0x8000];
const [SO_PEEK_OFF, SO_BINDTOIFINDEX, SO_MAX_PACING_RATE, SO_PEERCRED] = [42, 62, 47, 17];
const [IP_FREEBIND, IP_TRANSPARENT] = [15, 19];
const [TCP_SAVE_SYN, TCP_SAVED_SYN, TCP_CC_INFO] = [27, 28, 26];
const [SIOCOUTQ, SIOCOUTQNSD, TCP_INFO, INFO_WORDS] = [0x5411, 0x894b, 11, 61];
const USER = 1000;

function connected(calls: SocketCalls, port: number, saveSyn = 0): [number, number] {
  const listener = calls.socket();
  if (saveSyn > 0) calls.setsockopt(listener, IPPROTO_TCP, TCP_SAVE_SYN, saveSyn);
  calls.bind(listener, LOCALHOST, port);
  calls.listen(listener, 5);
  const client = calls.socket();
  calls.connect(client, LOCALHOST, port);
  const child = calls.accept(listener);
  calls.close(listener);
  return [client, child];
}

function asked(calls: SocketCalls, fd: number, level: number, name: number, most = 4): string {
  const out = new Int32Array(most);
  const words = calls.getsockopt(fd, level, name, out);
  return words < 0 ? outcome(words) : `${words}: ${out.subarray(0, words)}`;
}

function received(result: Uint8Array | number): string {
  return typeof result === 'number' ? outcome(result) : `[${result}]`;
}

/** What a child has of its listener: values that no other option changes. */
const INHERITED: readonly (readonly [level: number, name: number, value: number])[] = [
  ...[5, 11, 40, 43, 45, 46, 75, 82].map((name) => [SOL_SOCKET, name, 1] as const),
  ...[6, 7, 8, 12, 13, 15, 18, 19, 20, 23, 26].map((name) => [IPPROTO_IP, name, 1] as const),
  [SOL_SOCKET, SO_PEEK_OFF, 3],
  [SOL_SOCKET, SO_MAX_PACING_RATE, 12_345],
  [SOL_SOCKET, 74, 0],
  [IPPROTO_IP, 21, 20],
  [IPPROTO_IP, 34, 0],
  [IPPROTO_IP, 49, 0],
  [IPPROTO_TCP, TCP_SAVE_SYN, 1],
];

export const RARE_PORTS: number = 32 * 2;

export const RARE_CASES: Readonly<Record<string, Case>> = {
  'every flag of send and recv, alone': ({ calls }, port) => {
    const flags = Array.from({ length: 32 }, (_, bit) => (1 << bit) | 0);
    return flags
      .filter((flag) => flag !== MSG_FASTOPEN)
      .map((flag, i) => {
        const [client, child] = connected(calls, port + i);
        const said = [
          `${(flag >>> 0).toString(16)} ${calls.send(client, Uint8Array.of(1, 2), flag)}`,
        ];
        // Text with MSG_MORE goes with what comes next.
        if (flag === MSG_MORE) calls.send(client, Uint8Array.of(3));
        said.push(received(calls.recv(child, 9)));
        calls.send(client, Uint8Array.of(4, 5, 6));
        for (const how of [flag, 0, flag]) said.push(received(calls.recv(child, 2, how)));
        const fresh = calls.socket();
        said.push(outcome(calls.send(fresh, Uint8Array.of(1), flag)));
        said.push(received(calls.recv(fresh, 1, flag)));
        calls.closeAll();
        return said.join(' ');
      });
  },
  SO_PEEK_OFF: ({ calls }, port) => {
    const [client, child] = connected(calls, port);
    const offset = (): string => asked(calls, child, SOL_SOCKET, SO_PEEK_OFF);
    const said = [offset()];
    calls.send(client, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    const steps = [
      ['set', 1],
      ['peek', 2],
      ['peek', 3],
      ['read', 2],
      ['peek', 9],
      ['peek', 9],
      ['read', 9],
      ['set', -7],
      ['peek', 1],
      ['set', 0x7fffffff],
      ['peek', 1],
    ] as const;
    for (const [what, count] of steps) {
      if (what === 'set') {
        said.push(outcome(calls.setsockopt(child, SOL_SOCKET, SO_PEEK_OFF, count)));
      } else {
        said.push(received(calls.recv(child, count, what === 'peek' ? MSG_PEEK : 0)));
      }
      said.push(offset());
    }
    calls.disconnect(child);
    return [...said, offset()];
  },
  'what an accepted socket has of its listener, rare options': ({ calls }, port) => {
    return INHERITED.map(([level, name, value], i) => {
      const listener = calls.socket();
      const said = outcome(calls.setsockopt(listener, level, name, value));
      calls.bind(listener, LOCALHOST, port + i);
      calls.listen(listener, 5);
      calls.connect(calls.socket(), LOCALHOST, port + i);
      return `${level}/${name} ${said} ${asked(calls, calls.accept(listener), level, name)}`;
    });
  },
  'IP_FREEBIND and IP_TRANSPARENT': ({ calls }, port) => {
    return [0, IP_FREEBIND, IP_TRANSPARENT].flatMap((name, i) =>
      [0, USER].map((uid, j) => {
        const fd = calls.socket(uid);
        const said: string[] = [];
        if (name !== 0) said.push(outcome(calls.setsockopt(fd, IPPROTO_IP, name, 1)));
        said.push(outcome(calls.bind(fd, FOREIGN, port + 2 * i + j)));
        const own = calls.getsockname(fd);
        said.push(typeof own === 'number' ? outcome(own) : (own.address >>> 0).toString(16));
        said.push(outcome(calls.listen(fd, 1)), outcome(calls.connect(fd, LOCALHOST, port)));
        const other = calls.socket(uid);
        if (name !== 0) calls.setsockopt(other, IPPROTO_IP, name, 1);
        calls.bind(other, FOREIGN, 0);
        said.push(outcome(calls.connect(other, ipv4('198.51.100.77'), 80)));
        return `${name} ${uid} ${said.join(' ')}`;
      }),
    );
  },
  'what is queued when the peer resets stays counted': ({ calls }, port) => {
    const [client, child] = connected(calls, port);
    const chunk = new Uint8Array(65_536);
    for (let i = 0; i < 400 && calls.send(client, chunk) > 0; i++);
    calls.abort(child);
    const queued = (): string =>
      [SIOCOUTQ, SIOCOUTQNSD].map((request) => calls.ioctl(client, request) > 0).join();
    const said = [queued(), asked(calls, client, SOL_SOCKET, 4), queued()];
    return [...said, outcome(calls.ioctl(calls.socket(), SIOCOUTQNSD))];
  },
  'TCP_INFO where there is no peer': ({ calls }, port) => {
    const listener = calls.socket();
    calls.bind(listener, LOCALHOST, port);
    calls.listen(listener, 5);
    calls.connect(calls.socket(), LOCALHOST, port);
    const since = new Set([1, 11, 13, 14]);
    return [listener, calls.socket()].map((fd) => {
      const info = new Int32Array(INFO_WORDS);
      calls.getsockopt(fd, IPPROTO_TCP, TCP_INFO, info);
      // Times since the machine was started, and whether the rate was limited, are not here.
      return [...info].map((word, i) => (since.has(i) ? 0 : word)).join();
    });
  },
  'TCP_INFO: the bytes of our SYN are counted, and the MSS without timestamps': (
    { calls },
    port,
  ) => {
    const [client, child] = connected(calls, port);
    calls.send(client, new Uint8Array(1000));
    calls.recv(child, 1000);
    calls.send(child, new Uint8Array(2000));
    calls.recv(client, 5000);
    return [client, child].map((fd) => {
      const info = new Int32Array(INFO_WORDS);
      calls.getsockopt(fd, IPPROTO_TCP, TCP_INFO, info);
      return [0, 15, 21, 30, 32, 38, 39, 48, 50].map((i) => `${i}: ${info[i]}`).join();
    });
  },
  SO_BINDTOIFINDEX: ({ calls }) => {
    return [0, USER].map((uid) => {
      const fd = calls.socket(uid);
      return [0, 1, 0, 1, 2, -1, 0]
        .map((index) => {
          const said = outcome(calls.setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, index));
          return `${index}: ${said} ${asked(calls, fd, SOL_SOCKET, SO_BINDTOIFINDEX)}`;
        })
        .join(', ');
    });
  },
  TCP_SAVE_SYN: ({ calls }, port) => {
    const [, plain] = connected(calls, port);
    const [client, child] = connected(calls, port + 1, 1);
    const said = [asked(calls, plain, IPPROTO_TCP, TCP_SAVED_SYN, 40)];
    said.push(asked(calls, client, IPPROTO_TCP, TCP_SAVED_SYN, 40));
    said.push(asked(calls, child, IPPROTO_TCP, TCP_SAVED_SYN, 14));
    const out = new Int32Array(40);
    said.push(String(calls.getsockopt(child, IPPROTO_TCP, TCP_SAVED_SYN, out)));
    const bytes = new Uint8Array(out.buffer);
    // Version, length, protocol, addresses, flags, and the kinds of the options.
    const parts = [0, 2, 3, 9, 12, 13, 14, 15, 16, 17, 18, 19, 32, 33, 40, 41, 44, 45, 46, 47];
    said.push(parts.map((i) => bytes[i]).join());
    return [...said, asked(calls, child, IPPROTO_TCP, TCP_SAVED_SYN, 40)];
  },
  'structures of a connection: SO_PEERCRED, SO_MAX_PACING_RATE, TCP_CC_INFO': ({ calls }, port) => {
    const [client] = connected(calls, port);
    calls.setsockoptText(client, IPPROTO_TCP, 13, 'reno');
    const said = [asked(calls, client, SOL_SOCKET, SO_PEERCRED)];
    said.push(asked(calls, client, IPPROTO_TCP, TCP_CC_INFO));
    for (const [low, high] of [
      [-1, -1],
      [5, 1],
      [0, 0],
    ] as const) {
      said.push(outcome(calls.setsockopt(client, SOL_SOCKET, SO_MAX_PACING_RATE, low, high)));
      said.push(asked(calls, client, SOL_SOCKET, SO_MAX_PACING_RATE, 2));
    }
    return said;
  },
  'TCP_CONGESTION and TCP_ULP: names': ({ calls }) => {
    const fd = calls.socket();
    const names = ['reno', 'cubic', 'reno\0more', 'nothing', '', 'cubic\0'];
    return [13, 31].flatMap((name) =>
      names.map((text) => `${name} ${outcome(calls.setsockoptText(fd, IPPROTO_TCP, name, text))}`),
    );
  },
};
