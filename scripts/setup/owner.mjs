/**
 * Whose clone is this? Under sudo in a user's clone the set-up's children run as that user, so that
 * nothing in the clone ends up belonging to root. Does not touch the program itself: that keeps
 * root's rights.
 */
import { chownSync, lchownSync, lstatSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/**
 * @typedef {{ uid: number, gid: number, name: string, home: string }} Owner
 */

/** The /etc/passwd line of `uid` as {name, home}, or null. `text` is the file. */
export function passwdEntry(text, uid) {
  for (const line of text.split('\n')) {
    const fields = line.split(':');
    if (fields.length >= 7 && fields[2] === String(uid))
      return { name: fields[0], home: fields[5] };
  }
  return null;
}

/**
 * The user to become for the set-up: the owner of package.json when we are root and he is not; null
 * = stay who we are.
 * @returns {Owner | null}
 */
export function cloneOwner(root, ourUid = process.getuid()) {
  const { uid, gid } = statSync(join(root, 'package.json'));
  if (ourUid !== 0 || uid === 0) return null;
  let passwd = '';
  try {
    passwd = readFileSync('/etc/passwd', 'utf8');
  } catch {
    // No passwd file (a bare container): the fallback below will do.
  }
  const entry = passwdEntry(passwd, uid);
  const home = entry !== null && isDirectory(entry.home) ? entry.home : '/tmp';
  return { uid, gid, name: entry === null ? String(uid) : entry.name, home };
}

function isDirectory(path) {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** Gives one file or directory to `owner` (null: does nothing). */
export function giveTo(owner, path) {
  if (owner !== null) chownSync(path, owner.uid, owner.gid);
}

/** Gives a whole tree to `owner` where it is not his yet; a tree that is not there is fine. */
export function giveTreeTo(owner, path) {
  if (owner === null) return;
  let stat;
  try {
    stat = lstatSync(path);
  } catch {
    return;
  }
  if (stat.uid !== owner.uid) lchownSync(path, owner.uid, owner.gid);
  if (!stat.isDirectory()) return;
  for (const name of readdirSync(path)) giveTreeTo(owner, join(path, name));
}

/**
 * The environment of a child of the set-up. npm tells its children its own settings in npm_*
 * variables, which would bind a second npm to the first one's project; only where to find packages
 * is kept, and nothing of root's when the child runs as somebody else.
 */
export function childEnvironment(environment, owner) {
  const kept =
    /^npm_config_(cache|registry|offline|userconfig|cafile|proxy|https?_proxy|noproxy)$/i;
  const result = {};
  for (const [name, value] of Object.entries(environment)) {
    if (name === 'NODE_OPTIONS' || name === 'NODE_ENV' || name === 'INIT_CWD') continue;
    if (/^npm_/i.test(name) && (owner !== null || !kept.test(name))) continue;
    if (owner !== null && /^XDG_/.test(name)) continue;
    result[name] = value;
  }
  if (owner !== null)
    Object.assign(result, { HOME: owner.home, USER: owner.name, LOGNAME: owner.name });
  return result;
}
