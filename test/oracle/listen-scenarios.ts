/**
 * A listener and one segment: every combination of the six flags that a segment can have, with and
 * without text, at a listener and at a closed port. Linux tcp_input.c: tcp_rcv_state_process for
 * TCP_LISTEN; tcp_ipv4.c: tcp_v4_send_reset.
 */
import type { Scenario } from './compare.js';
import { IPPROTO_TCP, TCP_MAXSEG } from './play.js';

/** Letters of the combination with these bits: FSRPU and the dot of ACK. */
function flagsOf(bits: number): string {
  const letters = [...'FSRPU'].filter((_letter, i) => (bits >> i) & 1).join('');
  const ack = (bits >> 5) & 1 ? '.' : '';
  return letters + ack === '' ? '-' : letters + ack;
}

/** All 64 of them. */
export const FLAG_COMBINATIONS: readonly string[] = Array.from({ length: 64 }, (_none, bits) =>
  flagsOf(bits),
);

function segment(flags: string, length: number): string {
  const ack = flags.includes('.') ? ' ack 77' : '';
  const urgent = flags.includes('U') ? ' urg 1' : '';
  return `${flags} 0:${length}(${length})${ack} win 1000${urgent}`;
}

function everyFlag(length: number, listening: boolean): Scenario[] {
  const where = listening ? 'a listener' : 'a closed port';
  return FLAG_COMBINATIONS.map((flags) => ({
    name: `${flags} with ${length} bytes for ${where}`,
    script: (play) => {
      const listener = listening ? play.listener() : null;
      play.flow().in(segment(flags, length), undefined, { tos: 0x2b });
      listener?.accept();
      return undefined;
    },
  }));
}

/** Options that a SYN may carry, and what comes back. */
const SYN_OPTIONS: readonly string[] = [
  '',
  '<mss 1460>',
  '<mss 0>',
  '<mss 40>',
  '<mss 65535>',
  '<sackOK>',
  '<wscale 7>',
  '<wscale 14>',
  '<wscale 15>',
  '<TS val 100 ecr 0>',
  '<TS val 100 ecr 5>',
  '<TS val 0 ecr 0>',
  '<mss 1460,sackOK>',
  '<mss 1460,sackOK,TS val 100 ecr 0>',
  '<mss 1460,nop,wscale 3>',
  '<mss 1460,nop,nop,TS val 100 ecr 0>',
  '<mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>',
  '<wscale 2,mss 600,sackOK>',
  '<mss 500,mss 1200>',
  '<eol,mss 1200>',
  '<nop,nop,nop,mss 1200>',
];

const synOptions: Scenario[] = SYN_OPTIONS.map((options) => ({
  name: `SYN with ${options === '' ? 'no options' : options}, then data from us`,
  script: (play) => {
    const listener = play.listener();
    const flow = play.flow();
    flow.in(`S 0:0(0) win 30000 ${options}`);
    const timestamps = /TS val/.test(options) ? '<nop,nop,TS val 101 ecr 1000>' : '';
    flow.in(`. 1:1(0) ack 1 win 30000 ${timestamps}`);
    const child = listener.accept();
    child?.getsockopt(IPPROTO_TCP, TCP_MAXSEG);
    child?.send(200);
    flow.in(`P. 1:101(100) ack 201 win 30000 ${timestamps}`);
    return undefined;
  },
}));

const synHeaders: Scenario[] = [0, 0x28, 0xb8, 1, 2, 3].map((tos) => ({
  name: `SYN with TOS ${tos}`,
  script: (play) => {
    play.listener();
    play.flow().in('S 0:0(0) win 30000 <mss 1460>', undefined, { tos, ttl: 9, df: true, id: 77 });
    return undefined;
  },
}));

export const LISTEN_SCENARIOS: readonly Scenario[] = [
  ...everyFlag(0, true),
  ...everyFlag(3, true),
  ...everyFlag(0, false),
  ...everyFlag(3, false),
  ...synOptions,
  ...synHeaders,
];
