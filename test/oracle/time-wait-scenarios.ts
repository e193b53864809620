/**
 * TIME-WAIT and an orphan's FIN-WAIT-2, which are minisockets: every combination of flags, sequence
 * numbers at the edges, timestamps, and what reopens the connection. Linux tcp_minisocks.c:
 * tcp_timewait_state_process; tcp_ipv4.c: tcp_v4_rcv.
 */
import type { Scenario } from './compare.js';
import { FLAG_COMBINATIONS } from './listen-scenarios.js';
import type { Knobs } from './machine.js';
import type { Flow, Play, Sock } from './play.js';
import { FULL_OPTIONS } from './request-scenarios.js';

/** Where our side is after one FIN, and the peer after its SYN, 5 bytes and its FIN. */
const OUR_NEXT = 2;
const PEER_NEXT = 7;

interface Closed {
  listener: Sock;
  flow: Flow;
}

/** A connection of ours in TIME-WAIT (or FIN-WAIT-2, without the peer's FIN). */
function closed(play: Play, options: string, fin = true): Closed {
  const stamp = options.includes('TS') ? ' <nop,nop,TS val 102 ecr 1000>' : '';
  const listener = play.listener();
  const flow = play.flow();
  flow.handshake(options);
  flow.in(`P. 1:6(5) ack 1 win 65535${stamp}`);
  const child = listener.accept();
  child?.recv();
  child?.close();
  flow.in(`. 6:6(0) ack ${OUR_NEXT} win 65535${stamp}`);
  if (fin) flow.in(`F. 6:6(0) ack ${OUR_NEXT} win 65535${stamp}`);
  return { listener, flow };
}

/** `text` for a closed connection, then again, then a new SYN that reopens in any case. */
function toClosed(text: string, options: string, fin: boolean, knobs: Knobs = {}): Scenario {
  const state = fin ? 'TIME-WAIT' : 'FIN-WAIT-2';
  return {
    name: `${state} ${options} ${JSON.stringify(knobs)}: ${text}`,
    knobs,
    since: [6, 16],
    script: (play) => {
      const { listener, flow } = closed(play, options, fin);
      flow.in(text, undefined, { tos: 0x28 });
      flow.in(text);
      listener.accept();
      return undefined;
    },
  };
}

function segmentsOfEveryFlag(seq: number): string[] {
  return [0, 3].flatMap((length) =>
    FLAG_COMBINATIONS.map((flags) => {
      const ack = flags.includes('.') ? ` ack ${OUR_NEXT}` : '';
      return `${flags} ${seq}:${seq + length}(${length})${ack} win 1000`;
    }),
  );
}

const everyFlag: Scenario[] = [true, false].flatMap((fin) => {
  const next = fin ? PEER_NEXT : PEER_NEXT - 1;
  return [next, next + 5].flatMap((seq) =>
    segmentsOfEveryFlag(seq).map((text) => toClosed(text, '<mss 1460>', fin)),
  );
});

const SEQUENCES: readonly number[] = [
  ...[0, 1, PEER_NEXT - 2, PEER_NEXT - 1, PEER_NEXT, PEER_NEXT + 1, 50_000, 64_240, 64_241],
  ...[64_246, 64_247, 64_248, 100_000, 0x7fffffff, 0x80000010, 0xffffff00],
];

const edges: Scenario[] = [true, false].flatMap((fin) =>
  ['S', 'R', 'R.', '.', 'F.', 'P.', 'S.', 'SP'].flatMap((flags) =>
    SEQUENCES.map((seq) => {
      const length = flags.includes('P') ? 3 : 0;
      const ack = flags.includes('.') ? ` ack ${OUR_NEXT}` : '';
      return toClosed(
        `${flags} ${seq}:${seq + length}(${length})${ack} win 1000`,
        '<mss 1460>',
        fin,
      );
    }),
  ),
);

/** TSval of the segment; the last one before was 102. */
const STAMPS: readonly number[] = [0, 100, 101, 102, 103, 500, 0x80000065, 0x80000068];

const timestamps: Scenario[] = [true, false].flatMap((fin) =>
  ['S', 'R', '.', 'F.', 'P.'].flatMap((flags) =>
    [1, PEER_NEXT, 500].flatMap((seq) =>
      STAMPS.map((val) => {
        const length = flags.includes('P') ? 3 : 0;
        const ack = flags.includes('.') ? ` ack ${OUR_NEXT}` : '';
        const stamp = `<nop,nop,TS val ${val} ecr ${flags === 'S' ? 0 : 1000}>`;
        const text = `${flags} ${seq}:${seq + length}(${length})${ack} win 1000 ${stamp}`;
        return toClosed(text, FULL_OPTIONS, fin);
      }),
    ),
  ),
);

const RFC1337: Knobs = { 'net.ipv4.tcp_rfc1337': 1 };

const rfc1337: Scenario[] = ['R', 'R.'].flatMap((flags) =>
  [PEER_NEXT - 1, PEER_NEXT, PEER_NEXT + 1].map((seq) => {
    const ack = flags.includes('.') ? ` ack ${OUR_NEXT}` : '';
    return toClosed(`${flags} ${seq}:${seq}(0)${ack} win 0`, '<mss 1460>', true, RFC1337);
  }),
);

