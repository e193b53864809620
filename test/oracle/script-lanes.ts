/**
 * Plays packet scripts on the kernel side by side: a thread a lane, each script in a network
 * namespace of its own, as many lanes as processors. A script mostly waits, but times are looked
 * at: more lanes than processors would make it late.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { ScriptAnswer, ScriptAsked } from './script-run.js';

/** Plays `scripts`, the first ones first; answers in the same order. */
export async function playScripts(scripts: readonly ScriptAsked[]): Promise<ScriptAnswer[]> {
  const answers: ScriptAnswer[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    const worker = new Worker(new URL('./script-lane.js', import.meta.url));
    try {
      for (let i = next++; i < scripts.length; i = next++) {
        answers[i] = await ask(worker, scripts[i]!);
      }
    } finally {
      await worker.terminate();
    }
  };
  const lanes = Math.min(scripts.length, availableParallelism());
  await Promise.all(Array.from({ length: lanes }, lane));
  return answers;
}

function ask(worker: Worker, asked: ScriptAsked): Promise<ScriptAnswer> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => {
      reject(new Error(`${asked.name}: ${error.message}`, { cause: error }));
    };
    worker.once('error', failed);
    worker.once('message', (answer: ScriptAnswer) => {
      worker.off('error', failed);
      resolve(answer);
    });
    worker.postMessage(asked);
  });
}
