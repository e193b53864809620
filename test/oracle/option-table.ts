/**
 * Socket options, readiness, flags of send and receive, urgent data and disconnecting, as programs
 * for one world each: the same text must come out of both. Addresses and ports are the cases' own.
 */

import { connected, connecting, LOCALHOST, listening, NOBODY, option } from './situations.js';
import {
  outcome,
  POLL_EVERYTHING,
  SHUT_RD,
  SHUT_RDWR,
  SHUT_WR,
  type SocketCalls,
} from './socket-calls.js';
import type { World } from './worlds.js';

export type Case = (world: World, port: number) => string[];

const [SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP] = [1, 0, 6];
const [FIONREAD, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK] = [0x541b, 0x5411, 0x894b, 0x8905];
const [MSG_OOB, MSG_PEEK, MSG_TRUNC, MSG_WAITALL] = [1, 2, 0x20, 0x100];
const USER = 1000;

/** Options whose values are ints: level, name. */
const INTS: readonly (readonly [level: number, name: number, title: string])[] = [
  ...[1, 2, 3, 4, 6, 8, 9, 10, 12, 15, 18, 19, 30, 32, 33, 36, 38, 39, 49, 56, 72].map(
    (name) => [SOL_SOCKET, name, `SO ${name}`] as const,
  ),
  ...[1, 3, 4, 5, 6, 7, 8, 9, 10, 12, 18, 25, 36].map(
    (name) => [IPPROTO_TCP, name, `TCP ${name}`] as const,
  ),
  ...[1, 2, 10, 14, 24].map((name) => [IPPROTO_IP, name, `IP ${name}`] as const),
];
const VALUES: readonly number[] = [0, 1, 2, 3, 5, 6, 7, 88, 120, 121, 255, 256, 5000, 32_768, -1];

function received(result: Uint8Array | number): string {
  return typeof result === 'number' ? outcome(result) : `'${new TextDecoder().decode(result)}'`;
}

function text(characters: string): Uint8Array {
  return new TextEncoder().encode(characters);
}

function hex(value: number): string {
  return value < 0 ? outcome(value) : value.toString(16);
}

/**
 * Everything that can be asked of a socket without changing it. What is queued to be sent is asked
 * of connections only: on others Linux shows the difference of numbers that are left over.
 */
function facts(calls: SocketCalls, fd: number): string {
  const peer = calls.getpeername(fd);
  const requests = [FIONREAD, SIOCATMARK];
  if (typeof peer !== 'number') requests.push(SIOCOUTQ, SIOCOUTQNSD);
  const counts = requests.map((request) => {
    const count = calls.ioctl(fd, request);
    return count < 0 ? outcome(count) : count;
  });
  const own = calls.getsockname(fd);
  const from = typeof own === 'number' ? outcome(own) : own.address === 0 ? 'any' : 'bound';
  const to = typeof peer === 'number' ? outcome(peer) : 'peer';
  return `${hex(calls.poll(fd, POLL_EVERYTHING))} ${counts} ${from} ${to}`;
}

/** What may be tried on a socket, each on a fresh one in that state. */
const TRIALS: Readonly<Record<string, (calls: SocketCalls, fd: number) => string>> = {
  read: (calls, fd) => `${received(calls.recv(fd, 3))} ${received(calls.recv(fd, 30))}`,
  'read nothing': (calls, fd) => received(calls.recv(fd, 0)),
  peek: (calls, fd) => received(calls.recv(fd, 30, MSG_PEEK)),
  discard: (calls, fd) => String((calls.recv(fd, 30, MSG_TRUNC) as Uint8Array).length ?? 'errno'),
  urgent: (calls, fd) => received(calls.recv(fd, 1, MSG_OOB)),
  write: (calls, fd) => outcome(calls.send(fd, text('xyz'))),
  'write urgent': (calls, fd) => outcome(calls.send(fd, text('xyz'), MSG_OOB)),
  'no more reading': (calls, fd) => outcome(calls.shutdown(fd, SHUT_RD)),
  'no more writing': (calls, fd) => outcome(calls.shutdown(fd, SHUT_WR)),
  'no more of either': (calls, fd) => outcome(calls.shutdown(fd, SHUT_RDWR)),
  disconnect: (calls, fd) => {
    const said = [outcome(calls.disconnect(fd)), facts(calls, fd), option(calls, fd, 1, 4)];
    return [...said, received(calls.recv(fd, 3)), outcome(calls.send(fd, text('x')))].join(' ');
  },
  'connect to nobody': (calls, fd) => outcome(calls.connect(fd, NOBODY, 81)),
};

