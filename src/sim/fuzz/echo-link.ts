/**
 * The link of a stack that is fuzzed: nobody is at its other end, but what leaves by it teaches the
 * conversations what their peers should say next (sequence numbers, RFC 9293 3.4; echoes, RFC 7323
 * 3.2).
 */
import { ACK, FIN, IPPROTO_TCP, RST, SYN } from '../../net/layout.js';
import type { Skb } from '../../net/skb.js';
import type { CountedLink } from '../host.js';
import type { Conversation } from './conversation.js';

/** Kinds of TCP options. */
const NOP = 1;
const TIMESTAMPS = 8;

/** Where the timestamp of a segment of the stack's stands, 0 = it has none. */
function timestampAt(view: DataView, options: number, end: number): number {
  for (let at = options; at < end; ) {
    const kind = view.getUint8(at);
    if (kind === TIMESTAMPS) return at + 2;
    at += kind === NOP ? 1 : view.getUint8(at + 1);
  }
  return 0;
}

export class EchoLink implements CountedLink {
  readonly mtu: number;
  readonly offload: { readonly checksum: boolean; readonly gsoMaxBytes: number };
  sent = 0;
  received = 0;
  readonly talks: Map<number, Conversation> = new Map();

  constructor(mtu: number, gsoMaxBytes: number) {
    this.mtu = mtu;
    this.offload = { checksum: gsoMaxBytes > 0, gsoMaxBytes };
  }

  transmit(skb: Skb): boolean {
    this.sent++;
    const { view, start, end } = skb;
    if (end - start < 40 || view.getUint8(start + 9) !== IPPROTO_TCP) return true;
    const talk = this.talks.get(view.getUint16(start + 22));
    if (talk === undefined) return true;
    const flags = view.getUint8(start + 33);
    const payload = skb.length - 20 - (view.getUint8(start + 32) >> 4) * 4;
    const sequenced = (flags & SYN ? 1 : 0) + (flags & FIN ? 1 : 0);
    const seqEnd = (view.getInt32(start + 24) + payload + sequenced) | 0;
    if ((flags & RST) === 0) talk.heard(seqEnd, view.getInt32(start + 28), (flags & ACK) !== 0);
    const at = timestampAt(view, start + 40, start + 20 + (view.getUint8(start + 32) >> 4) * 4);
    if (at > 0) talk.tsecr = view.getInt32(at);
    return true;
  }
}
