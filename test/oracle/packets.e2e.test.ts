/**
 * Our stack against the running kernel, packet by packet: the same segments and socket calls for
 * both, and the same answers, counters included. TUNSTACK_E2E=full plays all; TUNSTACK_SEED chooses
 * other random sequences.
 */
import { expect } from 'chai';
import { suiteWith } from '../e2e/machine.js';
import { CLOSE_SCENARIOS } from './close-scenarios.js';
import { appliesHere, compare, type Scenario } from './compare.js';
import { CONNECT_SCENARIOS } from './connect-scenarios.js';
import { COOKIE_SCENARIOS } from './cookie-scenarios.js';
import { FASTOPEN_SCENARIOS } from './fastopen-scenarios.js';
import { FIRST_RTO_SCENARIOS } from './first-rto-scenarios.js';
import { FULL } from './full.js';
import { enterFreshNamespace } from './kernel-sockets.js';
import { LIFE_SCENARIOS } from './life-scenarios.js';
import { LISTEN_SCENARIOS } from './listen-scenarios.js';
import { KernelMachine, OurMachine } from './machine.js';
import { QUEUE_SCENARIOS } from './queue-scenarios.js';
import { compareSequences, sequenceOf } from './random-scenarios.js';
import { REQUEST_SCENARIOS } from './request-scenarios.js';
import { REUSE_SCENARIOS } from './reuse-scenarios.js';
import { TIME_WAIT_SCENARIOS } from './time-wait-scenarios.js';

const SEED = Number(process.env['TUNSTACK_SEED'] ?? 1);
const SEQUENCES = FULL ? 1000 : 100;
/** Of what is many times the same with other numbers, one in so many is played by default. */
const EACH = 4;

const SUITES: readonly (readonly [string, readonly Scenario[], number])[] = [
  ['one segment for a listener or a closed port', LISTEN_SCENARIOS, 1],
  ['a half-open connection', REQUEST_SCENARIOS, EACH],
  ['full queues', QUEUE_SCENARIOS, 1],
  ['SYN cookies', COOKIE_SCENARIOS, 1],
  ['a listener stops', CLOSE_SCENARIOS, 1],
  ['before and after accept()', LIFE_SCENARIOS, 1],
  ['connect()', CONNECT_SCENARIOS, 1],
  ['Fast Open and ICMP errors', FASTOPEN_SCENARIOS, 1],
  ['RTO and window after a handshake', FIRST_RTO_SCENARIOS, 1],
  ['TIME-WAIT and FIN-WAIT-2', TIME_WAIT_SCENARIOS, EACH],
  ['connect() in the place of a TIME-WAIT', REUSE_SCENARIOS, 1],
];

/** What is played here and now: one in `each`, and everything that is known to differ. */
function chosen(scenarios: readonly Scenario[], each: number): Scenario[] {
  const wanted = scenarios.filter((scenario, i) => {
    if (FULL) return true;
    return !scenario.slow && (i % each === 0 || scenario.differs !== undefined);
  });
  return wanted.filter(appliesHere);
}

suiteWith(['netns', 'tun', 'root'], 'the kernel as oracle: packets', () => {
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

  for (const [title, scenarios, each] of SUITES) {
    const played = chosen(scenarios, each);
    it(`${title}: ${played.length} of ${scenarios.length} scenarios`, async () => {
      const found = await compare(kernel, ours, played);
      const known = new Set(played.filter(({ differs }) => differs).map(({ name }) => name));
      const unknown = found.filter(({ name }) => !known.has(name));
      expect(unknown.map(({ name, text }) => `${name}\n${text}`).join('\n\n')).to.equal('');
      for (const { name } of found) known.delete(name);
      expect([...known].join('\n'), 'no difference any more').to.equal('');
    });
  }

  it(`random sequences: ${SEQUENCES} from seed ${SEED}`, async () => {
    const sequences = Array.from({ length: SEQUENCES }, (_none, i) => sequenceOf(SEED + i));
    const found = await compareSequences(kernel, ours, sequences);
    expect(found.map(({ name, text }) => `${name}\n${text}`).join('\n\n')).to.equal('');
  });
});
