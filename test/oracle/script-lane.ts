/** The thread of one lane, see script-lanes.ts: plays one script after another. */
import { parentPort } from 'node:worker_threads';
import { playScript, type ScriptAsked } from './script-run.js';

parentPort?.on('message', (asked: ScriptAsked) => {
  parentPort?.postMessage(playScript(asked));
});
