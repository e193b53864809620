/**
 * `npm test`: the unit and packet tests in memory, then end to end inside a network namespace of
 * its own (`unshare -n` as root, `unshare -Urn` otherwise). What this machine cannot do is one
 * visible line, and with CI=true a failure. The last line is the sum: `N passed, N failed`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { coverCommand, reportCover } from './cover.mjs';
import { filesUnder } from './setup/compile.mjs';
import { tool } from './tool.mjs';

const REPORTER = fileURLToPath(new URL('./mocha-counts.mjs', import.meta.url));

/**
 * What the end-to-end tests use beyond Node: how to see it and where it comes from. `null` probes
 * are special.
 */
export const FACILITIES = [
  { name: 'netns', probe: null, remedy: 'user namespaces are switched off here: run as root' },
  { name: 'tun', probe: null, remedy: 'modprobe tun; not root: chmod 666 /dev/net/tun' },
  { name: 'root', probe: null, remedy: 'run as root: some tests become other users' },
  { name: 'ip', probe: ['ip', '-V'], remedy: 'apt-get install iproute2' },
  { name: 'curl', probe: ['curl', '--version'], remedy: 'apt-get install curl' },
  { name: 'ping', probe: ['ping', '-V'], remedy: 'apt-get install iputils-ping' },
  { name: 'iperf3', probe: ['iperf3', '--version'], remedy: 'apt-get install iperf3' },
  { name: 'wrk', probe: ['which', 'wrk'], remedy: 'apt-get install wrk' },
  { name: 'nft', probe: ['nft', '--version'], remedy: 'apt-get install nftables' },
  { name: 'nmap', probe: ['nmap', '--version'], remedy: 'apt-get install nmap' },
  { name: 'tshark', probe: ['tshark', '--version'], remedy: 'apt-get install tshark' },
  { name: 'git', probe: ['git', '--version'], remedy: 'apt-get install git' },
  { name: 'npmcache', probe: null, remedy: "npm's cache is cold: npm ci fills it" },
];

/** The test files of one kind in dist/test. */
export function testFiles(root, kind) {
  const files = filesUnder(join(root, 'dist', 'test')).filter((file) => file.endsWith('.test.js'));
  const isEndToEnd = (file) => file.endsWith('.e2e.test.js');
  return files.filter((file) => isEndToEnd(file) === (kind === 'e2e'));
}

/** The command in front of a command that gives it a network of its own, with loopback up. */
export function namespaceCommand(uid = process.getuid()) {
  const unshare = uid === 0 ? ['unshare', '-n'] : ['unshare', '-Urn'];
  return [...unshare, 'sh', '-c', 'ip link set lo up; exec "$@"', 'sh'];
}

function succeeds(argv) {
  const { status } = spawnSync(argv[0], argv.slice(1), { stdio: 'ignore', timeout: 20_000 });
  return status === 0;
}

/**
 * Has npm everything that is installed here in its cache, too? Then a fresh clone can be set up
 * offline.
 */
function npmCacheIsWarm() {
  const record = fileURLToPath(new URL('../node_modules/.package-lock.json', import.meta.url));
  const cached = spawnSync('npm', ['cache', 'ls'], { encoding: 'utf8', timeout: 20_000 });
  if (cached.status !== 0 || !existsSync(record)) return false;
  const { packages } = JSON.parse(readFileSync(record, 'utf8'));
  const file = ([path, { version }]) => `/${basename(path)}-${version}.tgz`;
  return Object.entries(packages).every((entry) => cached.stdout.includes(file(entry)));
}

const OPEN_TUN = "require('fs').openSync('/dev/net/tun', 'r+')";

