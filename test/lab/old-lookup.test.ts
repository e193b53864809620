/** The lookups of Linux 3.9 and 4.6 as `lab lookup` has them, against what is known of them. */
import { expect } from 'chai';
import { evenShares } from '../../src/lab/chi-square.js';
import { Dice } from '../../src/lab/experiment.js';
import { LabHost, SERVER_ADDRESS, SERVER_PORT } from '../../src/lab/host.js';
import { type Flow, lookup39, lookup46 } from '../../src/lab/old-lookup.js';
import type { SockCommon } from '../../src/reuseport/sock-common.js';

describe('lab/old-lookup', () => {
  const host = new LabHost({ seed: 9, profile: '5.0', fds: 64 });
  const group = host.listenGroup(6).map((fd): SockCommon => host.stack.sock(fd)!);
  const newestFirst = [...group].reverse();
  const { hashinfo } = host.stack.tcp;
  const dice = new Dice(9);
  const flows = Array.from({ length: 6000 }, (): Flow => {
    const saddr = dice.random.u32() | 0;
    return { saddr, sport: 1024 + dice.below(60_000), daddr: SERVER_ADDRESS, dport: SERVER_PORT };
  });

  it('3.9 scores everybody and draws fairly, the same for the same flow', () => {
    const shares = group.map(() => 0);
    for (const flow of flows) {
      const found = lookup39(hashinfo, newestFirst, flow);
      expect(found.visited).to.equal(6);
      expect(lookup39(hashinfo, newestFirst, flow).sk).to.equal(found.sk);
      shares[group.indexOf(found.sk!)]!++;
    }
    expect(evenShares(shares).pValue).to.be.above(0.001);
  });

  it('4.6 asks the array of the first that matches, by the hash of the packet', () => {
    const shares = group.map(() => 0);
    for (const flow of flows) {
      const { sk, visited } = lookup46(hashinfo, newestFirst, flow);
      expect(visited).to.equal(1);
      shares[group.indexOf(sk!)]!++;
    }
    expect(evenShares(shares).pValue).to.be.above(0.001);
  });

  it('both prefer the exact address to the wildcard, and pass others by', () => {
    const own = host.stack.sock(host.listen(true, SERVER_ADDRESS))!;
    const other = host.stack.sock(host.listen(true, SERVER_ADDRESS + 1))!;
    const flow = flows[0]!;
    const nobody = { ...flow, dport: 81 };
    expect(lookup39(hashinfo, [other, ...newestFirst, own], flow).sk).to.equal(own);
    // A group that scores at all ends the walk of 4.6: what is behind it is not seen.
    expect(lookup46(hashinfo, [other, own, ...newestFirst], flow)).to.deep.equal({
      sk: own,
      visited: 2,
    });
    for (const found of [lookup39, lookup46].map((find) => find(hashinfo, newestFirst, nobody))) {
      expect(found).to.deep.equal({ sk: null, visited: 6 });
    }
  });

  it('without SO_REUSEPORT the first of the best is taken', () => {
    const lone = new LabHost({ seed: 9, profile: '5.0', fds: 64 });
    const plain = lone.stack.sock(lone.listen(false))!;
    for (const find of [lookup39, lookup46]) {
      expect(find(lone.stack.tcp.hashinfo, [plain], flows[0]!)).to.deep.equal({
        sk: plain,
        visited: 1,
      });
    }
  });
});
