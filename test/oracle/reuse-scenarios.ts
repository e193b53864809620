/**
 * connect() from a port that a TIME-WAIT (or an orphan's FIN-WAIT-2) still has to the same peer:
 * when the new connection may take its place, and which numbers it begins with. Linux tcp_ipv4.c:
 * tcp_twsk_unique; inet_hashtables.c: __inet_check_established.
 */
import type { Scenario } from './compare.js';
import type { Knobs } from './machine.js';
import type { Flow, Play, Sock } from './play.js';
import { IP_LOCAL_PORT_RANGE, IPPROTO_IP, SO_REUSEADDR, SOL_SOCKET } from './socket-calls.js';

const TIMESTAMPS = '<mss 1460,sackOK,TS val 100 ecr 1000,nop,wscale 7>';
/** A socket's range of ports counts only as far as it is within the machine's. */
const RANGE: Knobs = { 'net.ipv4.ip_local_port_range': '1024 60999' };
const REUSE: Knobs = { ...RANGE, 'net.ipv4.tcp_tw_reuse': 1 };
const NO_REUSE: Knobs = { ...RANGE, 'net.ipv4.tcp_tw_reuse': 0 };
/** Since then the wait is a knob in milliseconds; before it was a second of the clock's. */
const DELAY_SINCE = [6, 14] as const;

/** Who owns the port: bind(), with SO_REUSEADDR, or connect(), which finds just this one. */
type Owner = 'bind' | 'connect';

function socketOf(play: Play, owner: Owner): Sock {
  if (owner === 'bind') return play.bound({ options: [[SOL_SOCKET, SO_REUSEADDR, 1]] });
  const sock = play.sock(play.machine.calls.socket());
  const port = play.portAt(0);
  sock.setsockopt(IPPROTO_IP, IP_LOCAL_PORT_RANGE, (port << 16) | port);
  return sock;
}

const stamp = (options: string, val: number): string =>
  options.includes('TS') ? ` <nop,nop,TS val ${val} ecr 1000>` : '';

/** A connection to `flow` that the stack's side has closed first. */
function closed(play: Play, owner: Owner, options: string, fin: boolean): Flow {
  const flow = play.flow();
  const sock = socketOf(play, owner);
  sock.connect(flow);
  flow.in(`S. 0:0(0) ack 1 win 65535 ${options}`);
  sock.close();
  flow.in(`${fin ? 'F.' : '.'} 1:1(0) ack 2 win 500${stamp(options, 101)}`);
  return flow;
}

interface Case {
  readonly owner: Owner;
  readonly options?: string;
  readonly fin?: boolean;
  readonly knobs: Knobs;
  /** Pause before the next connect(), ms. */
  readonly wait: number;
  /** A segment that the TIME-WAIT answers or takes, and when, ms. */
  readonly between?: readonly [text: string, afterMs: number];
}

function reuse(one: Case): Scenario {
  const { owner, options = TIMESTAMPS, fin = true, knobs, wait, between } = one;
  const state = fin ? 'TIME-WAIT' : 'FIN-WAIT-2';
  const setting = JSON.stringify(knobs);
  const pause = between === undefined ? '' : `${between[1]} ms, ${between[0]}, `;
  return {
    name: `${state}, port of ${owner}() ${options} ${setting}: ${pause}${wait} ms, connect()`,
    knobs,
    since: DELAY_SINCE,
    *script(play) {
      const flow = closed(play, owner, options, fin);
      if (between !== undefined) {
        yield between[1];
        flow.in(`${between[0]}${stamp(options, 102)}`);
      }
      yield wait;
      socketOf(play, owner).connect(flow);
      yield 20;
      flow.in(`S. 70000:70000(0) ack 65540 win 500 ${options}`);
    },
  };
}

const OWNERS: readonly Owner[] = ['bind', 'connect'];

export const REUSE_SCENARIOS: readonly Scenario[] = [
  ...OWNERS.flatMap((owner) =>
    [REUSE, NO_REUSE].flatMap((knobs) =>
      [true, false].flatMap((fin) =>
        [30, 900, 1100].map((wait) => reuse({ owner, knobs, fin, wait })),
      ),
    ),
  ),
  ...OWNERS.flatMap((owner) =>
    [true, false].map((fin) => {
      return reuse({ owner, knobs: REUSE, fin, wait: 1100, options: '<mss 1460>' });
    }),
  ),
  // What comes in TIME-WAIT says that the peer is there, not that the connection is younger.
  ...OWNERS.flatMap((owner) =>
    ['. 2:2(0) ack 2 win 500', 'F. 1:1(0) ack 2 win 500', 'S 1:1(0) win 500'].map((text) =>
      reuse({ owner, knobs: REUSE, wait: 600, between: [text, 600] }),
    ),
  ),
  ...OWNERS.map((owner) => {
    const knobs = { ...REUSE, 'net.ipv4.tcp_tw_reuse_delay': 300 };
    return reuse({ owner, knobs, wait: 400 });
  }),
];