/** Whole new connections over the old one. */
const reopened: Scenario[] = [
  ['<mss 1460>', 'S 100:100(0) win 500 <mss 1460>', '. 101:101(0)', ''],
  [FULL_OPTIONS, 'S 100:100(0) win 500 <mss 1460>', '. 101:101(0)', ''],
  [
    FULL_OPTIONS,
    `S 100:100(0) win 500 ${FULL_OPTIONS.replace('100', '103')}`,
    '. 101:101(0)',
    'TS',
  ],
  [FULL_OPTIONS, `S 1:1(0) win 500 ${FULL_OPTIONS.replace('100', '103')}`, '. 2:2(0)', 'TS'],
  ['<mss 1460>', `S 100:100(0) win 500 ${FULL_OPTIONS}`, '. 101:101(0)', 'TS'],
].map(([options, syn, third, ts]) => ({
  name: `reopening ${options} by ${syn}`,
  script: (play) => {
    const { listener, flow } = closed(play, options!);
    flow.in(syn!);
    const next = flow.packets.findLast(({ flags }) => flags === 'S.');
    play.note(`ISN of the second connection: ${flow.relative(next!.seq)}`);
    const ack = flow.relative(next!.seq) + 1;
    const stamp = ts === '' ? '' : ' <nop,nop,TS val 104 ecr 0>';
    flow.in(`${third} ack ${ack} win 500${stamp}`);
    listener.accept()?.send(5);
    return undefined;
  },
}));

/** The SYN that reopens passes a full SYN queue, but not a full accept queue. */
const limits: Scenario[] = [0, 1].map((syncookies) => ({
  name: `a SYN that reopens, with a full SYN queue, tcp_syncookies ${syncookies}`,
  knobs: { 'net.ipv4.tcp_syncookies': syncookies },
  script: (play) => {
    const { listener, flow } = closed(play, '<mss 1460>');
    listener.listen(1);
    for (let i = 0; i < 4; i++) play.flow().in('S 0:0(0) win 500 <mss 1460>');
    flow.in('S 100:100(0) win 500 <mss 1460>');
    return undefined;
  },
}));

const gone: Scenario[] = [
  'S 100:100(0)',
  'S 1:1(0)',
  'R 7:7(0)',
  '. 7:7(0) ack 2',
  'F. 6:6(0) ack 2',
].map((text) => ({
  name: `the listener is gone: ${text}`,
  script: (play) => {
    const { listener, flow } = closed(play, '<mss 1460>');
    listener.close();
    flow.in(text);
    flow.in('S 200:200(0) win 500 <mss 1460>');
    return undefined;
  },
}));

const others: Scenario[] = [
  {
    name: 'an orphan in FIN-WAIT-2 with tcp_fin_timeout of more than a minute',
    differs: 'Linux waits for twice of what is beyond a minute, we as long as is asked for',
    knobs: { 'net.ipv4.tcp_fin_timeout': 61 },
    slow: true,
    *script(play) {
      const { flow } = closed(play, '<mss 1460>', false);
      yield 3000;
      flow.in('F. 6:6(0) ack 2');
    },
  },
  {
    name: 'the accept queue is full when a SYN reopens',
    script: (play) => {
      const { listener, flow } = closed(play, '<mss 1460>');
      listener.listen(0);
      play.flow().handshake();
      flow.in('S 100:100(0) win 500 <mss 1460>');
      flow.in('S 100:100(0) win 500 <mss 1460>');
      listener.accept();
      flow.in('S 100:100(0) win 500 <mss 1460>');
      return undefined;
    },
  },
  {
    name: 'after a RST the port is as new',
    script: (play) => {
      const { listener, flow } = closed(play, '<mss 1460>');
      flow.in(`R ${PEER_NEXT}:${PEER_NEXT}(0)`);
      const fresh = flow.again(1000);
      fresh.handshake();
      listener.accept();
      return undefined;
    },
  },
  {
    name: 'text reaches an orphan in FIN-WAIT-1',
    script: (play) => {
      const listener = play.listener();
      const flow = play.flow();
      flow.handshake();
      listener.accept()?.close();
      flow.in('P. 1:4(3) ack 1 win 500');
      flow.in('. 4:4(0) ack 2 win 500');
      return undefined;
    },
  },
  {
    name: 'a FIN with the ACK of ours: the last ACK, and the one after it',
    script: (play) => {
      const listener = play.listener();
      const flow = play.flow();
      flow.handshake(FULL_OPTIONS);
      listener.accept()?.close();
      flow.in('F. 1:1(0) ack 2 win 500 <nop,nop,TS val 102 ecr 1000>');
      flow.in('F. 1:1(0) ack 2 win 500 <nop,nop,TS val 103 ecr 1000>');
      return undefined;
    },
  },
  {
    name: 'both close at once',
    script: (play) => {
      const listener = play.listener();
      const flow = play.flow();
      flow.handshake();
      listener.accept()?.close();
      flow.in('F. 1:1(0) ack 1 win 500');
      flow.in('. 2:2(0) ack 2 win 500');
      flow.in('. 2:2(0) ack 2 win 500');
      flow.in('S 9:9(0) win 500 <mss 1460>');
      return undefined;
    },
  },
];

export const TIME_WAIT_SCENARIOS: readonly Scenario[] = [
  ...everyFlag,
  ...edges,
  ...timestamps,
  ...rfc1337,
  ...reopened,
  ...limits,
  ...gone,
  ...others,
];
