/**
 * Segments with any source address, by a raw socket of the kernel (IPPROTO_RAW: the IP header is
 * ours). What comes back goes nowhere, for nobody has those addresses.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { IPPROTO_TCP } from '../../src/net/layout.js';
import { naiveChecksum } from '../net/fixtures.js';
import { KernelSockets } from '../oracle/kernel-sockets.js';
import { ipv4 } from '../oracle/socket-calls.js';

const AF_INET = 2;
const SOCK_RAW = 3;
const IPPROTO_RAW = 255;
const HEADERS_BYTES = 40;
const SYN = 2;
const RST = 4;
/** The device takes as many at once; then it must have time to be read. */
const BURST = 50;
const PAUSE_MS = 2;

/** Sends to one address and port. */
export class Forger {
  private readonly sockets = new KernelSockets();
  private readonly fd: number;
  private readonly packet: Buffer = Buffer.alloc(HEADERS_BYTES);
  /** Pseudo-header, then the TCP header: what the checksum covers. */
  private readonly covered: Buffer = Buffer.alloc(32);
  sent = 0;

  constructor(address: string, port: number) {
    this.fd = this.sockets.c.socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    const error = this.fd < 0 ? this.fd : this.sockets.connect(this.fd, ipv4(address), 0);
    if (error < 0) throw new Error(`raw socket: ${error}`);
    const { packet, covered } = this;
    packet.writeUInt16BE(0x4500, 0);
    packet.writeUInt16BE(HEADERS_BYTES, 2);
    packet.writeUInt16BE(64 * 256 + IPPROTO_TCP, 8);
    packet.writeInt32BE(ipv4(address), 16);
    packet.writeUInt16BE(port, 22);
    packet.writeUInt16BE(1024, 34);
    covered.writeUInt16BE(IPPROTO_TCP, 8);
    covered.writeUInt16BE(20, 10);
  }

  close(): void {
    this.sockets.c.close(this.fd);
  }

  /**
   * SYNs from so many addresses of 10.0.0.0/8, `perSecond` of them at most: what a busy machine has
   * kept from being sent in time is not made up for.
   */
  async floodSyn(count: number, perSecond: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.send(0x0a000000 + 7919 * i, 1024 + (i % 60_000), SYN, 1000 * i);
      if (i % BURST === BURST - 1) await sleep((1000 * BURST) / perSecond);
    }
  }

  /** RSTs of one connection, one in each `step` of all sequence numbers. */
  async sweepReset(saddr: string, sport: number, step: number): Promise<void> {
    let inBurst = 0;
    for (let seq = 1; seq < 2 ** 32; seq += step) {
      this.send(ipv4(saddr), sport, RST, seq);
      if (++inBurst % BURST === 0) await sleep(PAUSE_MS);
    }
  }

  private send(saddr: number, sport: number, flags: number, seq: number): void {
    const { packet, covered } = this;
    packet.writeInt32BE(saddr | 0, 12);
    packet.writeUInt16BE(sport, 20);
    packet.writeUInt32BE(seq >>> 0, 24);
    packet.writeUInt16BE(0x5000 | flags, 32);
    packet.writeUInt16BE(0, 36);
    packet.copy(covered, 0, 12, 20);
    packet.copy(covered, 12, 20, HEADERS_BYTES);
    packet.writeUInt16BE(naiveChecksum(covered), 36);
    if (this.sockets.send(this.fd, packet) === HEADERS_BYTES) this.sent++;
  }
}
