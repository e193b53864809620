/**
 * `npm run bench`: this stack over its TUN device beside the kernel's own stack on the same
 * machine, in one run, turn by turn, with the same clients. Inside a network namespace of its own;
 * stops by itself. This file reads the command line and enters the namespace; inside.mjs measures.
 */
import { fileURLToPath } from 'node:url';
import { missingFacilities, namespaceCommand } from '../test.mjs';
import { tool } from '../tool.mjs';
import { MEASURES } from './measures.mjs';

const INSIDE = fileURLToPath(new URL('./inside.mjs', import.meta.url));

const HELP = `npm run bench -- [MEASURE…] [--quick] [--pairs N] [--workers N] [--json]
  measures: ${Object.keys(MEASURES).join(' ')}
  --quick      2 pairs and short ones (a look, under 3 minutes)
  --pairs N    turns of ours and the kernel's (5)
  --workers N  worker threads of ours; the kernel's server is one Node process (1)
  --json       one JSON array instead of the table
`;

/**
 * The command line as { measures, pairs, quick, workers, json, help }, or the words of what is
 * wrong with it.
 */
export function parseArguments(argv) {
  const options = { measures: [], pairs: 0, quick: false, workers: 1, json: false, help: false };
  const rest = [...argv];
  while (rest.length > 0) {
    const argument = rest.shift();
    if (argument === '--quick' || argument === '--json' || argument === '--help') {
      options[argument.slice(2)] = true;
    } else if (argument === '--pairs' || argument === '--workers') {
      const value = Number(rest.shift());
      if (!Number.isInteger(value) || value < 1 || value > 64) return `${argument}: 1 to 64`;
      options[argument.slice(2)] = value;
    } else if (Object.hasOwn(MEASURES, argument)) {
      options.measures.push(argument);
    } else {
      return `there is no ${argument}`;
    }
  }
  if (options.measures.length === 0) options.measures = Object.keys(MEASURES);
  if (options.pairs === 0) options.pairs = options.quick ? 2 : 5;
  return options;
}

/** Runs the bench; the exit code: 2 for a wrong command line, 77 where the machine cannot do it. */
export async function runBench(root, argv) {
  const options = parseArguments(argv);
  if (typeof options === 'string') {
    process.stderr.write(`bench: ${options}\n${HELP}`);
    return 2;
  }
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const missing = missingFacilities(['netns', 'tun', 'ip', 'wrk']);
  if (missing.length > 0) {
    process.stderr.write(`bench: this machine has no ${missing.join(', no ')}\n`);
    return 77;
  }
  const command = [process.execPath, INSIDE, root, JSON.stringify(options)];
  return await tool([...namespaceCommand(), ...command], root);
}
