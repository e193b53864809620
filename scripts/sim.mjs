/**
 * `npm run sim`: the simulator and the fuzzers of src/sim with our standard streams and clock. With
 * `--table --write` the table goes into the file that test/sim compares it with.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** Where the table is kept. */
export const TABLE = 'test/sim/netsim.txt';

/** Runs the command line; the exit code. */
export async function runSimTask(root, argv) {
  const command = join(root, 'dist', 'src', 'sim', 'command.js');
  const { runSim } = await import(pathToFileURL(command).href);
  const writes = argv.includes('--table') && argv.includes('--write');
  let text = '';
  const code = runSim(argv, {
    out: (part) => {
      text += writes ? part : '';
      process.stdout.write(part);
    },
    err: (part) => process.stderr.write(part),
    clockMs: () => performance.now(),
  });
  if (writes && code === 0) writeFileSync(join(root, TABLE), text);
  return code;
}
