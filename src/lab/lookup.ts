/**
 * What finding a listener costs, by the age of the kernel: sockets looked at for one SYN, with 1 to
 * 1,024 listeners on a port, once as one group and once as a group on each of as many addresses.
 * 5.0 and 6.18 are the real lookup (`hashinfo.visited`); 3.9 and 4.6 are old-lookup.ts.
 */
import type { Profile } from '../net/sysctl.js';
import { Dice, type Experiment, type LabOptions, type Report, scaled } from './experiment.js';
import { LabHost, SERVER_PORT } from './host.js';
import { type Flow, lookup39, lookup46 } from './old-lookup.js';

const LISTENERS: readonly number[] = [1, 4, 16, 64, 256, 1024];
const FLOWS = 500;
const FIRST_ADDRESS: number = (198 << 24) | (19 << 16);

type Shape = 'one group' | 'an address each';

interface LookupRow {
  readonly shape: Shape;
  readonly listeners: number;
  /** Mean number of sockets looked at. */
  readonly visited39: number;
  readonly visited46: number;
  readonly visited50: number;
  readonly visited618: number;
  [name: string]: string | number;
}

/** A stack with `n` listeners, and the bucket of old kernels: newest first. */
function stackOf(profile: Profile, shape: Shape, n: number, seed: number) {
  const host = new LabHost({ seed, profile, fds: 2048 });
  const fds = Array.from({ length: n }, (_, i) =>
    host.listen(true, shape === 'one group' ? 0 : FIRST_ADDRESS + i),
  );
  const bucket = fds.map((fd) => host.stack.sock(fd)!).reverse();
  return { host, bucket };
}

function measure(shape: Shape, listeners: number, seed: number, flows: number): LookupRow {
  const old = stackOf('5.0', shape, listeners, seed);
  const today = stackOf('6.18', shape, listeners, seed);
  const dice = new Dice(seed ^ listeners);
  const sums = [0, 0, 0, 0];
  for (let i = 0; i < flows; i++) {
    const flow: Flow = {
      saddr: dice.random.u32() | 0,
      sport: 1024 + dice.below(64_512),
      daddr: FIRST_ADDRESS + dice.below(listeners),
      dport: SERVER_PORT,
    };
    const { hashinfo } = old.host.stack.tcp;
    sums[0]! += lookup39(hashinfo, old.bucket, flow).visited;
    sums[1]! += lookup46(hashinfo, old.bucket, flow).visited;
    for (const [at, { host }] of [old, today].entries()) {
      host.lookup(flow.saddr, flow.sport, flow.daddr);
      sums[2 + at]! += host.stack.tcp.hashinfo.visited;
    }
  }
  const [visited39, visited46, visited50, visited618] = sums.map((sum) => sum / flows);
  return {
    shape,
    listeners,
    visited39: visited39!,
    visited46: visited46!,
    visited50: visited50!,
    visited618: visited618!,
  };
}

function run(options: LabOptions): Report {
  const flows = scaled(FLOWS, options, 50);
  const rows = (['one group', 'an address each'] as const).flatMap((shape) =>
    LISTENERS.map((n) => measure(shape, n, options.seed, flows)),
  );
  const apart = rows.filter((row) => row.shape === 'an address each');
  const many = apart.at(-1)!;
  return {
    experiment: lookup.name,
    seed: options.seed,
    parameters: {
      flows,
      real: 'bind, listen, the lookup of 5.0 and 6.18, the flow hash, the groups',
      simulated: '3.9 and 4.6: written from their documented behaviour over the same sockets',
    },
    rows,
    published: [
      { kernel: '3.9', visited: 'n', source: 'Gallek 2016: every socket was considered' },
      { kernel: '4.6', visited: '1 of a group', source: 'Gallek 2016: one must be found' },
      { kernel: '5.0', visited: '1', source: 'lookup by address and port (lhash2) alone' },
    ],
    verdicts: [
      { claim: '3.9 looks at all n', holds: rows.every((row) => row.visited39 === row.listeners) },
      {
        claim: '4.6 looks at one member of a group',
        holds: rows.every((row) => row.shape !== 'one group' || row.visited46 === 1),
      },
      {
        claim: '4.6 still walks past other addresses: 0.4 to 0.6 n',
        holds: many.visited46 > 0.4 * many.listeners && many.visited46 < 0.6 * many.listeners,
      },
      {
        claim: '5.0 and 6.18 look at one socket, however many there are',
        holds: rows.every((row) => row.visited50 === 1 && row.visited618 === 1),
      },
    ],
  };
}

export const lookup: Experiment = {
  name: 'lookup',
  summary: 'sockets looked at for a SYN by Linux 3.9, 4.6, 5.0 and 6.18',
  run,
};
