/**
 * The one check that comes before everything: is this Node new enough? Written for old parsers on
 * purpose (no `?.`, no top-level await), so that an old Node says what is wrong instead of throwing
 * a SyntaxError.
 */

/** Lowest version that runs tunstack; the same floor as "engines" in package.json. */
export const NODE_FLOOR = [20, 19];

/** True when `version` ("20.20.2") is at least `floor` ([major, minor]). */
export function nodeIsAtLeast(version, floor) {
  const parts = version.split('.').map(Number);
  return parts[0] > floor[0] || (parts[0] === floor[0] && parts[1] >= floor[1]);
}

/** Leaves with exit code 1 and a remedy when Node is too old. */
export function requireNode() {
  if (nodeIsAtLeast(process.versions.node, NODE_FLOOR)) return;
  process.stderr.write(
    `tunstack: Node ${NODE_FLOOR.join('.')} or newer is needed, this is ${process.versions.node} ` +
      `(${process.execPath}).\n` +
      '  Install a newer Node (nodejs.org, your distribution, nvm install 22).\n' +
      '  With nvm and sudo, name the path:\n' +
      '  sudo env "PATH=$PATH" npm start\n',
  );
  process.exit(1);
}
