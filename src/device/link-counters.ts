/**
 * What a link has carried, lost and refused; every device has one. The pump adds them to the
 * counters of the stack.
 */
export class LinkCounters {
  /** Packets and bytes handed to the stack (IP bytes, without link header). */
  rxPackets = 0;
  rxBytes = 0;
  /** Reads that brought no packet: too short, not parsable, or a failure of the device. */
  rxErrors = 0;
  /** Packets and bytes taken from the stack. */
  txPackets = 0;
  txBytes = 0;
  /** Packets refused because the link was full. */
  txDropped = 0;
  /** Packets refused because the link found them malformed, or failed. */
  txErrors = 0;
}
