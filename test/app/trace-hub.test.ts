/** Tracing over the control socket, both ends, with the stack thread played by hand. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { ControlServer } from '../../src/app/control-server.js';
import { main } from '../../src/app/main.js';
import { TraceClient } from '../../src/app/trace-client.js';
import { TraceHub } from '../../src/app/trace-hub.js';
import type { TracedObject } from '../../src/app/trace-json.js';
import { FrameReader } from '../../src/app/trace-protocol.js';
import { readPcapng } from '../../src/device/pcapng.js';
import { Decision } from '../../src/reuseport/decision.js';
import { type Explanation, explain } from '../../src/reuseport/decision-json.js';
import { inetLookup } from '../../src/reuseport/lookup.js';
import type { TracedBatch } from '../../src/socket/uapi/answers.js';
import { RECORD_HEAD_BYTES, writeRecordHead } from '../../src/stack/tap-record.js';
import { ip, listener, makeTables, packet } from '../reuseport/fixtures.js';
import { listening } from './run-main.js';
import { ipv4, tcp } from './trace-packets.js';

const SYN = ipv4(6, tcp(0x02));
const ACK = ipv4(6, tcp(0x10, { seq: 1001, ack: 5 }));

function someDecision(): Explanation {
  const tables = makeTables();
  for (let i = 0; i < 4; i++) listener(tables, 0, 80);
  tables.decision = new Decision();
  inetLookup(tables, ip('198.18.0.254'), 51702, ip('198.18.0.1'), 80, 1, packet());
  return explain(tables.decision, (sk) => ({ fd: sk.reuseportSlot + 3, thread: 2, worker: 1 }));
}

/** A batch of whole packets, the first one with a decision. */
function batchOf(...packets: Uint8Array[]): TracedBatch {
  const records = packets.map((bytes, i) => {
    const record = new Uint8Array(RECORD_HEAD_BYTES + bytes.length);
    const view = new DataView(record.buffer);
    writeRecordHead(view, 0, 'in', 1_000_000 + i, bytes.length, bytes.length);
    record.set(bytes, RECORD_HEAD_BYTES);
    return record;
  });
  const all = new Uint8Array(Buffer.concat(records));
  return { packets: all, count: packets.length, decisions: [[0, someDecision()]] };
}

/** The stack thread's end. */
class FakeQuestions {
  onPackets: ((batch: TracedBatch) => void) | null = null;
  packetsDropped = 0;
  /** What it was told, in order. */
  readonly told: number[] = [];
  private waiting: [number, () => void][] = [];

  async trace(snaplen: number): Promise<void> {
    this.told.push(snaplen);
    this.waiting = this.waiting.filter(([wanted, resolve]) => {
      if (wanted !== snaplen) return true;
      resolve();
      return false;
    });
    await Promise.resolve();
  }

  /** Waits until it is told `snaplen`. */
  async untilTold(snaplen: number): Promise<void> {
    if (this.told.at(-1) === snaplen) return;
    await new Promise<void>((resolve) => this.waiting.push([snaplen, resolve]));
  }
}

interface Said {
  code: number;
  out: string[];
  err: string[];
}

