/**
 * The kernel's selftest migrate_reuseport: 25 clients go through a chain of listeners that are shut
 * down, 0 to 3, then 4, then 1, and are all accepted by the last, with what they have sent.
 */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { reuseportAttachSelector } from '../../src/reuseport/group.js';
import type { Selector } from '../../src/reuseport/selector-request.js';
import { type MemoryStack, Peer } from '../../src/testing/index.js';
import { acceptAll, halfOpen, join, outAll, quiet, SYNACK, tcbOf } from './migrate-rig.js';
import { conversation } from './state-table.js';

const IPPROTO_TCP = 6;
const TCP_FASTOPEN = 23;
const NO_COOKIE = { 'net.ipv4.tcp_fastopen': 0x202 };
interface Servers {
  host: MemoryStack;
  fds: number[];
  /** Names the server that a migrating selector chooses. */
  aim(server: number): void;
}

const EMPTY = { reqs: 0, young: 0, fastopenLen: 0 };

describe('tcp: the chain of the selftest migrate_reuseport', () => {
  const CLIENTS = 25;
  const VARIANTS = ['accept queue', 'Fast Open', 'SYN-ACK timer', 'final ACK'] as const;
  const text = (i: number): string => `client ${String(i).padStart(2, '0')}`;

  /** One that takes Fast Open connections without cookies. */
  const joinOpen = (host: MemoryStack): number => {
    const fd = join(host);
    expect(host.stack.setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, CLIENTS, 0)).to.equal(0);
    return fd;
  };

  /** Clients whose SYN came with their text, and whose third ACK has not come. */
  function opened(host: MemoryStack): Peer[] {
    return Array.from({ length: CLIENTS }, (_, i) => {
      const peer = new Peer(host, { port: 40_000 + i });
      peer.in('S 0:9(9) <mss 1460>', text(i));
      peer.out('S. 0:0(0) ack 10 <...>');
      return peer;
    });
  }

  /** Five listeners, the last not yet listening; a selector or the sysctl moves. */
  function servers(bySelector: boolean): Servers {
    const sysctl = { 'net.ipv4.tcp_migrate_req': bySelector ? 0 : 1, ...NO_COOKIE };
    const { host } = conversation({ fds: 256, arenaBytes: 16 << 20, sysctl });
    const fds = [0, 1, 2, 3].map(() => joinOpen(host));
    let target = -1;
    const aim = (server: number): void => {
      target = server;
    };
    if (bySelector) {
      const { hashinfo } = host.stack.tcp;
      const selector: Selector = (request) =>
        request.migrating === null ? -1 : request.group.socks.indexOf(tcbOf(host, fds[target]!));
      expect(reuseportAttachSelector(hashinfo, tcbOf(host, fds[0]!), selector, true)).to.equal(0);
    }
    return { host, fds, aim };
  }

  /** The third ACKs of all, and the text that is still to come. */
  function finish(peers: Peer[], early: boolean): void {
    for (const [i, peer] of peers.entries()) {
      if (early) {
        peer.in('. 10:10(0) ack 1');
      } else {
        peer.in('P. 1:10(9) ack 1', text(i));
        peer.out('. 1:1(0) ack 10');
      }
    }
  }

  type Variant = (typeof VARIANTS)[number];

  /** 0 to 3, 4, 1, 4; the last one's descriptor. */
  function goThrough(variant: Variant, { host, fds, aim }: Servers, peers: Peer[]): number {
    let waitMs = 1000;
    const settle = (): void => {
      if (variant !== 'SYN-ACK timer') return;
      host.advance(waitMs);
      waitMs *= 2;
      outAll(host, peers, SYNACK);
    };
    fds.push(joinOpen(host));
    aim(4);
    for (const fd of fds.slice(0, 4)) expect(host.shutdown(fd, 0)).to.equal(0);
    settle();
    for (const [next, old] of [
      [1, 4],
      [4, 1],
    ] as const) {
      expect(host.stack.listen(fds[next]!, 100)).to.equal(0);
      aim(next);
      expect(host.shutdown(fds[old]!, 0)).to.equal(0);
      settle();
    }
    return fds[4]!;
  }

  /** Moves that a chain of three steps makes: no fewer than `least`, no more than `most`. */
  function movesOf(variant: Variant, bySelector: boolean): [least: number, most: number] {
    if (variant === 'final ACK') return [CLIENTS, CLIENTS];
    // By hash a queued child may go through several of the first four.
    const once = bySelector || variant === 'SYN-ACK timer';
    return [3 * CLIENTS, once ? 3 * CLIENTS : 6 * CLIENTS];
  }

  for (const bySelector of [true, false]) {
    for (const variant of VARIANTS) {
      it(`${variant}, ${bySelector ? 'by a migrating selector' : 'by hash'}`, () => {
        const made = servers(bySelector);
        const { host, fds } = made;
        const early = variant === 'Fast Open';
        const peers = early ? opened(host) : halfOpen(host, CLIENTS);
        if (variant === 'accept queue') finish(peers, false);
        const last = goThrough(variant, made, peers);
        expect(tcbOf(host, last).listen!.fastopenLen).to.equal(early ? CLIENTS : 0);
        if (variant !== 'accept queue') finish(peers, early);
        quiet(peers);
        const texts = acceptAll(host, last).map((fd) => host.readText(fd));
        expect(texts.sort()).to.deep.equal(peers.map((_, i) => text(i)));
        expect(host.counter(Mib.TCPMigrateReqFailure)).to.equal(0);
        const [least, most] = movesOf(variant, bySelector);
        expect(host.counter(Mib.TCPMigrateReqSuccess)).to.be.within(least, most);
        for (const fd of fds) expect(tcbOf(host, fd).listen).to.include(EMPTY);
      });
    }
  }
});
