/**
 * Every option number there is: what get says of a socket, what set says to some values, and what
 * get says then, on the kernel's sockets and on ours. Those that we refuse and Linux knows are
 * listed, each with its row of docs/DIFFERENCES.md: one that is in the list by mistake shows, too.
 */
import { ipv4, outcome, type SocketCalls } from './socket-calls.js';
import type { World } from './worlds.js';

const LOCALHOST = ipv4('127.0.0.1');
const [SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP] = [1, 0, 6];
/** Highest number of each level that is asked for. */
const LEVELS = [
  [SOL_SOCKET, 85],
  [IPPROTO_TCP, 50],
  [IPPROTO_IP, 60],
] as const;
const VALUES = [1, 0, -1, 7];
const WORDS_MOST = 80;

const numbers = (level: number, names: readonly number[]): string[] =>
  names.map((name) => `${level}/${name}`);

/** Refused here (-ENOPROTOOPT for set, get or both). */
export const REFUSED: ReadonlySet<string> = new Set([
  // Filters and programs; SO_TIMESTAMP and its like; SO_PEERNAME; SO_CNX_ADVICE; SO_ZEROCOPY;
  // SO_TXTIME; SO_NETNS_COOKIE; device memory.
  ...numbers(SOL_SOCKET, [26, 44, 48, 50, 51, 52, 29, 35, 37, 63, 64, 65, 28, 53, 60, 61, 71, 80]),
  // TCP_MD5SIG, TCP_THIN_LINEAR_TIMEOUTS, TCP_REPAIR*, TCP_MD5SIG_EXT, TCP_FASTOPEN_KEY,
  // TCP_ZEROCOPY_RECEIVE, TCP_TX_DELAY, and the limits of the RTO and of delayed ACKs.
  ...numbers(IPPROTO_TCP, [14, 16, 19, 20, 21, 22, 29, 32, 33, 35, 37, 44, 45, 46]),
  // IP_OPTIONS, IP_PKTOPTIONS, IP_RECVERR, policies of IPsec, multicast filters, IP_UNICAST_IF,
  // IP_PROTOCOL.
  ...numbers(
    IPPROTO_IP,
    [4, 9, 11, 16, 17, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 50, 52],
  ),
]);
/** Refused in some states only: TCP_AO_REPAIR. */
export const SOMETIMES_REFUSED = '6/42';
/** Texts, or structures whose size differs: cases of their own. */
const ELSEWHERE: ReadonlySet<string> = new Set([
  ...numbers(SOL_SOCKET, [20, 21, 25, 57, 66, 67]),
  ...numbers(IPPROTO_TCP, [11, 13, 26, 31]),
]);

/** The values of a connection that depend on the machine: SO_SNDBUF, SO_MEMINFO, TCP_TIMESTAMP. */
const MACHINE: ReadonlySet<string> = new Set([
  ...numbers(SOL_SOCKET, [7, 55]),
  ...numbers(IPPROTO_TCP, [24]),
]);

export type SocketState = 'fresh' | 'listening' | 'connected';

function socketIn(calls: SocketCalls, state: SocketState, port: number, uid: number): number {
  const fd = calls.socket(uid);
  if (state === 'fresh') return fd;
  const listener = state === 'listening' ? fd : calls.socket(uid);
  calls.bind(listener, LOCALHOST, port);
  calls.listen(listener, 5);
  if (state === 'listening') return fd;
  calls.connect(fd, LOCALHOST, port);
  return fd;
}

function asked(calls: SocketCalls, fd: number, level: number, name: number): string {
  const out = new Int32Array(WORDS_MOST);
  const words = calls.getsockopt(fd, level, name, out);
  if (words < 0) return outcome(words);
  if (MACHINE.has(`${level}/${name}`)) return `${words} words`;
  return `${words}: ${out.subarray(0, Math.min(words, 4))}`;
}

/**
 * One line an option: level/name, then what was said. `port` on: one for each option.
 * @returns lines by option
 */
export function optionNumbers(
  { calls }: World,
  port: number,
  state: SocketState,
  uid: number,
): Map<string, string> {
  const lines = new Map<string, string>();
  for (const [level, most] of LEVELS) {
    for (let name = 0; name <= most; name++) {
      const key = `${level}/${name}`;
      if (ELSEWHERE.has(key)) continue;
      const said: string[] = [];
      for (const value of state === 'fresh' ? VALUES : VALUES.slice(0, 1)) {
        const fd = socketIn(calls, state, port, uid);
        if (said.length === 0) said.push(asked(calls, fd, level, name));
        const status = outcome(calls.setsockopt(fd, level, name, value, pair(level, name)));
        said.push(`${value}: ${status}, ${asked(calls, fd, level, name)}`);
        calls.closeAll();
      }
      lines.set(key, said.join('; '));
    }
  }
  return lines;
}

/** SO_LINGER is a structure of two. */
function pair(level: number, name: number): number | undefined {
  return level === SOL_SOCKET && name === 13 ? 3 : undefined;
}
