/**
 * What a connection has done so far, for TCP_INFO alone (Linux: the tcp_sock fields that
 * tcp_get_info copies). Doubles, beyond 2^31. No behaviour.
 */
export class Counts {
  /** Segments, all of them and those with text. */
  segsIn = 0;
  segsOut = 0;
  dataSegsIn = 0;
  dataSegsOut = 0;
  /** Bytes of text: taken in order; acknowledged; sent, with those that were sent again. */
  bytesReceived = 0;
  bytesAcked = 0;
  bytesSent = 0;
  bytesRetrans = 0;
  /** Segments that came out of order; D-SACKs that came. */
  ofoPackets = 0;
  dsackDups = 0;
  /** Times that the retransmission timer fired. */
  timeouts = 0;
  /** Which clock of chrono.ts runs, since when, and what they have come to without that, µs. */
  chrono = 0;
  chronoStartUs = 0;
  busyUs = 0;
  rwndLimitedUs = 0;
  sndbufLimitedUs = 0;
}
