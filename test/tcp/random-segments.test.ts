/**
 * Random but well-formed segments, calls and waits in any order and any state: nothing throws,
 * nothing is answered by what the peer could not take, and when all is closed and time has passed
 * nothing is left.
 */
import { expect } from 'chai';
import * as fc from 'fast-check';
import { Mib } from '../../src/net/mib.js';
import { BLOCK_KIND, BLOCK_WORDS, KIND_FREE } from '../../src/net/sockmem.js';
import { decodePacket, encodePacket, ipv4, MemoryStack } from '../../src/testing/index.js';

const PEER = ipv4('198.18.0.254') >>> 0;
const PORTS = [40_000, 40_001];
const LOCAL_PORTS = [80, 81, 50_000];

type Step =
  | {
      kind: 'segment';
      port: number;
      localPort: number;
      flags: number;
      /** Distance from what the stack expects next, or from nothing. */
      seq: number;
      ack: number;
      length: number;
      window: number;
      options: number;
      batch: boolean;
    }
  | { kind: 'call'; call: number; which: number; value: number }
  | { kind: 'wait'; ms: number }
  | { kind: 'icmp'; type: number; code: number; info: number };

/** Numbers near the edges that the stack compares with. */
const near = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0, 0, 0, 0, 1, -1) },
  { weight: 2, arbitrary: fc.integer({ min: -3000, max: 3000 }) },
  { weight: 1, arbitrary: fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff }) },
);
const segment = fc.record({
  kind: fc.constant('segment' as const),
  port: fc.constantFrom(...PORTS),
  localPort: fc.constantFrom(...LOCAL_PORTS),
  flags: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(0x02, 0x12, 0x10, 0x10, 0x18, 0x11, 0x14, 0x04) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }) },
  ),
  seq: near,
  ack: near,
  length: fc.oneof(fc.constantFrom(0, 0, 0, 1, 1460), fc.integer({ min: 0, max: 3000 })),
  window: fc.constantFrom(0, 1, 500, 65_535),
  options: fc.integer({ min: 0, max: 7 }),
  batch: fc.boolean(),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: segment },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('call' as const),
      call: fc.integer({ min: 0, max: 13 }),
      which: fc.integer({ min: 0, max: 7 }),
      value: fc.integer({ min: -1, max: 5000 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      ms: fc.constantFrom(1, 40, 210, 1000, 5000, 61_000, 300_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('icmp' as const),
      type: fc.constantFrom(3, 11, 12),
      code: fc.integer({ min: 0, max: 15 }),
      info: fc.constantFrom(0, 300, 552, 1000, 1400),
    }),
  },
);

/** A world of one stack, its descriptors, and a peer who knows what the stack expects. */
class World {
  readonly host: MemoryStack;
  private readonly fds: number[] = [];
  /** By peer port and local port: what the stack acknowledged and sent last. */
  private readonly known = new Map<string, { rcvNxt: number; sndNxt: number; tsval: number }>();
  private lastSent: Uint8Array | null = null;

  constructor(profile: '5.0' | '6.18', tightness: number) {
    this.host = new MemoryStack({
      profile,
      fds: 24,
      arenaBytes: 4 << 20,
      sysctl: {
        'net.ipv4.tcp_ehash_entries': 16,
        'net.ipv4.ip_local_port_range': '50000 50000',
        'net.ipv4.tcp_max_tw_buckets': tightness === 0 ? 0 : 100,
        'net.ipv4.tcp_max_orphans': tightness === 1 ? 1 : 100,
        'net.ipv4.tcp_abort_on_overflow': tightness & 1,
        'net.ipv4.tcp_tw_reuse': 1,
        'net.ipv4.tcp_fin_timeout': tightness === 2 ? 100 : 60,
      },
    });
    this.fds.push(this.host.listen(80, 1), this.host.listen(81, 2, { reuseport: true }));
    this.fds.push(this.host.listen(81, 2, { reuseport: true }));
  }

