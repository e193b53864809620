/**
 * What each socket call answers in each situation, as programs for one world each: the same text
 * must come out of both. `port` and the ports after it have not been used.
 */

import { connected, connecting, LOCALHOST, listening, option } from './situations.js';
import {
  ipv4,
  outcome,
  POLLIN,
  POLLOUT,
  SHUT_RD,
  SHUT_RDWR,
  SHUT_WR,
  SO_ACCEPTCONN,
  SO_BINDTODEVICE,
  SO_ERROR,
  SO_INCOMING_CPU,
  SO_LINGER,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOL_SOCKET,
  type SocketCalls,
} from './socket-calls.js';
import { DEVICE, DEVICE_ADDRESS, setRange, type World } from './worlds.js';

export type Situation = (world: World, port: number) => string[];

const OTHER = ipv4('127.0.0.2');
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const USER = 1000;
const SOMAXCONN = 'net.core.somaxconn';

/** Largest accept queue and what waits in it, of a listener. */
function queue(calls: SocketCalls, fd: number): string {
  const out = new Int32Array(64);
  calls.getsockopt(fd, IPPROTO_TCP, TCP_INFO, out);
  return `${out[6]} of ${out[7]}`;
}

function received(result: Uint8Array | number): string {
  return typeof result === 'number' ? outcome(result) : `${result.length} bytes`;
}

const BIND: Readonly<Record<string, Situation>> = {
  'bind: twice, as a listener, as a connection': ({ calls }, port) => {
    const bound = calls.socket();
    const once = calls.bind(bound, LOCALHOST, port);
    const listener = listening(calls, port + 1);
    const [client, child] = connected(calls, port + 2);
    const again = [bound, listener, client, child, connecting(calls)];
    return [once, ...again.map((fd) => calls.bind(fd, LOCALHOST, port + 3))].map(outcome);
  },
  'bind: addresses that are not ours, or not one host': ({ calls }, port) => {
    const addresses = [
      ...['203.0.113.7', '198.51.100.2', '198.51.100.255', '255.255.255.255', '224.0.0.1'],
      ...['127.255.255.255', '127.0.0.0', '127.9.9.9', '0.0.0.1', '240.0.0.1', DEVICE_ADDRESS],
    ];
    return addresses.map((text, i) => {
      return `${text} ${outcome(calls.bind(calls.socket(), ipv4(text), port + i))}`;
    });
  },
  'bind: privileged ports, and which error comes first': ({ calls }) => {
    const foreign = ipv4('203.0.113.7');
    return [USER, 0].flatMap((uid) => [
      outcome(calls.bind(calls.socket(uid), LOCALHOST, 1023)),
      outcome(calls.bind(calls.socket(uid), LOCALHOST, 1024)),
      outcome(calls.bind(calls.socket(uid), foreign, 1023)),
    ]);
  },
  'bind: ip_unprivileged_port_start': (world) => {
    const { calls } = world;
    world.setSysctl('net.ipv4.ip_unprivileged_port_start', 80);
    try {
      return [79, 80].map((port) => outcome(calls.bind(calls.socket(USER), LOCALHOST, port)));
    } finally {
      world.setSysctl('net.ipv4.ip_unprivileged_port_start', 1024);
    }
  },
  'bind: in use by another user': ({ calls }, port) => {
    return [USER, USER + 1, USER].map((uid) => {
      const fd = calls.socket(uid);
      calls.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1);
      return outcome(calls.bind(fd, LOCALHOST, port));
    });
  },
};

