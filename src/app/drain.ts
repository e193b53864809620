/**
 * `tunstack drain WORKER`: has a worker of a running stack take no new connections, without losing
 * one: what is queued or half open is still accepted, open connections go on, and its listener
 * closes when nothing is on its way any more. Says how far it is until then. The serving end is
 * drain-orders.ts.
 */
import { type Command, EXIT_OK, type Io, UsageError } from './command.js';
import { ask, CONTROL_FLAG } from './control-client.js';
import type { DrainStatus } from './drain-orders.js';
import { type Flag, flagHelp, HELP_FLAG, type ParsedFlags, parseFlags } from './flags.js';

const FLAGS: readonly Flag[] = [
  { name: 'resume', text: 'the other way: listen again, as the last member of the group' },
  CONTROL_FLAG,
  { name: 'json', text: 'one JSON object a line, one for each change' },
  HELP_FLAG,
];

const TEXT = `A worker that fails while it is drained is started again and stays drained.
Interrupting this command does not end what it has begun.`;

/** How often to ask how far it is, ms. */
const LOOK_MS = 50;

/** The worker is where it was to go. */
export function isDone(status: DrainStatus): boolean {
  if (status.drained) return status.state === 'drained' || status.state === 'down';
  return status.state === 'serving' && (status.slot !== null || !status.listens);
}

/** One line of progress, or of the result. */
export function drainLine(status: DrainStatus): string {
  const { worker, state, queued, halfOpen, open, listens, slot, members } = status;
  const who = `worker ${worker}:`;
  if (state === 'down') {
    const then = status.drained ? 'stays drained' : 'listens again';
    return `${who} it has failed and ${then} when it is back`;
  }
  if (!status.drained) {
    if (!isDone(status)) return `${who} opening its listener`;
    return slot === null
      ? `${who} accepts again`
      : `${who} listens again (slot ${slot} of ${members})`;
  }
  if (!isDone(status)) {
    return `${who} draining: ${queued} queued, ${halfOpen} half-open, ${open} open`;
  }
  const end = listens ? 'listener closed' : 'accepts no more';
  return `${who} ${end}; ${open} connection${open === 1 ? ' goes' : 's go'} on`;
}

function workerNumber(flags: ParsedFlags): number {
  const [text] = flags.positionals;
  if (text === undefined) throw new UsageError('drain: which worker?', 'tunstack drain 2');
  if (!/^\d{1,9}$/.test(text)) {
    throw new UsageError(`drain ${text}: a worker is a number, from 0`, 'tunstack drain 2');
  }
  return Number(text);
}

export const drain: Command = {
  name: 'drain',
  summary: 'stop new connections to a worker',
  async run(argv: readonly string[], io: Io): Promise<number> {
    const flags = parseFlags('drain', FLAGS, argv, 1);
    if (flags.given.has('help')) {
      const usage = `tunstack drain WORKER [FLAGS]: ${drain.summary}`;
      io.out(`${usage}\n\n${flagHelp(FLAGS)}\n\n${TEXT}`);
      return EXIT_OK;
    }
    const worker = workerNumber(flags);
    const json = flags.given.has('json');
    const path = flags.values.get('control') ?? null;
    const resume = flags.given.has('resume');
    let status = (await ask('drain', path, io.env, { worker, resume })) as DrainStatus;
    if (!resume && status.warning !== '') io.err(`tunstack: ${status.warning}`);
    let last = '';
    for (;;) {
      const line = json ? JSON.stringify(status) : drainLine(status);
      if (line !== last) io.out(line);
      last = line;
      if (isDone(status) || status.state === 'down') return EXIT_OK;
      await new Promise((resolve) => {
        setTimeout(resolve, LOOK_MS);
      });
      status = (await ask('drain-status', path, io.env, { worker })) as DrainStatus;
    }
  },
};
