/**
 * From SYN to accept(): what happens to connections that wait for it, retransmitted SYNs while the
 * group changes, TCP_DEFER_ACCEPT, listeners bound to a device, and accepted connections closing.
 * Linux tcp_minisocks.c: tcp_check_req; tcp.c: inet_csk_accept; inet_hashtables.c:
 * inet_lhash2_lookup.
 */
import type { Scenario } from './compare.js';
import { IPPROTO_TCP, type Play, TCP_DEFER_ACCEPT, TCP_MAXSEG } from './play.js';
import { SHUT_RD, SHUT_WR } from './socket-calls.js';

const SYN = 'S 0:0(0) win 65535 <mss 1460>';
const THIRD = '. 1:1(0) ack 1 win 65535';
const TEXT = 'P. 1:6(5) ack 1 win 65535';

/** What comes while a connection waits to be accepted; what the application then sees. */
const BEFORE_ACCEPT: Readonly<Record<string, readonly string[]>> = {
  nothing: [],
  'a RST': ['R 1:1(0)'],
  'a RST|ACK': ['R. 1:1(0) ack 1'],
  'a RST that is not exact': ['R 2:2(0)'],
  text: [TEXT],
  'text twice': [TEXT, TEXT],
  'text out of order': ['P. 6:9(3) ack 1 win 65535', TEXT],
  'a FIN': ['F. 1:1(0) ack 1 win 65535'],
  'text and FIN': ['FP. 1:6(5) ack 1 win 65535'],
  'text, then a RST': [TEXT, 'R 6:6(0)'],
  'a FIN, then a RST': ['F. 1:1(0) ack 1 win 65535', 'R 2:2(0)'],
  'text and FIN, then a RST': ['FP. 1:6(5) ack 1 win 65535', 'R 7:7(0)'],
  'a FIN, then text after it': ['F. 1:1(0) ack 1 win 65535', 'P. 2:5(3) ack 1 win 65535'],
  'a SYN': [SYN],
  'another SYN': ['S 100:100(0) win 65535'],
  'an ACK for what was not sent': ['. 1:1(0) ack 2 win 65535'],
  'an ACK from long ago': ['. 1:1(0) ack 4294867296 win 65535'],
  'a segment beyond the window': ['P. 70000:70003(3) ack 1 win 65535'],
  'no flags': ['- 1:1(0)'],
};

const POLL_ALL = 0x2000 | 1 | 4;

const beforeAccept: Scenario[] = Object.entries(BEFORE_ACCEPT).map(([name, segments]) => ({
  name: `${name} before accept()`,
  *script(play) {
    const listener = play.listener();
    const flow = play.flow();
    flow.handshake();
    for (const text of segments) flow.in(text);
    yield 60;
    const child = listener.accept();
    listener.accept();
    if (child === null) return;
    child.poll(POLL_ALL);
    child.recv(3);
    child.recv();
    child.recv();
    child.send(4);
    flow.in('. 7:7(0) ack 5 win 65535');
    child.getsockopt(1, 4);
    child.recv();
    child.close();
    flow.in('. 7:7(0) ack 6 win 65535');
  },
}));

/** How the application ends an accepted connection, and what the peer has sent by then. */
const afterAccept: Scenario[] = [
  [],
  [TEXT],
  ['F. 1:1(0) ack 1 win 65535'],
  ['FP. 1:6(5) ack 1 win 65535'],
].flatMap((segments) =>
  ['close', 'recv, close', 'shutdown, close', 'linger 0', 'recv, linger 0', 'abort reading'].map(
    (how) => ({
      name: `${segments.join(', ') || 'nothing'} came; ${how}`,
      *script(play: Play) {
        const listener = play.listener();
        const flow = play.flow();
        flow.handshake();
        const child = listener.accept();
        for (const text of segments) flow.in(text);
        yield 60;
        if (child === null) return;
        if (how.includes('recv')) child.recv();
        if (how.includes('shutdown')) child.shutdown(SHUT_WR);
        if (how.includes('linger')) child.setsockopt(1, 13, 1, 0);
        if (how.includes('reading')) child.shutdown(SHUT_RD);
        else child.close();
        flow.in('P. 7:9(2) ack 1 win 65535');
        flow.in('. 9:9(0) ack 2 win 65535');
      },
    }),
  ),
);

