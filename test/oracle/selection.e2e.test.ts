/**
 * Which member of a SO_REUSEPORT group a connection gets, on the kernel and on ours. An eBPF
 * program in the kernel's group reports the hash of each SYN and leaves the choice to the hash; our
 * group is asked with the same hash. With TUNSTACK_E2E=full the kernel's secret is searched for,
 * given to a stack of ours, and the two are compared connection by connection.
 */
import { cpus } from 'node:os';
import { expect } from 'chai';
import { reciprocalScale } from '../../src/net/hash.js';
import { seededRandom } from '../../src/testing/index.js';
import { suiteWith } from '../e2e/machine.js';
import { BPF_RET_A, classicProgram, HashReporter } from './bpf.js';
import { FULL, told } from './full.js';
import { type Choice, GroupPair } from './group-pair.js';
import { explains, findInitval } from './hash-secret.js';
import { kernelAtLeast, runOnCpu } from './kernel-sockets.js';
import { ADDRESSES, OurSockets } from './our-sockets.js';
import { Worlds } from './worlds.js';

const SIZES = [1, 2, 3, 4, 7, 16];
const CONNECTIONS = FULL ? 400 : 60;
const CHURNS = FULL ? 400 : 40;
const STEPS = 12;
const PROBES = 3;
const [LOCALHOST = 0, OTHER = 0] = ADDRESSES;
/** Classic BPF: load a half word of the packet; SKF_NET_OFF counts from the IP header. */
const BPF_LD_H_ABS = 0x28;
const BPF_ALU_MOD_K = 0x94;
const SOURCE_PORT = -0x100000 + 20;
const MIGRATE = 'net.ipv4.tcp_migrate_req';