describe('app/trace over the control socket', () => {
  let directory = '';
  let path = '';
  let server: ControlServer;
  let questions: FakeQuestions;
  let hub: TraceHub;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tunstack-trace-'));
    path = join(directory, 'c.sock');
    questions = new FakeQuestions();
    const roster = { workerOf: (thread: number) => thread + 7 };
    hub = new TraceHub({ questions, roster, tun: 'tun9' });
    server = await ControlServer.open(path, { trace: (request) => hub.join(request) });
  });

  afterEach(() => {
    server.close();
    rmSync(directory, { recursive: true });
  });

  /** Runs `trace ARGS`; `meanwhile` is called when it listens. */
  async function trace(args: string[], meanwhile: () => void, gone = () => false): Promise<Said> {
    const { io, out, err } = listening();
    const said = (line: string): void => {
      io.err(line);
      if (line.startsWith('listening on')) meanwhile();
    };
    const argv = ['trace', ...args, '--control', path];
    const code = await main(argv, { ...io, err: said, gone });
    return { code, out, err };
  }

  it('prints lines, each SYN with its decision, and ends after -c packets', async () => {
    const { code, out, err } = await trace(['-c', '3', 'tcp'], () => {
      void questions.untilTold(128).then(() => {
        questions.onPackets!(batchOf(SYN, ACK));
        questions.onPackets!(batchOf(ACK, ACK));
      });
    });
    expect(code).to.equal(0);
    expect(out).to.have.lengthOf(5);
    expect(out[0]).to.match(
      /^\S+ IP 198\.18\.0\.254\.51702 > 198\.18\.0\.1\.80: Flags \[S\], seq /,
    );
    expect(out[1]).to.match(/^ {2}→ worker 9: group of 4, hash 0x[\da-f]{8} → index [0-3]$/);
    expect(err).to.deep.equal([
      'listening on tun9, link-type RAW (Raw IP), snapshot length 128',
      '3 packets captured',
      '3 packets received by filter',
      '0 packets dropped by the trace',
    ]);
    await questions.untilTold(0);
    expect(questions.told).to.deep.equal([128, 0]);
  });

  it('prints objects with the decision as explain prints it', async () => {
    const { out } = await trace(['--json', '-c', '2'], () => {
      void questions.untilTold(128).then(() => questions.onPackets!(batchOf(SYN, ACK)));
    });
    const [syn, ack] = out.map((line) => JSON.parse(line) as TracedObject);
    const expected = someDecision();
    expect(syn!.decision).to.have.all.keys(...Object.keys(expected));
    expect(syn!.decision).to.include({ phash: expected.phash, index: expected.index });
    expect(syn!.decision!.winner).to.include({ fd: expected.winner!.fd, worker: 9 });
    expect(syn).to.include({ time: 1, direction: 'in', flags: 'S', length: 0 });
    expect(ack).not.to.have.property('decision');
  });

  it('writes pcapng with whole packets and comments', async () => {
    const file = join(directory, 'trace.pcapng');
    const { out } = await trace(['-w', file, '-c', '2'], () => {
      void questions.untilTold(262_144).then(() => questions.onPackets!(batchOf(SYN, ACK)));
    });
    expect(out).to.deep.equal([]);
    const { packets, interfaces } = readPcapng(readFileSync(file));
    expect(interfaces[0]!.name).to.equal('tun9');
    expect(packets.map((one) => one.comments.length)).to.deep.equal([1, 0]);
    expect(packets[0]!.comments[0]).to.contain('reuseport group: 4 members');
    expect(packets[1]!.data).to.deep.equal(Buffer.from(ACK));
    expect(packets[0]).to.include({ direction: 'in', timestampUs: 1_000_000 });
  });

  it('ends quietly when the reader of its lines has gone', async () => {
    let lines = 0;
    const { code, err } = await trace(
      [],
      () => void questions.untilTold(128).then(() => questions.onPackets!(batchOf(SYN, ACK))),
      () => ++lines > 1,
    );
    expect(code).to.equal(0);
    expect(err).to.have.lengthOf(1);
  });

  it('fails when the stack ends, when there is none, and when it refuses', async () => {
    const ended = await trace([], () => server.close());
    expect(ended.code).to.equal(1);
    expect(ended.err.at(-1)).to.match(/the running stack has ended/);
    const none = await trace([], () => {});
    expect(none.code).to.equal(1);
    expect(none.err.join('\n')).to.match(/no running stack at/);
    server = await ControlServer.open(path, {});
    const refused = await trace([], () => {});
    expect(refused.code).to.equal(1);
    expect(refused.err.join('\n')).to.match(/unknown command \\?"trace/);
  });

  it('has one tap for all tracers, as long as there is one', async () => {
    const events = { started: () => {}, packet: () => {}, batch: () => {} };
    const first = new TraceClient(path, 100, events);
    await questions.untilTold(100);
    const second = new TraceClient(path, 5000, events);
    await questions.untilTold(5000);
    const third = await new Promise<TraceClient>((resolve) => {
      const client: TraceClient = new TraceClient(path, 200, {
        ...events,
        started: () => resolve(client),
      });
    });
    second.stop();
    await second.ended;
    await questions.untilTold(200);
    third.stop();
    await third.ended;
    await questions.untilTold(100);
    first.stop();
    await first.ended;
    await questions.untilTold(0);
    expect(questions.told).to.deep.equal([100, 5000, 200, 100, 0]);
  });

  it('loses what a slow tracer does not read, counts it, and slows nobody down', async () => {
    let seen = 0;
    const events = { started: () => {}, packet: () => seen++, batch: () => {} };
    const quick = new TraceClient(path, 65_535, events);
    await questions.untilTold(65_535);
    const slow = connect(path);
    slow.write('{"cmd":"trace","snaplen":65536}\n');
    await questions.untilTold(65_536);
    questions.packetsDropped = 5;
    const big = ipv4(6, tcp(0x10, { data: 60_000 }));
    const batch = batchOf(big, big, big, big);
    const batches = 60;
    for (let i = 0; i < batches; i++) {
      questions.onPackets!(batch);
      while (seen < (i + 1) * 4) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(seen).to.equal(4 * batches);
    quick.stop();
    await quick.ended;
    // What the stack itself had dropped before it came to us.
    expect(quick.dropped).to.equal(5);
    const reader = new FrameReader();
    let skipped = false;
    let [got, dropped, end] = [0, 0, false];
    slow.write('stop\n');
    for await (const chunk of slow) {
      let bytes = chunk as Buffer;
      if (!skipped) bytes = bytes.subarray(bytes.indexOf('\n') + 1);
      skipped = true;
      for (const { head, packets } of reader.push(bytes)) {
        if (packets.length > 0) got += 4;
        dropped = head.dropped;
        end = head.end === true;
      }
    }
    expect(end).to.equal(true);
    expect(got).to.be.within(4, 4 * batches - 4);
    expect(got + dropped).to.equal(4 * batches + 5);
  });

  it('refuses a request without a sensible length', async () => {
    for (const snaplen of [0, -1, 262_145, 'x', undefined]) {
      expect(() => hub.join({ snaplen })).to.throw(/snaplen must be/);
    }
    await Promise.resolve();
  });

  for (const [argv, what] of [
    [['-c', '0'], /-c 0/],
    [['-c', 'x'], /-c x/],
    [['-w', '-', '--json'], /both want stdout/],
    [['porrt', '80'], /porrt/],
    [['--snaplen', '5'], /unknown flag/],
  ] as const) {
    it(`refuses ${argv.join(' ')}`, async () => {
      const { code, out, err } = await trace([...argv], () => {});
      expect([code, out]).to.deep.equal([2, []]);
      expect(err.join('\n')).to.match(what);
    });
  }

  it('says where it may not write, and helps', async () => {
    const refused = await trace(['-w', join(directory, 'no', 'file')], () => {});
    expect(refused.code).to.equal(1);
    expect(refused.err.join('\n')).to.match(/-w FILE in a directory/);
    expect((await trace(['--help'], () => {})).out.join('\n')).to.contain('pcap-filter(7)');
  });
});
