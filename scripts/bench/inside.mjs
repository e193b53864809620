/**
 * The bench inside its network namespace: starts the servers, takes the measures turn by turn (the
 * order changes from turn to turn, so that a machine that slows down slows all alike), prints
 * medians and ratios. Arguments: root of the clone, options as JSON.
 */
import { cpus } from 'node:os';
import { MEASURES } from './measures.mjs';
import { figureRows, tableText } from './table.mjs';
import { Targets, useReno } from './targets.mjs';

const [root, optionsText] = process.argv.slice(2);
const options = JSON.parse(optionsText);

/** One turn of one measure: [ours, kernel], each in the unit of the measure. */
async function takePair(measure, targets, turn) {
  const pair = [targets[measure.ours], targets.kernel];
  const order = turn % 2 === 0 ? [0, 1] : [1, 0];
  const values = [0, 0];
  for (const side of order) values[side] = await measure.take(pair[side], options);
  return values;
}

async function takeAll(targets) {
  const samples = new Map(options.measures.map((name) => [name, []]));
  for (let turn = 0; turn < options.pairs; turn++) {
    for (const name of options.measures) {
      if (MEASURES[name].once && turn > 0) continue;
      const values = await takePair(MEASURES[name], targets, turn);
      samples.get(name).push(values);
      const [ours, kernel] = values.map((value) => value.toPrecision(4));
      process.stderr.write(`bench: ${turn + 1}/${options.pairs} ${name}: ${ours} and ${kernel}\n`);
    }
  }
  return samples;
}

function print(samples) {
  const rows = figureRows(samples, MEASURES);
  if (options.json) {
    process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
    return;
  }
  const [cpu] = cpus();
  process.stdout.write(
    `${cpus().length} x ${cpu.model.trim()}, Node ${process.versions.node}; kernel's clients and ` +
      `servers use reno; ours: ${options.workers} worker(s), the kernel's: one Node process, raw ` +
      `responder over veth\n\n${tableText(rows)}`,
  );
}

useReno();
const targets = await Targets.start(root, options.workers);
try {
  print(await takeAll(targets));
} finally {
  await targets.stop();
}