/** A socket in a state; the one that is looked at. */
const STATES: Readonly<Record<string, (calls: SocketCalls, port: number) => number>> = {
  fresh: (calls) => calls.socket(),
  bound: (calls, port) => {
    const fd = calls.socket();
    calls.bind(fd, LOCALHOST, port);
    return fd;
  },
  listening,
  'with a connection to accept': (calls, port) => {
    const fd = listening(calls, port);
    calls.connect(calls.socket(), LOCALHOST, port);
    return fd;
  },
  connecting,
  refused: (calls, port) => {
    const fd = calls.socket();
    calls.connect(fd, LOCALHOST, port);
    return fd;
  },
  connected: (calls, port) => connected(calls, port)[0],
  accepted: (calls, port) => connected(calls, port)[1],
  'with text to read': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.send(client, text('abcdefgh'));
    return child;
  },
  'with urgent text': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.send(client, text('abcd'));
    calls.send(client, text('ef'), MSG_OOB);
    calls.send(client, text('gh'));
    return child;
  },
  'at the mark': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.send(client, text('abc'), MSG_OOB);
    calls.send(client, text('de'));
    calls.recv(child, 10);
    return child;
  },
  'at the mark, and it is all': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.send(client, text('abc'), MSG_OOB);
    calls.recv(child, 10);
    return child;
  },
  'urgent byte taken': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.send(client, text('abc'), MSG_OOB);
    calls.send(client, text('de'));
    calls.recv(child, 1, MSG_OOB);
    return child;
  },
  'urgent text in line': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.setsockopt(child, SOL_SOCKET, 10, 1);
    calls.send(client, text('abc'), MSG_OOB);
    calls.send(client, text('de'));
    return child;
  },
  'two marks': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.send(client, text('abc'), MSG_OOB);
    calls.send(client, text('def'), MSG_OOB);
    return child;
  },
  'peer has closed': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.close(client);
    return child;
  },
  'peer has closed behind text': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.send(client, text('abcdefgh'));
    calls.close(client);
    return child;
  },
  'peer has half closed, and urgent text': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.send(client, text('abc'), MSG_OOB);
    calls.shutdown(client, SHUT_WR);
    return child;
  },
  'peer reads no more': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.shutdown(client, SHUT_RD);
    return child;
  },
  'half closed': (calls, port) => {
    const [client] = connected(calls, port);
    calls.shutdown(client, SHUT_WR);
    return client;
  },
  'reads no more': (calls, port) => {
    const [client] = connected(calls, port);
    calls.shutdown(client, SHUT_RD);
    return client;
  },
  'closed by both': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.shutdown(client, SHUT_WR);
    calls.shutdown(child, SHUT_WR);
    return child;
  },
  'closed by both, first': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.shutdown(client, SHUT_WR);
    calls.shutdown(child, SHUT_WR);
    return client;
  },
  reset: (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.abort(client);
    return child;
  },
  'reset behind text': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.send(client, text('abcdefgh'));
    calls.abort(client);
    return child;
  },
  'reset, and that was told': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.abort(client);
    calls.recv(child, 1);
    return child;
  },
  'peer wants a minimum': (calls, port) => {
    const [client, child] = connected(calls, port);
    calls.setsockopt(child, SOL_SOCKET, 18, 5);
    calls.send(client, text('abcd'));
    return child;
  },
};

/** Every trial in every state, and what there is to be seen before and after. */
export const STATE_CASES: Readonly<Record<string, Case>> = Object.fromEntries(
  Object.entries(STATES).map(([title, make]): [string, Case] => [
    title,
    ({ calls }, port) =>
      Object.entries(TRIALS).map(([trial, run], i) => {
        const fd = make(calls, port + i);
        return `${facts(calls, fd)} | ${trial}: ${run(calls, fd)} | ${facts(calls, fd)}`;
      }),
  ]),
);
export const STATE_PORTS: number = Object.keys(TRIALS).length;

