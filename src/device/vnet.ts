/**
 * The virtio-net header that precedes each packet of a TUN device with IFF_VNET_HDR: offload state
 * of an skb to header and back (kernel: virtio_net_hdr_from_skb, virtio_net_hdr_to_skb). Legacy
 * form, 10 bytes, little-endian. It does no I/O and completes no checksum.
 */
import { offsetOf, tcphdr, virtioNetHdr } from '../net/layout.js';
import { CHECKSUM_NONE, CHECKSUM_PARTIAL, CHECKSUM_UNNECESSARY, type Skb } from '../net/skb.js';

/** Size of the header, bytes. */
export const VNET_HDR_BYTES = 10;

/** flags: the checksum field holds the pseudo-header sum / the checksum has been verified. */
export const VNET_NEEDS_CSUM = 1;
export const VNET_DATA_VALID = 2;
/** gso_type; ECN is a flag added to the others. */
export const VNET_GSO_NONE = 0;
export const VNET_GSO_TCPV4 = 1;
export const VNET_GSO_TCPV6 = 4;
export const VNET_GSO_ECN = 0x80;

const FLAGS = offsetOf(virtioNetHdr, 'flags');
const GSO_TYPE = offsetOf(virtioNetHdr, 'gso_type');
const HDR_LEN = offsetOf(virtioNetHdr, 'hdr_len');
const GSO_SIZE = offsetOf(virtioNetHdr, 'gso_size');
const CSUM_START = offsetOf(virtioNetHdr, 'csum_start');
const CSUM_OFFSET = offsetOf(virtioNetHdr, 'csum_offset');
const DOFF = offsetOf(tcphdr, 'doff');

/**
 * Writes the header for `skb` to `view` at `at`. A super-packet (gsoSize > 0) that would fit one
 * segment anyway is described as a plain packet: gso_size must be smaller than the payload.
 */
export function writeVnetHeader(skb: Skb, view: DataView, at: number): void {
  let flags = 0;
  let gsoType = VNET_GSO_NONE;
  let headerBytes = 0;
  let gsoSize = 0;
  let csumStart = 0;
  let csumOffset = 0;
  if (skb.ipSummed === CHECKSUM_PARTIAL) {
    flags = VNET_NEEDS_CSUM;
    csumStart = skb.csumStart - skb.start;
    csumOffset = skb.csumOffset;
    if (skb.gsoSize > 0) {
      const tcpHeaderBytes = (skb.bytes[skb.csumStart + DOFF]! >>> 4) * 4;
      headerBytes = csumStart + tcpHeaderBytes;
      if (skb.length - headerBytes > skb.gsoSize) {
        gsoType = skb.bytes[skb.start]! >>> 4 === 6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4;
        gsoSize = skb.gsoSize;
      }
    }
  }
  view.setUint8(at + FLAGS, flags);
  view.setUint8(at + GSO_TYPE, gsoType);
  view.setUint16(at + HDR_LEN, headerBytes, true);
  view.setUint16(at + GSO_SIZE, gsoSize, true);
  view.setUint16(at + CSUM_START, csumStart, true);
  view.setUint16(at + CSUM_OFFSET, csumOffset, true);
}

/**
 * Reads the header at `at` of `view` into skb.ipSummed and skb.gsoSize. A packet that still "needs
 * checksum" comes from a socket of this machine and is trusted as one that was verified.
 */
export function readVnetHeader(skb: Skb, view: DataView, at: number): void {
  const trusted = (view.getUint8(at + FLAGS) & (VNET_NEEDS_CSUM | VNET_DATA_VALID)) !== 0;
  skb.ipSummed = trusted ? CHECKSUM_UNNECESSARY : CHECKSUM_NONE;
  const merged = (view.getUint8(at + GSO_TYPE) & ~VNET_GSO_ECN) !== VNET_GSO_NONE;
  skb.gsoSize = merged ? view.getUint16(at + GSO_SIZE, true) : 0;
}