/** Names of the facilities that this machine lacks, of all or of those in `wanted`. */
export function missingFacilities(wanted = FACILITIES.map((facility) => facility.name)) {
  const namespace = namespaceCommand();
  const special = {
    netns: () => succeeds([...namespace, 'true']),
    tun: () => succeeds([...namespace, process.execPath, '-e', OPEN_TUN]),
    root: () => process.getuid() === 0,
    npmcache: npmCacheIsWarm,
  };
  const present = ({ name, probe }) => (probe === null ? special[name]() : succeeds(probe));
  const asked = FACILITIES.filter((facility) => wanted.includes(facility.name));
  return asked.filter((facility) => !present(facility)).map((facility) => facility.name);
}

/** The command line of one mocha run whose counts go to the file `countsPath`. */
export function mochaCommand(root, files, countsPath, extra) {
  // --exit: what a failed test has left running cannot keep the run from ending.
  const mocha = [join(root, 'node_modules', 'mocha', 'bin', 'mocha.js'), '--exit'];
  const reporter = ['--reporter', REPORTER, '--reporter-option', `counts=${countsPath}`];
  return [process.execPath, ...mocha, ...reporter, ...extra, ...files];
}

/** Runs mocha and returns its counts; a run that ended without counts is one failure. */
async function runMocha(title, root, files, prefix, extra) {
  process.stdout.write(`${title}\n`);
  const directory = mkdtempSync(join(tmpdir(), 'tunstack-test-'));
  const countsPath = join(directory, 'counts.json');
  try {
    const code = await tool([...prefix, ...mochaCommand(root, files, countsPath, extra)], root);
    const counts = JSON.parse(readFileSync(countsPath, 'utf8'));
    if (code !== 0 && counts.failed === 0) counts.failed = 1;
    return counts;
  } catch {
    process.stdout.write(`  mocha ended before the tests did (${title})\n`);
    return { passed: 0, failed: 1, pending: 0 };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** One line for what cannot run here; the number of failures that makes (CI: each of them). */
function reportMissing(missing) {
  if (missing.length === 0) return 0;
  const inCi = process.env['CI'] === 'true';
  for (const { name, remedy } of FACILITIES.filter((row) => missing.includes(row.name))) {
    const consequence = inCi ? 'counts as a failure' : 'its tests are left out';
    process.stdout.write(`  - this machine has no ${name}: ${consequence} (${remedy})\n`);
  }
  return inCi ? missing.length : 0;
}

async function runEndToEnd(root, extra) {
  const missing = missingFacilities();
  const failed = reportMissing(missing);
  const files = testFiles(root, 'e2e');
  if (files.length === 0) return { passed: 0, failed, pending: 0 };
  process.env['TUNSTACK_MISSING'] = missing.join(',');
  const prefix = missing.includes('netns') ? [] : namespaceCommand();
  const counts = await runMocha('end to end', root, files, prefix, extra);
  return { ...counts, failed: counts.failed + failed };
}

/** With `covered`, a room whose branches are too little tested is a failure. */
async function runUnit(root, extra, covered) {
  const prefix = covered ? coverCommand(root) : [];
  const counts = await runMocha('unit', root, testFiles(root, 'unit'), prefix, extra);
  if (covered) counts.failed += reportCover(root);
  return counts;
}

const OPTIONS = ['--unit', '--e2e', '--cover'];

/** `npm test [-- --unit | --e2e] [--cover] [MOCHA OPTIONS]`; 0 when all passed. */
export async function runTests(root, argv) {
  const extra = argv.filter((argument) => !OPTIONS.includes(argument));
  const only = argv.find((argument) => argument === '--unit' || argument === '--e2e');
  const total = { passed: 0, failed: 0, pending: 0 };
  const add = (counts) => {
    for (const key of Object.keys(total)) total[key] += counts[key];
  };
  if (only !== '--e2e') add(await runUnit(root, extra, argv.includes('--cover')));
  if (only !== '--unit') add(await runEndToEnd(root, extra));
  if (total.pending > 0) process.stdout.write(`${total.pending} pending\n`);
  process.stdout.write(`${total.passed} passed, ${total.failed} failed\n`);
  return total.failed === 0 && total.passed > 0 ? 0 : 1;
}