  run(at: Step): void {
    if (at.kind === 'segment') this.send(at);
    else if (at.kind === 'wait') this.host.advance(at.ms);
    else if (at.kind === 'icmp') this.complain(at.type, at.code, at.info);
    else this.call(at.call, at.which, at.value);
    this.look();
  }

  private send(at: Step & { kind: 'segment' }): void {
    const known = this.known.get(`${at.port} ${at.localPort}`);
    const options: Parameters<typeof encodePacket>[0]['options'] = [];
    if (at.options & 1) options.push({ kind: 'mss', value: 1460 });
    if (at.options & 2) {
      const val = (this.host.nowUs / 1000) >>> 0;
      options.push({ kind: 'nop' }, { kind: 'nop' });
      options.push({ kind: 'TS', val, ecr: known?.tsval ?? 0 });
    }
    if (at.options & 4) options.push({ kind: 'sackOK' }, { kind: 'wscale', value: 7 });
    let flags = '';
    for (let i = 0; i < 8; i++) if ((at.flags >> i) & 1) flags += 'FSRP.UEW'[i];
    const packet = encodePacket({
      source: PEER,
      destination: this.host.address >>> 0,
      sport: at.port,
      dport: at.localPort,
      seq: ((known?.rcvNxt ?? 1000) + at.seq) >>> 0,
      ack: ((known?.sndNxt ?? 0) + at.ack) >>> 0,
      flags,
      window: at.window,
      urgent: 0,
      options,
      payload: new Uint8Array(at.length),
      ttl: 64,
      tos: 0,
      id: 0,
      df: false,
    });
    if (at.batch) this.host.input(packet);
    else this.host.inject(packet);
  }

  private complain(type: number, code: number, info: number): void {
    const about = this.lastSent;
    if (about === null) return;
    const packet = new Uint8Array(56);
    const view = new DataView(packet.buffer);
    packet.set([0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1]);
    view.setUint32(12, PEER);
    packet.set(about.subarray(12, 16), 16);
    packet.set([type, code, 0, 0, 0, 0, info >> 8, info & 255], 20);
    packet.set(about.subarray(0, 28), 28);
    for (const [at, end, field] of [
      [0, 20, 10],
      [20, 56, 22],
    ] as const) {
      let sum = 0;
      for (let i = at; i < end; i += 2) sum += view.getUint16(i);
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
      view.setUint16(field, ~sum & 0xffff);
    }
    this.host.inject(packet);
  }

  private call(call: number, which: number, value: number): void {
    const { host } = this;
    const { stack } = host;
    const fd = this.fds[which % Math.max(1, this.fds.length)] ?? 3;
    switch (call) {
      case 0:
      case 1:
        for (const listener of [...this.fds]) {
          const child = host.accept(listener);
          if (child >= 0) this.fds.push(child);
        }
        break;
      case 2:
      case 3:
        host.write(fd, new Uint8Array(Math.max(0, value)));
        break;
      case 4:
      case 5:
        host.read(fd, Math.max(1, value));
        break;
      case 6:
        this.drop(fd);
        host.close(fd);
        break;
      case 7:
        host.shutdown(fd, value % 4);
        break;
      case 8:
        this.drop(fd);
        stack.abort(fd);
        break;
      case 9: {
        const fresh = stack.socket(value % 3 === 0 ? 1000 : 0);
        if (fresh < 0) break;
        this.fds.push(fresh);
        stack.setsockopt(fresh, 1, value % 2 === 0 ? 2 : 15, 1, 0);
        if (value % 4 === 0) stack.bind(fresh, 0, 80 + (value % 3));
        if (value % 5 === 0) stack.listen(fresh, value % 3);
        else stack.connect(fresh, value % 7 === 0 ? host.address : PEER | 0, PORTS[value & 1]!);
        break;
      }
      case 10:
        stack.setsockopt(fd, 1, 13, value & 1, 0);
        break;
      case 11:
        stack.listen(fd, value % 4);
        break;
      case 12:
        stack.connect(fd, PEER | 0, PORTS[which & 1]!);
        break;
      case 13:
        stack.setsockopt(fd, 1, 9, 1, 0);
        stack.setsockopt(fd, 6, 4, 1 + (value & 7), 0);
        break;
    }
    host.poll();
  }

