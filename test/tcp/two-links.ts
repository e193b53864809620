/**
 * A stack with two devices for tests: d0 with 10.1.0.1/24 and 10.9.0.7/16, d1 with 10.2.0.1/24 and
 * a larger MTU, and what such tests do with them.
 */
import { expect } from 'chai';
import { ipv4, MemoryStack, type MemoryStackOptions, Peer } from '../../src/testing/index.js';

export const SOL_SOCKET = 1;
export const SO_REUSEPORT = 15;
export const SO_BINDTODEVICE = 25;

export const LO = 1;
export const D0 = 2;
export const D1 = 3;

const LINKS = [
  { name: 'd0', addresses: ['10.1.0.1', '10.9.0.7/16'] },
  { name: 'd1', addresses: ['10.2.0.1'], mtu: 9000 },
];

export function twoLinks(options: MemoryStackOptions = {}): MemoryStack {
  return new MemoryStack({ links: LINKS, arenaBytes: 16 << 20, ...options });
}

/** setsockopt(SO_BINDTODEVICE). */
export function bindTo(host: MemoryStack, fd: number, name: string): number {
  return host.stack.setsockoptText(fd, SOL_SOCKET, SO_BINDTODEVICE, name);
}

/** getsockopt(SO_BINDTODEVICE). */
export function boundTo(host: MemoryStack, fd: number): string | number {
  return host.stack.getsockoptText(fd, SOL_SOCKET, SO_BINDTODEVICE);
}

interface ListenerOptions {
  dev?: string;
  address?: string;
  reuseport?: boolean;
}

export function listenOn(host: MemoryStack, port: number, options: ListenerOptions = {}): number {
  const { stack } = host;
  const fd = stack.socket(0);
  if (options.reuseport) stack.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1, 0);
  if (options.dev !== undefined) expect(bindTo(host, fd, options.dev)).to.equal(0);
  expect(stack.bind(fd, ipv4(options.address ?? '0.0.0.0'), port)).to.equal(0);
  expect(stack.listen(fd, 128)).to.equal(0);
  return fd;
}

/** A peer on the link of interface `ifindex`, for 10.1.0.1 unless told otherwise. */
export function peerOn(
  host: MemoryStack,
  ifindex: number,
  port = 40_000,
  localAddress = '10.1.0.1',
): Peer {
  const address = ifindex === D0 ? '10.1.0.99' : '10.2.0.99';
  return new Peer(host, { address, port, localAddress, ingress: { ifindex } });
}

/** What becomes of a SYN: the listener that gets it, or null for a RST. */
export function winner(host: MemoryStack, peer: Peer, listeners: number[]): number | null {
  peer.in('S 0:0(0) win 65535 <mss 1460>');
  const link = host.links[peer.ingress.ifindex! - D0]!;
  if (link.sent[0]![33]! & 4) {
    peer.out('R. 0:0(0) ack 1');
    return null;
  }
  peer.out('S. 0:0(0) ack 1 <...>');
  peer.in('. 1:1(0) ack 1');
  return listeners.find((fd) => host.accept(fd) >= 0)!;
}
