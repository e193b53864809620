/**
 * SYN cookies: what the SYN-ACK says, which options and segment sizes come back with the third ACK,
 * which ACKs are taken for an answer and by whom. Linux net/ipv4/syncookies.c.
 */
import type { Scenario } from './compare.js';
import type { Knobs } from './machine.js';
import { IPPROTO_TCP, TCP_MAXSEG } from './play.js';
import { FULL_OPTIONS } from './request-scenarios.js';

const ALWAYS: Knobs = { 'net.ipv4.tcp_syncookies': 2 };
const OFF: Knobs = { 'net.ipv4.tcp_syncookies': 0 };

/** The segment size of the table that what the server sends is cut to. */
const sizes: Scenario[] = ['', 0, 100, 535, 536, 1299, 1300, 1400, 1440, 1459, 1460, 9000].flatMap(
  (mss) =>
    ['', 'nop,nop,TS val 100 ecr 0', 'nop,nop,sackOK', 'sackOK,TS val 100 ecr 0,nop,wscale 5'].map(
      (others) => {
        const offered = [mss === '' ? '' : `mss ${mss}`, others].filter((text) => text !== '');
        const options = `<${offered.join(',')}>`;
        return {
          name: `cookie for a SYN with ${options}`,
          knobs: ALWAYS,
          script: (play) => {
            const listener = play.listener();
            const flow = play.flow();
            flow.in(`S 0:0(0) win 65535 ${options}`);
            const stamp = options.includes('TS') ? '<nop,nop,TS val 101 ecr 1000>' : '';
            flow.in(`. 1:1(0) ack 1 win 65535 ${stamp}`);
            const child = listener.accept();
            child?.getsockopt(IPPROTO_TCP, TCP_MAXSEG);
            child?.send(2000);
            flow.in(`P. 6:9(3) ack 2001 win 65535 ${stamp}`);
            flow.in(`P. 1:6(5) ack 2001 win 65535 ${stamp}`);
            child?.recv();
            return undefined;
          },
        } satisfies Scenario;
      },
    ),
);

/** What else the ACK of a cookie may be. */
const answers: Scenario[] = [
  ['. 1:1(0) ack 2', 'acknowledges one more'],
  ['. 1:1(0) ack 0', 'acknowledges one less'],
  ['. 2:2(0) ack 1', 'begins one further'],
  ['. 0:0(0) ack 1', 'begins one earlier'],
  ['. 1:1(0) ack 16777217', 'has another upper byte'],
  ['P. 1:4(3) ack 1', 'has text'],
  ['F. 1:1(0) ack 1', 'has a FIN'],
  ['FP. 1:4(3) ack 1', 'has text and a FIN'],
  ['R. 1:1(0) ack 1', 'is a RST'],
  ['S. 0:0(0) ack 1', 'is a SYN'],
  ['U. 1:4(3) ack 1 urg 2', 'has an urgent byte'],
  ['. 1:1(0) ack 1 win 0', 'closes the window'],
  ['. 1:1(0) ack 1 win 9 <nop,nop,TS val 5 ecr 0>', 'has a timestamp that echoes nothing'],
].map(([text, what]) => ({
  name: `the ACK of a cookie ${what}`,
  knobs: ALWAYS,
  script: (play) => {
    const listener = play.listener();
    const flow = play.flow();
    flow.in('S 0:0(0) win 3000 <mss 1460>');
    flow.in(text!);
    flow.in('P. 1:4(3) ack 1 win 3000');
    listener.accept()?.recv();
    listener.accept();
    return undefined;
  },
}));

/** Echoes that a SYN-ACK did not carry: the options are what their low bits say. */
const echoes: Scenario[] = [999, 1001, 1005, 1016, 1032, 1064, 500, 2000, 0].map((ecr) => ({
  name: `the ACK of a cookie echoes ${ecr}, it was 1000`,
  knobs: ALWAYS,
  script: (play) => {
    const listener = play.listener();
    const flow = play.flow();
    flow.in(`S 0:0(0) win 3000 ${FULL_OPTIONS}`);
    // Only the neighbourhood of the true value has bits that are the same on both machines.
    flow.in(`. 1:1(0) ack 1 win 3000 <nop,nop,TS val 101 ecr ${ecr}>`);
    listener.accept();
    return undefined;
  },
}));

const groups: Scenario[] = [
  {
    name: 'a cookie is answered to another member of the group',
    knobs: ALWAYS,
    script: (play) => {
      const first = play.listener({ reuseport: true });
      const flows = Array.from({ length: 8 }, () => play.flow());
      for (const flow of flows) flow.in('S 0:0(0) win 3000 <mss 1400>');
      const second = play.listener({ reuseport: true });
      first.close();
      for (const flow of flows) flow.in('. 1:1(0) ack 1 win 3000');
      for (const flow of flows) {
        second.accept();
        flow.in('P. 1:4(3) ack 1 win 3000');
      }
      second.accept();
      return undefined;
    },
  },
  {
    name: 'a cookie is answered when the group is another',
    knobs: ALWAYS,
    script: (play) => {
      const first = play.listener({ reuseport: true });
      const flow = play.flow();
      flow.in('S 0:0(0) win 3000 <mss 1400>');
      first.close();
      const second = play.listener({ reuseport: true });
      flow.in('. 1:1(0) ack 1 win 3000');
      second.accept();
      return undefined;
    },
  },
  {
    name: 'a cookie is answered when the listener is another, without a group',
    knobs: ALWAYS,
    script: (play) => {
      const first = play.listener();
      const flow = play.flow();
      flow.in('S 0:0(0) win 3000 <mss 1400>');
      first.close();
      const second = play.listener();
      flow.in('. 1:1(0) ack 1 win 3000');
      second.accept();
      return undefined;
    },
  },
  {
    name: 'nobody listens any more when a cookie is answered',
    knobs: ALWAYS,
    script: (play) => {
      const listener = play.listener();
      const flow = play.flow();
      flow.in('S 0:0(0) win 3000 <mss 1400>');
      listener.close();
      flow.in('. 1:1(0) ack 1 win 3000');
      return undefined;
    },
  },
  {
    name: 'no cookie was sent: an ACK is not looked at',
    script: (play) => {
      play.listener();
      play.flow().in('. 1:1(0) ack 1 win 3000');
      return undefined;
    },
  },
  {
    name: 'cookies are off when one is answered',
    knobs: OFF,
    script: (play) => {
      const listener = play.listener();
      const flow = play.flow();
      play.machine.set(ALWAYS);
      flow.in('S 0:0(0) win 3000 <mss 1400>');
      play.machine.set(OFF);
      flow.in('. 1:1(0) ack 1 win 3000');
      listener.accept();
      return undefined;
    },
  },
  {
    name: 'the accept queue is full when cookies are answered',
    knobs: ALWAYS,
    script: (play) => {
      const listener = play.listener({ backlog: 1 });
      const flows = Array.from({ length: 4 }, () => play.flow());
      for (const flow of flows) flow.in('S 0:0(0) win 3000 <mss 1400>');
      for (const flow of flows) flow.in('. 1:1(0) ack 1 win 3000');
      play.flow().in('S 0:0(0) win 3000 <mss 1400>');
      listener.accept();
      for (const flow of flows) flow.in('P. 1:4(3) ack 1 win 3000');
      while (listener.accept() !== null);
      return undefined;
    },
  },
];

export const COOKIE_SCENARIOS: readonly Scenario[] = [...sizes, ...answers, ...echoes, ...groups];
