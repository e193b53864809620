/**
 * The congestion window of a new connection (RFC 6928; Linux tcp_input.c: tcp_init_cwnd,
 * tcp_init_transfer).
 */

/** RFC 6928 2: ten segments. */
export const INITIAL_SEGMENTS = 10;

/**
 * Segments: ten, or one when the handshake needed more than one retransmission (RFC 5681 3.1).
 */
export function initialCwnd(retransmissions: number): number {
  return retransmissions > 1 ? 1 : INITIAL_SEGMENTS;
}
