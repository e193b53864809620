/**
 * The kernel's selftest migrate_reuseport: 25 clients go through a chain of listeners that are shut
 * down, 0 to 3, then 4, then 1, and are all accepted by the last, with what they have sent.
 */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { reuseportAttachSelector } from '../../src/reuseport/group.js';
import type { Selector } from '../../src/reuseport/selector-request.js';
import { acceptAll, halfOpen, join, outAll, quiet, SYNACK, tcbOf } from './migrate-rig.js';
import { conversation } from './state-table.js';

describe('tcp: the chain of the selftest migrate_reuseport', () => {
  const CLIENTS = 25;
  const text = (i: number): string => `client ${String(i).padStart(2, '0')}`;

  /** Five listeners, the last not yet listening; a selector or the sysctl moves. */
  function servers(bySelector: boolean) {
    const sysctl = { 'net.ipv4.tcp_migrate_req': bySelector ? 0 : 1 };
    const { host } = conversation({ fds: 256, arenaBytes: 16 << 20, sysctl });
    const fds = [0, 1, 2, 3].map(() => join(host));
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

  for (const bySelector of [true, false]) {
    for (const variant of ['accept queue', 'SYN-ACK timer', 'final ACK'] as const) {
      it(`${variant}, ${bySelector ? 'by a migrating selector' : 'by hash'}`, () => {
        const { host, fds, aim } = servers(bySelector);
        const peers = halfOpen(host, CLIENTS);
        const finish = (): void => {
          peers.forEach((peer, i) => {
            peer.in('P. 1:10(9) ack 1', text(i));
            peer.out('. 1:1(0) ack 10');
          });
        };
        let waitMs = 1000;
        const settle = (): void => {
          if (variant !== 'SYN-ACK timer') return;
          host.advance(waitMs);
          waitMs *= 2;
          outAll(host, peers, SYNACK);
        };
        if (variant === 'accept queue') finish();
        fds.push(join(host));
        aim(4);
        for (const fd of fds.slice(0, 4)) expect(host.shutdown(fd, 0)).to.equal(0);
        settle();
        expect(host.stack.listen(fds[1]!, 100)).to.equal(0);
        aim(1);
        expect(host.shutdown(fds[4]!, 0)).to.equal(0);
        settle();
        expect(host.stack.listen(fds[4]!, 100)).to.equal(0);
        aim(4);
        expect(host.shutdown(fds[1]!, 0)).to.equal(0);
        settle();
        if (variant !== 'accept queue') finish();
        quiet(peers);
        const texts = acceptAll(host, fds[4]!).map((fd) => host.readText(fd));
        expect(texts.sort()).to.deep.equal(peers.map((_, i) => text(i)));
        expect(host.counter(Mib.TCPMigrateReqFailure)).to.equal(0);
        const moves = host.counter(Mib.TCPMigrateReqSuccess);
        if (variant === 'final ACK') expect(moves).to.equal(CLIENTS);
        else if (bySelector || variant === 'SYN-ACK timer') expect(moves).to.equal(3 * CLIENTS);
        else expect(moves).to.be.at.least(3 * CLIENTS);
        for (const fd of fds) expect(tcbOf(host, fd).listen).to.include({ reqs: 0, young: 0 });
      });
    }
  }
});
