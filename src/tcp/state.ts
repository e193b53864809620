/**
 * The states of a connection (RFC 9293 3.3.2) with Linux's numbers (include/net/tcp_states.h) and
 * the table of allowed transitions. `set-state.ts` is the only door through which a state changes;
 * this file only says which moves exist.
 */
export const TCP_ESTABLISHED = 1;
export const TCP_SYN_SENT = 2;
export const TCP_SYN_RECV = 3;
export const TCP_FIN_WAIT1 = 4;
export const TCP_FIN_WAIT2 = 5;
export const TCP_TIME_WAIT = 6;
export const TCP_CLOSE = 7;
export const TCP_CLOSE_WAIT = 8;
export const TCP_LAST_ACK = 9;
export const TCP_LISTEN = 10;
export const TCP_CLOSING = 11;
export const TCP_NEW_SYN_RECV = 12;

/** Names as ss prints them, by state number. */
export const STATE_NAMES: readonly string[] = [
  '',
  'ESTAB',
  'SYN-SENT',
  'SYN-RECV',
  'FIN-WAIT-1',
  'FIN-WAIT-2',
  'TIME-WAIT',
  'UNCONN',
  'CLOSE-WAIT',
  'LAST-ACK',
  'LISTEN',
  'CLOSING',
  'SYN-RECV',
];

/** Bit set of states, for tests like `inStates(state, SYNCHRONIZED)`. */
export function states(...list: number[]): number {
  return list.reduce((set, state) => set | (1 << state), 0);
}

export function inStates(state: number, set: number): boolean {
  return ((1 << state) & set) !== 0;
}

/** States in which the peer's sequence numbers are known (RFC 9293 3.3.2: synchronized states). */
export const SYNCHRONIZED: number = states(
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_LAST_ACK,
  TCP_TIME_WAIT,
);
/** States in which the application may still send. */
export const CAN_SEND: number = states(TCP_ESTABLISHED, TCP_CLOSE_WAIT);
/** States in which the peer may still send us text. */
export const CAN_RECEIVE: number = states(TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2);
/** States in which queued data and our FIN are (re)transmitted. */
export const TRANSMITS: number = states(
  TCP_ESTABLISHED,
  TCP_CLOSE_WAIT,
  TCP_FIN_WAIT1,
  TCP_CLOSING,
  TCP_LAST_ACK,
);

/** TRANSITIONS[from] = bit set of states that may follow. */
export const TRANSITIONS: readonly number[] = (() => {
  const table = new Array<number>(13).fill(0);
  table[TCP_CLOSE] = states(TCP_LISTEN, TCP_SYN_SENT, TCP_SYN_RECV);
  table[TCP_LISTEN] = states(TCP_CLOSE);
  table[TCP_SYN_SENT] = states(TCP_SYN_RECV, TCP_ESTABLISHED, TCP_CLOSE);
  table[TCP_SYN_RECV] = states(TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_CLOSE_WAIT, TCP_CLOSE);
  table[TCP_ESTABLISHED] = states(TCP_FIN_WAIT1, TCP_CLOSE_WAIT, TCP_CLOSE);
  table[TCP_FIN_WAIT1] = states(TCP_FIN_WAIT2, TCP_CLOSING, TCP_TIME_WAIT, TCP_CLOSE);
  table[TCP_FIN_WAIT2] = states(TCP_TIME_WAIT, TCP_CLOSE);
  table[TCP_CLOSE_WAIT] = states(TCP_LAST_ACK, TCP_CLOSE);
  table[TCP_CLOSING] = states(TCP_TIME_WAIT, TCP_CLOSE);
  table[TCP_LAST_ACK] = states(TCP_CLOSE);
  table[TCP_TIME_WAIT] = states(TCP_CLOSE);
  return table;
})();
