/** Socket options: values, limits and errors as a Linux 6.18 kernel gives them, and TCP_INFO. */
import { expect } from 'chai';
import { RING_PAGE } from '../../src/net/ring.js';
import { MemoryStack } from '../../src/testing/index.js';
import { pattern, type Rig, rig } from './rig.js';

const EINVAL = -22;
const ENOENT = -2;
const ENOPROTOOPT = -92;
const SOL_SOCKET = 1;
const IPPROTO_IP = 0;
const IPPROTO_TCP = 6;

class Sock {
  readonly host: MemoryStack;
  readonly fd: number;
  readonly out = new Int32Array(64);

  constructor(host = new MemoryStack(), fd = host.stack.socket(0)) {
    this.host = host;
    this.fd = fd;
  }

  set(level: number, name: number, value: number, value2 = 0): number {
    return this.host.stack.setsockopt(this.fd, level, name, value, value2);
  }

  /** The option's first word, or -errno. */
  get(level: number, name: number): number {
    const words = this.host.stack.getsockopt(this.fd, level, name, this.out);
    return words < 0 ? words : this.out[0]!;
  }
}

describe('tcp: socket options', () => {
  it('defaults', () => {
    const s = new Sock();
    const socket: [number, number][] = [
      [2, 0],
      [3, 1],
      [4, 0],
      [7, 16_384],
      [8, 131_072],
      [9, 0],
      [15, 0],
      [30, 0],
      [38, 6],
      [39, 2],
      [49, -1],
    ];
    for (const [name, value] of socket) {
      expect(s.get(SOL_SOCKET, name), `SOL_SOCKET ${name}`).to.equal(value);
    }
    const tcp: [number, number][] = [
      [1, 0],
      [2, 536],
      [3, 0],
      [4, 7200],
      [5, 75],
      [6, 9],
      [7, 6],
      [12, 1],
      [13, 1],
    ];
    for (const [name, value] of tcp) {
      expect(s.get(IPPROTO_TCP, name), `IPPROTO_TCP ${name}`).to.equal(value);
    }
    expect(s.get(IPPROTO_IP, 1)).to.equal(0);
    expect(s.get(IPPROTO_IP, 2)).to.equal(64);
  });

  it('flags are 0 or 1 whatever is set', () => {
    const s = new Sock();
    for (const [level, name] of [
      [SOL_SOCKET, 2],
      [SOL_SOCKET, 9],
      [SOL_SOCKET, 15],
      [IPPROTO_TCP, 1],
      [IPPROTO_TCP, 3],
    ] as const) {
      expect(s.set(level, name, 7)).to.equal(0);
      expect(s.get(level, name)).to.equal(1);
      expect(s.set(level, name, 0)).to.equal(0);
      expect(s.get(level, name)).to.equal(0);
    }
  });

  it('buffers are doubled, within their limits', () => {
    const s = new Sock();
    for (const [value, rcv, snd] of [
      [0, 2304, 4608],
      [1, 2304, 4608],
      [1152, 2304, 4608],
      [1153, 2306, 4608],
      [4608, 9216, 9216],
      [100_000, 200_000, 200_000],
    ] as const) {
      expect(s.set(SOL_SOCKET, 8, value)).to.equal(0);
      expect(s.get(SOL_SOCKET, 8), `SO_RCVBUF ${value}`).to.equal(rcv);
      expect(s.set(SOL_SOCKET, 7, value)).to.equal(0);
      expect(s.get(SOL_SOCKET, 7), `SO_SNDBUF ${value}`).to.equal(snd);
    }
    const { sysctl } = s.host.stack.net;
    for (const huge of [1 << 30, -1]) {
      s.set(SOL_SOCKET, 8, huge);
      s.set(SOL_SOCKET, 7, huge);
      expect(s.get(SOL_SOCKET, 8)).to.equal(2 * sysctl.rmemMax);
      expect(s.get(SOL_SOCKET, 7)).to.equal(2 * sysctl.wmemMax);
    }
    sysctl.rmemMax = sysctl.wmemMax = 1 << 30;
    s.set(SOL_SOCKET, 8, 1 << 30);
    s.set(SOL_SOCKET, 7, 1 << 30);
    // No ring is larger.
    expect(s.get(SOL_SOCKET, 8)).to.equal(16 << 20);
    expect(s.get(SOL_SOCKET, 7)).to.equal(16 << 20);
  });

  it('numbers have bounds', () => {
    const s = new Sock();
    const table: [number, number, number[], number[]][] = [
      [IPPROTO_TCP, 2, [88, 32_767], [1, 87, 32_768, -1]],
      [IPPROTO_TCP, 4, [1, 32_767], [0, 32_768, -1]],
      [IPPROTO_TCP, 5, [1, 32_767], [0, 32_768, -1]],
      [IPPROTO_TCP, 6, [1, 127], [0, 128, -1]],
      [IPPROTO_TCP, 7, [1, 127], [0, 128, -1]],
      [IPPROTO_IP, 2, [1, 255], [0, 256, -2]],
    ];
    for (const [level, name, good, bad] of table) {
      for (const value of good) {
        expect(s.set(level, name, value), `${name} = ${value}`).to.equal(0);
        expect(s.get(level, name)).to.equal(value);
      }
      const last = s.get(level, name);
      for (const value of bad) expect(s.set(level, name, value), `${name}`).to.equal(EINVAL);
      expect(s.get(level, name)).to.equal(last);
    }
    expect(s.set(IPPROTO_TCP, 2, 0)).to.equal(0);
    expect(s.get(IPPROTO_TCP, 2)).to.equal(536);
    expect(s.set(IPPROTO_IP, 2, -1)).to.equal(0);
    expect(s.get(IPPROTO_IP, 2)).to.equal(64);
  });

  it('IP_TOS keeps its hands off the ECN bits', () => {
    const s = new Sock();
    for (const [value, tos] of [
      [0x28, 0x28],
      [0x2b, 0x28],
      [255, 252],
      [256, 0],
      [-1, 252],
    ] as const) {
      expect(s.set(IPPROTO_IP, 1, value)).to.equal(0);
      expect(s.get(IPPROTO_IP, 1)).to.equal(tos);
    }
    const r = rig({ listenerOptions: [[IPPROTO_IP, 1, 0x10]] });
    r.host.write(r.fd, 'x');
    expect(r.peer.out('P. 1:2(1) ack 1').tos).to.equal(0x10);
  });

  it('SO_LINGER has two words; turning it off keeps the time', () => {
    const s = new Sock();
    const linger = () => {
      expect(s.host.stack.getsockopt(s.fd, SOL_SOCKET, 13, s.out)).to.equal(2);
      return [...s.out.subarray(0, 2)];
    };
    expect(linger()).to.deep.equal([0, 0]);
    expect(s.set(SOL_SOCKET, 13, 1, 5)).to.equal(0);
    expect(linger()).to.deep.equal([1, 5]);
    expect(s.set(SOL_SOCKET, 13, 0, 7)).to.equal(0);
    expect(linger()).to.deep.equal([0, 5]);
  });

  it('TCP_CONGESTION by number', () => {
    const s = new Sock();
    expect(s.set(IPPROTO_TCP, 13, 0)).to.equal(0);
    expect(s.get(IPPROTO_TCP, 13)).to.equal(0);
    expect(s.set(IPPROTO_TCP, 13, 2)).to.equal(ENOENT);
    expect(s.get(IPPROTO_TCP, 13)).to.equal(0);
    expect(s.set(IPPROTO_TCP, 13, 1)).to.equal(0);
    expect(s.get(IPPROTO_TCP, 13)).to.equal(1);
  });

  it('what is unknown is refused', () => {
    const s = new Sock();
    for (const [level, name] of [
      [SOL_SOCKET, 999],
      [SOL_SOCKET, 3],
      [IPPROTO_TCP, 99],
      [IPPROTO_TCP, 11],
      [IPPROTO_IP, 99],
      [77, 1],
    ] as const) {
      expect(s.set(level, name, 1)).to.equal(ENOPROTOOPT);
    }
    for (const [level, name] of [
      [SOL_SOCKET, 999],
      [IPPROTO_TCP, 99],
      [IPPROTO_IP, 99],
      [77, 1],
    ] as const) {
      expect(s.get(level, name)).to.equal(ENOPROTOOPT);
    }
    expect(s.host.stack.setsockopt(99, SOL_SOCKET, 2, 1, 0)).to.equal(-9);
    expect(s.host.stack.getsockopt(99, SOL_SOCKET, 2, s.out)).to.equal(-9);
  });

  it('SO_INCOMING_CPU, SO_ACCEPTCONN and TCP_MAXSEG of a listener', () => {
    const host = new MemoryStack();
    const s = new Sock(host, host.listen(80));
    expect(s.get(SOL_SOCKET, 30)).to.equal(1);
    expect(s.set(SOL_SOCKET, 49, 1)).to.equal(0);
    expect(s.get(SOL_SOCKET, 49)).to.equal(1);
    expect(s.get(IPPROTO_TCP, 2)).to.equal(536);
    s.set(IPPROTO_TCP, 2, 500);
    expect(s.get(IPPROTO_TCP, 2)).to.equal(500);
  });

  it('TCP_MAXSEG of a connection is what it sends', () => {
    const r = rig({ syn: '<mss 700>' });
    const s = new Sock(r.host, r.fd);
    expect(s.get(IPPROTO_TCP, 2)).to.equal(700);
    expect(s.set(IPPROTO_TCP, 2, 100)).to.equal(0);
    expect(s.get(IPPROTO_TCP, 2)).to.equal(700);
  });

  it('TCP_QUICKACK reads as not playing ping-pong', () => {
    const s = new Sock(...(({ host, fd }) => [host, fd] as const)(rig()));
    s.set(IPPROTO_TCP, 12, 0);
    expect(s.get(IPPROTO_TCP, 12)).to.equal(0);
    s.set(IPPROTO_TCP, 12, 1);
    expect(s.get(IPPROTO_TCP, 12)).to.equal(1);
    // No ACK is held back: an even value only ends ping-pong, as in Linux.
    s.set(IPPROTO_TCP, 12, 2);
    expect(s.get(IPPROTO_TCP, 12)).to.equal(1);
  });

  // RFC 9293 MUST-47, SHLD-20.
  it('SO_ERROR is taken: the error, then the soft error, then nothing', () => {
    const r = rig();
    const s = new Sock(r.host, r.fd);
    r.tcb.softError = 113;
    r.peer.in('R 1:1(0)');
    expect(s.get(SOL_SOCKET, 4)).to.equal(104);
    expect(s.get(SOL_SOCKET, 4)).to.equal(113);
    expect(s.get(SOL_SOCKET, 4)).to.equal(0);
  });

  it('buffers of a live connection', () => {
    const r = rig({ syn: '<mss 1460,nop,wscale 7>' });
    const s = new Sock(r.host, r.fd);
    r.peer.in('. 1:1001(1000) ack 1', pattern(1000));
    r.peer.out('. 1:1(0) ack 1001');
    // Larger: the ring grows and keeps what is in it.
    expect(s.set(SOL_SOCKET, 8, 200_000)).to.equal(0);
    expect(s.get(SOL_SOCKET, 8)).to.equal(400_000);
    r.peer.in('. 1001:2001(1000) ack 1', pattern(1000, 1000));
    r.peer.out('. 1:1(0) ack 2001 win 65');
    expect(r.host.read(r.fd)).to.deep.equal(pattern(2000));
    // Smaller: the edge does not move back.
    expect(s.set(SOL_SOCKET, 8, 10_000)).to.equal(0);
    r.peer.in('. 2001:3001(1000) ack 1', pattern(1000));
    r.peer.out('. 1:1(0) ack 3001 win 65');
    // Nor when the ring goes and comes back.
    r.host.read(r.fd);
    r.host.advance(2500);
    expect(r.host.mem.ctl[r.tcb.rcvRing + RING_PAGE]).to.equal(0);
    r.peer.in('. 3001:4001(1000) ack 1', pattern(1000));
    r.host.advance(50);
    r.peer.out('. 1:1(0) ack 4001 win 65');
    // No memory: as much as the ring holds.
    const { mem } = r.host;
    for (let size = 16 << 20; size >= 4096; size >>= 1) while (mem.allocRing(size) !== 0);
    expect(s.set(SOL_SOCKET, 8, 1 << 20)).to.equal(0);
    expect(s.get(SOL_SOCKET, 8)).to.equal(131_072);
    expect(s.set(SOL_SOCKET, 7, 10_000)).to.equal(0);
    expect(s.get(SOL_SOCKET, 7)).to.equal(20_000);
  });
});

