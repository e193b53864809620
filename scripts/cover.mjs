/**
 * `npm run cover`: branch coverage of the unit tests over the core rooms, one report (text, and
 * coverage/ for tools), with a floor for each room. Only a comment at the line can leave code out,
 * never a setting.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { cloneOwner, giveTreeTo } from './setup/owner.mjs';
import { mochaCommand, testFiles } from './test.mjs';
import { tool } from './tool.mjs';

/** Rooms with a floor, and the floor in percent of branches. */
const ROOMS = ['src/net', 'src/reuseport', 'src/tcp'];
const FLOOR_PERCENT = 95;

/** Sums the branches of each room in c8's json-summary: [{ room, covered, total, percent }]. */
export function roomBranches(summary, root) {
  const files = Object.entries(summary).filter(([path]) => path !== 'total');
  return ROOMS.map((room) => {
    let covered = 0;
    let total = 0;
    for (const [path, { branches }] of files) {
      if (!relative(root, path).startsWith(`${room}/`)) continue;
      covered += branches.covered;
      total += branches.total;
    }
    return { room, covered, total, percent: total === 0 ? 0 : (100 * covered) / total };
  });
}

/** Runs c8 over the unit tests; 0 when all tests passed and each room is above its floor. */
export async function runCover(root, argv) {
  const reports = join(root, 'coverage');
  rmSync(reports, { recursive: true, force: true });
  const c8 = join(root, 'node_modules', 'c8', 'bin', 'c8.js');
  const counts = join(tmpdir(), `tunstack-cover-${process.pid}.json`);
  const mocha = mochaCommand(root, testFiles(root, 'unit'), counts, argv);
  const code = await tool([process.execPath, c8, ...mocha], root);
  rmSync(counts, { force: true });
  giveTreeTo(cloneOwner(root), reports);
  const summaryPath = join(reports, 'coverage-summary.json');
  if (!existsSync(summaryPath)) return 1;
  const rows = roomBranches(JSON.parse(readFileSync(summaryPath, 'utf8')), root);
  let low = 0;
  for (const { room, covered, total, percent } of rows) {
    const enough = percent >= FLOOR_PERCENT;
    if (!enough) low++;
    const verdict = enough ? 'ok' : `below ${FLOOR_PERCENT} %`;
    process.stdout.write(
      `${room}: ${percent.toFixed(2)} % of ${total} branches (${covered}) ${verdict}\n`,
    );
  }
  return code !== 0 || low > 0 ? 1 : 0;
}