const LISTEN: Readonly<Record<string, Situation>> = {
  'listen: connected, connecting, refused': ({ calls }, port) => {
    const [client, child] = connected(calls, port);
    const refused = calls.socket();
    calls.connect(refused, LOCALHOST, port + 1);
    return [client, child, connecting(calls), refused].map((fd) => outcome(calls.listen(fd, 1)));
  },
  'listen: unbound takes a port': (world, port) => {
    const { calls } = world;
    setRange(world, port);
    const fd = calls.socket();
    const first = outcome(calls.listen(fd, 1));
    const name = calls.getsockname(fd);
    const second = outcome(calls.listen(calls.socket(), 1));
    const shown = typeof name === 'number' ? outcome(name) : `${name.address}:${name.port - port}`;
    return [first, shown, second];
  },
  'listen: the backlog and its edges': (world, port) => {
    const { calls } = world;
    const backlogs = [-1, 0, 1, 5, 4095, 4096, 4097, 2 ** 31 - 1, -(2 ** 31)];
    const said = backlogs.map((backlog, i) => {
      const fd = listening(calls, port + i, backlog);
      return `${backlog}: ${queue(calls, fd)}`;
    });
    world.setSysctl(SOMAXCONN, 7);
    for (const [i, backlog] of [-1, 6, 7, 8].entries()) {
      said.push(queue(calls, listening(calls, port + backlogs.length + i, backlog)));
    }
    world.setSysctl(SOMAXCONN, 4096);
    return said;
  },
  'listen: again, with another backlog': ({ calls }, port) => {
    const fd = listening(calls, port, 5);
    return [1, 100, -1, 0].map((backlog) => {
      return `${outcome(calls.listen(fd, backlog))} ${queue(calls, fd)}`;
    });
  },
  'listen: backlog + 1 connections wait': ({ calls }, port) => {
    return [0, 1, 4].map((backlog, i) => {
      const listener = listening(calls, port + i, backlog);
      const clients = Array.from({ length: backlog + 3 }, () => calls.socket());
      for (const client of clients) calls.connect(client, LOCALHOST, port + i);
      const through = clients.map((client) => calls.poll(client, POLLOUT) & POLLOUT);
      const waiting = queue(calls, listener);
      let accepted = 0;
      while (calls.accept(listener) >= 0) accepted++;
      return `${through.join()} ${waiting} ${accepted} ${queue(calls, listener)}`;
    });
  },
  'listen: after shutdown, on the same port if that was asked for': (world, port) => {
    const { calls } = world;
    const named = (fd: number): string => {
      const name = calls.getsockname(fd);
      return typeof name === 'number' ? outcome(name) : String(name.port - port);
    };
    const explicit = listening(calls, port);
    setRange(world, port + 1);
    const chosen = calls.socket();
    calls.listen(chosen, 5);
    const said = [named(explicit), named(chosen)];
    setRange(world, port + 2);
    for (const fd of [explicit, chosen]) {
      said.push(outcome(calls.shutdown(fd, SHUT_RD)), option(calls, fd, SOL_SOCKET, SO_ACCEPTCONN));
      said.push(named(fd), outcome(calls.listen(fd, 5)), named(fd));
    }
    return said;
  },
  'listen: after shutdown, when another has taken the port': ({ calls }, port) => {
    const pair = [calls.socket(), calls.socket()];
    for (const fd of pair) calls.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    const said = pair.map((fd) => calls.bind(fd, LOCALHOST, port));
    said.push(calls.listen(pair[0]!, 1), calls.listen(pair[1]!, 1));
    said.push(calls.shutdown(pair[0]!, SHUT_RD), calls.listen(pair[1]!, 1));
    said.push(calls.listen(pair[0]!, 1));
    return said.map(outcome);
  },
};