/** The request stays where it is while members come and go. */
const groups: Scenario[] = [
  {
    name: 'a retransmitted SYN stays with its listener when others join',
    script: (play) => {
      const first = play.listener({ reuseport: true });
      const flows = Array.from({ length: 8 }, () => play.flow());
      for (const flow of flows) flow.in(SYN);
      const more = Array.from({ length: 3 }, () => play.listener({ reuseport: true }));
      for (const flow of flows) flow.in(SYN);
      for (const flow of flows) flow.in(TEXT);
      for (let i = 0; i <= flows.length; i++) first.accept();
      play.acceptAny(more);
      return undefined;
    },
  },
  {
    name: 'a retransmitted SYN stays with its listener when others leave',
    script: (play) => {
      const first = play.listener({ reuseport: true });
      const flow = play.flow();
      flow.in(SYN);
      const more = Array.from({ length: 3 }, () => play.listener({ reuseport: true }));
      for (const listener of more) listener.close();
      flow.in(SYN);
      flow.in(TEXT);
      first.accept();
      return undefined;
    },
  },
  {
    name: 'everybody is accepted by somebody',
    script: (play) => {
      const group = Array.from({ length: 4 }, () => play.listener({ reuseport: true }));
      for (let i = 0; i < 16; i++) play.flow().handshake();
      play.acceptAny(group);
      return undefined;
    },
  },
  {
    name: 'an exact address beats the wildcard, whoever came first',
    script: (play) => {
      const wildcard = play.listener({ address: '0.0.0.0', reuseport: true });
      const exact = play.listener({ reuseport: true });
      const late = play.listener({ address: '0.0.0.0', reuseport: true });
      const flows = Array.from({ length: 6 }, () => play.flow());
      for (const flow of flows) flow.handshake();
      for (let i = 0; i <= flows.length; i++) exact.accept();
      play.acceptAny([wildcard, late]);
      return undefined;
    },
  },
];

/** Two wildcard listeners, one bound to a device: peers on both devices. */
function onDevices(play: Play, boundFirst: boolean, reuseport: boolean): void {
  const open = (bound: boolean) =>
    play.listener({ address: '0.0.0.0', reuseport, ...(bound ? { device: 0 } : {}) });
  const first = open(boundFirst);
  const second = open(!boundFirst);
  for (const device of [0, 1]) {
    for (let i = 0; i < 4; i++) play.flow({ device }).handshake();
  }
  for (const listener of [first, second]) while (listener.accept() !== null);
}

const devices: Scenario[] = [true, false].map((boundFirst) => ({
  name: `two groups on one port, ${boundFirst ? 'first' : 'last'} the one bound to a device`,
  script: (play) => {
    onDevices(play, boundFirst, true);
    return undefined;
  },
}));

const bound: Scenario[] = [
  {
    name: 'a listener bound to a device hears no other',
    script: (play) => {
      const listener = play.listener({ address: '0.0.0.0', device: 1 });
      play.flow({ device: 0 }).handshake();
      play.flow({ device: 1 }).handshake();
      while (listener.accept() !== null);
      return undefined;
    },
  },
  {
    name: 'a listener for each device',
    script: (play) => {
      const listeners = [0, 1].map((device) => play.listener({ address: '0.0.0.0', device }));
      for (const device of [1, 0]) play.flow({ device }).handshake();
      for (const listener of listeners) while (listener.accept() !== null);
      return undefined;
    },
  },
];

function deferring(name: string, seconds: number, body: Scenario['script']): Scenario {
  return {
    name: `TCP_DEFER_ACCEPT ${seconds}: ${name}`,
    script: body,
  };
}

const deferListener = (play: Play, seconds: number) =>
  play.listener({ options: [[IPPROTO_TCP, TCP_DEFER_ACCEPT, seconds]] });

