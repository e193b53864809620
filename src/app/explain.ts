/**
 * `tunstack explain SRC:PORT DST:PORT`: which listener, and so which worker, a SYN goes to, and
 * why. Asks the running stack, which makes a dry run of its lookup, or, with `--listen`, imagines
 * one.
 */
import { type Explanation, withWorkers } from '../reuseport/decision-json.js';
import { explanationLines } from '../reuseport/decision-text.js';
import type { StackQuestions } from '../socket/open.js';
import { type Command, EXIT_OK, FailedError, type Io, UsageError } from './command.js';
import { ask } from './control-client.js';
import type { ControlFields } from './control-protocol.js';
import { explainOffline } from './explain-offline.js';
import { type Ends, EXPLAIN_FLAGS, parseExplainOptions } from './explain-options.js';
import { flagHelp } from './flags.js';
import type { Roster } from './socket-table.js';

const HELP = `
The text can be followed by hand: the words that are hashed, the hash, the choice. With --listen a
choice of a running stack is computed again without it: --listen '0.0.0.0:80*4' --secret N, where N
is hash.secret of its /stats. Workers are then numbered within each --listen, descriptors from 3 on.
`;

/** Answers the control command `explain`. Throws UsageError and FailedError. */
export async function explainRunning(
  questions: Pick<StackQuestions, 'explain'>,
  roster: Roster,
  request: ControlFields,
): Promise<Explanation> {
  const { saddr, sport, daddr, dport } = request as unknown as Ends;
  const whole = [saddr, sport, daddr, dport].every((word) => Number.isInteger(word));
  if (!whole || sport >>> 16 !== 0 || dport >>> 16 !== 0) {
    throw new UsageError(
      'explain: a 4-tuple of whole numbers is needed',
      'tunstack explain --help',
    );
  }
  const answer = await questions.explain(saddr, sport, daddr, dport);
  if (answer === null) throw new FailedError('the stack has no memory for the question', '');
  return withWorkers(answer as Explanation, (thread) => roster.workerOf(thread));
}

export const explain: Command = {
  name: 'explain',
  summary: 'why a connection goes to this listener',
  async run(argv: readonly string[], io: Io): Promise<number> {
    const options = parseExplainOptions(argv);
    if (options.help) {
      const head = `tunstack explain SRC:PORT DST:PORT [FLAGS]: ${explain.summary}`;
      io.out(`${head}\n\n${flagHelp(EXPLAIN_FLAGS)}\n${HELP.trimEnd()}`);
      return EXIT_OK;
    }
    const explanation =
      options.offline === null
        ? ((await ask('explain', options.control, io.env, { ...options.ends })) as Explanation)
        : explainOffline(options.offline);
    if (options.json) io.out(JSON.stringify(explanation));
    else for (const line of explanationLines(explanation)) io.out(line);
    return EXIT_OK;
  },
};
