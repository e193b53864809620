/**
 * Our stack against the running kernel when the peer falls silent: the same segments at the same
 * times, the same end. Small knobs by default; TUNSTACK_E2E=full also plays the defaults, which
 * takes as long as SYN-SENT lasts.
 */
import { expect } from 'chai';
import { suiteWith } from '../e2e/machine.js';
import { playAll } from './compare.js';
import { FULL } from './full.js';
import { enterFreshNamespace, kernelAtLeast } from './kernel-sockets.js';
import { KernelMachine, type Knobs, type Machine, OurMachine } from './machine.js';
import { type Event, SILENCES, type Silence, type Watch, watched } from './silence-scenarios.js';

/** Text of a SYN without a cookie makes a connection. */
const ALWAYS: Knobs = { 'net.ipv4.tcp_fastopen': 515 };

const SMALL: Knobs = {
  ...ALWAYS,
  'net.ipv4.tcp_synack_retries': 2,
  'net.ipv4.tcp_syn_retries': 2,
  'net.ipv4.tcp_syn_linear_timeouts': 1,
  'net.ipv4.tcp_retries2': 4,
  'net.ipv4.tcp_orphan_retries': 3,
  'net.ipv4.tcp_fin_timeout': 3,
  'net.ipv4.tcp_keepalive_time': 1,
  'net.ipv4.tcp_keepalive_intvl': 1,
  'net.ipv4.tcp_keepalive_probes': 2,
};

interface Setting {
  readonly name: string;
  readonly knobs: Knobs;
  readonly forMs: number;
  readonly full: boolean;
  readonly since?: readonly [number, number];
}

const SETTINGS: readonly Setting[] = [
  { name: 'small knobs', knobs: SMALL, forMs: 14_000, full: false },
  {
    name: 'next to no retries',
    knobs: { ...SMALL, 'net.ipv4.tcp_retries2': 0, 'net.ipv4.tcp_orphan_retries': 1 },
    forMs: 8000,
    full: true,
  },
  {
    name: 'two retries',
    knobs: { ...SMALL, 'net.ipv4.tcp_retries2': 2, 'net.ipv4.tcp_syn_linear_timeouts': 3 },
    forMs: 8000,
    full: true,
  },
  {
    name: 'an RTO of a second at most',
    knobs: {
      ...SMALL,
      'net.ipv4.tcp_rto_max_ms': 1000,
      'net.ipv4.tcp_retries2': 4,
      'net.ipv4.tcp_orphan_retries': 0,
      'net.ipv4.tcp_synack_retries': 5,
      'net.ipv4.tcp_syn_retries': 4,
    },
    forMs: 10_000,
    full: true,
    since: [6, 15],
  },
  { name: 'defaults', knobs: ALWAYS, forMs: 135_000, full: true },
];

/** A kernel's timers are late by a tick, which doubles with the RTO, and in steps: up to 8 %. */
const TOLERANCE = 0.09;
const TOLERANCE_MS = 60;
/** As often a difference must show before it is one: a busy machine looks late. */
const ATTEMPTS = 3;

/** Where the two differ, '' = nowhere. What happens near the end may be beyond it on one side. */
function difference(kernel: Watch, ours: Watch, forMs: number): string {
  const close = (one: number, other: number): boolean => {
    const most = kernel.blindMs + TOLERANCE_MS + TOLERANCE * Math.max(one, other);
    return Math.abs(one - other) <= most;
  };
  const most = Math.max(kernel.events.length, ours.events.length);
  for (let i = 0; i < most; i++) {
    const one = kernel.events[i];
    const other = ours.events[i];
    if (one !== undefined && other !== undefined && one.what === other.what) {
      if (close(one.afterMs, other.afterMs)) continue;
    }
    const first = Math.min(one?.afterMs ?? Infinity, other?.afterMs ?? Infinity);
    if (close(first, forMs)) return '';
    const line = ({ what, afterMs }: Event): string => `    ${Math.round(afterMs)} ms ${what}\n`;
    const lines = [kernel, ours].map(({ events }) => events.map(line).join(''));
    return `  kernel\n${lines[0]}  ours\n${lines[1]}`;
  }
  return '';
}

/** What happens to each of `silences` on one machine. */
async function watchAll(
  machine: Machine,
  { knobs, forMs }: Setting,
  silences: readonly Silence[],
): Promise<Watch[]> {
  const watches = silences.map((): Watch => ({ events: [], blindMs: 0 }));
  const before = machine.set(knobs);
  try {
    await playAll(
      machine,
      silences.map((silence, i) => watched(silence, forMs, watches[i]!)),
    );
  } finally {
    machine.set(before);
  }
  return watches;
}

suiteWith(['netns', 'tun', 'root'], 'the kernel as oracle: a peer that falls silent', () => {
  let kernel: KernelMachine;
  let ours: OurMachine;
  let leave: () => void;

  before(() => {
    leave = enterFreshNamespace();
    kernel = new KernelMachine();
    ours = new OurMachine();
  });

  after(() => {
    kernel.close();
    ours.close();
    leave();
  });

  for (const setting of SETTINGS) {
    const { name, forMs, full, since = [0, 0] } = setting;
    if ((full && !FULL) || !kernelAtLeast(...since)) continue;
    it(`${SILENCES.length} states with ${name}`, async function () {
      this.timeout(ATTEMPTS * (forMs + 60_000));
      let left = SILENCES;
      let texts: string[] = [];
      for (let attempt = 0; attempt < ATTEMPTS && left.length > 0; attempt++) {
        const theirs = await watchAll(kernel, setting, left);
        const own = await watchAll(ours, setting, left);
        for (const [i, { name: state, stays }] of left.entries()) {
          const gone = own[i]!.events.some(({ what }) => what === 'gone');
          if (stays === true) expect(gone, state).to.equal(false);
        }
        texts = left.map((_none, i) => difference(theirs[i]!, own[i]!, forMs));
        left = left.filter((_none, i) => texts[i] !== '');
      }
      const found = texts.filter((text) => text !== '');
      expect(left.map(({ name: state }, i) => `${state}\n${found[i]}`).join('\n')).to.equal('');
    });
  }
});
