/**
 * struct tcp_info as words (include/uapi/linux/tcp.h): the places of those that our programs read.
 * The first two words are made of smaller fields. Who fills them is tcp/sockopt/tcp-info.ts.
 */

/** Words up to tcpi_total_retrans: what there was from the beginning. */
export const TCP_INFO_FIRST_WORDS = 26;

/** Word of each field, by its name without "tcpi_". Times of the path are in µs, others in ms. */
export const TcpInfoWord = {
  rto: 2,
  sndMss: 4,
  rcvMss: 5,
  unacked: 6,
  lost: 8,
  retrans: 9,
  lastDataSent: 11,
  lastDataRecv: 13,
  lastAckRecv: 14,
  pmtu: 15,
  rtt: 17,
  rttvar: 18,
  sndSsthresh: 19,
  sndCwnd: 20,
  advmss: 21,
  rcvSpace: 24,
  totalRetrans: 25,
} as const;
