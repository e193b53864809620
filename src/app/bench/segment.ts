/**
 * Writes the headers of one IPv4 TCP segment again and again into the same bytes: what a flood and
 * a crowd in memory are made of. SYNs carry an MSS option, the others nothing.
 */
import { checksumFold, checksumPartial, pseudoSum } from '../../net/checksum.js';
import { SYN } from '../../net/layout.js';

const TCP = 6;
const TTL = 64;
const IP_BYTES = 20;
const TCP_BYTES = 20;
const MSS_OPTION = 0x020405b4;
const WINDOW = 65_535;
/** The longest: a SYN with its option. */
export const SEGMENT_BYTES: number = IP_BYTES + TCP_BYTES + 4;

export class SegmentWriter {
  private readonly view: DataView;

  /**
   * @param bytes where the segment is written, SEGMENT_BYTES long
   * @param daddr int32
   */
  constructor(bytes: Uint8Array, daddr: number, dport: number) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, SEGMENT_BYTES);
    this.view.setUint8(0, 0x45);
    this.view.setUint8(8, TTL);
    this.view.setUint8(9, TCP);
    this.view.setInt32(16, daddr);
    this.view.setUint16(IP_BYTES + 2, dport);
    this.view.setUint16(IP_BYTES + 14, WINDOW);
    this.view.setUint32(IP_BYTES + TCP_BYTES, MSS_OPTION);
  }

  /**
   * @param saddr int32
   * @param payloadBytes what the lengths shall say; the payload itself is not in the checksum
   * @returns bytes of the headers
   */
  write(
    saddr: number,
    sport: number,
    flags: number,
    seq: number,
    ack: number,
    payloadBytes = 0,
  ): number {
    const { view } = this;
    const tcpBytes = (flags & SYN) !== 0 ? TCP_BYTES + 4 : TCP_BYTES;
    view.setUint16(2, IP_BYTES + tcpBytes + payloadBytes);
    view.setUint16(10, 0);
    view.setInt32(12, saddr);
    view.setUint16(10, checksumFold(checksumPartial(view, 0, IP_BYTES, 0)));
    view.setUint16(IP_BYTES, sport);
    view.setInt32(IP_BYTES + 4, seq);
    view.setInt32(IP_BYTES + 8, ack);
    view.setUint8(IP_BYTES + 12, (tcpBytes >> 2) << 4);
    view.setUint8(IP_BYTES + 13, flags);
    view.setUint16(IP_BYTES + 16, 0);
    const sum = pseudoSum(saddr, view.getInt32(16), TCP, tcpBytes);
    view.setUint16(IP_BYTES + 16, checksumFold(checksumPartial(view, IP_BYTES, tcpBytes, sum)));
    return IP_BYTES + tcpBytes;
  }
}
