#!/usr/bin/env node
/**
 * The `tunstack` command (`npx tunstack COMMAND …`). In a clone it does the set-up first when
 * something is missing; in an installed package everything is there already. The program itself is
 * src/app/main.ts.
 */
import { requireNode } from './setup/node-version.mjs';

requireNode();
import('./tasks.mjs')
  .then((tasks) => tasks.runProgram(process.argv.slice(2)))
  .then((code) => {
    process.exitCode = code;
  });