const ACCEPT: Readonly<Record<string, Situation>> = {
  'accept: not listening, nobody there, shut down': ({ calls }, port) => {
    const bound = calls.socket();
    calls.bind(bound, LOCALHOST, port);
    const [client, child] = connected(calls, port + 1);
    const listener = listening(calls, port + 2);
    const said = [bound, client, child, connecting(calls), listener].map((fd) => calls.accept(fd));
    calls.shutdown(listener, SHUT_RDWR);
    return [...said, calls.accept(listener)].map(outcome);
  },
  'accept: one that was reset meanwhile is there, and its error': ({ calls }, port) => {
    const listener = listening(calls, port);
    const client = calls.socket();
    calls.connect(client, LOCALHOST, port);
    calls.abort(client);
    const child = calls.accept(listener);
    const peer = calls.getpeername(child);
    return [
      outcome(child),
      typeof peer === 'number' ? outcome(peer) : 'named',
      String(calls.poll(child, POLLIN | POLLOUT)),
      received(calls.recv(child, 10)),
      received(calls.recv(child, 10)),
    ];
  },
  'accept: options of the listener': ({ calls }, port) => {
    const listener = calls.socket();
    const options: [level: number, name: number, value: number, value2?: number][] = [
      [SOL_SOCKET, SO_REUSEADDR, 1],
      [SOL_SOCKET, SO_REUSEPORT, 1],
      [SOL_SOCKET, 9, 1],
      [SOL_SOCKET, SO_LINGER, 1, 17],
      [SOL_SOCKET, SO_INCOMING_CPU, 1],
      [IPPROTO_TCP, 1, 1],
      [IPPROTO_TCP, 3, 1],
      [IPPROTO_TCP, 4, 55],
      [IPPROTO_TCP, 5, 56],
      [IPPROTO_TCP, 6, 7],
      [IPPROTO_TCP, 7, 3],
      [0, 1, 0x28],
      [0, 2, 33],
      [0, 24, 1],
      [0, 51, (3000 << 16) | 2500],
    ];
    const said: string[] = [];
    for (const [level, name, value, value2] of options) {
      said.push(outcome(calls.setsockopt(listener, level, name, value, value2)));
    }
    calls.setsockoptText(listener, SOL_SOCKET, SO_BINDTODEVICE, 'lo');
    calls.bind(listener, LOCALHOST, port);
    calls.listen(listener, 5);
    const client = calls.socket();
    calls.connect(client, LOCALHOST, port);
    const child = calls.accept(listener);
    for (const [level, name] of options) {
      for (const fd of [listener, child]) {
        said.push(`${level}/${name}: ${option(calls, fd, level, name, 64)}`);
      }
    }
    calls.close(listener);
    const stranger = calls.socket();
    calls.setsockopt(stranger, SOL_SOCKET, SO_REUSEPORT, 1);
    calls.setsockoptText(stranger, SOL_SOCKET, SO_BINDTODEVICE, DEVICE);
    return [...said, outcome(calls.bind(stranger, LOCALHOST, port))];
  },
};

const CONNECT: Readonly<Record<string, Situation>> = {
  'connect: a listener, a connection, one on its way, a refused one': ({ calls }, port) => {
    const refused = calls.socket();
    const [client, child] = connected(calls, port + 1);
    const slow = connecting(calls);
    const go = (fd: number): string => outcome(calls.connect(fd, LOCALHOST, port));
    const said = [listening(calls, port + 2), client, client, child, slow, slow].map(go);
    const again = listening(calls, port);
    calls.close(again);
    said.push(go(refused), go(refused), go(refused), option(calls, refused, SOL_SOCKET, SO_ERROR));
    said.push(go(refused), outcome(calls.listen(refused, 1)));
    return said;
  },
  'connect: where nobody can be': ({ calls }) => {
    const peers = ['255.255.255.255', '224.0.0.1', '198.51.100.255', '240.0.0.1'];
    return peers.map((text) => {
      const fd = calls.socket();
      return `${text} ${outcome(calls.connect(fd, ipv4(text), 80))}`;
    });
  },
  'connect: port 0': ({ calls }) => {
    const fd = calls.socket();
    return [
      outcome(calls.connect(fd, LOCALHOST, 0)),
      option(calls, fd, SOL_SOCKET, SO_ERROR),
      outcome(calls.connect(fd, LOCALHOST, 0)),
    ];
  },
  'connect: the same connection twice': ({ calls }, port) => {
    listening(calls, port);
    return [0, 1].map(() => {
      const fd = calls.socket();
      calls.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
      const bound = outcome(calls.bind(fd, OTHER, port + 1));
      return `${bound} ${outcome(calls.connect(fd, LOCALHOST, port))}`;
    });
  },
  'recv, send, poll and names where there is no connection': ({ calls }, port) => {
    const bound = calls.socket();
    calls.bind(bound, LOCALHOST, port);
    const refused = calls.socket();
    calls.connect(refused, LOCALHOST, port + 1);
    const all = [calls.socket(), bound, listening(calls, port + 2), connecting(calls), refused];
    return all.map((fd) => {
      const peer = calls.getpeername(fd);
      return [
        String(calls.poll(fd, POLLIN | POLLOUT)),
        typeof peer === 'number' ? outcome(peer) : 'named',
        received(calls.recv(fd, 1)),
        outcome(calls.send(fd, Uint8Array.of(1))),
        received(calls.recv(fd, 1)),
      ].join();
    });
  },
  'shutdown: everywhere, every way': ({ calls }, port) => {
    let next = port;
    return [-1, SHUT_RD, SHUT_WR, SHUT_RDWR, 3].flatMap((how) => {
      const bound = calls.socket();
      calls.bind(bound, LOCALHOST, next++);
      const [client] = connected(calls, next++);
      const all = [calls.socket(), bound, listening(calls, next++), client, connecting(calls)];
      return all.map((fd) => {
        const result = outcome(calls.shutdown(fd, how));
        const events = calls.poll(fd, POLLIN | POLLOUT);
        const sent = outcome(calls.send(fd, Uint8Array.of(1)));
        return `${how} ${result} ${events} ${sent} ${received(calls.recv(fd, 1))}`;
      });
    });
  },
};