const defer: Scenario[] = [
  ...[0, 1, 2, 3, 4, 5, 7, 8, 63, 64, 200].map((seconds) =>
    deferring('reads back as whole retransmissions', seconds, (play) => {
      deferListener(play, seconds).getsockopt(IPPROTO_TCP, TCP_DEFER_ACCEPT);
      return undefined;
    }),
  ),
  ...[THIRD, TEXT, 'F. 1:1(0) ack 1', 'FP. 1:6(5) ack 1', '. 2:2(0) ack 1', 'P. 3:6(3) ack 1'].map(
    (third) =>
      deferring(`${third}, then text`, 5, function* (play) {
        const listener = deferListener(play, 5);
        const flow = play.flow();
        flow.in(SYN);
        flow.in(third);
        yield 60;
        listener.accept();
        flow.in(THIRD);
        listener.accept();
        flow.in(TEXT);
        listener.accept()?.recv();
      }),
  ),
  deferring('RST and SYN of deferred requests', 5, (play) => {
    const listener = deferListener(play, 5);
    for (const text of ['R 1:1(0)', SYN, 'S 9:9(0)', 'R 9:9(0)']) {
      const flow = play.flow();
      flow.handshake();
      flow.in(text);
      flow.in(TEXT);
    }
    while (listener.accept() !== null);
    return undefined;
  }),
  deferring('a cookie does not defer', 5, (play) => {
    const listener = play.listener({
      backlog: 0,
      options: [[IPPROTO_TCP, TCP_DEFER_ACCEPT, 5]],
    });
    play.flow().in(SYN);
    play.flow().handshake();
    listener.accept();
    return undefined;
  }),
];

const deferTimers: Scenario[] = [
  {
    name: 'TCP_DEFER_ACCEPT 1: a bare ACK is taken after the last period',
    slow: true,
    *script(play) {
      const listener = deferListener(play, 1);
      const flow = play.flow();
      flow.handshake();
      yield 1300;
      listener.accept();
      flow.in(THIRD);
      listener.accept();
    },
  },
  {
    name: 'TCP_DEFER_ACCEPT 5: no SYN-ACK is repeated before the last period',
    slow: true,
    *script(play) {
      const listener = deferListener(play, 5);
      const flow = play.flow();
      flow.handshake();
      yield 3400;
      flow.in(THIRD);
      listener.accept();
      yield 4000;
      flow.in(THIRD);
      listener.accept();
    },
  },
];

/** Options that children inherit. */
const inherited: Scenario[] = [
  ['TCP_MAXSEG 500', [IPPROTO_TCP, TCP_MAXSEG, 500]],
  ['IP_TOS 0x48', [0, 1, 0x48]],
  ['IP_TTL 9', [0, 2, 9]],
  ['SO_RCVBUF 3000', [1, 8, 3000]],
  ['SO_RCVBUF 20000', [1, 8, 20_000]],
  ['SO_RCVBUF 200000', [1, 8, 200_000]],
  ['SO_RCVBUF 1', [1, 8, 1]],
].map(([name, option]) => ({
  name: `${name} of a listener`,
  ...(name === 'SO_RCVBUF 3000' ? { differs: 'our buffers have no overhead for headers' } : {}),
  script: (play) => {
    const option3 = option as unknown as readonly [number, number, number];
    const listener = play.listener({ options: [option3] });
    for (const options of ['<mss 1460>', '<mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>']) {
      const flow = play.flow();
      flow.handshake(options);
      const child = listener.accept();
      child?.getsockopt(IPPROTO_TCP, TCP_MAXSEG);
      child?.send(400);
      flow.in('P. 1:4(3) ack 401 win 65535');
      flow.in('P. 5:9(4) ack 401 win 65535');
      child?.close();
    }
    return undefined;
  },
}));

export const LIFE_SCENARIOS: readonly Scenario[] = [
  ...beforeAccept,
  ...afterAccept,
  ...groups,
  ...devices,
  ...bound,
  ...defer,
  ...deferTimers,
  ...inherited,
];
