/**
 * A load generator, a process of its own: does the one job that its argument names (JSON of
 * load-job.ts) with the kernel's sockets, and prints the result as a line of JSON. The same program
 * for both sides; ends with its parent.
 */
import { bulkIn, bulkOut, echo } from './load-bulk.js';
import { goodConnections } from './load-good.js';
import type { LoadJob } from './load-job.js';
import { flood, hold, pingPong } from './load-raw.js';

function run(job: LoadJob): Promise<object> | object {
  switch (job.job) {
    case 'bulk-out':
      return bulkOut(job.address, job.seconds, job.connections, job.block);
    case 'bulk-in':
      return bulkIn(job.address, job.seconds, job.connections);
    case 'echo':
      return echo(job.address, job.seconds);
    case 'ping-pong':
      return pingPong(job.address, job.seconds);
    case 'hold':
      return hold(job.address, job.count, job.source);
    case 'flood':
      return flood(job.address, job.device, job.seconds);
    case 'good':
      return goodConnections(job.address, job.perSecond, job.seconds);
  }
}

process.once('disconnect', () => process.exit(1));
const job = JSON.parse(process.argv[2]!) as LoadJob;
const result = await run(job);
process.stdout.write(`${JSON.stringify(result)}\n`, () => {
  if (job.job !== 'hold') process.exit(0);
});
