/**
 * A namespace with a capture device and one transport that keeps what it is given: for tests of
 * IPv4 in and out.
 */
import type { InetProtocol, NetNs } from '../../src/net/netns.js';
import type { Skb } from '../../src/net/skb.js';
import type { Profile } from '../../src/net/sysctl.js';
import { address, CaptureDevice, makeNet } from './fixtures.js';

export interface Delivery {
  saddr: number;
  daddr: number;
  tos: number;
  ttl: number;
  ifindex: number;
  ipSummed: number;
  gsoSize: number;
  payload: Uint8Array;
}

/** A transport that keeps what it is given. */
export class CaptureProtocol implements InetProtocol {
  deliveries: Delivery[] = [];

  rcv(skb: Skb): void {
    const { saddr, daddr, tos, ttl, ifindex, ipSummed, gsoSize } = skb;
    const payload = skb.bytes.slice(skb.transport, skb.end);
    this.deliveries.push({ saddr, daddr, tos, ttl, ifindex, ipSummed, gsoSize, payload });
  }

  err(): void {
    throw new Error('no error was sent');
  }
}

export const PEER: number = address('198.18.0.254');
export const US: number = address('198.18.0.1');
export const TCP = 6;

export interface Rig {
  net: NetNs;
  device: CaptureDevice;
  transport: CaptureProtocol;
}

export function makeRig(options: { mtu?: number; profile?: Profile; trace?: string[] } = {}): Rig {
  const device = new CaptureDevice({ mtu: options.mtu ?? 1500, gsoMaxBytes: 65_535 });
  const { trace } = options;
  const net = makeNet({
    device,
    profile: options.profile ?? '6.18',
    trace: trace
      ? {
          packet: (direction, skb) => trace.push(`${direction} ${skb.length}`),
          drop: (reason) => trace.push(`drop ${reason}`),
        }
      : null,
  });
  const transport = new CaptureProtocol();
  net.inetProtos[TCP] = transport;
  return { net, device, transport };
}
