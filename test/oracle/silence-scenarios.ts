/**
 * A peer that falls silent, in every state of a connection: what is sent from then on and when, and
 * when nothing is left of the connection. Scenarios and what is written down; who compares is
 * silence.e2e.test.ts. Linux tcp_timer.c, tcp_minisocks.c, inet_connection_sock.c.
 */
import { readFileSync } from 'node:fs';
import { inetLookupEstablished } from '../../src/reuseport/lookup.js';
import { SK_TIMEWAIT } from '../../src/reuseport/sock-common.js';
import type { TimewaitSock } from '../../src/tcp/minisocks.js';
import { STATE_NAMES, TCP_NEW_SYN_RECV, TCP_SYN_RECV } from '../../src/tcp/state.js';
import { type Machine, OurMachine } from './machine.js';
import { type Flow, IPPROTO_TCP, type Play, type Script, type Sock } from './play.js';
import { SO_REUSEADDR, SOL_SOCKET } from './socket-calls.js';

const SO_KEEPALIVE = 9;
const TCP_LINGER2 = 8;
const TCP_USER_TIMEOUT = 18;
const TCP_FASTOPEN = 23;
const SHUT_WR = 1;
const SO_ERROR = 4;
/** Readable, and closed by the peer. */
const POLL_ALL = 0x2000 | 1 | 4;
/** How often it is looked, ms. */
const TICK_MS = 25;

/** Something that happened, and how long after the peer fell silent, ms. */
export interface Event {
  readonly what: string;
  readonly afterMs: number;
}

/** What was seen of one connection. */
export interface Watch {
  readonly events: Event[];
  /** The longest that nobody looked, ms: by so much everything may seem to be late. */
  blindMs: number;
}

export interface Silence {
  readonly name: string;
  readonly enter: (play: Play) => { flow: Flow; sock: Sock | null };
  /** Nothing ends it: only that is looked for. */
  readonly stays?: boolean;
}

/** What stands in the machine's tables for the connection of `flow` to local port `port`. */
function stateOf(machine: Machine, flow: Flow, port: number): string {
  return machine instanceof OurMachine ? ourState(machine, flow, port) : kernelState(flow, port);
}

function ourState({ calls }: OurMachine, flow: Flow, port: number): string {
  const { hashinfo } = calls.stack.tcp;
  const sk = inetLookupEstablished(hashinfo, flow.peer, flow.port, flow.server, port, 1);
  if (sk === null) return 'gone';
  const state = sk.kind === SK_TIMEWAIT ? (sk as TimewaitSock).substate : sk.state;
  return STATE_NAMES[state === TCP_NEW_SYN_RECV ? TCP_SYN_RECV : state]!;
}

/** The kernel's table at one moment: to read it takes the kernel milliseconds. */
const table = { atMs: 0, states: new Map<string, number>() };

/**
 * `/proc/net/tcp`: addresses as the machine keeps them, ports as they are, all in hexadecimal. What
 * is older than a tick is read anew.
 */
function kernelState(flow: Flow, port: number): string {
  if (performance.now() - table.atMs >= TICK_MS / 2) {
    table.states.clear();
    for (const line of readFileSync('/proc/net/tcp', 'latin1').split('\n').slice(1)) {
      const [, local = '', peer = '', state = ''] = line.trim().split(/ +/);
      const ports = [local, peer].map((end) => Number.parseInt(end.split(':')[1] ?? '', 16));
      table.states.set(ports.join(), Number.parseInt(state, 16));
    }
    table.atMs = performance.now();
  }
  const state = table.states.get(`${port},${flow.port}`);
  return state === undefined ? 'gone' : STATE_NAMES[state]!;
}

/** Plays `silence` and watches for `forMs`. */
export function watched(silence: Silence, forMs: number, watch: Watch): Script {
  const { events } = watch;
  return function* script(play) {
    const { flow, sock } = silence.enter(play);
    play.drain();
    const { machine } = play;
    const startMs = machine.now();
    let told = flow.packets.length;
    let state = '';
    for (let afterMs = 0; ; ) {
      yield TICK_MS;
      watch.blindMs = Math.max(watch.blindMs, machine.now() - startMs - afterMs);
      afterMs = machine.now() - startMs;
      for (; told < flow.packets.length; told++) {
        const { flags, payload, options } = flow.packets[told]!;
        const syn = flags.includes('S') ? ` ${options.map(({ kind }) => kind).join()}` : '';
        const seq = flow.relative(flow.packets[told]!.seq);
        events.push({ what: `${flags} ${seq} (${payload.length})${syn}`, afterMs });
      }
      const now = stateOf(machine, flow, play.portAt(0));
      if (now !== state) events.push({ what: now, afterMs });
      state = now;
      if (state === 'gone' || afterMs >= forMs) break;
    }
    if (sock === null) return;
    sock.poll(POLL_ALL);
    sock.getsockopt(SOL_SOCKET, SO_ERROR);
    events.push({ what: play.log.slice(-2).join(' '), afterMs: machine.now() - startMs });
  };
}

