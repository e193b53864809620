/**
 * Full queues, packet by packet: how many SYNs are answered, what a third ACK finds, what frees the
 * way, and the counters of it; with SYN cookies off, on demand and always. Linux tcp_input.c:
 * tcp_conn_request; inet_connection_sock.h: inet_csk_reqsk_queue_is_full; sock.h:
 * sk_acceptq_is_full.
 */
import type { Scenario } from './compare.js';
import type { Knobs } from './machine.js';
import { type Flow, IPPROTO_TCP, type Play, type Sock, TCP_SYNCNT } from './play.js';

const BACKLOGS: readonly number[] = [0, 1, 2, 4];

interface Crowd {
  listener: Sock;
  flows: Flow[];
}

/** A listener and more peers than it has room for, all of whom have sent a SYN. */
function crowd(play: Play, backlog: number, more = 4): Crowd {
  const listener = play.listener({ backlog });
  const flows = Array.from({ length: backlog + more }, () => play.flow());
  for (const flow of flows) flow.in('S 0:0(0) win 65535 <mss 1460>');
  return { listener, flows };
}

const THIRD = '. 1:1(0) ack 1 win 65535';
const TEXT = 'P. 1:6(5) ack 1 win 65535';

function acceptAll(listener: Sock): Sock[] {
  const children: Sock[] = [];
  for (let child = listener.accept(); child !== null; child = listener.accept()) {
    children.push(child);
  }
  return children;
}

function forBacklogs(
  name: string,
  knobs: Knobs,
  body: (play: Play, backlog: number) => void,
): Scenario[] {
  return BACKLOGS.map((backlog) => ({
    name: `${name}, backlog ${backlog}, ${JSON.stringify(knobs)}`,
    knobs,
    since: [6, 14] as const,
    script: (play) => {
      body(play, backlog);
      return undefined;
    },
  }));
}

/** Everybody's SYN first, then everybody's third ACK, twice, then text, then room, then text. */
function crowded(play: Play, backlog: number): void {
  const { listener, flows } = crowd(play, backlog);
  for (const text of [THIRD, THIRD, TEXT]) for (const flow of flows) flow.in(text);
  play.flow().in('S 0:0(0) win 65535 <mss 1460>');
  for (const child of acceptAll(listener)) child.recv();
  for (const flow of flows) flow.in(TEXT);
  for (const child of acceptAll(listener)) child.recv();
}

/** One after the other, whole handshakes, until no SYN is answered; one accept makes room. */
function oneByOne(play: Play, backlog: number): void {
  const listener = play.listener({ backlog });
  for (let i = 0; i < backlog + 3; i++) play.flow().handshake();
  listener.accept();
  for (let i = 0; i < 2; i++) play.flow().handshake();
  acceptAll(listener);
}

/** The accept queue is full and there are requests beside it: each gets something else. */
function beside(play: Play, backlog: number): void {
  const listener = play.listener({ backlog });
  const waiting = Array.from({ length: backlog + 1 }, () => play.flow());
  for (const flow of waiting) flow.in('S 0:0(0) win 65535 <mss 1460>');
  const late = play.flow();
  const [first, ...others] = waiting;
  first!.in(THIRD);
  late.in('S 0:0(0) win 65535 <mss 1460>');
  for (const flow of others) flow.in(THIRD);
  late.in(THIRD);
  late.in('R 9:9(0)');
  late.in('F. 1:1(0) ack 1 win 9');
  late.in('S 0:0(0) win 65535 <mss 1460>');
  late.in('R 1:1(0)');
  listener.accept();
  late.in(TEXT);
  play.flow().handshake();
  acceptAll(listener);
}

const COOKIES_OFF: Knobs = { 'net.ipv4.tcp_syncookies': 0 };
const COOKIES_ALWAYS: Knobs = { 'net.ipv4.tcp_syncookies': 2 };
const ABORT: Knobs = { 'net.ipv4.tcp_abort_on_overflow': 1 };
const SMALL: Knobs = { 'net.ipv4.tcp_syncookies': 0, 'net.ipv4.tcp_max_syn_backlog': 8 };

const PLOTS = { crowded, 'one by one': oneByOne, beside } as const;

