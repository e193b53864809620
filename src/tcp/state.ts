/**
 * The states of a connection (RFC 9293 3.3.2): sets of them, and the table of allowed transitions.
 * `set-state.ts` is the only door through which a state changes; this file only says which moves
 * exist.
 */
import {
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_LAST_ACK,
  TCP_LISTEN,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
  TCP_TIME_WAIT,
} from '../net/tcp-states.js';

export {
  STATE_NAMES,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_LAST_ACK,
  TCP_LISTEN,
  TCP_NEW_SYN_RECV,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
  TCP_TIME_WAIT,
} from '../net/tcp-states.js';

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
