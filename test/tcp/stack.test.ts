/** The stack as a whole: bounded turns, deadlines, packets to itself, and its end. */
import { expect } from 'chai';
import type { NetNs } from '../../src/net/netns.js';
import { ringTryLock, ringUnlock } from '../../src/net/ring.js';
import { Sysctl } from '../../src/net/sysctl.js';
import { Stack } from '../../src/stack/stack.js';
import { tcpFlush } from '../../src/tcp/output/flush.js';
import { ipv4, Peer, seededRandom } from '../../src/testing/index.js';
import { CaptureDevice, makeMem } from '../net/fixtures.js';
import { conversation, established } from './state-table.js';

describe('stack: its devices', () => {
  const mem = makeMem({ fds: 8 });
  const env = { random: seededRandom(1), events: { ready: () => {} } };
  const named = (net: NetNs): string[] =>
    net.routes.devices.map((dev) => (dev === null ? '-' : `${dev.name} ${dev.addresses.length}`));

  it('one, with addresses that have no subnet', () => {
    const device = new CaptureDevice();
    const addresses = [ipv4('10.0.0.1'), ipv4('10.0.0.2')];
    const { net } = new Stack({ ...env, device }, new Sysctl('6.18'), mem, { addresses });
    expect(named(net)).to.deep.equal(['-', 'lo 1', 'tun0 2']);
    expect(net.addresses()).to.deep.equal(addresses);
    expect(net.routes.isBroadcast(ipv4('10.0.0.255'))).to.equal(false);
  });

  it('one without addresses', () => {
    const device = new CaptureDevice();
    const { net } = new Stack({ ...env, device }, new Sysctl('6.18'), mem, {});
    expect(named(net)).to.deep.equal(['-', 'lo 1', 'tun0 0']);
  });

  it('several, each with its subnets; none is an error', () => {
    const devices = ['a', 'b'].map((name, i) => ({
      name,
      device: new CaptureDevice({ mtu: 1000 + i }),
      addresses: [{ address: ipv4(`10.${i}.0.1`), prefix: 16 }],
    }));
    const { net } = new Stack(env, new Sysctl('6.18'), mem, { devices });
    expect(named(net)).to.deep.equal(['-', 'lo 1', 'a 1', 'b 1']);
    expect(net.routes.device(3)!.mtu).to.equal(1001);
    expect(net.routes.isBroadcast(ipv4('10.1.255.255'))).to.equal(true);
    expect(() => new Stack(env, new Sysctl('6.18'), mem, {})).to.throw(RangeError);
  });
});

describe('stack', () => {
  it('serves a bounded number of connections in a turn, oldest first', () => {
    const { host } = conversation();
    const listener = host.listen(80);
    const all = [1, 2, 3].map((port) => new Peer(host, { port }));
    for (const peer of all) peer.establish(listener);
    for (const peer of all) peer.queue('P. 1:2(1) ack 1');
    expect(tcpFlush(host.stack.tcp, 2)).to.equal(false);
    expect(host.stack.nextDeadlineUs()).to.equal(host.nowUs);
    all[0]!.out('. 1:1(0) ack 2');
    all[1]!.out('. 1:1(0) ack 2');
    all[2]!.quiet();
    expect(tcpFlush(host.stack.tcp, 1)).to.equal(true);
    all[2]!.out('. 1:1(0) ack 2');
    expect(tcpFlush(host.stack.tcp, 1)).to.equal(true);
  });

  it('may sleep when nothing is due', () => {
    const { host, peer } = conversation();
    expect(host.stack.nextDeadlineUs()).to.equal(Infinity);
    host.listen(80);
    expect(host.stack.nextDeadlineUs()).to.equal(Infinity);
    peer.in('S 0:0(0)');
    expect(host.stack.nextDeadlineUs()).to.equal(host.nowUs + 1_000_000);
  });

  it('resetAll: every peer gets a RST, those of closed connections too', () => {
    const c = conversation();
    established(c);
    const { host, peer } = c;
    const orphan = new Peer(host, { port: 41_000 });
    const fd = orphan.establish(c.listener);
    host.close(fd);
    orphan.out('F. 1:1(0) ack 1');
    expect(host.stack.orphans).to.equal(1);
    const asking = host.stack.socket(0);
    host.stack.connect(asking, peer.address, 9);
    host.poll();
    host.sent.length = 0;
    host.stack.resetAll();
    host.poll();
    peer.out('R. 1:1(0) ack 1');
    orphan.out('R. 2:2(0) ack 1');
    peer.quiet();
    expect(host.mem.fdsInUse).to.equal(0);
    expect(host.stack.orphans).to.equal(0);
    expect(host.stack.tcp.hashinfo.ehash.size).to.equal(0);
  });

  it('a ring that a thread is copying from is taken back when it lets go', () => {
    const c = conversation();
    established(c);
    const { host, peer, fd } = c;
    peer.in('P. 1:4(3) ack 1');
    peer.out('. 1:1(0) ack 4');
    const tcb = host.stack.sock(fd)!;
    expect(ringTryLock(host.mem.ctl, tcb.rcvRing, 5)).to.equal(true);
    host.stack.abort(fd);
    host.advance(3000);
    expect(host.mem.fdsInUse, 'listener and the locked one').to.equal(2);
    ringUnlock(host.mem.ctl, tcb.rcvRing);
    host.advance(1000);
    expect(host.mem.fdsInUse).to.equal(1);
    expect(host.stack.tcp.lateDetach).to.have.length(0);
  });
});
