/** src/net/netns.ts: one value per stack. */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { address, makeNet } from './fixtures.js';

describe('net/netns', () => {
  it('one seed fixes all secrets, another changes them', () => {
    const secrets = (seed: number): number[] => {
      const net = makeNet({ seed });
      return [net.hashMix, net.ehashSecret, net.udpEhashSecret];
    };
    expect(secrets(5)).to.deep.equal(secrets(5));
    expect(new Set([...secrets(5), ...secrets(6)]).size).to.equal(6);
  });

  it('knows its addresses in the order of their adding', () => {
    const net = makeNet({ addresses: ['198.18.0.1', '10.0.0.1'] });
    expect(net.addresses()).to.deep.equal([address('198.18.0.1'), address('10.0.0.1')]);
    expect(net.isLocal(address('198.18.0.1'))).to.equal(true);
    expect(net.isLocal(address('198.18.0.1') >>> 0)).to.equal(true);
    expect(net.isLocal(address('198.18.0.2'))).to.equal(false);
    net.addAddress(address('10.0.0.1') >>> 0);
    expect(net.addresses()).to.have.lengthOf(2);
  });

  it('counts, and tells the trace why a packet was dropped', () => {
    const reasons: string[] = [];
    const net = makeNet({ trace: { drop: (reason) => reasons.push(reason) } });
    net.count(Mib.TcpInSegs);
    net.count(Mib.TcpInSegs, 4);
    net.drop(Mib.ListenDrops, 'ListenDrops', net.inputSkbs.alloc()!);
    expect(net.mib[Mib.TcpInSegs]).to.equal(5);
    expect(net.mib[Mib.ListenDrops]).to.equal(1);
    expect(reasons).to.deep.equal(['ListenDrops']);
  });

  it('two namespaces in one process share nothing', () => {
    const [a, b] = [makeNet(), makeNet()];
    a.count(Mib.IpInReceives);
    a.nowUs = 7;
    a.addAddress(1);
    expect([b.mib[Mib.IpInReceives], b.nowUs, b.isLocal(1)]).to.deep.equal([0, 0, false]);
  });
});
