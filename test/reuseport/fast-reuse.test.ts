/**
 * What is remembered of a port's owners: who gets it without a look at them, in both profiles, and
 * when a port is connect()'s again.
 */
import { expect } from 'chai';
import { EADDRINUSE, EADDRNOTAVAIL } from '../../src/net/errno.js';
import { inetBhash2UpdateSaddr, inetPutPort } from '../../src/reuseport/bhash.js';
import { inetHashConnect } from '../../src/reuseport/hash-connect.js';
import type { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import { AF_INET6, type SockCommon } from '../../src/reuseport/sock-common.js';
import { bind, ip, listen, makeTables, type SockFields, sock } from './fixtures.js';

const ONE = ip('127.0.0.1');
const TWO = ip('127.0.0.2');
const PORT = 80;

/** A bound socket whose options are gone. */
function plainAfterBind(tables: InetHashinfo, addr: number, fields: SockFields): SockCommon {
  const sk = sock(fields);
  expect(bind(tables, sk, addr, PORT)).to.equal(0);
  sk.reuse = sk.reuseport = false;
  return sk;
}

describe('reuseport/fast-reuse: 6.18', () => {
  it('SO_REUSEPORT cleared after bind(): the port is shared on, at the address remembered', () => {
    for (const [addr, other, result] of [
      [ONE, ONE, 0],
      [0, ONE, 0],
      [0, 0, 0],
      [ONE, 0, -EADDRINUSE],
    ] as const) {
      const tables = makeTables();
      plainAfterBind(tables, addr, { reuseport: true });
      expect(bind(tables, sock({ reuseport: true }), other, PORT)).to.equal(result);
      expect(bind(tables, sock({ reuseport: true, uid: 7 }), other, PORT)).to.equal(-EADDRINUSE);
      expect(bind(tables, sock(), other, PORT)).to.equal(-EADDRINUSE);
    }
  });

  it('a socket with a group of its own does not take the short way', () => {
    const tables = makeTables();
    plainAfterBind(tables, ONE, { reuseport: true });
    const grouped = sock({ reuseport: true });
    bind(tables, grouped, TWO, PORT + 1);
    listen(tables, grouped);
    const second = sock({ reuseport: true, reuseportCb: grouped.reuseportCb });
    expect(bind(tables, second, ONE, PORT)).to.equal(-EADDRINUSE);
  });

  it('an owner without SO_REUSEPORT closes the short way', () => {
    const tables = makeTables();
    const first = plainAfterBind(tables, ONE, { reuseport: true });
    expect(listen(tables, first)).to.equal(0);
    expect(bind(tables, sock({ reuseport: true }), ONE, PORT)).to.equal(-EADDRINUSE);
  });

  it('listen() takes it, too, when it is open', () => {
    const tables = makeTables();
    const first = sock({ reuseport: true });
    bind(tables, first, 0, PORT);
    const second = sock({ reuseport: true });
    bind(tables, second, 0, PORT);
    second.reuseport = false;
    expect(listen(tables, first)).to.equal(0);
    expect(listen(tables, second)).to.equal(-EADDRINUSE);
  });

  it('SO_REUSEADDR cleared after bind(): the owners are asked', () => {
    const tables = makeTables();
    plainAfterBind(tables, ONE, { reuse: true });
    expect(bind(tables, sock({ reuse: true }), ONE, PORT)).to.equal(-EADDRINUSE);
  });

  it('remembers the address of an IPv6 socket, too', () => {
    const six = { family: AF_INET6, reuseport: true };
    for (const [ipv6only, fields, addr, result] of [
      [false, { reuseport: true }, ONE, 0],
      [true, six, 0, 0],
      [false, { ...six, ipv6only: true }, 0, 0],
    ] as const) {
      const tables = makeTables();
      plainAfterBind(tables, 0, { ...six, ipv6only });
      expect(bind(tables, sock(fields), addr, PORT)).to.equal(result);
    }
    const tables = makeTables();
    plainAfterBind(tables, ONE, { reuseport: true });
    const only = { ...six, ipv6only: true };
    expect(bind(tables, sock(only), ONE, PORT), 'V6ONLY').to.equal(-EADDRINUSE);
  });
});

describe('reuseport/fast-reuse: 5.0', () => {
  const tablesOf = (): InetHashinfo => makeTables({ profile: '5.0' });

  it('the first owner with SO_REUSEPORT opens the port at every address', () => {
    const tables = tablesOf();
    plainAfterBind(tables, ONE, { reuseport: true });
    expect(bind(tables, sock({ reuseport: true }), 0, PORT)).to.equal(0);
    expect(bind(tables, sock({ reuseport: true, uid: 7 }), 0, PORT)).to.equal(-EADDRINUSE);
  });

  it('SO_REUSEADDR cleared after bind(): shared on, until somebody comes without', () => {
    const tables = tablesOf();
    const first = plainAfterBind(tables, ONE, { reuse: true });
    expect(bind(tables, sock({ reuse: true }), ONE, PORT)).to.equal(0);
    expect(listen(tables, first)).to.equal(-EADDRINUSE);
    expect(bind(tables, sock(), TWO, PORT)).to.equal(0);
    expect(bind(tables, sock({ reuse: true }), ONE, PORT)).to.equal(-EADDRINUSE);
  });

  it('a first owner that listens is no reason to share', () => {
    const tables = makeTables({ profile: '5.0', range: [PORT, PORT] });
    const first = sock({ reuse: true });
    expect(listen(tables, first)).to.equal(0);
    expect(bind(tables, sock({ reuse: true }), ONE, PORT)).to.equal(-EADDRINUSE);
  });
});

describe('reuseport/bhash: whose port is it', () => {
  /** A connection from a port of our choice; the range is one port. */
  function connect(tables: InetHashinfo, dport: number, rcvSaddr: number = ONE): number {
    const sk = sock({ rcvSaddr, daddr: TWO, dport });
    return inetHashConnect(tables, sk);
  }

  it('connect() has a port again when nobody who bound it is left (6.18), or not (5.0)', () => {
    for (const profile of ['6.18', '5.0'] as const) {
      const tables = makeTables({ profile, range: [PORT, PORT] });
      expect(connect(tables, 1)).to.equal(0);
      const bound = sock();
      expect(bind(tables, bound, TWO, PORT)).to.equal(0);
      expect(connect(tables, 2)).to.equal(-EADDRNOTAVAIL);
      inetPutPort(tables, bound);
      expect(connect(tables, 2)).to.equal(profile === '6.18' ? 0 : -EADDRNOTAVAIL);
    }
  });

  it('not while the one that bound it is only moving to another address', () => {
    const tables = makeTables({ range: [PORT, PORT] });
    const bound = sock();
    bind(tables, bound, 0, PORT);
    bound.rcvSaddr = ONE;
    inetBhash2UpdateSaddr(tables, bound);
    expect(connect(tables, 1)).to.equal(-EADDRNOTAVAIL);
    inetPutPort(tables, bound);
    expect(connect(tables, 1)).to.equal(0);
  });

  it('two that bound it at one address: both must go', () => {
    const tables = makeTables({ range: [PORT, PORT] });
    expect(connect(tables, 1)).to.equal(0);
    const pair = [sock({ reuse: true }), sock({ reuse: true })];
    for (const sk of pair) expect(bind(tables, sk, TWO, PORT)).to.equal(0);
    inetPutPort(tables, pair[0]!);
    expect(connect(tables, 2)).to.equal(-EADDRNOTAVAIL);
    inetPutPort(tables, pair[1]!);
    expect(connect(tables, 2)).to.equal(0);
  });
});
