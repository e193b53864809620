/**
 * `tunstack/testing`: a stack in memory, a peer played by hand, and a simulated wire between
 * stacks.
 */
export {
  type Ingress,
  ipv4,
  MemoryLink,
  type MemoryLinkOptions,
  MemoryStack,
  type MemoryStackOptions,
  seededRandom,
} from './memory-stack.js';
export {
  decodePacket,
  encodeIcmpError,
  encodePacket,
  internetChecksum,
  type TcpPacket,
} from './packet.js';
export { formatSegment, type OptionText, parseSegment, type SegmentText } from './packet-text.js';
export { type HeaderFields, Peer, type PeerOptions } from './peer.js';
export { type Wire, type WireOptions, wire } from './wire.js';
