/**
 * What `npm start`, `npm test` and the other npm scripts run: `node scripts/run.mjs TASK
 * ARGUMENTS`. It checks Node's version, does all the set-up that a fresh clone needs, and then runs
 * the task in this very process, so that signals sent to npm's child reach it. The version check
 * comes first and everything else is imported after it: an old Node must be able to parse this file
 * to say that it is too old.
 */
import { requireNode } from './setup/node-version.mjs';

requireNode();
import('./tasks.mjs')
  .then((tasks) => tasks.runTask(process.argv[2] || 'help', process.argv.slice(3)))
  .then((code) => {
    process.exitCode = code;
  });
