/**
 * `node scripts/run.mjs goodput`: what arrives at 1 % loss, ours beside the kernel's own stack on
 * the same path in one run. A relay between two namespaces (test/e2e/relay.ts) makes the path:
 * delay and random loss each way, packet by packet, the same dice for both of a pair. Prints Mbit/s
 * with the ratio of each pair and the medians; says on what.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { missingFacilities, namespaceCommand } from './test.mjs';
import { tool } from './tool.mjs';

const SELF = fileURLToPath(import.meta.url);
const NUMBERS = { pairs: 5, loss: 1, delay: 10, bytes: 4_000_000 };
const HELP = `node scripts/run.mjs goodput [--pairs N] [--loss PERCENT] [--delay MS] [--bytes N]
  [--congestion reno|cubic|bbr] [--json]
  --pairs       transfers of ours and of the kernel's, each way, in turn (5)
  --loss        packets of 100 that are lost, each way (1)
  --delay       one way, ms (10)
  --bytes       of each transfer (4000000)
  --congestion  of the kernel's sockets; ours use cubic (cubic)
  --json        one JSON object instead of the table
`;

/** The command line as options, or the words of what is wrong with it. */
export function parseGoodputArguments(argv) {
  const options = { ...NUMBERS, congestion: 'cubic', json: false, help: false };
  const rest = [...argv];
  while (rest.length > 0) {
    const name = rest.shift().replace(/^--/, '');
    if (name === 'json' || name === 'help') options[name] = true;
    else if (name === 'congestion') {
      options.congestion = rest.shift();
      if (!['reno', 'cubic', 'bbr'].includes(options.congestion)) return '--congestion: which?';
    } else if (Object.hasOwn(NUMBERS, name)) {
      options[name] = Number(rest.shift());
      if (!(options[name] >= 0)) return `--${name}: a number`;
    } else return `there is no --${name}`;
  }
  if (options.loss >= 100 || options.pairs < 1 || options.bytes < 1) return 'out of range';
  return options;
}

/** Measures in a namespace of its own; 2 for a wrong command line, 77 where it cannot be done. */
export async function runGoodput(root, argv) {
  const options = parseGoodputArguments(argv);
  if (typeof options === 'string') {
    process.stderr.write(`goodput: ${options}\n${HELP}`);
    return 2;
  }
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const missing = missingFacilities(['netns', 'tun', 'root', 'ip']);
  if (missing.length > 0) {
    process.stderr.write(`goodput: this machine has no ${missing.join(', no ')}\n`);
    return 77;
  }
  const command = [process.execPath, SELF, root, JSON.stringify(options)];
  return await tool([...namespaceCommand(), ...command], root);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The relay, ready: `{ servers, order(loss), stop() }`. */
async function startRelay(root, directory, { delay, loss, congestion }) {
  const serve = ['--control', join(directory, 'control.sock'), '--workers', '1'];
  const options = { delayMs: delay, loss, seed: 1, serve, congestion };
  const relay = join(root, 'dist', 'test', 'e2e', 'relay.js');
  const child = spawn(process.execPath, [relay, JSON.stringify(options)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const servers = JSON.parse((await lines.next()).value);
  const order = async (seed) => {
    child.stdin.write(`${JSON.stringify({ loss, seed })}\n`);
    await lines.next();
  };
  const stop = async () => {
    child.stdin.end();
    await once(child, 'exit');
  };
  return { servers, order, stop };
}

/** Pairs of [ours, kernel] for each direction, Mbit/s. */
async function measure(root, relay, { pairs, bytes, congestion }) {
  const module = join(root, 'dist', 'test', 'e2e', 'transfer.js');
  const { download, upload, noise } = await import(pathToFileURL(module).href);
  const body = noise(bytes);
  const ways = {
    'to the client': (server) => download(server, bytes, congestion),
    'from the client': (server) => upload(server, body, congestion),
  };
  const samples = Object.fromEntries(Object.keys(ways).map((way) => [way, []]));
  for (let pair = 0; pair < pairs; pair++) {
    for (const [way, transfer] of Object.entries(ways)) {
      const rates = {};
      for (const side of pair % 2 === 0 ? ['ours', 'kernel'] : ['kernel', 'ours']) {
        await relay.order(pair + 1);
        const { bytes: got, ms } = await transfer(relay.servers[side]);
        if (got !== bytes) throw new Error(`${side}: ${got} of ${bytes} bytes`);
        rates[side] = (bytes * 8) / ms / 1000;
      }
      samples[way].push([rates.ours, rates.kernel]);
      const text = `${rates.ours.toFixed(2)} and ${rates.kernel.toFixed(2)}`;
      process.stderr.write(`goodput: ${pair + 1}/${pairs} ${way}: ${text} Mbit/s\n`);
    }
  }
  return samples;
}

function rows(samples) {
  const spread = (values) => ({
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
  });
  return Object.entries(samples).map(([way, pairs]) => ({
    way,
    unit: 'Mbit/s',
    pairs: pairs.length,
    ours: spread(pairs.map(([ours]) => ours)),
    kernel: spread(pairs.map(([, kernel]) => kernel)),
    ratio: spread(pairs.map(([ours, kernel]) => ours / kernel)),
  }));
}

function print(options, figures) {
  const { loss, delay, bytes, congestion, json } = options;
  const path = `relay of two TUN devices, MTU 1500, ${loss} % lost each way, ${2 * delay} ms RTT`;
  if (json) {
    process.stdout.write(`${JSON.stringify({ path, ...options, figures })}\n`);
    return;
  }
  const cell = ({ median: m, min, max }) => `${m.toFixed(2)} (${min.toFixed(2)}-${max.toFixed(2)})`;
  process.stdout.write(`${path}; ${bytes} bytes each; the kernel's sockets use ${congestion}\n`);
  for (const { way, ours, kernel, ratio } of figures) {
    const text = `ours ${cell(ours)}  kernel ${cell(kernel)} Mbit/s  ratio ${cell(ratio)}`;
    process.stdout.write(`${way.padEnd(16)}${text}\n`);
  }
}

async function inside(root, options) {
  const directory = mkdtempSync(join(tmpdir(), 'tunstack-goodput-'));
  const relay = await startRelay(root, directory, options);
  try {
    print(options, rows(await measure(root, relay, options)));
  } finally {
    await relay.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

if (process.argv[1] === SELF) await inside(process.argv[2], JSON.parse(process.argv[3]));
