/** Socket options that few programs know: what they do, and who may set them. */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { fileShut } from '../../src/socket/uapi/file-block.js';
import { MemoryStack, Peer } from '../../src/testing/index.js';
import { pattern, type Rig, rig } from './rig.js';

const [SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP] = [1, 0, 6];
const [EPERM, EINVAL, EADDRNOTAVAIL, ENOPROTOOPT] = [-1, -22, -99, -92];
const [IP_FREEBIND, IP_TRANSPARENT, IP_MINTTL] = [15, 19, 21];
const [SO_MAX_PACING_RATE, SO_MEMINFO, SO_BINDTOIFINDEX, SO_DONTROUTE] = [47, 55, 62, 5];
const FOREIGN = 0xcb007107 | 0;

function set(r: Rig, level: number, name: number, value: number, value2 = 0): number {
  return r.host.stack.setsockopt(r.fd, level, name, value, value2);
}

function get(r: Rig, level: number, name: number, words = 1): number[] {
  const out = new Int32Array(words);
  const count = r.host.stack.getsockopt(r.fd, level, name, out);
  return count < 0 ? [count] : [...out.subarray(0, count)];
}

describe('tcp: rare options', () => {
  it('IP_MINTTL: what has come further is dropped and counted', () => {
    const r = rig();
    expect(set(r, IPPROTO_IP, IP_MINTTL, 256)).to.equal(EINVAL);
    expect(set(r, IPPROTO_IP, IP_MINTTL, 65)).to.equal(0);
    r.peer.in('P. 1:4(3) ack 1', pattern(3));
    r.peer.quiet();
    expect(r.host.counter(Mib.TCPMinTTLDrop)).to.equal(1);
    set(r, IPPROTO_IP, IP_MINTTL, 64);
    r.peer.in('P. 1:4(3) ack 1', pattern(3));
    r.peer.out('. 1:1(0) ack 4');
    expect(r.host.counter(Mib.TCPMinTTLDrop)).to.equal(1);
  });

  it('IP_MINTTL: ICMP errors about packets that had come further are dropped, too', () => {
    const r = rig();
    r.host.write(r.fd, pattern(3000));
    r.peer.out('. 1:1461(1460) ack 1');
    const quoted = r.peer.lastBytes.slice();
    set(r, IPPROTO_IP, IP_MINTTL, 64);
    // Our TTL of 64, as a router near the peer had it.
    quoted[8] = 63;
    r.peer.icmp(3, 4, 1000, quoted);
    expect(r.host.counter(Mib.TCPMinTTLDrop)).to.equal(1);
    expect(r.tcb.pmtu).to.equal(0);
    quoted[8] = 64;
    r.peer.icmp(3, 4, 1000, quoted);
    expect(r.host.counter(Mib.TCPMinTTLDrop)).to.equal(1);
    expect(r.tcb.pmtu).to.equal(1000);
  });

  it('IP_MINTTL of a listener counts for SYNs, and for its children', () => {
    const r = rig({ listenerOptions: [[IPPROTO_IP, IP_MINTTL, 64]] });
    expect(get(r, IPPROTO_IP, IP_MINTTL)).to.deep.equal([64]);
    r.host.stack.setsockopt(r.listener, IPPROTO_IP, IP_MINTTL, 65, 0);
    const before = r.host.counter(Mib.TCPMinTTLDrop);
    const other = new Peer(r.host, { port: 40_001 });
    other.in('S 0:0(0) win 65535 <mss 1000>');
    other.quiet();
    expect(r.host.counter(Mib.TCPMinTTLDrop)).to.equal(before + 1);
  });

  it('IP_FREEBIND binds to any address, and only IP_TRANSPARENT sends from one', () => {
    const { stack } = new MemoryStack();
    const socket = (option: number, uid = 0): number => {
      const fd = stack.socket(uid);
      if (option !== 0) stack.setsockopt(fd, IPPROTO_IP, option, 1, 0);
      return fd;
    };
    expect(stack.bind(socket(0), FOREIGN, 5000)).to.equal(EADDRNOTAVAIL);
    const free = socket(IP_FREEBIND, 1000);
    expect(stack.bind(free, FOREIGN, 5000)).to.equal(0);
    expect(stack.connect(free, 0x7f000001, 80)).to.equal(-101);
    expect(stack.listen(free, 5)).to.equal(0);
    expect(stack.setsockopt(socket(0, 1000), IPPROTO_IP, IP_TRANSPARENT, 1, 0)).to.equal(EPERM);
    expect(stack.setsockopt(socket(0, 1000), IPPROTO_IP, IP_TRANSPARENT, 0, 0)).to.equal(0);
    const transparent = socket(IP_TRANSPARENT);
    expect(stack.bind(transparent, FOREIGN, 5001)).to.equal(0);
    expect(stack.connect(transparent, 0x7f000001, 80)).to.equal(-115);
    stack.net.sysctl.ipNonlocalBind = 1;
    expect(stack.bind(socket(0), FOREIGN, 5002)).to.equal(0);
  });

  it('SO_MAX_PACING_RATE is told by TCP_INFO and bounds the pace', () => {
    const r = rig();
    expect(get(r, SOL_SOCKET, SO_MAX_PACING_RATE, 2)).to.deep.equal([-1, -1]);
    set(r, SOL_SOCKET, SO_MAX_PACING_RATE, 100_000, 2);
    expect(get(r, SOL_SOCKET, SO_MAX_PACING_RATE, 2)).to.deep.equal([100_000, 2]);
    set(r, SOL_SOCKET, SO_MAX_PACING_RATE, 100_000);
    r.host.write(r.fd, pattern(5000));
    r.host.advance(20);
    r.peer.in('. 1:1(0) ack 1461');
    const info = get(r, IPPROTO_TCP, 11, 70);
    expect(info.slice(26, 30)).to.deep.equal([100_000, 0, 100_000, 0]);
    set(r, SOL_SOCKET, SO_MAX_PACING_RATE, -1);
    expect(get(r, IPPROTO_TCP, 11, 70).slice(28, 30)).to.deep.equal([-1, -1]);
  });

  it('SO_MEMINFO: what waits on both sides, and the limits', () => {
    const r = rig();
    r.peer.in('P. 1:301(300) ack 1', pattern(300));
    r.host.write(r.fd, pattern(500));
    const [received, rcvbuf, sent, sndbuf] = get(r, SOL_SOCKET, SO_MEMINFO, 9);
    expect([received, rcvbuf, sent]).to.deep.equal([300, 131_072, 500]);
    expect(get(r, SOL_SOCKET, 7)).to.deep.equal([sndbuf]);
    expect(get(r, SOL_SOCKET, SO_MEMINFO, 9)).to.have.length(9);
  });

  it('SO_BINDTOIFINDEX: by number, also of a device that is not there', () => {
    const host = new MemoryStack();
    const fd = host.stack.socket(0);
    const bind = (index: number): number =>
      host.stack.setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, index, 0);
    expect(bind(-1)).to.equal(EINVAL);
    expect(bind(1)).to.equal(0);
    expect(host.stack.getsockoptText(fd, SOL_SOCKET, 25)).to.equal('lo');
    expect(bind(77)).to.equal(0);
    expect(host.stack.connect(fd, 0, 80)).to.equal(-101);
    expect(host.stack.connect(fd, 0x7f000001, 80)).to.equal(-101);
  });

  it('a SYN-ACK has DF and no ID when it is small, whatever IP_MTU_DISCOVER says', () => {
    const options = '<mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7,nop,nop,nop,nop>';
    for (const [profile, discover, asksForCookie, df] of [
      ['6.18', 0, false, true],
      ['6.18', 0, true, false],
      ['6.18', 2, true, true],
      ['5.0', 0, false, false],
      ['5.0', 2, false, true],
    ] as const) {
      const host = new MemoryStack({ profile, sysctl: { 'net.ipv4.tcp_fastopen': 3 } });
      const listener = host.listen(80);
      host.stack.setsockopt(listener, IPPROTO_IP, 10, discover, 0);
      host.stack.setsockopt(listener, IPPROTO_TCP, 23, 5, 0);
      const peer = new Peer(host);
      const syn = peer.bytes(`S 0:0(0) win 65535 ${options}`);
      // Two of the fillers become an empty Fast Open option; the window pays for the checksum.
      if (asksForCookie) syn.set([0x22, 0x02], 60);
      if (asksForCookie) syn.set([0xde, 0xfe], 34);
      host.inject(syn);
      const packet = new DataView(host.sent.shift()!.slice().buffer);
      expect(packet.getUint8(33), 'SYN-ACK').to.equal(0x12);
      const [flags, id] = [packet.getUint8(6), packet.getUint16(4)];
      expect([flags, id === 0], `${profile} ${discover}`).to.deep.equal([df ? 0x40 : 0, df]);
    }
  });

  it('what is shut down before listen() is shut down in the children', () => {
    for (const [how, said] of [
      [0, 'nothing more to read'],
      [1, 'a FIN'],
    ] as const) {
      const host = new MemoryStack();
      const listener = host.stack.socket(0);
      host.stack.bind(listener, 0, 80);
      expect(host.stack.shutdown(listener, how)).to.equal(-107);
      expect(host.stack.listen(listener, 5)).to.equal(0);
      expect(host.ready(listener), said).to.equal(0);
      const peer = new Peer(host);
      peer.in('S 0:0(0) win 65535 <mss 1000>');
      peer.out('S. 0:0(0) ack 1 <...>');
      peer.in('. 1:1(0) ack 1');
      if (how === 1) peer.out('F. 1:1(0) ack 1');
      peer.quiet();
      const child = host.accept(listener);
      if (how === 0) expect(host.read(child)).to.have.length(0);
      else expect(host.write(child, pattern(1))).to.equal(-32);
      // The socket can be used again as if nothing had been.
      host.stack.disconnect(child);
      expect(fileShut(host.mem, host.mem.blockAt(child))).to.equal(0);
    }
  });

  // As a Linux 6.18 kernel answers; test/oracle asks it for every number.
  it('values at the edges, and what is read then', () => {
    const { stack } = new MemoryStack();
    const user = 1000;
    const table: readonly (readonly [uid: number, level: number, name: number, tried: string])[] = [
      [0, SOL_SOCKET, 14, '1:0=0'],
      [0, SOL_SOCKET, 16, '1:-95=-95'],
      [0, SOL_SOCKET, 17, '1:-92=0,-1,-1'],
      [0, SOL_SOCKET, 27, '0:-2=-92'],
      [0, SOL_SOCKET, 46, '-1:-22=0 50:0=50'],
      [user, SOL_SOCKET, 69, '1:-1=0 0:0=0'],
      [0, SOL_SOCKET, 69, '1:0=1'],
      [user, SOL_SOCKET, 70, '-1:-22=-92 65536:-22=-92 0:0=-92 1:-1=-92'],
      [0, SOL_SOCKET, 70, '9:0=-92'],
      [0, SOL_SOCKET, 73, '-1:-22=0 1:-95=0'],
      [0, SOL_SOCKET, 74, '-2:-22=1 0:0=0 -1:0=1 2:-22=1'],
      [user, SOL_SOCKET, 62, '1:0=1 -1:-1=1 0:-1=1'],
      [0, SOL_SOCKET, 59, '1:-92=-61'],
      [0, IPPROTO_TCP, 17, '1:0=0 2:-22=0'],
      [user, IPPROTO_TCP, 19, '1:-1=0'],
      [0, IPPROTO_TCP, 24, '1:-1=1000'],
      [0, IPPROTO_TCP, 26, '1:-92='],
      [0, IPPROTO_TCP, 27, '-1:-22=0 2:0=2 3:-22=2'],
      [0, IPPROTO_TCP, 28, '1:-92='],
      [0, IPPROTO_TCP, 43, '1:-92=0'],
      [0, IPPROTO_IP, 3, '1:-92=0'],
      [0, IPPROTO_IP, 26, '2:-22=0 1:0=1'],
      [0, IPPROTO_IP, 34, '0:0=0 9:0=1'],
      [0, IPPROTO_IP, 35, '1:-71=-92'],
    ];
    for (const [uid, level, name, tried] of table) {
      const fd = stack.socket(uid);
      const said = tried.split(' ').map((one) => {
        const value = Number(one.slice(0, one.indexOf(':')));
        const status = stack.setsockopt(fd, level, name, value, 0);
        const out = new Int32Array(4);
        const words = stack.getsockopt(fd, level, name, out);
        return `${value}:${status}=${words < 0 ? words : out.subarray(0, words)}`;
      });
      expect(said.join(' '), `${level}/${name}`).to.equal(tried);
    }
  });

  it('time-outs of more than 24.8 days are that long', () => {
    const r = rig();
    expect(set(r, SOL_SOCKET, 20, 3_000_000, 0)).to.equal(0);
    expect(get(r, SOL_SOCKET, 20, 2)).to.deep.equal([2_147_483, 647_000]);
  });

  it('flags that mean nothing to TCP are kept: by children, after disconnecting', () => {
    const r = rig({ listenerOptions: [[SOL_SOCKET, SO_DONTROUTE, 5]] });
    expect(get(r, SOL_SOCKET, SO_DONTROUTE)).to.deep.equal([1]);
    // IP_MULTICAST_ALL is on in a new socket.
    expect(get(r, IPPROTO_IP, 49)).to.deep.equal([1]);
    expect(set(r, IPPROTO_IP, 49, 2)).to.equal(EINVAL);
    expect(set(r, IPPROTO_IP, 49, 0)).to.equal(0);
    r.host.stack.disconnect(r.fd);
    expect(get(r, IPPROTO_IP, 49)).to.deep.equal([0]);
    expect(get(r, SOL_SOCKET, SO_DONTROUTE)).to.deep.equal([1]);
    // The listener's are its own.
    const out = new Int32Array(1);
    r.host.stack.getsockopt(r.listener, IPPROTO_IP, 49, out);
    expect(out[0]).to.equal(1);
  });

  it('what would mean something and is not built is refused', () => {
    const r = rig();
    const names: readonly (readonly [number, number])[] = [
      ...[26, 29, 35, 37, 60, 61].map((name) => [SOL_SOCKET, name] as const),
      ...[14, 16, 19, 37].map((name) => [IPPROTO_TCP, name] as const),
      ...[4, 11].map((name) => [IPPROTO_IP, name] as const),
    ];
    for (const [level, name] of names) {
      expect(set(r, level, name, 1), `${level}/${name}`).to.equal(ENOPROTOOPT);
    }
  });
});
