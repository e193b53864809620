/**
 * connect(): what answers a SYN of ours, and crossing SYNs. Linux tcp_input.c:
 * tcp_rcv_synsent_state_process.
 */
import type { Scenario } from './compare.js';
import { FLAG_COMBINATIONS } from './listen-scenarios.js';
import type { Flow, Play, Sock } from './play.js';

const UNOFFERED = 'our answer to a crossing SYN has no options that it did not offer';
const ISS = 'an ACK of our ISS is none of our SYN';
const EVERYTHING = '<mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>';
const FULL = '<mss 1460,sackOK,TS val 100 ecr 1000,nop,wscale 7>';
/** Readable, writable, peer has closed. */
const POLL_ALL = 0x2000 | 1 | 4;

function connecting(play: Play): { sock: Sock; flow: Flow } {
  const flow = play.flow();
  const sock = play.bound();
  sock.connect(flow);
  return { sock, flow };
}

/** `segments` for a SYN of ours; what the application sees, and what a little text finds. */
function answered(name: string, segments: readonly string[], differs?: string): Scenario {
  return {
    name: `connect(): ${name}`,
    ...(differs === undefined ? {} : { differs }),
    since: [6, 15],
    *script(play) {
      const { sock, flow } = connecting(play);
      for (const text of segments) flow.in(text);
      yield 60;
      sock.poll(POLL_ALL);
      sock.getsockopt(1, 4);
      sock.send(5);
      flow.in('P. 1:4(3) ack 6 win 500');
      sock.recv();
    },
  };
}

const everyFlag: Scenario[] = [0, 1, 2].flatMap((ack) =>
  FLAG_COMBINATIONS.filter((flags) => !flags.includes('U')).flatMap((flags) => {
    if (!flags.includes('.') && ack > 0) return [];
    const text = `${flags} 0:0(0)${flags.includes('.') ? ` ack ${ack}` : ''} win 500`;
    const crosses = /^F?SP?$/.test(flags);
    return [answered(text, [text], crosses ? UNOFFERED : undefined)];
  }),
);

const SYN_ACK = 'S. 0:0(0) ack 1 win 500';

const options: Scenario[] = [
  '',
  '<mss 1460>',
  '<mss 0>',
  '<mss 30>',
  '<sackOK>',
  '<nop,wscale 3>',
  '<nop,wscale 15>',
  '<nop,nop,TS val 100 ecr 1000>',
  '<nop,nop,TS val 100 ecr 0>',
  '<nop,nop,TS val 100 ecr 999>',
  '<nop,nop,TS val 100 ecr 5000>',
  FULL,
].map((text) =>
  answered(`SYN-ACK with ${text === '' ? 'no options' : text}`, [`${SYN_ACK} ${text}`]),
);

const crossing: Scenario[] = [
  '',
  '<mss 1460>',
  '<mss 1460,sackOK>',
  '<mss 1460,nop,wscale 7>',
  '<mss 1460,nop,nop,TS val 100 ecr 0>',
  EVERYTHING,
].flatMap((text) =>
  [
    [`S 0:0(0) win 500 ${text}`],
    [`S 0:0(0) win 500 ${text}`, '. 1:1(0) ack 1 win 500'],
    [`S 0:0(0) win 500 ${text}`, '. 1:1(0) ack 0 win 500'],
    [`S 0:0(0) win 500 ${text}`, 'S. 0:0(0) ack 1 win 500'],
    [`S 0:0(0) win 500 ${text}`, 'R 1:1(0)'],
  ].map((segments) => {
    const differs = segments[1]?.includes('ack 0') ? ISS : UNOFFERED;
    const same = text === EVERYTHING && differs === UNOFFERED;
    return answered(segments.join(', '), segments, same ? undefined : differs);
  }),
);

const several: Scenario[] = [
  answered('a SYN-ACK twice', [SYN_ACK, SYN_ACK]),
  answered('a SYN-ACK with text', ['S. 0:3(3) ack 1 win 500', 'P. 1:4(3) ack 1 win 500']),
  answered('refused, then a SYN-ACK', ['R. 0:0(0) ack 1', SYN_ACK]),
  answered('a wrong ACK, then a SYN-ACK', ['. 0:0(0) ack 9', SYN_ACK]),
  answered('another SYN after the SYN-ACK', [SYN_ACK, 'S 0:0(0) win 500']),
  answered('a zero window', ['S. 0:0(0) ack 1 win 0', '. 1:1(0) ack 1 win 500']),
];

export const CONNECT_SCENARIOS: readonly Scenario[] = [
  ...everyFlag,
  ...options,
  ...crossing,
  ...several,
];
