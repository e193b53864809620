/**
 * A load generator, a process of its own: does the one job that its argument names (JSON of
 * load-job.ts) with the kernel's sockets, and prints the result as JSON. The same program for both
 * sides; ends with its parent.
 */
import { bulkIn, bulkOut, echo } from './load-bulk.js';
import type { LoadJob } from './load-job.js';

function run(job: LoadJob): Promise<object> {
  switch (job.job) {
    case 'bulk-out':
      return bulkOut(job.address, job.seconds, job.connections, job.block);
    case 'bulk-in':
      return bulkIn(job.address, job.seconds, job.connections);
    case 'echo':
      return echo(job.address, job.seconds);
  }
}

process.once('disconnect', () => process.exit(1));
const result = await run(JSON.parse(process.argv[2]!) as LoadJob);
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
