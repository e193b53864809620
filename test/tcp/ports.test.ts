/** Which local port a socket gets, through the calls: late binding, ranges, reserved ports. */
import { expect } from 'chai';
import {
  EADDRINUSE,
  EADDRNOTAVAIL,
  EINPROGRESS,
  EINVAL,
  ENOPROTOOPT,
} from '../../src/net/errno.js';
import { setSysctl } from '../../src/net/sysctl.js';
import { ipv4, type MemoryStack } from '../../src/testing/index.js';
import { conversation } from './state-table.js';

const IPPROTO_IP = 0;
const IP_BIND_ADDRESS_NO_PORT = 24;
const IP_LOCAL_PORT_RANGE = 51;
const PEER = ipv4('198.18.0.254');

const start = (range = '40000 40007', profile: '5.0' | '6.18' = '6.18'): MemoryStack =>
  conversation({ profile, sysctl: { 'net.ipv4.ip_local_port_range': range } }).host;

function set(host: MemoryStack, fd: number, name: number, value: number): number {
  return host.stack.setsockopt(fd, IPPROTO_IP, name, value, 0);
}

function get(host: MemoryStack, fd: number, name: number): number {
  const out = new Int32Array(1);
  const words = host.stack.getsockopt(fd, IPPROTO_IP, name, out);
  return words === 1 ? out[0]! : words;
}

const span = (low: number, high: number): number => low | (high << 16);
const portOf = (host: MemoryStack, fd: number): number => host.stack.sock(fd)!.num;

describe('tcp: IP_BIND_ADDRESS_NO_PORT', () => {
  it('takes the address, and connect() finds a port for it', () => {
    const host = start();
    const { stack } = host;
    // Every port has an owner, and every one serves another peer too.
    for (let i = 0; i < 16; i++) {
      const fd = stack.socket(0);
      expect(set(host, fd, IP_BIND_ADDRESS_NO_PORT, 1)).to.equal(0);
      expect(stack.bind(fd, host.address, 0)).to.equal(0);
      expect([portOf(host, fd), stack.sock(fd)!.rcvSaddr]).to.deep.equal([0, host.address]);
      expect(stack.connect(fd, PEER, 80 + (i >> 3))).to.equal(-EINPROGRESS);
      expect(portOf(host, fd)).to.be.within(40_000, 40_007);
    }
    const fd = stack.socket(0);
    expect(stack.bind(fd, host.address, 0), 'without it').to.equal(-EADDRINUSE);
    expect(stack.connect(fd, PEER, 80)).to.equal(-EADDRNOTAVAIL);
  });

  it('reads back, may bind again, and listen() finds a port too', () => {
    const host = start();
    const { stack } = host;
    const fd = stack.socket(0);
    expect(get(host, fd, IP_BIND_ADDRESS_NO_PORT)).to.equal(0);
    set(host, fd, IP_BIND_ADDRESS_NO_PORT, 5);
    expect(get(host, fd, IP_BIND_ADDRESS_NO_PORT)).to.equal(1);
    expect(stack.bind(fd, ipv4('10.0.0.1'), 0)).to.equal(-EADDRNOTAVAIL);
    expect(stack.bind(fd, host.address, 0)).to.equal(0);
    expect(stack.bind(fd, 0, 0)).to.equal(0);
    expect(stack.listen(fd, 1)).to.equal(0);
    expect(portOf(host, fd)).to.be.within(40_000, 40_007);
    const other = stack.socket(0);
    set(host, other, IP_BIND_ADDRESS_NO_PORT, 1);
    expect(stack.bind(other, host.address, 80), 'a port that is named is bound').to.equal(0);
    expect(portOf(host, other)).to.equal(80);
    expect(stack.bind(other, host.address, 0)).to.equal(-EINVAL);
    expect(stack.tcp.hashinfo.bhash.ports).to.equal(2);
    for (const one of [fd, other]) host.close(one);
    expect(stack.tcp.hashinfo.bhash.ports).to.equal(0);
  });
});

