#!/usr/bin/env node
/** The program: `node dist/src/app/cli.js COMMAND ARGS`. */
import { main } from './main.js';

process.exitCode = await main(process.argv.slice(2));