function eachValue(calls: SocketCalls, fd: number): string[] {
  return INTS.map(([level, name, title]) => {
    const before = option(calls, fd, level, name);
    const after = VALUES.map((value) => {
      const status = calls.setsockopt(fd, level, name, value);
      return `${value}:${status === 0 ? '' : outcome(status)}${option(calls, fd, level, name)}`;
    });
    return `${title} ${before} ${after.join(' ')}`;
  });
}

/** Values that say nothing about the connection. */
const INHERITED: readonly (readonly [level: number, name: number, value: number])[] = [
  ...(
    [
      [1, 1],
      [1, 6],
      [1, 9],
      [1, 10],
      [1, 15],
    ] as const
  ).map(([l, n]) => [l, n, 1] as const),
  ...([
    [1, 12, 5],
    [1, 18, 100],
    [1, 36, 7],
    [1, 72, 3],
  ] as const),
  ...([
    [6, 1, 1],
    [6, 3, 1],
    [6, 4, 11],
    [6, 5, 12],
    [6, 6, 13],
    [6, 7, 3],
    [6, 8, 9],
  ] as const),
  ...([
    [6, 10, 20_000],
    [6, 18, 12_345],
    [6, 25, 777],
    [6, 36, 1],
  ] as const),
  ...([
    [0, 1, 0x10],
    [0, 2, 33],
    [0, 10, 2],
    [0, 24, 1],
  ] as const),
];

