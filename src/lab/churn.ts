/**
 * What moves when a group changes its size. Linux fills a leaver's place with the last member and
 * scales the hash to the new size, so about half of all flows change their member; with rendezvous
 * hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998) only
 * those of the leaver do. Nothing is simulated: these are lookups on the real group.
 */
import { builtinSelector } from '../reuseport/selectors/builtin.js';
import { Dice, type Experiment, type LabOptions, type Report, scaled } from './experiment.js';
import { LabHost } from './host.js';

const MEMBERS: readonly number[] = [2, 4, 8, 16, 32];
const FLOWS = 10_000;
/** Members that leave, one at a time, each replaced by a new one. */
const ROUNDS = 8;

interface ChurnRow {
  readonly policy: string;
  readonly members: number;
  /** Shares of the flows that move when one leaves, and when one joins the rest. */
  readonly leaveMoves: number;
  readonly joinMoves: number;
  /** The least that can move: the leaver's share, 1/n. */
  readonly least: number;
  [name: string]: string | number;
}

/** The descriptor of the member that each flow goes to. */
function place(host: LabHost, flows: Float64Array, socks: () => number[]): Int32Array {
  const members = socks();
  return Int32Array.from(flows, (flow) => {
    const slot = host.lookup(Math.floor(flow / 0x1_0000), flow % 0x1_0000);
    return members[slot]!;
  });
}

function moved(before: Int32Array, after: Int32Array): number {
  let count = 0;
  for (let i = 0; i < before.length; i++) if (before[i] !== after[i]) count++;
  return count / before.length;
}

function replay(policy: string, members: number, seed: number, flowCount: number): ChurnRow {
  const host = new LabHost({ seed, fds: 256 });
  const dice = new Dice(seed ^ members);
  // A flow is an address and a port in one number.
  const flows = Float64Array.from(
    { length: flowCount },
    () => dice.random.u32() * 0x1_0000 + 1024 + dice.below(64_512),
  );
  const fds = host.listenGroup(members);
  if (policy === 'consistent') host.select(fds[0]!, builtinSelector(policy)!);
  const group = host.stack.sock(fds[0]!)!.reuseportCb!;
  const bySlot = (): number[] => {
    const slots: number[] = [];
    for (const fd of fds) slots[host.stack.sock(fd)!.reuseportSlot] = fd;
    return slots;
  };
  let leaveMoves = 0;
  let joinMoves = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const full = place(host, flows, bySlot);
    const [leaver] = fds.splice(dice.below(members), 1);
    host.unlisten(leaver!);
    const rest = place(host, flows, bySlot);
    fds.push(host.listen(true));
    const again = place(host, flows, bySlot);
    leaveMoves += moved(full, rest) / ROUNDS;
    joinMoves += moved(rest, again) / ROUNDS;
  }
  return { policy, members: group.numSocks, leaveMoves, joinMoves, least: 1 / members };
}

function run(options: LabOptions): Report {
  const flows = scaled(FLOWS, options, 2000);
  const sizes = MEMBERS.flatMap((n) =>
    ['hash', 'consistent'].map((policy) => replay(policy, n, options.seed, flows)),
  );
  const hash = sizes.filter((row) => row.policy === 'hash');
  const consistent = sizes.filter((row) => row.policy === 'consistent');
  // The leaver's own share varies with the draw of flows and with the members' keys.
  const nearLeast = (share: number, { least }: ChurnRow): boolean => {
    const allowed = 5 * Math.sqrt((least * (1 - least)) / (flows * ROUNDS)) + least / 5;
    return Math.abs(share - least) < allowed;
  };
  return {
    experiment: churn.name,
    seed: options.seed,
    parameters: {
      flows,
      rounds: ROUNDS,
      real: 'listen and close, the group and its order, inet_ehashfn, reciprocal_scale, selector',
      simulated: 'nothing: lookups of random addresses and ports',
    },
    rows: sizes,
    published: [
      { policy: 'consistent', moves: '1/n', source: 'Thaler and Ravishankar 1998' },
      { policy: 'hash', moves: 'about half', source: 'reciprocal_scale(hash, n): arithmetic' },
    ],
    verdicts: [
      {
        claim: 'hash, n of 4 and more: a leaver moves 40 to 65 % of all flows, a joiner as many',
        holds: hash
          .filter((row) => row.members >= 4)
          .every((row) => [row.leaveMoves, row.joinMoves].every((x) => x > 0.4 && x < 0.65)),
      },
      {
        claim: 'consistent: a leaver moves its own share of 1/n and a joiner takes no more',
        holds: consistent.every(
          (row) => nearLeast(row.leaveMoves, row) && nearLeast(row.joinMoves, row),
        ),
      },
    ],
  };
}

export const churn: Experiment = {
  name: 'churn',
  summary: 'flows that move when a member leaves or joins: swap-with-last, consistent',
  run,
};