const FULL = '<mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>';
const STAMP = ' <nop,nop,TS val 101 ecr 1000>';

type Setting = readonly [level: number, name: number, value: number];

/** An accepted connection; `options` of the listener. */
function established(play: Play, ...options: Setting[]): { flow: Flow; sock: Sock } {
  const listener = play.listener({ options: [[SOL_SOCKET, SO_REUSEADDR, 1], ...options] });
  const flow = play.flow();
  flow.handshake(FULL);
  return { flow, sock: listener.accept()! };
}

const keptAlive = [SOL_SOCKET, SO_KEEPALIVE, 1] as const;

/** As `established`, then `then`; the socket is closed if `closes` says so. */
function after(then: (flow: Flow, sock: Sock) => void, ...options: Setting[]): Silence['enter'] {
  return (play) => {
    const { flow, sock } = established(play, ...options);
    then(flow, sock);
    return { flow, sock };
  };
}

/** The same, and the application has let go: there is nobody to be told. */
function orphan(then: (flow: Flow, sock: Sock) => void, ...options: Setting[]): Silence['enter'] {
  return (play) => {
    const { flow, sock } = established(play, ...options);
    then(flow, sock);
    sock.close();
    return { flow, sock: null };
  };
}

const closesWindow = (flow: Flow): void => flow.in(`. 1:1(0) ack 1 win 0${STAMP}`);
const finComes = (flow: Flow): void => flow.in(`F. 1:1(0) ack 1 win 500${STAMP}`);
const finAcked = (flow: Flow): void => flow.in(`. 1:1(0) ack 2 win 500${STAMP}`);

const OPENING: readonly Silence[] = [
  {
    name: 'half-open: SYN-RECEIVED of a listener',
    enter: (play) => {
      play.listener();
      const flow = play.flow();
      flow.in(`S 0:0(0) win 65535 ${FULL}`);
      return { flow, sock: null };
    },
  },
  {
    name: 'half-open, TCP_DEFER_ACCEPT, and the ACK has come',
    enter: (play) => {
      play.listener({ options: [[IPPROTO_TCP, 9, 3]] });
      const flow = play.flow();
      flow.handshake(FULL);
      return { flow, sock: null };
    },
  },
  {
    name: 'SYN-RECEIVED of Fast Open, accepted',
    enter: (play) => {
      const listener = play.listener({ options: [[IPPROTO_TCP, TCP_FASTOPEN, 5]] });
      const flow = play.flow();
      flow.in(`S 0:3(3) win 65535 ${FULL}`);
      return { flow, sock: listener.accept() };
    },
  },
  {
    name: 'SYN-SENT',
    enter: (play) => {
      const flow = play.flow();
      const sock = play.bound();
      sock.connect(flow);
      return { flow, sock };
    },
  },
  ...[1, 2, 3].map((count) => ({
    name: `SYN-SENT, TCP_SYNCNT ${count}`,
    enter: (play: Play) => {
      const flow = play.flow();
      const sock = play.bound({ options: [[IPPROTO_TCP, 7, count]] });
      sock.connect(flow);
      return { flow, sock };
    },
  })),
  {
    name: 'SYN-SENT, TCP_USER_TIMEOUT 2500',
    enter: (play) => {
      const flow = play.flow();
      const sock = play.bound({ options: [[IPPROTO_TCP, TCP_USER_TIMEOUT, 2500]] });
      sock.connect(flow);
      return { flow, sock };
    },
  },
  {
    name: 'SYN-RECEIVED of crossing SYNs',
    enter: (play) => {
      const flow = play.flow();
      const sock = play.bound();
      sock.connect(flow);
      flow.in(`S 0:0(0) win 65535 ${FULL}`);
      return { flow, sock };
    },
  },
];

