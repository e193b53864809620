/** The loop of the stack thread: what a turn does, when it sleeps, how it ends. */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { NetNs } from '../../src/net/netns.js';
import type { Skb } from '../../src/net/skb.js';
import { Sysctl } from '../../src/net/sysctl.js';
import { AF_INET, SOCK_STREAM } from '../../src/socket/uapi/constants.js';
import {
  G_STACK_SLEEPING,
  G_STATE,
  G_STOP,
  G_TURNS,
  OP_SOCKET,
  STACK_RUNNING,
} from '../../src/socket/uapi/layout.js';
import { Pump, type PumpDevice, type PumpParts } from '../../src/stack/pump.js';
import { QuietCollection } from '../../src/stack/quiet-collection.js';
import { createRandom } from '../../src/stack/random.js';
import { RecentEvents } from '../../src/stack/recent-events.js';
import { type InlineStack, inlineStack } from './inline-stack.js';

/** A device with `waiting` packets and a stack that writes down what it is asked to do. */
class Bench {
  readonly inline: InlineStack = inlineStack(64);
  readonly net: NetNs;
  readonly log: string[] = [];
  waiting = 0;
  orphans = 0;
  heldAcks = false;
  closed = false;
  nowUs = 1000;
  deadlineUs: number = Number.POSITIVE_INFINITY;
  readonly slept: number[] = [];
  readonly counters = {
    rxPackets: 0,
    rxBytes: 0,
    rxErrors: 1,
    txPackets: 2,
    txBytes: 3,
    txDropped: 4,
    txErrors: 5,
  };
  onWait: () => void = () => {};
  readonly device: PumpDevice;

  constructor() {
    const { log, counters } = this;
    this.device = {
      mtu: 1500,
      offload: { checksum: false, gsoMaxBytes: 0 },
      counters,
      transmit: () => true,
      receive: (skb: Skb) => {
        expect(skb.end).to.equal(skb.start);
        if (this.waiting === 0) return false;
        this.waiting--;
        counters.rxPackets++;
        skb.end = skb.start + 40;
        return true;
      },
      close: () => {
        log.push('close');
      },
    };
    const env = { device: this.device, random: createRandom(1), trace: null };
    const { mem, mib } = this.inline.shared;
    this.net = new NetNs(env, new Sysctl('6.18'), mem, mib);
  }

  pump(more: Partial<PumpParts> = {}): Pump {
    const { log, net, device } = this;
    const bench = this;
    return new Pump({
      ctl: this.inline.shared.ctl,
      syscalls: this.inline.syscalls,
      device,
      stack: {
        net,
        input: () => log.push(`input at ${net.nowUs}`),
        poll: (nowUs) => log.push(`poll ${nowUs}`),
        nextDeadlineUs: () => this.deadlineUs,
        releaseAcks: () => {
          const any = this.heldAcks;
          this.heldAcks = false;
          if (any) log.push('release');
          return any;
        },
        get orphans() {
          return bench.orphans;
        },
        resetAll: () => {
          log.push('reset');
        },
      },
      clock: () => this.nowUs,
      wait: (timeoutMs) => {
        this.slept.push(timeoutMs);
        const { ctl } = this.inline.shared;
        // At the end nobody has anything to ring for.
        if (ctl[G_STOP] === 0) expect(ctl[G_STACK_SLEEPING]).to.equal(1);
        this.onWait();
      },
      spinUs: 0,
      ...more,
    });
  }

  stop(): void {
    Atomics.store(this.inline.shared.ctl, G_STOP, 1);
  }
}

