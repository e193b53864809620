/**
 * Fast Open from both sides, and what ICMP errors do to it and to others before the handshake is
 * over. Linux tcp_fastopen.c, tcp_ipv4.c: tcp_v4_err, tcp_v4_mtu_reduced.
 */
import type { Scenario } from './compare.js';
import type { Knobs } from './machine.js';
import { type Flow, IPPROTO_TCP, type Play, type Sock } from './play.js';
import { IPPROTO_IP } from './socket-calls.js';

const TCP_FASTOPEN_CONNECT = 30;
const IP_MINTTL = 21;

const UNREACHABLE = 3;
const FRAG_NEEDED = 4;
const TIME_EXCEEDED = 11;

/** Both sides, without cookies; every listener takes part. */
const OPEN: Knobs = {
  'net.ipv4.tcp_fastopen': 0x607,
  'net.ipv4.tcp_fastopen_blackhole_timeout_sec': 0,
};

const MSS_OPTION = 'the MSS option is what we can receive, whatever routers say of the way there';

/** Type, code and next-hop MTU. */
type IcmpError = readonly [number, number, number?];
const ERRORS: readonly IcmpError[] = [
  [UNREACHABLE, 0],
  [UNREACHABLE, 1],
  [UNREACHABLE, 3],
  [UNREACHABLE, FRAG_NEEDED, 1000],
  [UNREACHABLE, FRAG_NEEDED, 300],
  [UNREACHABLE, 13],
  [TIME_EXCEEDED, 0],
];

/** A SYN of ours with text. */
function opening(play: Play, bytes: number): { sock: Sock; flow: Flow } {
  const flow = play.flow({ ownHost: true });
  const sock = play.bound();
  sock.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
  sock.connect(flow);
  sock.send(bytes);
  return { sock, flow };
}

/** What answers a SYN of five bytes; then as much again is written. */
const answered: Scenario[] = [
  'S. 0:0(0) ack 1 win 5000 <mss 1000>',
  'S. 0:0(0) ack 3 win 5000 <mss 1000>',
  'S. 0:0(0) ack 6 win 5000 <mss 1000>',
  'S. 0:0(0) ack 7 win 5000 <mss 1000>',
  'S. 0:2(2) ack 6 win 5000 <mss 1000>',
  'S. 0:2(2) ack 1 win 5000 <mss 1000>',
  'SF. 0:0(0) ack 6 win 5000',
  'R. 0:0(0) ack 6',
  'R. 0:0(0) ack 1',
  'R. 0:0(0) ack 3',
  'R 0:0(0)',
  '. 0:0(0) ack 6',
].map((text) => ({
  name: `Fast Open: a SYN with text is answered by ${text}`,
  knobs: OPEN,
  *script(play) {
    const { sock, flow } = opening(play, 5);
    flow.in(text);
    sock.getsockopt(1, 4);
    sock.send(5);
    yield 60;
    sock.recv();
    flow.in('P. 1:4(3) ack 6 win 500');
  },
}));

const errors: Scenario[] = ERRORS.flatMap(([type, code, mtu]): Scenario[] => {
  const what = `ICMP ${type} ${code}${mtu === undefined ? '' : ` MTU ${mtu}`}`;
  return [
    {
      name: `Fast Open: ${what} about a SYN with text`,
      knobs: OPEN,
      ...(mtu === undefined ? {} : { differs: MSS_OPTION }),
      *script(play) {
        const { sock, flow } = opening(play, 1200);
        flow.icmp(type, code, mtu);
        yield 60;
        sock.getsockopt(1, 4);
        flow.in('S. 0:0(0) ack 1 win 5000 <mss 1460,nop,nop,sackOK>');
        yield 60;
        flow.in('. 1:1(0) ack 1201 win 5000');
        sock.send(2000);
        sock.getsockopt(1, 4);
      },
    },
    {
      name: `Fast Open: ${what} about a SYN of another connection`,
      knobs: OPEN,
      *script(play) {
        const flow = play.flow({ ownHost: true });
        const sock = play.bound();
        sock.connect(flow);
        flow.icmp(type, code, mtu);
        yield 60;
        sock.getsockopt(1, 4);
        flow.in('S. 0:0(0) ack 1 win 5000 <mss 1460>');
        sock.send(2000);
      },
    },
    ...[true, false].map(
      (accepted): Scenario => ({
        name: `Fast Open: ${what} about the SYN-ACK of a child, ${accepted ? '' : 'not '}accepted`,
        knobs: OPEN,
        *script(play) {
          const listener = play.listener();
          const flow = play.flow({ ownHost: true });
          flow.in('S 0:3(3) win 5000 <mss 1460,nop,nop,sackOK>');
          const child = accepted ? listener.accept() : null;
          flow.icmp(type, code, mtu);
          child?.getsockopt(1, 4);
          yield 60;
          flow.in('. 4:4(0) ack 1 win 5000');
          const late = child ?? listener.accept();
          late?.send(2000);
          late?.getsockopt(1, 4);
        },
      }),
    ),
    {
      name: `Fast Open: ${what} about text of a child before its third ACK`,
      knobs: OPEN,
      *script(play) {
        const listener = play.listener();
        const flow = play.flow({ ownHost: true });
        flow.in('S 0:3(3) win 5000 <mss 1460,nop,nop,sackOK>');
        const child = listener.accept();
        child?.send(2000);
        flow.icmp(type, code, mtu);
        yield 60;
        child?.getsockopt(1, 4);
        flow.in('. 4:4(0) ack 2001 win 5000');
        child?.send(2000);
      },
    },
  ];
});

/** The quoted packet has come so far: its TTL is 64, as nobody has counted it down. */
const minTtl: Scenario[] = [64, 65].flatMap((least) =>
  (
    [
      [UNREACHABLE, 1],
      [UNREACHABLE, FRAG_NEEDED, 1000],
    ] as const
  ).map(
    ([type, code, mtu]): Scenario => ({
      name: `IP_MINTTL ${least} and ICMP ${type} ${code}`,
      *script(play) {
        const listener = play.listener();
        const flow = play.flow({ ownHost: true });
        flow.handshake();
        const child = listener.accept();
        child?.send(2000);
        child?.setsockopt(IPPROTO_IP, IP_MINTTL, least);
        flow.icmp(type, code, mtu);
        yield 60;
        child?.getsockopt(1, 4);
      },
    }),
  ),
);

export const FASTOPEN_SCENARIOS: readonly Scenario[] = [...answered, ...errors, ...minTtl];