export const OPTION_CASES: Readonly<Record<string, Case>> = {
  'every value of every option, of a new socket': ({ calls }) => eachValue(calls, calls.socket()),
  'of a listener': ({ calls }, port) =>
    eachValue(calls, listening(calls, port)).filter((line) => !line.startsWith('TCP 12 ')),
  'what an accepted socket has of its listener': ({ calls }, port) => {
    return INHERITED.map(([level, name, value], i) => {
      const listener = calls.socket();
      calls.setsockopt(listener, level, name, value);
      calls.bind(listener, LOCALHOST, port + i);
      calls.listen(listener, 5);
      calls.connect(calls.socket(), LOCALHOST, port + i);
      const child = calls.accept(listener);
      return `${level}/${name} ${option(calls, child, level, name)}`;
    });
  },
  'structures: SO_LINGER': ({ calls }) => {
    const fd = calls.socket();
    const said = [option(calls, fd, 1, 13)];
    for (const [on, seconds] of [
      [1, 5],
      [0, 9],
      [7, 0],
      [1, 100_000],
      [0, 1],
    ] as const) {
      said.push(outcome(calls.setsockopt(fd, 1, 13, on, seconds)), option(calls, fd, 1, 13));
    }
    return said;
  },
  'TOS sets the priority': ({ calls }) => {
    const fd = calls.socket();
    return Array.from({ length: 64 }, (_, i) => {
      calls.setsockopt(fd, IPPROTO_IP, 1, i * 4);
      return `${i * 4} ${option(calls, fd, SOL_SOCKET, 12)}`;
    });
  },
  'what only the privileged may': ({ calls }) => {
    const fd = calls.socket(USER);
    const wanted = [
      [1, 1, 1],
      [1, 1, 0],
      [1, 12, 6],
      [1, 12, 7],
      [1, 12, -1],
      [1, 36, 1],
    ] as const;
    const force = [
      [1, 32, 5000],
      [1, 33, 5000],
      [0, 1, 0xe0],
    ] as const;
    return [...wanted, ...force].map(([l, n, value]) => outcome(calls.setsockopt(fd, l, n, value)));
  },
  'cookies are two words, and differ': ({ calls }) => {
    const fds = [calls.socket(), calls.socket(), calls.socket()];
    const said = fds.map((fd) => option(calls, fd, SOL_SOCKET, 57, 2));
    const again = option(calls, fds[0]!, SOL_SOCKET, 57, 2) === said[0];
    return [`${new Set(said).size} ${again} ${said[0]!.split(',').length}`];
  },
  'SO_RCVLOWAT: readable from there on': ({ calls }, port) => {
    const [client, child] = connected(calls, port);
    calls.setsockopt(child, SOL_SOCKET, 18, 5);
    return ['ab', 'cd', 'e', 'f'].map((part) => {
      calls.send(client, text(part));
      return hex(calls.poll(child, POLL_EVERYTHING));
    });
  },
  'SO_RCVLOWAT: the mark is not a byte': ({ calls }, port) => {
    const [client, child] = connected(calls, port);
    calls.send(client, text('a'), MSG_OOB);
    const said = [hex(calls.poll(child, POLL_EVERYTHING)), received(calls.recv(child, 5))];
    calls.send(client, text('b'));
    said.push(hex(calls.poll(child, POLL_EVERYTHING)), received(calls.recv(child, 5)));
    return [...said, hex(calls.poll(child, POLL_EVERYTHING))];
  },
  'looks and waits that do not wait': ({ calls }, port) => {
    const [client, child] = connected(calls, port);
    calls.send(client, text('abcdefgh'));
    const how = [MSG_PEEK, MSG_PEEK | MSG_WAITALL, MSG_WAITALL, 0];
    return how.map((flags) => received(calls.recv(child, 6, flags)));
  },
  'a look over the mark': ({ calls }, port) => {
    const [client, child] = connected(calls, port);
    calls.send(client, text('abc'), MSG_OOB);
    calls.send(client, text('def'));
    const said: string[] = [];
    for (const flags of [MSG_PEEK, 0, MSG_PEEK, MSG_OOB | MSG_PEEK, MSG_PEEK, MSG_OOB, 0]) {
      said.push(received(calls.recv(child, 10, flags)), facts(calls, child));
    }
    return said;
  },
  'marks one after another': ({ calls }, port) => {
    const [client, child] = connected(calls, port);
    const said: string[] = [];
    for (const part of ['abc', 'd', 'efg', 'h']) {
      calls.send(client, text(part), MSG_OOB);
      said.push(facts(calls, child), received(calls.recv(child, 2)));
    }
    for (let i = 0; i < 6; i++) said.push(received(calls.recv(child, 10)));
    return said;
  },
  'a mark where the reader stands': ({ calls }, port) => {
    const [client, child] = connected(calls, port);
    calls.send(client, text('abc'), MSG_OOB);
    calls.send(client, text('de'));
    const said = [received(calls.recv(child, 10))];
    calls.send(client, text('fgh'), MSG_OOB);
    calls.send(client, text('ij'));
    for (let i = 0; i < 4; i++) said.push(facts(calls, child), received(calls.recv(child, 10)));
    return said;
  },
  'connected again after disconnecting': ({ calls }, port) => {
    const [client, child] = connected(calls, port);
    calls.send(client, text('abc'));
    const said = [outcome(calls.disconnect(client)), received(calls.recv(child, 10))];
    said.push(received(calls.recv(child, 10)), option(calls, client, 1, 4));
    const listener = listening(calls, port + 1);
    said.push(outcome(calls.connect(client, LOCALHOST, port + 1)));
    const second = calls.accept(listener);
    calls.send(client, text('again'));
    said.push(received(calls.recv(second, 10)), facts(calls, client));
    calls.send(second, text('back'));
    return [...said, received(calls.recv(client, 10))];
  },
  'a bound socket keeps its port when disconnected': ({ calls }, port) => {
    const listener = listening(calls, port);
    const client = calls.socket();
    calls.bind(client, LOCALHOST, port + 1);
    calls.connect(client, LOCALHOST, port);
    calls.accept(listener);
    const said = [outcome(calls.disconnect(client)), outcome(calls.bind(client, LOCALHOST, 0))];
    const name = calls.getsockname(client);
    said.push(typeof name === 'number' ? outcome(name) : String(name.port - port));
    return [...said, outcome(calls.listen(client, 1)), facts(calls, client)];
  },
};
export const OPTION_PORTS: number = INHERITED.length + 2;
