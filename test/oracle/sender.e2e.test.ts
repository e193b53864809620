/**
 * Our sender against the running kernel's: the same path, the same peer, the same writes; the same
 * segments, TCP_INFO and, about, times. TUNSTACK_E2E=full plays all cases and many random paths;
 * TUNSTACK_SEED chooses others.
 */
import { expect } from 'chai';
import { suiteWith } from '../e2e/machine.js';
import { FULL, told } from './full.js';
import { enterFreshNamespace } from './kernel-sockets.js';
import { KernelMachine, type Knobs, OurMachine } from './machine.js';
import { compareSenders, isClose } from './sender-compare.js';
import { playSenders, type SenderScenario } from './sender-path.js';
import {
  BLACK_HOLE_CASES,
  PROBING_CASES,
  PUSH_CASES,
  randomScenario,
  SENDER_CASES,
} from './sender-scenarios.js';

const SEED = Number(process.env['TUNSTACK_SEED'] ?? 1);
const RANDOM = FULL ? 120 : 12;

suiteWith(['netns', 'tun', 'root'], 'the kernel as oracle: senders', () => {
  let kernel: KernelMachine;
  let ours: OurMachine;
  let leave: () => void;

  before(() => {
    leave = enterFreshNamespace();
    kernel = new KernelMachine();
    ours = new OurMachine();
    for (const machine of [kernel, ours]) machine.set(SINGLE);
  });

  after(() => {
    kernel.close();
    ours.close();
    leave();
  });

  /** Whether sending waits for the next ACK depends on fractions of a round trip: one by one. */
  const BURSTS = { 'net.ipv4.tcp_min_tso_segs': 2 };
  const SINGLE = { 'net.ipv4.tcp_min_tso_segs': 1 };

  async function agree(scenarios: readonly SenderScenario[]): Promise<void> {
    const found = await compareSenders(kernel, ours, scenarios);
    if (found.length > 0) {
      expect.fail(found.map(({ name, text }) => `${name}\n${text}`).join('\n\n'));
    }
  }

  it(`${SENDER_CASES.length} cases`, () => agree(SENDER_CASES));

  /** The same with other knobs. */
  async function agreeWith(knobs: Knobs, scenarios: readonly SenderScenario[]): Promise<void> {
    const before = [kernel, ours].map((machine) => machine.set(knobs));
    try {
      await agree(scenarios);
    } finally {
      kernel.set(before[0]!);
      ours.set(before[1]!);
    }
  }

  it(`${PUSH_CASES.length} cases with bursts`, () => agreeWith(BURSTS, PUSH_CASES));

  it(`${BLACK_HOLE_CASES.length} black holes for large packets`, () =>
    agreeWith({ 'net.ipv4.tcp_mtu_probing': 1 }, BLACK_HOLE_CASES));

  it(`${PROBING_CASES.length} searches for the path MTU`, () =>
    agreeWith({ 'net.ipv4.tcp_mtu_probing': 2 }, PROBING_CASES));

  it(`random paths: ${RANDOM} from seed ${SEED}`, async () => {
    const scenarios: SenderScenario[] = [];
    let seed = SEED * 10_000;
    for (; scenarios.length < RANDOM; seed++) {
      const scenario = randomScenario(seed);
      const [run] = await playSenders(ours, [scenario]);
      if (!isClose(run!.entries)) scenarios.push(scenario);
    }
    told(`${RANDOM} of ${seed - SEED * 10_000} seeds have no two events too near each other`);
    await agree(scenarios);
  });
});
