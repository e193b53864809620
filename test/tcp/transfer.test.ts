/**
 * Bytes between two stacks over faulty links, in virtual time: intact and in order for every seed,
 * nothing left over.
 */
import { createHash, randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { EAGAIN } from '../../src/net/errno.js';
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

/** One direction of a transfer: what was read at `to` after `data` was written at `from`. */
class Flow {
  private readonly chunks: Uint8Array[] = [];
  private offset = 0;
  ended = false;

  private readonly from: [Wire['a'], number];
  private readonly to: [Wire['a'], number];
  private readonly data: Uint8Array;

  constructor(from: [Wire['a'], number], to: [Wire['a'], number], data: Uint8Array) {
    this.from = from;
    this.to = to;
    this.data = data;
  }

  step(): void {
    const [source, fd] = this.from;
    while (this.offset < this.data.length) {
      const taken = source.write(fd, this.data.subarray(this.offset, this.offset + 65_536));
      if (taken < 0) {
        expect(taken).to.equal(-EAGAIN);
        break;
      }
      this.offset += taken;
      if (this.offset === this.data.length) source.shutdown(fd, 1);
    }
    const [sink, at] = this.to;
    while (!this.ended) {
      const got = sink.read(at, 50_000);
      if (typeof got === 'number') {
        expect(got).to.equal(-EAGAIN);
        break;
      }
      if (got.length === 0) this.ended = true;
      else this.chunks.push(got.slice());
    }
  }

  check(): void {
    expect(sha(Buffer.concat(this.chunks))).to.equal(sha(this.data));
  }
}

function transfer(options: WireOptions, bytes: number, limitMs = 600_000): Wire {
  const w = wire(options);
  const [server, client] = connect(w);
  const up = new Flow([w.b, client], [w.a, server], randomBytes(bytes));
  const down = new Flow([w.a, server], [w.b, client], randomBytes(bytes));
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
  return w;
}

describe('tcp: transfers between two stacks', () => {
  it('carries 8 MiB each way over a clean link', () => {
    transfer({ delayUs: 1000 }, 8 << 20);
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
        300_000,
        3_600_000,
      );
      if (loss > 0) expect(w.faults[0].lost + w.faults[1].lost).to.be.greaterThan(0);
    });
  }

  it('survives without SACK and without timestamps', () => {
    const sysctl = { 'net.ipv4.tcp_sack': 0, 'net.ipv4.tcp_timestamps': 0 };
    for (let seed = 100; seed < 106; seed++) {
      transfer({ seed, delayUs: 500, loss: 0.03, stack: { sysctl } }, 200_000, 3_600_000);
    }
  });

  it('survives without window scaling, and with reno', () => {
    const sysctl = {
      'net.ipv4.tcp_window_scaling': 0,
      'net.ipv4.tcp_congestion_control': 'reno',
    };
    for (let seed = 200; seed < 204; seed++) {
      transfer({ seed, delayUs: 500, loss: 0.02, stack: { sysctl } }, 200_000, 3_600_000);
    }
  });
});