const overflows: Scenario[] = Object.entries(PLOTS).flatMap(([name, body]) =>
  [{}, COOKIES_OFF, COOKIES_ALWAYS, ABORT, { ...COOKIES_OFF, ...ABORT }].flatMap((knobs) =>
    forBacklogs(name, knobs, body),
  ),
);

const changes: Scenario[] = [
  {
    name: 'tcp_max_syn_backlog counts when cookies are off',
    knobs: SMALL,
    script: (play) => {
      const listener = play.listener({ backlog: 100 });
      for (let i = 0; i < 12; i++) play.flow().in('S 0:0(0) win 65535 <mss 1460>');
      listener.accept();
      return undefined;
    },
  },
  {
    name: 'tcp_max_syn_backlog does not count when cookies are on',
    knobs: { 'net.ipv4.tcp_max_syn_backlog': 8 },
    script: (play) => {
      play.listener({ backlog: 100 });
      for (let i = 0; i < 12; i++) play.flow().in('S 0:0(0) win 65535 <mss 1460>');
      return undefined;
    },
  },
  {
    name: 'somaxconn caps the backlog',
    knobs: { 'net.core.somaxconn': 2, 'net.ipv4.tcp_syncookies': 0 },
    since: [6, 14],
    script: (play) => {
      const { listener, flows } = crowd(play, 6, 0);
      for (const flow of flows) flow.in(THIRD);
      acceptAll(listener);
      return undefined;
    },
  },
  {
    name: 'a second listen() makes the queues larger and smaller',
    knobs: COOKIES_OFF,
    since: [6, 14],
    script: (play) => {
      const { listener } = crowd(play, 1);
      listener.listen(4);
      const flows = Array.from({ length: 6 }, () => play.flow());
      for (const flow of flows) flow.in('S 0:0(0) win 65535 <mss 1460>');
      for (const flow of flows) flow.in(THIRD);
      listener.listen(0);
      play.flow().in('S 0:0(0) win 65535 <mss 1460>');
      acceptAll(listener);
      for (const flow of flows) flow.in(THIRD);
      acceptAll(listener);
      return undefined;
    },
  },
  {
    name: 'listen(-1) is somaxconn',
    knobs: { 'net.core.somaxconn': 3, 'net.ipv4.tcp_syncookies': 0 },
    since: [6, 14],
    script: (play) => {
      crowd(play, -1, 8);
      return undefined;
    },
  },
];

/** The resent SYN-ACKs of requests that cannot become connections; and that they end. */
const timers: Scenario[] = [
  {
    name: 'SYN-ACKs go on while the accept queue is full',
    slow: true,
    *script(play) {
      const { listener, flows } = crowd(play, 1, 1);
      for (const flow of flows) flow.in(THIRD);
      yield 1500;
      listener.accept();
      yield 2000;
      for (const flow of flows) flow.in(TEXT);
      acceptAll(listener);
    },
  },
  {
    name: 'two resent SYN-ACKs of tcp_synack_retries 1',
    knobs: { 'net.ipv4.tcp_synack_retries': 1 },
    slow: true,
    *script(play) {
      const listener = play.listener();
      const flow = play.flow();
      flow.in('S 0:0(0) win 65535 <mss 1460>');
      yield 3500;
      flow.in(THIRD);
      listener.accept();
    },
  },
  {
    name: 'TCP_SYNCNT of the listener counts',
    slow: true,
    *script(play) {
      const listener = play.listener({ options: [[IPPROTO_TCP, TCP_SYNCNT, 1]] });
      const flow = play.flow();
      flow.in('S 0:0(0) win 65535 <mss 1460>');
      yield 3500;
      flow.in(THIRD);
      listener.accept();
    },
  },
  {
    name: 'a repeated SYN starts the timer anew',
    slow: true,
    *script(play) {
      const listener = play.listener();
      const flow = play.flow();
      flow.in('S 0:0(0) win 65535 <mss 1460>');
      yield 700;
      flow.in('S 0:0(0) win 65535 <mss 1460>');
      yield 600;
      flow.in('S 0:0(0) win 65535 <mss 1460>');
      yield 1300;
      flow.in(TEXT);
      listener.accept()?.send(20_000);
    },
  },
];

export const QUEUE_SCENARIOS: readonly Scenario[] = [...overflows, ...changes, ...timers];