describe('stack/pump', () => {
  it('a turn: packets, commands, poll; time is set once', () => {
    const bench = new Bench();
    const pump = bench.pump();
    const { port } = bench.inline.thread();
    bench.inline.held = true;
    port.post(OP_SOCKET, 0, 0);
    bench.waiting = 2;
    expect(pump.runOnce()).to.equal(true);
    expect(bench.log).to.deep.equal(['input at 1000', 'input at 1000', 'poll 1000']);
    expect(bench.inline.syscalls.pending()).to.equal(false);
    expect(bench.inline.stack.open).to.equal(1);
    expect(pump.runOnce()).to.equal(false);
    expect(bench.inline.shared.ctl[G_TURNS]).to.equal(2);
  });

  it('before a sleep: ACKs that wait for an answer go out, after looking for one', () => {
    const bench = new Bench();
    const pump = bench.pump();
    Atomics.store(bench.inline.shared.ctl, G_STACK_SLEEPING, 0);
    bench.heldAcks = true;
    expect(pump.runOnce()).to.equal(false);
    expect(bench.log).to.deep.equal(['poll 1000']);
    pump.rest(1000);
    expect(bench.log).to.deep.equal(['poll 1000', 'release']);
    expect(bench.slept).to.deep.equal([]);
    expect(bench.inline.shared.ctl[G_STACK_SLEEPING]).to.equal(0);
    pump.rest(1000);
    expect(bench.slept).to.deep.equal([1]);
  });

  it('at the end: closed connections deliver what they have, what is left is reset', () => {
    const bench = new Bench();
    bench.orphans = 2;
    bench.onWait = () => {
      bench.nowUs += 20_000;
      bench.orphans--;
    };
    bench.stop();
    bench.pump().run();
    expect(bench.slept).to.deep.equal([20, 20]);
    expect(bench.log.slice(-3)).to.deep.equal(['reset', 'poll 41000', 'close']);
  });

  it('at the end: does not wait for a peer that does not answer', () => {
    const bench = new Bench();
    bench.orphans = 1;
    bench.onWait = () => {
      bench.nowUs += 20_000;
    };
    bench.stop();
    bench.pump().run();
    expect(bench.slept).to.have.length(100);
    expect(bench.log.slice(-3)).to.deep.equal(['reset', 'poll 2001000', 'close']);
  });

  it('takes 64 packets in a turn at most', () => {
    const bench = new Bench();
    const pump = bench.pump();
    bench.waiting = 65;
    pump.runOnce();
    expect(bench.waiting).to.equal(1);
    expect(bench.log).to.have.length(65);
    expect(pump.runOnce()).to.equal(true);
    expect(bench.waiting).to.equal(0);
  });

  it('a due timer is work', () => {
    const bench = new Bench();
    const pump = bench.pump();
    bench.deadlineUs = 1001;
    expect(pump.runOnce()).to.equal(false);
    bench.nowUs = 1001;
    expect(pump.runOnce()).to.equal(true);
  });

  it('publishes the device’s counters', () => {
    const bench = new Bench();
    bench.waiting = 7;
    bench.pump().runOnce();
    const { mib } = bench.net;
    expect(mib[Mib.TunRxPackets]).to.equal(7);
    expect(mib[Mib.TunRxErrors]).to.equal(1);
    expect(mib[Mib.TunTxPackets]).to.equal(2);
    expect(mib[Mib.TunTxBytes]).to.equal(3);
    expect(mib[Mib.TunTxDropped]).to.equal(9);
  });

  it('sleeps until the next deadline, a second at most, and closes the device at the end', () => {
    const bench = new Bench();
    const deadlines = [1000 + 2500, Number.POSITIVE_INFINITY, 999];
    bench.deadlineUs = deadlines.shift()!;
    bench.onWait = () => {
      bench.deadlineUs = deadlines.shift()!;
      if (deadlines.length === 0) bench.stop();
    };
    let idle = 0;
    bench.pump({ idle: () => idle++ }).run();
    expect(bench.slept).to.deep.equal([2.5, 1000]);
    expect(idle).to.equal(2);
    expect(bench.log.at(-1)).to.equal('close');
    expect(bench.inline.shared.ctl[G_STATE]).to.equal(STACK_RUNNING);
    expect(bench.inline.shared.ctl[G_STACK_SLEEPING]).to.equal(0);
  });

  it('collects garbage once traffic has stopped for a second, whatever timers do', () => {
    const bench = new Bench();
    const collectedAtUs: number[] = [];
    let takenBytes = 1 << 20;
    const collection = new QuietCollection({
      takenBytes: () => takenBytes,
      collect: () => {
        collectedAtUs.push(bench.nowUs);
        takenBytes = 1 << 20;
      },
    });
    const dueUs = [301_000, 601_000, 1_301_000];
    const next = (): void => {
      bench.deadlineUs = dueUs.shift() ?? Number.POSITIVE_INFINITY;
    };
    next();
    bench.waiting = 1;
    takenBytes = 64 << 20;
    bench.onWait = () => {
      bench.nowUs += bench.slept.at(-1)! * 1000;
      if (bench.nowUs >= bench.deadlineUs) next();
      if (bench.slept.length === 6) bench.stop();
    };
    bench.pump({ clock: () => bench.nowUs, collection }).run();
    expect(bench.slept).to.deep.equal([300, 300, 400, 300, 1000, 1000]);
    expect(collectedAtUs).to.deep.equal([1_001_000]);
    expect(bench.inline.shared.mib[Mib.TunQuietCollections]).to.equal(1);
  });

  it('does not sleep over a command that came after the turn', () => {
    const bench = new Bench();
    const { port } = bench.inline.thread();
    bench.inline.held = true;
    let turns = 0;
    const parts = {
      clock: () => {
        // Called at the begin of a turn and after an idle one: the command comes in between.
        if (++turns === 2) port.post(OP_SOCKET, 0, 0);
        return 1000;
      },
    };
    bench.onWait = () => bench.stop();
    bench.pump(parts).run();
    expect(bench.inline.stack.open).to.equal(1);
    expect(bench.slept).to.deep.equal([1000]);
  });

  /** Turns before each sleep of a pump whose every sleep ends with a packet `afterUs` later. */
  function turnsBeforeSleeps(
    afterUs: number,
    sleeps: number,
    lookUs = 10,
    yieldCpu = (): void => {},
    onSleep = (): void => {},
  ): number[] {
    const bench = new Bench();
    const turns: number[] = [];
    bench.waiting = 1;
    const clock = (): number => {
      bench.nowUs += lookUs;
      return bench.nowUs;
    };
    bench.onWait = () => {
      onSleep();
      turns.push(bench.log.filter((line) => line.startsWith('poll')).length);
      bench.nowUs += afterUs;
      bench.waiting = 1;
      if (turns.length === sleeps) bench.stop();
    };
    bench.pump({ clock, spinUs: 100, yieldCpu }).run();
    return turns.map((count, i) => count - (turns[i - 1] ?? 0));
  }

  it('looks again for a while before it sleeps once its waits have been short', () => {
    const turns = turnsBeforeSleeps(20, 12);
    expect(turns.slice(0, 8)).to.deep.equal([2, 2, 2, 2, 2, 2, 2, 2]);
    expect(turns[8]).to.be.within(6, 12);
    // The packet came only when it slept: that was a long wait, and looking stops.
    expect(turns.slice(9)).to.deep.equal([2, 2, 2]);
  });

  it('an idle time of many sleeps is no interruption of looks', () => {
    const bench = new Bench();
    let idleSleeps = 15;
    let polls = 0;
    const turns: number[] = [];
    bench.waiting = 1;
    bench.onWait = () => {
      const before = polls;
      polls = bench.log.filter((line) => line.startsWith('poll')).length;
      if (idleSleeps-- > 0) {
        bench.nowUs += 1e6;
        return;
      }
      turns.push(polls - before);
      bench.nowUs += 20;
      bench.waiting = 1;
      if (turns.length === 10) bench.stop();
    };
    const clock = (): number => {
      bench.nowUs += 10;
      return bench.nowUs;
    };
    bench.pump({ clock, spinUs: 100 }).run();
    // One that finds nothing, then the long wait and seven short ones; the eighth is looked for.
    expect(turns.slice(0, 9)).to.deep.equal([1, 2, 2, 2, 2, 2, 2, 2, 2]);
    expect(turns[9]).to.be.within(6, 12);
  });

  it('lets others have the core between two looks, and only there', () => {
    const looks: number[] = [];
    let yields = 0;
    const yieldCpu = (): void => {
      yields++;
    };
    const turns = turnsBeforeSleeps(20, 10, 10, yieldCpu, () => looks.push(yields));
    expect(looks.slice(0, 8)).to.deep.equal([0, 0, 0, 0, 0, 0, 0, 0]);
    expect(looks[8]).to.equal(turns[8]! - 2);
    expect(looks[9]).to.equal(looks[8]);
  });

  it('does not look again when its waits are long, or when a look takes long', () => {
    expect(new Set(turnsBeforeSleeps(500, 12))).to.deep.equal(new Set([2]));
    expect(new Set(turnsBeforeSleeps(20, 12, 300))).to.deep.equal(new Set([2]));
  });

  it('rings the threads at the end of the turn', () => {
    const bench = new Bench();
    const { port, sys } = bench.inline.thread();
    const epfd = sys.epoll_create1(0);
    expect(epfd).to.equal(3);
    port.arm();
    expect(port.ring()).to.be.instanceOf(Promise);
    port.arm();
    const fd = sys.socket(AF_INET, SOCK_STREAM, 0);
    bench.inline.held = true;
    sys.epoll_ctl(epfd, 1, fd, { events: 4, data: 0 });
    const pump = bench.pump();
    pump.runOnce();
    // Ready when added and seen by the thread itself: no ring.
    expect(port.ring()).to.be.instanceOf(Promise);
    bench.inline.syscalls.ready(fd, 4);
    pump.runOnce();
    expect(port.ring()).to.equal(null);
  });

  it('refuses an arena without room for a packet', () => {
    const bench = new Bench();
    while (bench.inline.shared.mem.allocRing(4096) !== 0);
    expect(() => bench.pump()).to.throw(RangeError, 'arena is too small');
  });
});

