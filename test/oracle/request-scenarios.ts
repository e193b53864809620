/**
 * A half-open connection and one more segment: every combination of flags at the interesting
 * sequence numbers, timestamps, the edges of the window, rate limits; then a correct third ACK with
 * text shows whether the request survived. Linux tcp_minisocks.c: tcp_check_req.
 */
import type { Scenario } from './compare.js';
import { FLAG_COMBINATIONS } from './listen-scenarios.js';

/** What a SYN of today's systems offers. */
export const FULL_OPTIONS = '<mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>';

/** Without scaling and timestamps the window offered ends here (first segment: 1). */
const RIGHT_EDGE = 64_241;

/** SYN, `segments`, a correct third ACK with text, accept, recv. */
function halfOpen(name: string, segments: readonly string[], options = '<mss 1460>'): Scenario {
  return {
    name: `half-open ${options}: ${name}`,
    script: (play) => {
      const listener = play.listener();
      const flow = play.flow();
      flow.in(`S 0:0(0) win 65535 ${options}`);
      for (const text of segments) flow.in(text, undefined, { tos: 0x2b });
      const timestamps = options.includes('TS') ? ' <nop,nop,TS val 102 ecr 1000>' : '';
      flow.in(`P. 1:6(5) ack 1 win 2000${timestamps}`);
      listener.accept()?.recv();
      return undefined;
    },
  };
}

function everyFlag(): Scenario[] {
  return [0, 1].flatMap((seq) =>
    [1, 2].flatMap((ack) =>
      [0, 3].flatMap((length) =>
        FLAG_COMBINATIONS.map((flags) => {
          const ackText = flags.includes('.') ? ` ack ${ack}` : '';
          const text = `${flags} ${seq}:${seq + length}(${length})${ackText} win 1000`;
          return halfOpen(text, [text]);
        }),
      ),
    ),
  );
}

/** Sequence numbers at and around both edges of the window. */
const SEQUENCES: readonly number[] = [
  ...[0, 1, 2, 5, 1000, RIGHT_EDGE - 3, RIGHT_EDGE - 1, RIGHT_EDGE, RIGHT_EDGE + 1],
  ...[100_000, 0x7fffffff, 0xfffffffa, 0xffffffff],
];

const edges: Scenario[] = ['R', 'R.', 'S', 'S.', '.', 'F.', 'P.', 'RP'].flatMap((flags) =>
  SEQUENCES.flatMap((seq) =>
    [0, 3].map((length) => {
      const ack = flags.includes('.') ? ' ack 1' : '';
      const text = `${flags} ${seq}:${seq + length}(${length})${ack} win 1000`;
      return halfOpen(text, [text]);
    }),
  ),
);

const acks: Scenario[] = [0, 2, 3, 99, 70_000, 0x80000000, 0xffffffff].flatMap((ack) =>
  ['.', 'P.', 'S.', 'F.', 'R.', 'SF.'].map((flags) => {
    const text = `${flags} 1:1(0) ack ${ack} win 1000`;
    return halfOpen(text, [text]);
  }),
);

function stamped(flags: string, seq: number, length: number, val: number, ecr: number): string {
  const ack = flags.includes('.') ? ' ack 1' : '';
  const options = `<nop,nop,TS val ${val} ecr ${ecr}>`;
  return `${flags} ${seq}:${seq + length}(${length})${ack} win 9 ${options}`;
}

const timestamps: Scenario[] = [
  ['.', 1],
  ['P.', 1],
  ['R', 1],
  ['R.', 1],
  ['R', 5],
  ['S', 0],
  ['S', 7],
  ['F.', 1],
  ['.', 900],
].flatMap(([flags, seq]) =>
  [
    [99, 1000],
    [100, 1000],
    [101, 0],
    [101, 999],
    [101, 1001],
    [101, 5000],
    [101, 1000],
    [0, 1000],
    [0x80000063, 1000],
    [0x80000065, 1000],
  ].map(([val, ecr]) => {
    const length = flags === 'P.' ? 3 : 0;
    const text = stamped(String(flags), Number(seq), length, val!, ecr!);
    return halfOpen(text, [text], FULL_OPTIONS);
  }),
);

const several: Scenario[] = [
  halfOpen('SYN four times', Array(4).fill('S 0:0(0) win 65535 <mss 1460>')),
  halfOpen('SYN again with other options', ['S 0:0(0) win 100 <mss 900,sackOK,nop,wscale 2>']),
  halfOpen('SYN again with text', ['SP 0:3(3) win 65535 <mss 1460>']),
  halfOpen('SYN again with ECN', ['SEW 0:0(0) win 65535 <mss 1460>']),
  halfOpen('two challenged RSTs', ['R 2:2(0)', 'R 3:3(0)', 'R 1:1(0)']),
  halfOpen('two wrong ACKs', ['. 1:1(0) ack 2', '. 1:1(0) ack 3']),
  halfOpen('two segments outside', ['. 70000:70000(0) ack 1', '. 70001:70001(0) ack 1']),
  halfOpen('two texts outside', ['. 70000:70003(3) ack 1', '. 70003:70006(3) ack 1']),
  halfOpen('text without ACK, then with', ['P 1:4(3) win 9', 'P. 1:4(3) ack 1 win 9']),
  halfOpen('FIN without ACK, then with', ['F 1:1(0) win 9', 'F. 1:1(0) ack 1 win 9']),
  halfOpen('text and FIN with the third ACK', ['FP. 1:4(3) ack 1 win 9']),
  halfOpen('the second text first', ['P. 6:9(3) ack 1 win 9']),
  halfOpen('the second text and FIN first', ['FP. 6:9(3) ack 1 win 9']),
  halfOpen('third ACK without timestamp', ['. 1:1(0) ack 1 win 9'], FULL_OPTIONS),
  halfOpen('text without timestamp', ['P. 1:4(3) ack 1 win 9'], FULL_OPTIONS),
  halfOpen('third ACK closes the window', ['. 1:1(0) ack 1 win 0']),
  halfOpen('third ACK with an urgent byte', ['PU. 1:4(3) ack 1 win 9 urg 3']),
];

export const REQUEST_SCENARIOS: readonly Scenario[] = [
  ...everyFlag(),
  ...edges,
  ...acks,
  ...timestamps,
  ...several,
].map((scenario) => ({ ...scenario, since: [6, 15] as const }));