describe('tcp: TCP_INFO', () => {
  const info = (r: Rig, fd = r.fd) => {
    const out = new Int32Array(26);
    expect(r.host.stack.getsockopt(fd, IPPROTO_TCP, 11, out)).to.equal(26);
    return out;
  };

  it('of a listener: its queue and its backlog', () => {
    const r = rig();
    r.peer.in('R 1:1(0)');
    const out = info(r, r.listener);
    expect(out[0]).to.equal(10);
    expect([out[6], out[7]]).to.deep.equal([0, 128]);
    expect(out[2]).to.equal(0);
  });

  it('fills what room there is', () => {
    const r = rig();
    const all = new Int32Array(80);
    expect(r.host.stack.getsockopt(r.fd, IPPROTO_TCP, 11, all)).to.equal(70);
    const some = new Int32Array(5);
    expect(r.host.stack.getsockopt(r.fd, IPPROTO_TCP, 11, some)).to.equal(5);
    expect([...some]).to.deep.equal([...all.subarray(0, 5)]);
    expect(r.host.stack.getsockopt(r.fd, IPPROTO_TCP, 11, new Int32Array(0))).to.equal(EINVAL);
  });

  it('of a connection, word by word', () => {
    const r = rig({
      syn: '<mss 1000,sackOK,TS val 1 ecr 0,nop,wscale 3>',
      ack: '<nop,nop,TS val 2 ecr 0>',
      rttMs: 100,
    });
    const out = info(r);
    expect(out[0]).to.equal(1);
    expect(out[1]).to.equal((7 << 8) | (3 << 16) | (10 << 20));
    expect(out[2]).to.equal(300_000);
    expect(out[3]).to.equal(0);
    expect([out[4], out[5]]).to.deep.equal([988, 536]);
    expect([...out.subarray(6, 11)]).to.deep.equal([0, 0, 0, 0, 0]);
    expect(out[15]).to.equal(1500);
    expect(out[16]).to.equal(64_088);
    expect([out[17], out[18]]).to.deep.equal([100_000, 50_000]);
    expect([out[19], out[20], out[21], out[22]]).to.deep.equal([0x7fffffff, 10, 1448, 3]);
    expect(out[24]).to.equal(14_480);
    expect(out[25]).to.equal(0);
  });

  it('while data is lost and sent again', () => {
    const r = rig({
      syn: '<mss 1000,nop,nop,sackOK>',
      sysctl: { 'net.ipv4.tcp_congestion_control': 'reno' },
    });
    r.host.write(r.fd, pattern(10_000));
    r.host.advance(50);
    r.peer.in('. 1:1(0) ack 1 <nop,nop,sack 1001:3001 4001:10001>');
    let out = info(r);
    expect((out[0]! >> 8) & 255).to.equal(3);
    expect([out[6], out[7], out[8], out[9]]).to.deep.equal([10, 8, 2, 2]);
    expect([out[19], out[20]]).to.deep.equal([5, 5]);
    // With the loss probe.
    expect(out[25]).to.equal(3);
    expect(out[11]).to.equal(0);
    r.host.advance(10);
    expect(info(r)[14]).to.equal(10);
    r.host.advance(1000);
    out = info(r);
    expect(out[0]! & 255).to.equal(1);
    expect((out[0]! >> 8) & 255).to.equal(4);
    expect((out[0]! >> 16) & 255).to.equal(2);
    expect(out[1]! & 255).to.equal(2);
    expect(out[2]).to.equal(825_000);
  });
});
