/**
 * Bytes between two stacks over faulty links, in virtual time: intact and in order for every seed,
 * nothing left over.
 */
import { createHash, randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { EAGAIN } from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import { type Wire, type WireOptions, wire } from '../../src/testing/index.js';

const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Opens a connection from b to a; descriptors [at a, at b]. */
function connect(w: Wire): [number, number] {
  const listener = w.a.listen(80);
  const client = w.b.stack.socket(0);
  expect(w.b.stack.connect(client, w.a.address, 80)).to.equal(-115);
  let server = -EAGAIN;
  const up = w.run(60_000, () => {
    if (server < 0) server = w.a.accept(listener);
    return server >= 0 && w.b.stack.sock(client)!.state === 1;
  });
  expect(up, 'connected').to.equal(true);
  w.a.close(listener);
  return [server, client];
}

/** How the applications at both ends behave; default: as fast as they can. */
interface Manners {
  /** Bytes per write and per read. */
  write?: number;
  read?: number;
  /** Least time between two reads, µs. */
  readEveryUs?: number;
}

/** One direction of a transfer: what was read at `to` after `data` was written at `from`. */
class Flow {
  private readonly chunks: Uint8Array[] = [];
  private offset = 0;
  private readUs = 0;
  ended = false;

  private readonly from: [Wire['a'], number];
  private readonly to: [Wire['a'], number];
  private readonly data: Uint8Array;
  private readonly manners: Manners;

  constructor(
    from: [Wire['a'], number],
    to: [Wire['a'], number],
    data: Uint8Array,
    manners: Manners = {},
  ) {
    this.from = from;
    this.to = to;
    this.data = data;
    this.manners = manners;
    if (data.length === 0) from[0].shutdown(from[1], 1);
  }

  step(): void {
    this.produce();
    this.consume();
  }

  private produce(): void {
    const [source, fd] = this.from;
    const { write = 65_536 } = this.manners;
    while (this.offset < this.data.length) {
      const taken = source.write(fd, this.data.subarray(this.offset, this.offset + write));
      if (taken < 0) {
        expect(taken).to.equal(-EAGAIN);
        break;
      }
      this.offset += taken;
      if (this.offset === this.data.length) source.shutdown(fd, 1);
    }
  }

  private consume(): void {
    const [sink, at] = this.to;
    const { read = 50_000, readEveryUs = 0 } = this.manners;
    while (!this.ended && sink.nowUs >= this.readUs) {
      const got = sink.read(at, read);
      if (typeof got === 'number') {
        expect(got).to.equal(-EAGAIN);
        break;
      }
      this.readUs = sink.nowUs + readEveryUs;
      if (got.length === 0) this.ended = true;
      else this.chunks.push(got.slice());
      if (readEveryUs > 0) break;
    }
  }

  check(): void {
    expect(sha(Buffer.concat(this.chunks))).to.equal(sha(this.data));
  }
}

/** Bytes up (from the client) and down at once; everything must be given back afterwards. */
function transfer(
  options: WireOptions,
  bytes: number,
  limitMs = 600_000,
  manners: Manners = {},
  downBytes = bytes,
): Wire {
  const w = wire(options);
  const [server, client] = connect(w);
  const up = new Flow([w.b, client], [w.a, server], randomBytes(bytes), manners);
  const down = new Flow([w.a, server], [w.b, client], randomBytes(downBytes), manners);
  const done = w.run(
    limitMs,
    () => up.ended && down.ended,
    () => {
      up.step();
      down.step();
    },
  );
  expect(done, `both directions end (seed ${options.seed})`).to.equal(true);
  up.check();
  down.check();
  w.a.close(server);
  w.b.close(client);
  leavesNothing(w);
  return w;
}

/** Descriptors, memory and timers are back once the last TIME-WAIT is over. */
function leavesNothing(w: Wire): void {
  w.run(200_000);
  for (const end of [w.a, w.b]) {
    const { tcp, net } = end.stack;
    expect(end.mem.fdsInUse, 'descriptors').to.equal(0);
    expect(tcp.orphans, 'orphans').to.equal(0);
    expect(tcp.timewaits, 'time-waits').to.equal(0);
    expect(tcp.ringed.length, 'rings').to.equal(0);
    expect(net.timers.size, 'timers').to.equal(0);
    expect(net.outputSkbs.out, 'skbs').to.equal(0);
  }
}

describe('tcp: transfers between two stacks', () => {
  it('carries 4 MiB each way over a clean link, in the time that the windows need', () => {
    const w = transfer({ delayUs: 1000 }, 4 << 20);
    // Both ways in 64 KiB to 2 MiB per 2 ms: well below a second, or an ACK is missing somewhere.
    expect((w.nowUs - 201_000_000) / 1e6).to.be.below(1);
    expect(w.a.counter(Mib.TcpRetransSegs) + w.b.counter(Mib.TcpRetransSegs)).to.equal(0);
  });

  it('carries 8 MiB each way with super-packets', () => {
    transfer({ delayUs: 1000, offload: true }, 8 << 20);
  });

  for (let seed = 1; seed <= 20; seed++) {
    it(`survives loss, duplication, reordering and corruption: seed ${seed}`, () => {
      const loss = (seed % 5) * 0.02;
      const w = transfer(
        {
          seed,
          delayUs: 200 * (seed % 7),
          jitterUs: 100 * (seed % 3),
          loss,
          duplicate: seed % 2 ? 0.01 : 0,
          reorder: seed % 3 ? 0.02 : 0,
          corrupt: seed % 4 ? 0 : 0.01,
          mtu: seed % 6 === 5 ? 576 : 1500,
          offload: seed % 4 === 3,
        },
        200_000,
        3_600_000,
      );
      if (loss > 0) expect(w.faults[0].lost + w.faults[1].lost).to.be.greaterThan(0);
    });
  }

  const settings: [string, Record<string, string | number>, number][] = [
    ['without SACK and timestamps', { tcp_sack: 0, tcp_timestamps: 0 }, 100],
    ['without SACK', { tcp_sack: 0 }, 110],
    ['without timestamps', { tcp_timestamps: 0 }, 120],
    [
      'without window scaling, with reno',
      { tcp_window_scaling: 0, tcp_congestion_control: 'reno' },
      130,
    ],
    ['with small buffers', { tcp_rmem: '4096 8192 16384', tcp_wmem: '4096 8192 65536' }, 140],
  ];
  for (const [name, values, first] of settings) {
    it(`survives loss ${name}`, () => {
      const sysctl = Object.fromEntries(
        Object.entries(values).map(([key, value]) => [`net.ipv4.${key}`, value]),
      );
      for (let seed = first; seed < first + 3; seed++) {
        transfer({ seed, delayUs: 500, loss: 0.03, stack: { sysctl } }, 120_000, 3_600_000);
      }
    });
  }

  it('one direction only, the other closed at once', () => {
    transfer({ delayUs: 300, loss: 0.02, seed: 7 }, 200_000, 600_000, {}, 0);
    transfer({ delayUs: 300, loss: 0.02, seed: 8 }, 0, 600_000, {}, 200_000);
  });

  it('a slow reader closes and opens the window, nothing is lost', () => {
    const manners = { read: 3000, readEveryUs: 5000 };
    for (const loss of [0, 0.02]) {
      const sysctl = { 'net.ipv4.tcp_rmem': '4096 16384 16384', 'net.core.rmem_max': 4096 };
      const stack = { sysctl };
      const w = transfer({ seed: 9, delayUs: 200, loss, stack }, 100_000, 3_600_000, manners);
      expect(w.a.counter(Mib.TCPToZeroWindowAdv)).to.be.greaterThan(0);
    }
  });

  it('tiny writes are gathered', () => {
    const w = transfer({ seed: 10, delayUs: 500 }, 20_000, 600_000, { write: 7 }, 0);
    expect(w.b.counter(Mib.TcpOutSegs)).to.be.below(100);
  });

  it('buffers fixed by SO_RCVBUF and SO_SNDBUF', () => {
    for (const [name, value] of [
      [7, 2000],
      [8, 1],
      [8, 3000],
    ] as const) {
      const w = wire({ seed: value, delayUs: 200, loss: 0.01 });
      const listener = w.a.listen(80);
      w.a.stack.setsockopt(listener, 1, name, value, 0);
      const client = w.b.stack.socket(0);
      w.b.stack.setsockopt(client, 1, name, value, 0);
      w.b.stack.connect(client, w.a.address, 80);
      let server = -EAGAIN;
      w.run(10_000, () => {
        server = w.a.accept(listener);
        return server >= 0;
      });
      const flows = [
        new Flow([w.b, client], [w.a, server], randomBytes(60_000)),
        new Flow([w.a, server], [w.b, client], randomBytes(60_000)),
      ];
      const done = w.run(
        600_000,
        () => flows.every((flow) => flow.ended),
        () => {
          for (const flow of flows) flow.step();
        },
      );
      expect(done).to.equal(true);
      for (const flow of flows) flow.check();
    }
  });

  it('a link whose queue overflows', () => {
    const w = transfer(
      { seed: 11, delayUs: 5000, rateBps: 20e6, queueBytes: 30_000 },
      1_000_000,
      600_000,
      {},
      0,
    );
    expect(w.b.counter(Mib.IpOutDiscards)).to.be.greaterThan(0);
    // 1 MB at 20 Mbit/s is 0.4 s.
    expect((w.nowUs - 201_000_000) / 1e6).to.be.below(3);
  });

  it('200 connections at once over one lossy wire', () => {
    const w = wire({ seed: 12, delayUs: 1000, jitterUs: 500, loss: 0.02, duplicate: 0.01 });
    const listener = w.a.listen(80, 256);
    const clients = Array.from({ length: 200 }, () => {
      const fd = w.b.stack.socket(0);
      expect(w.b.stack.connect(fd, w.a.address, 80)).to.equal(-115);
      return fd;
    });
    const servers = new Map<number, number>();
    const up = w.run(120_000, () => {
      for (let fd = w.a.accept(listener); fd >= 0; fd = w.a.accept(listener)) {
        servers.set(w.a.stack.sock(fd)!.dport, fd);
      }
      return servers.size === 200;
    });
    expect(up, 'all connected').to.equal(true);
    const flows = clients.flatMap((client) => {
      const server = servers.get(w.b.stack.sock(client)!.num)!;
      return [
        new Flow([w.b, client], [w.a, server], randomBytes(4000)),
        new Flow([w.a, server], [w.b, client], randomBytes(3000)),
      ];
    });
    let live = flows;
    const done = w.run(
      3_600_000,
      () => live.length === 0,
      () => {
        for (const flow of live) flow.step();
        live = live.filter((flow) => !flow.ended);
      },
    );
    expect(done, 'all ended').to.equal(true);
    for (const flow of flows) flow.check();
    for (const client of clients) w.b.close(client);
    for (const server of servers.values()) w.a.close(server);
    w.a.close(listener);
    leavesNothing(w);
  });
});
