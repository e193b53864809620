/**
 * The coverage part of `npm run cover` and `npm test -- --cover`: branches of the core rooms that
 * the unit tests take, one report (text, and coverage/ for tools), with a floor for each room. Only
 * a comment at the line can leave code out, never a setting.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { cloneOwner, giveTreeTo } from './setup/owner.mjs';

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

const reportsOf = (root) => join(root, 'coverage');

/** The command in front of a command whose coverage is wanted; old reports go. */
export function coverCommand(root) {
  rmSync(reportsOf(root), { recursive: true, force: true });
  return [process.execPath, join(root, 'node_modules', 'c8', 'bin', 'c8.js')];
}

/** Says how each room did; the number of rooms below the floor (no report: all of them). */
export function reportCover(root, say = (line) => process.stdout.write(`${line}\n`)) {
  const reports = reportsOf(root);
  giveTreeTo(cloneOwner(root), reports);
  const summaryPath = join(reports, 'coverage-summary.json');
  if (!existsSync(summaryPath)) {
    say('coverage: no report was written');
    return ROOMS.length;
  }
  const rows = roomBranches(JSON.parse(readFileSync(summaryPath, 'utf8')), root);
  let low = 0;
  for (const { room, covered, total, percent } of rows) {
    const enough = percent >= FLOOR_PERCENT;
    if (!enough) low++;
    const verdict = enough ? 'ok' : `below ${FLOOR_PERCENT} %`;
    say(`${room}: ${percent.toFixed(2)} % of ${total} branches (${covered}) ${verdict}`);
  }
  return low;
}
