/**
 * A listener stops while connections are queued, half-open, answered by a cookie, deferred or
 * accepted: by close() and by shutdown(), alone and in a group, with net.ipv4.tcp_migrate_req off
 * and on. Linux inet_connection_sock.c: inet_csk_listen_stop, reqsk_timer_handler;
 * sock_reuseport.c: reuseport_migrate_sock.
 */
import type { Scenario } from './compare.js';
import type { Knobs } from './machine.js';
import { IPPROTO_TCP, type Play, type Sock, TCP_DEFER_ACCEPT } from './play.js';
import { SHUT_RD, SHUT_RDWR, SHUT_WR } from './socket-calls.js';

const MIGRATE: Knobs = { 'net.ipv4.tcp_migrate_req': 1 };
const SYN = 'S 0:0(0) win 65535 <mss 1460>';
const THIRD = '. 1:1(0) ack 1 win 65535';
const TEXT = 'P. 1:6(5) ack 1 win 65535';

/** How a listener stops. */
const STOPS: Readonly<Record<string, (listener: Sock) => void>> = {
  close: (listener) => listener.close(),
  'shutdown(SHUT_RD)': (listener) => listener.shutdown(SHUT_RD),
  'shutdown(SHUT_RDWR)': (listener) => listener.shutdown(SHUT_RDWR),
};

/** Connections in every stage at one listener, then it stops among `survivors` others. */
function everyStage(play: Play, survivors: number, stop: (listener: Sock) => void): void {
  const reuseport = survivors >= 0;
  const listener = play.listener({ reuseport });
  const names = ['half', 'half2', 'queued', 'withText', 'withFin', 'reset', 'accepted'] as const;
  const flows = names.map(() => play.flow());
  const [half, half2, queued, withText, withFin, reset, accepted] = flows;
  accepted!.handshake();
  const connection = listener.accept();
  for (const flow of [queued, withText, withFin, reset]) flow!.handshake();
  withText!.in(TEXT);
  withFin!.in('FP. 1:6(5) ack 1 win 65535');
  reset!.in('R 1:1(0)');
  half!.in(SYN);
  half2!.in(SYN);
  const others = Array.from({ length: Math.max(0, survivors) }, () => play.listener({ reuseport }));
  stop(listener);
  half!.in(TEXT);
  half2!.in(THIRD);
  half2!.in(TEXT);
  for (const flow of [queued, withText, reset, accepted]) {
    flow!.in('P. 6:9(3) ack 1 win 65535');
  }
  for (const child of play.acceptAny(others)) child.recv();
  play.flow().in(SYN);
  connection?.recv();
  connection?.send(5);
  accepted!.in('. 9:9(0) ack 6 win 65535');
}

const stages: Scenario[] = [{}, MIGRATE].flatMap((knobs) =>
  Object.entries(STOPS).flatMap(([how, stop]) =>
    [-1, 0, 1, 2, 3].map((survivors) => {
      const whose = survivors < 0 ? 'no group' : `${survivors} survivors`;
      return {
        name: `${how}, ${whose}, ${JSON.stringify(knobs)}`,
        knobs,
        script: (play: Play) => {
          everyStage(play, survivors, stop);
          return undefined;
        },
      };
    }),
  ),
);

/** Requests whose listener is gone: one more segment each, before a group member takes over. */
const ORPHAN_SEGMENTS: readonly string[] = [
  THIRD,
  TEXT,
  SYN,
  'S 7:7(0) win 65535',
  'R 1:1(0)',
  'R 2:2(0)',
  'R 70000:70000(0)',
  '. 1:1(0) ack 2',
  '. 70000:70000(0) ack 1',
  'F. 1:1(0) ack 1',
  'F 1:1(0)',
  'S. 0:0(0) ack 1',
  'S. 0:0(0) ack 2',
  '- 1:1(0)',
];

const orphans: Scenario[] = [{}, MIGRATE].flatMap((knobs) =>
  ORPHAN_SEGMENTS.map((text) => ({
    name: `${text} for a request whose listener has closed, ${JSON.stringify(knobs)}`,
    knobs,
    script: (play: Play) => {
      const listener = play.listener({ reuseport: true });
      const flow = play.flow();
      flow.in(SYN);
      const other = play.listener({ reuseport: true });
      listener.close();
      flow.in(text);
      flow.in(TEXT);
      for (const child of play.acceptAny([other])) child.recv();
      return undefined;
    },
  })),
);