describe('tcp: IP_LOCAL_PORT_RANGE (selftest ip_local_port_range)', () => {
  it('refuses a range upside down and keeps what it had', () => {
    const host = start();
    const fd = host.stack.socket(0);
    expect(get(host, fd, IP_LOCAL_PORT_RANGE)).to.equal(0);
    expect(set(host, fd, IP_LOCAL_PORT_RANGE, span(40_001, 40_002))).to.equal(0);
    for (const [low, high] of [
      [40_001, 40_000],
      [65_535, 1],
      [2, 1],
    ] as const) {
      expect(set(host, fd, IP_LOCAL_PORT_RANGE, span(low, high))).to.equal(-EINVAL);
    }
    expect(get(host, fd, IP_LOCAL_PORT_RANGE)).to.equal(span(40_001, 40_002));
    for (const good of [span(0, 0), span(0, 1), span(65_535, 0), span(65_535, 65_535)]) {
      expect(set(host, fd, IP_LOCAL_PORT_RANGE, good)).to.equal(0);
      expect(get(host, fd, IP_LOCAL_PORT_RANGE)).to.equal(good);
    }
  });

  it('is not there in 5.0', () => {
    const host = start('40000 40007', '5.0');
    const fd = host.stack.socket(0);
    expect(set(host, fd, IP_LOCAL_PORT_RANGE, span(1, 2))).to.equal(-ENOPROTOOPT);
    expect(get(host, fd, IP_LOCAL_PORT_RANGE)).to.equal(-ENOPROTOOPT);
    expect(set(host, fd, IP_BIND_ADDRESS_NO_PORT, 1)).to.equal(0);
  });

  type Choose = (host: MemoryStack, fd: number) => number;
  const ways: [string, number, Choose][] = [
    ['bind(0)', EADDRINUSE, (host, fd) => host.stack.bind(fd, host.address, 0)],
    ['listen()', EADDRINUSE, (host, fd) => host.stack.listen(fd, 1)],
    ['connect()', EADDRNOTAVAIL, (host, fd) => host.stack.connect(fd, PEER, 80)],
    [
      'late bind',
      EADDRNOTAVAIL,
      (host, fd) => {
        set(host, fd, IP_BIND_ADDRESS_NO_PORT, 1);
        return host.stack.bind(fd, host.address, 0) || host.stack.connect(fd, PEER, 80);
      },
    ],
  ];
  for (const [name, exhausted, choose] of ways) {
    it(`${name}: takes all ports of the range, and says when they are gone`, () => {
      for (const [low, high, first, last] of [
        [40_100, 40_107, 40_100, 40_107],
        [40_100, 40_100, 40_100, 40_100],
        [0, 40_003, 40_000, 40_003],
        [40_196, 0, 40_196, 40_199],
        // Outside of the namespace's range: not looked at.
        [30_000, 40_001, 40_000, 40_001],
        [40_198, 50_000, 40_198, 40_199],
      ] as const) {
        const host = start('40000 40199');
        const ports: number[] = [];
        for (let port = first; port <= last; port++) {
          const fd = host.stack.socket(0);
          expect(set(host, fd, IP_LOCAL_PORT_RANGE, span(low, high))).to.equal(0);
          expect(choose(host, fd)).to.be.oneOf([0, -EINPROGRESS]);
          ports.push(portOf(host, fd));
        }
        const expected = Array.from({ length: last - first + 1 }, (_, i) => first + i);
        expect(ports.sort()).to.deep.equal(expected);
        const fd = host.stack.socket(0);
        set(host, fd, IP_LOCAL_PORT_RANGE, span(low, high));
        expect(choose(host, fd)).to.equal(-exhausted);
      }
    });
  }
});

describe('tcp: net.ipv4.ip_local_reserved_ports', () => {
  it('keeps ports from being chosen, not from being named', () => {
    const host = start('40000 40003');
    const { sysctl } = host.stack.net;
    expect(setSysctl(sysctl, 'net.ipv4.ip_local_reserved_ports', '40000-40002')).to.equal(null);
    const [a, b, c] = [0, 1, 2].map(() => host.stack.socket(0));
    expect(host.stack.bind(a!, 0, 0)).to.equal(0);
    expect(portOf(host, a!)).to.equal(40_003);
    expect(host.stack.bind(b!, 0, 0)).to.equal(-EADDRINUSE);
    expect(host.stack.connect(b!, PEER, 80)).to.equal(-EADDRNOTAVAIL);
    expect(host.stack.bind(c!, 0, 40_001)).to.equal(0);
  });
});
