/** The IPv6 hashes against the kernel's. */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { inet6Ehashfn, ipv6PortaddrHash } from '../../src/reuseport/inet6-ehash.js';
import { ipv4PortaddrHash } from '../../src/reuseport/lhash2.js';
import { ip } from './fixtures.js';

interface Vector {
  saddr: string;
  sport: number;
  daddr: string;
  dport: number;
  ehash_secret: number;
  addr_secret: number;
  netmix: number;
  hash: number;
  hash_6_15: number;
  hash_any: number;
  hash_5_0: number;
  portaddr: number;
  portaddr_any: number;
}

const path = `${process.cwd()}/test/vectors/hash-vectors.json`;
const vectors = (JSON.parse(readFileSync(path, 'utf8')) as { ipv6: Vector[] }).ipv6;

const ANY = new Int32Array(4);

/** The words of an address that is written out in full. */
function words(text: string): Int32Array {
  const bytes = new DataView(new ArrayBuffer(16));
  for (const [i, group] of text.split(':').entries()) {
    bytes.setUint16(2 * i, Number.parseInt(group, 16));
  }
  return Int32Array.from([0, 4, 8, 12], (at) => bytes.getInt32(at, true));
}

describe('reuseport/inet6-ehash', () => {
  it('equals the kernel on every vector, in every form', () => {
    expect(vectors).to.have.lengthOf(56);
    for (const v of vectors) {
      const initval = (v.ehash_secret + v.netmix) | 0;
      const hash = (laddr: Int32Array, addsPort: boolean, folds: boolean): number => {
        const faddr = words(v.saddr);
        const { dport, sport, addr_secret } = v;
        return (
          inet6Ehashfn(laddr, dport, faddr, sport, initval, addr_secret, addsPort, folds) >>> 0
        );
      };
      const laddr = words(v.daddr);
      expect(hash(laddr, false, false)).to.equal(v.hash);
      expect(hash(laddr, true, false)).to.equal(v.hash_6_15);
      expect(hash(ANY, false, false)).to.equal(v.hash_any);
      expect(hash(laddr, false, true)).to.equal(v.hash_5_0);
      expect(ipv6PortaddrHash(v.netmix, laddr, v.dport) >>> 0).to.equal(v.portaddr);
      expect(ipv6PortaddrHash(v.netmix, ANY, v.dport) >>> 0).to.equal(v.portaddr_any);
    }
  });

  it(':: and mapped addresses are in the buckets of IPv4', () => {
    for (const text of ['0.0.0.0', '10.1.2.3', '255.255.255.255']) {
      const [a, b] = [ip(text) >>> 16, ip(text) & 0xffff];
      const mapped = words(`0:0:0:0:0:ffff:${a.toString(16)}:${b.toString(16)}`);
      expect(ipv6PortaddrHash(7, mapped, 80)).to.equal(ipv4PortaddrHash(7, ip(text), 80));
    }
    expect(ipv6PortaddrHash(7, ANY, 80)).to.equal(ipv4PortaddrHash(7, 0, 80));
    // Not mapped: the last word alone does not make an address.
    const near = words('0:0:0:1:0:ffff:a01:203');
    expect(ipv6PortaddrHash(7, near, 80)).to.not.equal(ipv4PortaddrHash(7, ip('10.1.2.3'), 80));
  });
});
