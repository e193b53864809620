/** Sending sides that are used again: they are as new, and never two connections' at once. */
import { expect } from 'chai';
import { Sender } from '../../src/tcp/sender.js';
import { SpareSenders } from '../../src/tcp/spare-senders.js';
import { rig } from './rig.js';

/** A sender in whose fields there is nothing as it should be. */
function used(s: Sender): Sender {
  for (const object of [s, s.minRtt]) {
    for (const key of Object.keys(object)) {
      if (key !== 'minRtt') Object.assign(object, { [key]: -77 });
    }
  }
  return s;
}

describe('spare senders', () => {
  it('are as new for the connection that takes them', () => {
    const pool = new SpareSenders();
    for (const rttMs of [0, 20]) {
      const { tcb } = rig({ rttMs });
      const s = used(new Sender(tcb));
      pool.retire(s);
      pool.reclaim();
      expect(pool.take(tcb)).to.equal(s);
      expect(s).to.deep.equal(new Sender(tcb));
    }
  });

  it('are nobody else’s before the end of the turn', () => {
    const { tcb } = rig();
    const pool = new SpareSenders();
    const s = new Sender(tcb);
    pool.retire(s);
    expect(pool.take(tcb)).not.to.equal(s);
    pool.reclaim();
    expect(pool.take(tcb)).to.equal(s);
    expect(pool.take(tcb)).not.to.equal(s);
  });

  it('are a bounded number', () => {
    const { tcb } = rig();
    const pool = new SpareSenders();
    const given = new Set<Sender>();
    for (let i = 0; i < 1100; i++) given.add(new Sender(tcb));
    for (const s of given) pool.retire(s);
    pool.reclaim();
    let count = 0;
    while (given.has(pool.take(tcb))) count++;
    expect(count).to.equal(1024);
  });

  it('that of a connection which has ended is the next one’s', () => {
    const r = rig();
    r.host.write(r.fd, 'text');
    r.peer.out('P. 1:5(4) ack 1');
    const s = r.tcb.sender;
    r.peer.in('R 1:1(0)');
    r.host.close(r.fd);
    r.host.poll();
    expect(r.tcb.sender).to.equal(null);
    expect(r.host.stack.tcp.spareSenders.take(r.tcb)).to.equal(s);
  });
});