  private drop(fd: number): void {
    const index = this.fds.indexOf(fd);
    if (index >= 0) this.fds.splice(index, 1);
  }

  /** Every packet is whole, and the peer learns from it. */
  private look(): void {
    for (const bytes of this.host.sent.splice(0)) {
      this.lastSent = bytes;
      const packet = decodePacket(bytes);
      const key = `${packet.dport} ${packet.sport}`;
      const known = this.known.get(key) ?? { rcvNxt: 1000, sndNxt: 0, tsval: 0 };
      const syn = packet.flags.includes('S') ? 1 : 0;
      const fin = packet.flags.includes('F') ? 1 : 0;
      if (packet.flags.includes('.')) known.rcvNxt = packet.ack;
      if (!packet.flags.includes('R')) {
        known.sndNxt = (packet.seq + packet.payload.length + syn + fin) >>> 0;
      }
      for (const option of packet.options) if (option.kind === 'TS') known.tsval = option.val;
      this.known.set(key, known);
    }
    this.host.events.length = 0;
  }

  /** Closes everything and lets every timer run out. */
  end(): void {
    const { host } = this;
    for (const fd of this.fds.splice(0)) host.close(fd);
    host.advance(3_000_000);
    host.sent.length = 0;
    const { tcp, net } = host.stack;
    const { hashinfo } = tcp;
    expect(
      {
        ehash: hashinfo.ehash.size,
        ports: hashinfo.bhash.ports,
        timers: net.timers.size,
        orphans: tcp.orphans,
        timewaits: tcp.timewaits,
        ringed: tcp.ringed.length,
        late: tcp.lateDetach.length,
        descriptors: host.mem.fdsInUse,
        dirty: tcp.hasDirty,
        output: net.outputSkbs.out,
        input: net.inputSkbs.out,
        loopback: net.loopback.length,
        current: host.counter(Mib.TcpCurrEstab),
      },
      'what is left',
    ).to.deep.equal({
      ehash: 0,
      ports: 0,
      timers: 0,
      orphans: 0,
      timewaits: 0,
      ringed: 0,
      late: 0,
      descriptors: 0,
      dirty: false,
      output: 0,
      input: 0,
      loopback: 0,
      current: 0,
    });
    const pages = (net.inputSkbs.made * 131_072 + net.outputSkbs.made * 4096) / 4096;
    expect(host.mem.pagesInUse, 'pages').to.equal(pages);
    for (let fd = 3; fd < 24; fd++) {
      expect(host.mem.ctl[fd * BLOCK_WORDS + BLOCK_KIND]).to.equal(KIND_FREE);
    }
  }
}

/** A longer search: TUNSTACK_RUNS and TUNSTACK_SEED in the environment. */
const RUNS = Number(process.env['TUNSTACK_RUNS'] ?? 100);
const SEED = Number(process.env['TUNSTACK_SEED'] ?? 20_240);

describe('tcp: random segments and calls in any state', () => {
  for (const profile of ['6.18', '5.0'] as const) {
    it(`leave nothing behind (${profile})`, function () {
      this.timeout(120_000);
      fc.assert(
        fc.property(
          fc.integer({ min: 0, max: 3 }),
          fc.array(step, { minLength: 1, maxLength: 120, size: 'max' }),
          (tightness, steps) => {
            const world = new World(profile, tightness);
            for (const at of steps) world.run(at);
            world.end();
          },
        ),
        { numRuns: RUNS, seed: SEED },
      );
    });
  }
});