describe('stack/random', () => {
  it('the same seed gives the same numbers, and reports itself', () => {
    const one = createRandom('abc');
    const two = createRandom('abc');
    expect(one.seed).to.equal('abc');
    for (let i = 0; i < 10; i++) expect(one.u32()).to.equal(two.u32());
    const other = createRandom(7);
    expect(createRandom('7').u32()).to.equal(other.u32());
  });

  it('no seed: 128 unpredictable bits that can be given again', () => {
    const one = createRandom();
    expect(one.seed).to.match(/^[0-9a-f]{32}$/);
    const first = one.u32();
    expect(createRandom(one.seed).u32()).to.equal(first);
    expect(createRandom().seed).not.to.equal(one.seed);
  });

  it('is spread over 32 bits, whatever the seed', () => {
    for (const seed of [0, 1, 2, '']) {
      const random = createRandom(seed);
      const counts = new Array<number>(16).fill(0);
      for (let i = 0; i < 16000; i++) {
        const value = random.u32();
        expect(value >>> 0).to.equal(value);
        counts[value >>> 28]!++;
      }
      // 1000 expected in each, standard deviation 31.
      for (const count of counts) expect(count).to.be.within(840, 1160);
    }
  });
});

describe('stack/recent-events', () => {
  it('keeps the last 32 changes', () => {
    const recent = new RecentEvents();
    expect(recent.lines()).to.deep.equal([]);
    recent.record(1_500_000, 7, 7, 10);
    expect(recent.lines()).to.deep.equal(['1.500000 fd 7 UNCONN -> LISTEN']);
    for (let i = 0; i < 40; i++) recent.record(i, i, 1, 8);
    const lines = recent.lines();
    expect(lines).to.have.length(32);
    expect(lines[0]).to.equal('0.000008 fd 8 ESTAB -> CLOSE-WAIT');
    expect(lines[31]).to.equal('0.000039 fd 39 ESTAB -> CLOSE-WAIT');
  });
});
