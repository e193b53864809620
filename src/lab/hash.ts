/**
 * How evenly hashes place flows that are not random: ports in a row, ports at a distance of n, the
 * ports that one's own machine would put on member 0. Keyed: the real lookup with jhash
 * (inet_ehashfn). Unkeyed: what one might write instead, the port or the sum of addresses and ports
 * modulo n, which whoever knows the formula can aim.
 */
import type { Profile } from '../net/sysctl.js';
import {
  Dice,
  type Experiment,
  type LabOptions,
  type Report,
  type ShareRow,
  SIGNIFICANCE,
  scaled,
} from './experiment.js';
import { LabHost, SERVER_ADDRESS, SERVER_PORT } from './host.js';
import { shareRow } from './statistics.js';

const MEMBERS = 8;
const FLOWS = 8000;
const CLIENT: number = (203 << 24) | (0 << 16) | (113 << 8) | 7;

/** Flows: address (int32) and port in turn. */
type Flows = readonly (readonly [address: number, port: number])[];
type Hash = (address: number, port: number) => number;

interface HashRow extends ShareRow {
  readonly hash: string;
  readonly flows: string;
  readonly count: number;
}

const HASHES: readonly (readonly [name: string, hash: Hash])[] = [
  ['port mod n', (_, port) => port % MEMBERS],
  [
    'sum mod n',
    (address, port) => ((address >>> 0) + port + (SERVER_ADDRESS >>> 0) + SERVER_PORT) % MEMBERS,
  ],
];

/** The real lookup of a stack with its own secret. */
function keyed(profile: Profile, seed: number): Hash {
  const host = new LabHost({ seed, profile, fds: 64 });
  host.listenGroup(MEMBERS);
  return (address, port) => host.lookup(address, port);
}

/** Flows that `hash` puts on member 0: what an attacker with many machines sends. */
function aimedAt(hash: Hash, count: number, dice: Dice): Flows {
  const flows: [number, number][] = [];
  while (flows.length < count) {
    const address = (CLIENT & ~0xff) | dice.below(256);
    const port = 1024 + dice.below(64_512);
    if (hash(address, port) === 0) flows.push([address, port]);
  }
  return flows;
}

function patterns(count: number, seed: number): readonly (readonly [string, Flows])[] {
  const from = (flow: (i: number) => [number, number]): Flows =>
    Array.from({ length: count }, (_, i) => flow(i));
  const dice = new Dice(seed);
  const elsewhere = keyed('6.18', dice.random.u32());
  return [
    ['one client, ports in a row', from((i) => [CLIENT, 32_768 + i])],
    ['one client, every 2nd port (connect)', from((i) => [CLIENT, 32_768 + 2 * i])],
    [`one client, every ${MEMBERS}th port`, from((i) => [CLIENT, 1024 + MEMBERS * i])],
    ['addresses in a row, one port', from((i) => [CLIENT + i, 40_000])],
    ['aimed at sum mod n', aimedAt(HASHES[1]![1], count, dice)],
    ["aimed with another machine's key", aimedAt(elsewhere, count, dice)],
  ];
}

function place(name: string, hash: Hash, what: string, flows: Flows): HashRow {
  const shares = new Array<number>(MEMBERS).fill(0);
  for (const [address, port] of flows) shares[hash(address, port)]!++;
  return { ...shareRow('C', shares), hash: name, flows: what, count: flows.length };
}

function run(options: LabOptions): Report {
  const { seed } = options;
  const count = scaled(FLOWS, options, 1000);
  const hashes = [
    ['jhash, Linux 6.18', keyed('6.18', seed)],
    ['jhash, Linux 5.0', keyed('5.0', seed)],
    ...HASHES,
  ] as const;
  const rows = patterns(count, seed).flatMap(([what, flows]) =>
    hashes.map(([name, hash]) => place(name, hash, what, flows)),
  );
  const ofKeyed = rows.filter((row) => row.hash.startsWith('jhash'));
  // So many tests at once: the bound is shared among them.
  const bound = SIGNIFICANCE / ofKeyed.length;
  const onOne = (hash: string, what: string): boolean => {
    const row = rows.find((other) => other.hash === hash && other.flows.startsWith(what))!;
    return Math.max(...row.shares) === row.count;
  };
  return {
    experiment: hash.name,
    seed,
    parameters: {
      members: MEMBERS,
      flows: count,
      significance: bound,
      real: 'the lookup with inet_ehashfn, its secrets drawn from the seed',
      simulated: 'nothing; the unkeyed hashes are written for comparison',
    },
    rows: rows as unknown as Report['rows'],
    published: [
      {
        says: 'a keyed hash cannot be aimed without its key',
        source: 'Crosby and Wallach, USENIX Security 2003',
      },
    ],
    verdicts: [
      {
        claim: `jhash is uniform on every pattern (chi-square, p > ${bound.toPrecision(1)})`,
        holds: ofKeyed.every((row) => row.pValue > bound),
      },
      {
        claim: `port mod n: every ${MEMBERS}th port goes to one member`,
        holds: onOne('port mod n', `one client, every ${MEMBERS}th`),
      },
      {
        claim: 'sum mod n: an attacker reaches one member alone',
        holds: onOne('sum mod n', 'aimed at sum'),
      },
    ],
  };
}

export const hash: Experiment = {
  name: 'hash',
  summary: 'keyed jhash against unkeyed hashes on ports and addresses that are not random',
  run,
};