const OPEN: readonly Silence[] = [
  { name: 'ESTABLISHED, idle', stays: true, enter: after(() => {}) },
  { name: 'ESTABLISHED, idle, keep-alive', enter: after(() => {}, keptAlive) },
  {
    name: 'ESTABLISHED, idle, keep-alive, TCP_USER_TIMEOUT 1500',
    enter: after(() => {}, keptAlive, [IPPROTO_TCP, TCP_USER_TIMEOUT, 1500]),
  },
  { name: 'ESTABLISHED, text under way', enter: after((_flow, sock) => sock.send(5)) },
  {
    name: 'ESTABLISHED, text under way, keep-alive',
    enter: after((_flow, sock) => sock.send(5), keptAlive),
  },
  {
    name: 'ESTABLISHED, text under way, TCP_USER_TIMEOUT 1000',
    enter: after((_flow, sock) => sock.send(5), [IPPROTO_TCP, TCP_USER_TIMEOUT, 1000]),
  },
  {
    name: 'ESTABLISHED, closed window',
    enter: after((flow, sock) => {
      closesWindow(flow);
      sock.send(5);
    }),
  },
  {
    name: 'ESTABLISHED, closed window, TCP_USER_TIMEOUT 1000',
    enter: after(
      (flow, sock) => {
        closesWindow(flow);
        sock.send(5);
      },
      [IPPROTO_TCP, TCP_USER_TIMEOUT, 1000],
    ),
  },
  {
    name: 'ESTABLISHED, waiting to be accepted, keep-alive',
    enter: (play) => {
      play.listener({ options: [keptAlive] });
      const flow = play.flow();
      flow.handshake(FULL);
      return { flow, sock: null };
    },
  },
  { name: 'CLOSE-WAIT, idle', stays: true, enter: after(finComes) },
  { name: 'CLOSE-WAIT, idle, keep-alive', enter: after(finComes, keptAlive) },
  {
    name: 'CLOSE-WAIT, text under way',
    enter: after((flow, sock) => {
      finComes(flow);
      sock.send(5);
    }),
  },
];

const shut = (_flow: Flow, sock: Sock): void => sock.shutdown(SHUT_WR);

const CLOSING: readonly Silence[] = [
  { name: 'FIN-WAIT-1', enter: after(shut) },
  { name: 'FIN-WAIT-1, orphan', enter: orphan(() => {}) },
  { name: 'FIN-WAIT-1, orphan with text', enter: orphan((_flow, sock) => sock.send(5)) },
  {
    name: 'FIN-WAIT-1, orphan with text, closed window',
    enter: orphan((flow, sock) => {
      closesWindow(flow);
      sock.send(5);
    }),
  },
  {
    name: 'FIN-WAIT-2',
    stays: true,
    enter: after((flow, sock) => {
      shut(flow, sock);
      finAcked(flow);
    }),
  },
  {
    name: 'FIN-WAIT-2, keep-alive',
    enter: after((flow, sock) => {
      shut(flow, sock);
      finAcked(flow);
    }, keptAlive),
  },
  {
    name: 'FIN-WAIT-2, orphan',
    enter: orphan((flow, sock) => {
      shut(flow, sock);
      finAcked(flow);
    }),
  },
  {
    name: 'FIN-WAIT-2, orphan, TCP_LINGER2 1',
    enter: orphan(
      (flow, sock) => {
        shut(flow, sock);
        finAcked(flow);
      },
      [IPPROTO_TCP, TCP_LINGER2, 1],
    ),
  },
  {
    name: 'CLOSING',
    enter: after((flow, sock) => {
      shut(flow, sock);
      finComes(flow);
    }),
  },
  {
    name: 'CLOSING, orphan',
    enter: orphan((flow, sock) => {
      shut(flow, sock);
      finComes(flow);
    }),
  },
  {
    name: 'LAST-ACK, not closed',
    enter: after((flow, sock) => {
      finComes(flow);
      shut(flow, sock);
    }),
  },
  { name: 'LAST-ACK', enter: orphan(finComes) },
  {
    name: 'LAST-ACK, closed window, text before the FIN',
    enter: orphan((flow, sock) => {
      flow.in(`F. 1:1(0) ack 1 win 0${STAMP}`);
      sock.send(5);
    }),
  },
  {
    name: 'TIME-WAIT',
    enter: orphan((flow, sock) => {
      shut(flow, sock);
      flow.in(`F. 1:1(0) ack 2 win 500${STAMP}`);
    }),
  },
];

export const SILENCES: readonly Silence[] = [...OPENING, ...OPEN, ...CLOSING];
