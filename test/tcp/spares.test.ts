/** Objects of sockets that are used again: they are as new, and never two sockets' at once. */
import { expect } from 'chai';
import { RequestSock } from '../../src/tcp/minisocks.js';
import { Spares } from '../../src/tcp/spares.js';
import type { Tcb } from '../../src/tcp/tcb.js';
import type { Tcp } from '../../src/tcp/tcp.js';

const TCP = { name: 'the protocol' } as unknown as Tcp;
const LISTENER = { name: 'a listener' } as unknown as Tcb;
const OTHER = { name: 'another' } as unknown as Tcb;

const made = (): RequestSock => new RequestSock(TCP, LISTENER);
const spares = (): Spares<RequestSock> => new Spares(['tcp', 'listener']);

describe('spare objects', () => {
  it('are as new, but for what is to be left alone', () => {
    const pool = spares();
    const used = new RequestSock(TCP, OTHER);
    for (const key of Object.keys(used)) {
      if (key !== 'tcp' && key !== 'listener') Object.assign(used, { [key]: 'used' });
    }
    Object.assign(used, { retired: false, dirty: false, ehashSlot: -1, timerIndex: -1 });
    pool.retire(used);
    pool.reclaim();
    expect(pool.take()).to.equal(used);
    pool.renew(used, made);
    expect(used).to.deep.equal(new RequestSock(TCP, OTHER));
  });

  it('are nobody else’s before the end of the turn', () => {
    const pool = spares();
    pool.retire(made());
    expect(pool.take()).to.equal(undefined);
    pool.reclaim();
    expect(pool.take()).to.be.instanceOf(RequestSock);
  });

  it('are there once, however often they are given back', () => {
    const pool = spares();
    const sock = made();
    pool.retire(sock);
    pool.retire(sock);
    pool.reclaim();
    pool.retire(sock);
    pool.reclaim();
    expect(pool.take()).to.equal(sock);
    expect(pool.take()).to.equal(undefined);
  });

  it('are none of those that something still holds', () => {
    const pool = spares();
    for (const hold of [{ dirty: true }, { ehashSlot: 3 }, { timerIndex: 7 }]) {
      pool.retire(Object.assign(made(), hold));
    }
    pool.reclaim();
    expect(pool.take()).to.equal(undefined);
  });

  it('are a bounded number', () => {
    const pool = spares();
    for (let i = 0; i < 5000; i++) pool.retire(made());
    pool.reclaim();
    let count = 0;
    while (pool.take() !== undefined) count++;
    expect(count).to.equal(4096);
  });
});