/** Values at and beyond the edges of each option. */
const EDGES: readonly (readonly [level: number, name: number, values: readonly number[]])[] = [
  [SOL_SOCKET, SO_REUSEADDR, [0, 1, 2, -1]],
  [SOL_SOCKET, SO_REUSEPORT, [0, 1, 2, -1]],
  [SOL_SOCKET, SO_INCOMING_CPU, [-1, 0, 5, 4096, -5]],
  [SOL_SOCKET, 9, [0, 1, 7]],
  [IPPROTO_TCP, 1, [0, 1, 7]],
  [IPPROTO_TCP, 2, [0, 1, 87, 88, 32_767, 32_768, -1]],
  [IPPROTO_TCP, 4, [0, 1, 32_767, 32_768, -1]],
  [IPPROTO_TCP, 5, [0, 1, 32_767, 32_768, -1]],
  [IPPROTO_TCP, 6, [0, 1, 127, 128, -1]],
  [IPPROTO_TCP, 7, [0, 1, 127, 128, -1]],
  [0, 1, [0, 0x28, 0xff, 0x1ff, -1]],
  [0, 2, [-2, -1, 0, 1, 255, 256]],
];

const OPTIONS: Readonly<Record<string, Situation>> = {
  'setsockopt: values at the edges, and what is read back': ({ calls }) => {
    return EDGES.flatMap(([level, name, values]) =>
      values.map((value) => {
        const fd = calls.socket();
        const result = outcome(calls.setsockopt(fd, level, name, value));
        return `${level}/${name}=${value}: ${result}, ${option(calls, fd, level, name, 64)}`;
      }),
    );
  },
  'setsockopt: SO_LINGER': ({ calls }) => {
    return [
      [0, 5],
      [1, 0],
      [1, 5],
      [2, 32_767],
    ].map(([on, seconds]) => {
      const fd = calls.socket();
      const result = outcome(calls.setsockopt(fd, SOL_SOCKET, SO_LINGER, on!, seconds));
      return `${result} ${option(calls, fd, SOL_SOCKET, SO_LINGER)}`;
    });
  },
  'SO_BINDTODEVICE: names, users, and who may change it': ({ calls }) => {
    const said: string[] = [];
    for (const uid of [0, USER]) {
      const fd = calls.socket(uid);
      for (const name of ['none0', 'lo', DEVICE, '', 'lo', 'a-name-too-long-for-one']) {
        said.push(
          `${name} ${outcome(calls.setsockoptText(fd, SOL_SOCKET, SO_BINDTODEVICE, name))}`,
        );
      }
    }
    return said;
  },
  'SO_BINDTODEVICE: who shares a port': ({ calls }, port) => {
    const devices = ['', 'lo', DEVICE];
    return devices.flatMap((first, i) =>
      devices.map((second, j) => {
        const results = [first, second].map((name) => {
          const fd = calls.socket();
          calls.setsockoptText(fd, SOL_SOCKET, SO_BINDTODEVICE, name);
          return outcome(calls.bind(fd, 0, port + 3 * i + j));
        });
        return `${first}, ${second}: ${results.join()}`;
      }),
    );
  },
};

/** Situations in which we mean to answer otherwise (docs/DIFFERENCES.md). */
export const DIFFERENT: Readonly<
  Record<string, { situation: Situation; linux: string; ours: string }>
> = {
  'connect: a host on "this network"': {
    situation: ({ calls }) => [outcome(calls.connect(calls.socket(), ipv4('0.0.0.1'), 80))],
    linux: 'EINPROGRESS',
    ours: 'ENETUNREACH',
  },
};

/** Every situation, by its title. */
export const SITUATIONS: Readonly<Record<string, Situation>> = {
  ...BIND,
  ...LISTEN,
  ...ACCEPT,
  ...CONNECT,
  ...OPTIONS,
};