/** The queues of the member that takes over are full: children come anyway, requests do not. */
function intoFull(play: Play): void {
  const listener = play.listener({ reuseport: true });
  const queued = Array.from({ length: 3 }, () => play.flow());
  for (const flow of queued) flow.handshake();
  const half = Array.from({ length: 3 }, () => play.flow());
  for (const flow of half) flow.in(SYN);
  const other = play.listener({ reuseport: true, backlog: 1 });
  listener.close();
  for (const flow of half) flow.in(THIRD);
  play.flow().in(SYN);
  play.acceptAny([other]);
  for (const flow of half) flow.in(TEXT);
  for (const child of play.acceptAny([other])) child.recv();
  for (const flow of half) flow.in(TEXT);
}

/** Stops one after the other; what has migrated migrates again. */
function chain(play: Play): void {
  let listener = play.listener({ reuseport: true });
  const queued = play.flow();
  const half = play.flow();
  queued.handshake();
  half.in(SYN);
  for (let i = 0; i < 3; i++) {
    const next = play.listener({ reuseport: true });
    listener.close();
    listener = next;
  }
  half.in(TEXT);
  for (const child of play.acceptAny([listener])) child.recv();
}

/** A stopped member listens again: it may take over what it has lost. */
function resurrected(play: Play): void {
  const first = play.listener({ reuseport: true });
  const half = play.flow();
  half.in(SYN);
  const second = play.listener({ reuseport: true });
  first.shutdown(SHUT_RD);
  first.listen(128);
  second.close();
  half.in(TEXT);
  for (const child of play.acceptAny([first])) child.recv();
  play.flow().handshake();
  play.acceptAny([first]);
}

/** The listener that a request belongs to listens again itself. */
function listensAgain(play: Play, reuseport: boolean): void {
  const listener = play.listener({ reuseport });
  const half = play.flow();
  const queued = play.flow();
  queued.handshake();
  half.in(SYN);
  listener.shutdown(SHUT_RD);
  half.in('. 1:1(0) ack 9 win 100');
  listener.accept();
  listener.listen(4);
  half.in(TEXT);
  listener.accept();
  play.flow().handshake();
  listener.accept();
}

/** Another listener without a group takes the port: requests of the old one are nobody's. */
function successor(play: Play): void {
  const listener = play.listener();
  const half = play.flow();
  half.in(SYN);
  listener.close();
  const next = play.listener();
  half.in(TEXT);
  half.in(SYN);
  half.in(TEXT);
  next.accept();
}

function migratesWithDefer(play: Play): void {
  const options = [[IPPROTO_TCP, TCP_DEFER_ACCEPT, 3]] as const;
  const listener = play.listener({ reuseport: true, options });
  const deferred = play.flow();
  deferred.handshake();
  const other = play.listener({ reuseport: true });
  listener.close();
  deferred.in(THIRD);
  deferred.in(TEXT);
  for (const child of play.acceptAny([other])) child.recv();
}

function plain(name: string, body: (play: Play) => void): Scenario[] {
  return [{}, MIGRATE].map((knobs) => ({
    name: `${name}, ${JSON.stringify(knobs)}`,
    knobs,
    script: (play) => {
      body(play);
      return undefined;
    },
  }));
}

const others: Scenario[] = [
  ...plain('the survivor is full', intoFull),
  ...plain('closed one after the other', chain),
  ...plain('a member listens again', resurrected),
  ...plain('a listener listens again', (play) => listensAgain(play, false)),
  ...plain('the only member of a group listens again', (play) => listensAgain(play, true)),
  ...plain('a successor without a group', successor),
  ...plain('deferred requests', migratesWithDefer),
  ...plain('shutdown(SHUT_WR) does nothing', (play) => {
    const listener = play.listener();
    const flow = play.flow();
    flow.in(SYN);
    listener.shutdown(SHUT_WR);
    flow.in(TEXT);
    listener.accept()?.recv();
  }),
];

/** Requests that find out by their SYN-ACK timer. */
const timers: Scenario[] = [{}, MIGRATE].map((knobs) => ({
  name: `the SYN-ACK timer finds the listener closed, ${JSON.stringify(knobs)}`,
  knobs,
  slow: true,
  *script(play) {
    const listener = play.listener({ reuseport: true });
    const flow = play.flow();
    flow.in(SYN);
    const other = play.listener({ reuseport: true });
    listener.close();
    yield 1200;
    flow.in(TEXT);
    for (const child of play.acceptAny([other])) child.recv();
  },
}));

export const CLOSE_SCENARIOS: readonly Scenario[] = [...stages, ...orphans, ...others, ...timers];
