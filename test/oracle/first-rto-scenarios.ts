/**
 * What a handshake leaves to the sender: RTO (RFC 6298 2, 5.7) and congestion window, with
 * retransmissions of SYN or SYN-ACK and without, with timestamps and without, with a cookie. Linux
 * tcp_metrics.c: tcp_init_metrics, tcp_input.c: tcp_synack_rtt_meas, tcp_try_undo_spurious_syn.
 */
import type { Scenario } from './compare.js';
import { IPPROTO_TCP, type Play, type Sock } from './play.js';

const TCP_INFO = 11;
/** A third ACK, or SYN-ACK, comes so late, ms. */
const LATE_MS = 350;
/** So near as a kernel's timers and a busy machine allow: no time here is half of it, ms. */
const GRAIN_MS = 400;

/** RTO, cwnd and ssthresh of `sock`. */
function sender(play: Play, sock: Sock | null): void {
  if (sock === null) return;
  const words = new Int32Array(70);
  play.machine.calls.getsockopt(sock.fd, IPPROTO_TCP, TCP_INFO, words);
  const near = (us: number): number => Math.round(us / 1000 / GRAIN_MS) * GRAIN_MS;
  const [rto, rtt] = [near(words[2]!), near(words[17]!)];
  const options = (words[1]! >> 8) & 0xff;
  const started = `cwnd ${words[20]} ssthresh ${words[19]} options ${options}`;
  play.note(`rto ${rto} rtt ${rtt} ${started}`);
}

const STAMPS = [false, true];
const COOKIES = [false, true];

/** `again`: SYN-ACKs before the one that is answered. */
const passive: Scenario[] = STAMPS.flatMap((stamps) =>
  COOKIES.flatMap((cookies) =>
    [0, 1, 2].map(
      (again): Scenario => ({
        name: `${again + 1} SYN-ACKs${stamps ? ', timestamps' : ''}${cookies ? ', a cookie' : ''}`,
        slow: again > 1,
        ...(cookies ? { knobs: { 'net.ipv4.tcp_syncookies': 2 } } : {}),
        *script(play) {
          const listener = play.listener();
          const flow = play.flow();
          const options = stamps ? '<mss 1000,sackOK,TS val 100 ecr 0>' : '<mss 1000>';
          flow.in(`S 0:0(0) win 65535 ${options}`);
          // The peer's SYN again: not by the timer, which two machines have at different times.
          for (let i = 0; i < again; i++) {
            yield 600;
            flow.in(`S 0:0(0) win 65535 ${options}`);
          }
          yield LATE_MS;
          flow.in(`. 1:1(0) ack 1 win 65535 ${stamps ? '<nop,nop,TS val 101 ecr 1000>' : ''}`);
          const child = listener.accept();
          sender(play, child);
          child?.send(5);
          sender(play, child);
        },
      }),
    ),
  ),
);

/** Our SYN has left so often; the answer echoes the first or the last. */
const active: Scenario[] = STAMPS.flatMap((stamps) =>
  [0, 1, 2].flatMap((again) =>
    (stamps && again > 0 ? ['first', 'last'] : ['first']).map(
      (which): Scenario => ({
        name: `${again + 1} SYNs${stamps ? `, timestamps: the ${which} is answered` : ''}`,
        slow: again > 0,
        *script(play) {
          const flow = play.flow();
          const sock = play.bound();
          sock.connect(flow);
          if (again > 0) yield 100 + 1000 * again;
          yield LATE_MS;
          const first = flow.packets[0]!.options.find(({ kind }) => kind === 'TS');
          const last = flow.packets.at(-1)!.options.find(({ kind }) => kind === 'TS');
          const since = first?.kind === 'TS' && last?.kind === 'TS' ? last.val - first.val : 0;
          const ecr = 1000 + (which === 'first' ? 0 : since);
          play.note('answered');
          const options = stamps ? `<mss 1000,sackOK,TS val 100 ecr ${ecr}>` : '<mss 1000>';
          flow.quietly(`S. 0:0(0) ack 1 win 65535 ${options}`);
          sender(play, sock);
          sock.send(5);
          sender(play, sock);
        },
      }),
    ),
  ),
);

export const FIRST_RTO_SCENARIOS: readonly Scenario[] = [...passive, ...active];