suiteWith(['netns', 'root', 'ip', 'tun'], 'kernel as oracle: selection', () => {
  let worlds: Worlds;
  let reporter: HashReporter;

  before(() => {
    worlds = new Worlds();
    reporter = new HashReporter();
  });
  after(() => {
    reporter.close();
    worlds.leave();
  });
  afterEach(() => {
    worlds.kernel.closeAll();
    worlds.ours.closeAll();
  });

  /** A group of `size` members that listen, in the order of their numbers. */
  function groupOf(size: number, address: number, port = worlds.freshPorts(1)): GroupPair {
    const group = new GroupPair(worlds, reporter, port, address);
    for (let i = 0; i < size; i++) group.listen(group.open());
    return group;
  }

  it('the member is reciprocal_scale(hash, n)', () => {
    let connections = 0;
    for (const address of [LOCALHOST, 0]) {
      for (const size of SIZES) {
        const group = groupOf(size, address);
        const met = new Set<number>();
        for (let i = 0; i < CONNECTIONS; i++, connections++) {
          const choice = group.connect();
          met.add(choice.member);
          expect(choice.member).to.equal(reciprocalScale(choice.hash, size));
          expect(group.ours(choice)).to.equal(choice.member);
        }
        expect(met.size, 'the hash reaches all').to.be.at.least(Math.min(size, 12));
      }
    }
    told(`${connections} connections`);
  });

  it('a group at any address hashes with none, one at an address with that', () => {
    for (const address of [0, OTHER]) {
      const group = groupOf(4, address);
      const [first, second] = [group.connect(LOCALHOST, 9000), group.connect(OTHER, 9001)];
      expect(first.member === -1).to.equal(address === OTHER);
      expect(second.member).to.be.at.least(0);
      if (address !== 0) continue;
      const again = group.connect(OTHER, 9000);
      expect([again.hash, again.member]).to.deep.equal([first.hash, first.member]);
      expect(second.hash).to.not.equal(first.hash);
    }
  });

  it('the port of the server is added to the hash (6.15), or mixed into it', () => {
    const port = worlds.freshPorts(2);
    const [first, second] = [groupOf(2, 0, port), groupOf(2, 0, port + 1)];
    for (let fport = 9100; fport < 9110; fport++) {
      const difference =
        second.connect(undefined, fport).hash - first.connect(undefined, fport).hash;
      expect((difference | 0) === 1).to.equal(kernelAtLeast(6, 15));
    }
  });

  it('members stand in the order of listen(), whatever that of bind() was', () => {
    const group = new GroupPair(worlds, reporter, worlds.freshPorts(1), 0);
    for (let i = 0; i < 4; i++) group.open();
    const order = [2, 0, 3, 1];
    for (const number of order) group.listen(number);
    for (let i = 0; i < CONNECTIONS; i++) {
      const choice = group.connect();
      expect(choice.member).to.equal(order[reciprocalScale(choice.hash, 4)]);
      expect(group.ours(choice)).to.equal(choice.member);
    }
  });

  /** Random comings and goings; `where` is what is said when the two differ. */
  function churn(seed: number): number {
    const dice = seededRandom(seed);
    const pick = (n: number): number => dice.u32() % n;
    const group = new GroupPair(worlds, reporter, worlds.freshPorts(1), pick(2) * LOCALHOST);
    const idle: number[] = [];
    const live: number[] = [];
    const take = (from: number[]): number => from.splice(pick(from.length), 1)[0]!;
    let probes = 0;
    for (let step = 0; step < STEPS; step++) {
      const action = pick(5);
      if (action < 2 || live.length === 0) {
        const number = idle.length > 0 && pick(2) === 0 ? take(idle) : group.open();
        group.listen(number);
        live.push(number);
      } else if (action === 2) {
        group.close(take(live));
      } else if (action === 3) {
        const number = take(live);
        group.shutdown(number);
        idle.push(number);
      } else idle.push(group.open());
      for (let i = 0; i < PROBES && live.length > 0; i++, probes++) {
        const choice = group.connect();
        expect(group.ours(choice), `seed ${seed}, step ${step}`).to.equal(choice.member);
      }
    }
    worlds.kernel.closeAll();
    worlds.ours.closeAll();
    return probes;
  }

  it('the hole of a leaver is filled by the last, and who comes back stands last', () => {
    let probes = 0;
    for (let seed = 0; seed < CHURNS; seed++) {
      worlds.both((world) => world.setSysctl(MIGRATE, seed & 1));
      probes += churn(seed);
    }
    worlds.both((world) => world.setSysctl(MIGRATE, 0));
    told(`${probes} connections to ${CHURNS} groups of changing members`);
  });

  if (kernelAtLeast(6, 2) && cpus().length > 1) {
    it('SO_INCOMING_CPU: the first from the hash on that has the CPU, else the hash', () => {
      for (const wanted of [
        [0, 1, null],
        [0, 0, 1],
        [1, null, null, 1],
        [null, null],
        [7, 7, 7],
      ]) {
        const group = new GroupPair(worlds, reporter, worlds.freshPorts(1), 0);
        for (const cpu of wanted) group.listen(group.open(cpu));
        for (const cpu of [0, 1]) {
          const giveBack = runOnCpu(cpu);
          for (let i = 0; i < CONNECTIONS / 4; i++) {
            const choice = group.connect();
            expect(group.ours(choice, cpu), `${wanted} on ${cpu}`).to.equal(choice.member);
          }
          giveBack();
        }
      }
    });
  }

  it('a classic program names the member; a number too large leaves it to the hash', () => {
    for (const modulus of [1, 3, 4, 8]) {
      const group = new GroupPair(worlds, null, worlds.freshPorts(1), 0);
      for (let i = 0; i < 4; i++) group.listen(group.open());
      const program = classicProgram([
        [BPF_LD_H_ABS, 0, 0, SOURCE_PORT],
        [BPF_ALU_MOD_K, 0, 0, modulus],
        [BPF_RET_A, 0, 0, 0],
      ]);
      group.attach(0, program, (request) => request.sport % modulus);
      for (let i = 0; i < 16; i++) {
        const choice = group.connect();
        const named = choice.fport % modulus;
        if (named < 4) {
          expect(choice.member).to.equal(named);
          expect(group.ours(choice)).to.equal(named);
        } else {
          expect(choice.member).to.be.within(0, 3);
          expect(group.ours(choice)).to.equal(0); // this hash is 0
        }
      }
    }
  });

  if (FULL) {
    it('with the same secret: connection by connection', () => {
      const seen: Choice[] = [];
      const first = groupOf(4, LOCALHOST);
      for (let i = 0; i < 8; i++) seen.push(first.connect());
      const samples = seen.map((choice) => first.sampleOf(choice));
      const started = performance.now();
      const initval = findInitval(samples);
      expect(initval, 'an initial value that explains the hashes').to.not.equal(null);
      const seconds = (performance.now() - started) / 1000;
      told(`initial value ${(initval! >>> 0).toString(16)} found in ${seconds.toFixed(0)} s`);
      const twin = Object.assign(Object.create(worlds) as Worlds, {
        ours: new OurSockets({ ehashInitval: initval! }),
      });
      let connections = 0;
      for (const address of [LOCALHOST, OTHER, 0]) {
        for (const size of SIZES) {
          const group = new GroupPair(twin, reporter, worlds.freshPorts(1), address);
          for (let i = 0; i < size; i++) group.listen(group.open());
          for (let i = 0; i < CONNECTIONS; i++, connections++) {
            const choice = group.connect();
            expect(explains(initval!, group.sampleOf(choice))).to.equal(true);
            expect(group.connectOurs(choice.fport)).to.equal(choice.member);
          }
        }
      }
      told(`${connections} connections, slot for slot`);
    }).timeout(600_000);
  }
});
