/**
 * Lets one set-up at a time work in a clone. The lock is a file with the holder's process id in it;
 * a holder that died is noticed by its process being gone, or, when it runs in another process
 * namespace (a container on the same disk), by no longer touching the file.
 */
import { randomBytes } from 'node:crypto';
import {
  linkSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { giveTo } from './owner.mjs';

const HEARTBEAT_MS = 1000;
const SILENCE_MS = 30_000;
const POLL_MS = 100;

/**
 * Start time of a process in clock ticks (field 22 of /proc/PID/stat), or null when there is none.
 */
export function processStart(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command in parentheses may hold spaces: count from the last parenthesis.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

function pidNamespace() {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return 'unknown';
  }
}

/**
 * Is the holder described by `text`, the content of the lock file, gone? `ageMs` = since it last
 * touched the file.
 */
export function holderIsGone(text, ageMs) {
  if (ageMs > SILENCE_MS) return true;
  let holder;
  try {
    holder = JSON.parse(text);
  } catch {
    return false; // Being written at this moment; if its writer died, silence will tell.
  }
  return holder.namespace === pidNamespace() && processStart(holder.pid) !== holder.start;
}

/** Takes the lock file away if its holder is gone. A rename decides between two who try at once. */
function breakStaleLock(path) {
  try {
    const text = readFileSync(path, 'utf8');
    if (!holderIsGone(text, Date.now() - statSync(path).mtimeMs)) return;
    const aside = `${path}.${process.pid}`;
    renameSync(path, aside);
    if (readFileSync(aside, 'utf8') !== text) linkSync(aside, path); // a new holder's: give it back
    unlinkSync(aside);
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'EEXIST') throw error;
  }
}

function tryLock(path, text, owner) {
  try {
    writeFileSync(path, text, { flag: 'wx' });
    giveTo(owner, path);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Runs `work` while holding the lock file `path`, waiting for another holder first.
 * @param {{ owner?: import('./owner.mjs').Owner | null, onWait?: () => void }} options onWait:
 *   once, if it must wait
 */
export async function withLock(path, work, { owner = null, onWait = () => {} } = {}) {
  const text = JSON.stringify({
    pid: process.pid,
    start: processStart(process.pid),
    namespace: pidNamespace(),
    nonce: randomBytes(8).toString('hex'),
  });
  for (let tries = 0; !tryLock(path, text, owner); tries++) {
    if (tries === 1) onWait();
    breakStaleLock(path);
    await delay(POLL_MS);
  }
  const release = () => {
    try {
      if (readFileSync(path, 'utf8') === text) unlinkSync(path);
    } catch {
      // Gone already: there is nothing to release.
    }
  };
  const heartbeat = setInterval(() => {
    const now = new Date();
    try {
      utimesSync(path, now, now);
    } catch {
      // Broken by somebody; release() will see that it is no longer ours.
    }
  }, HEARTBEAT_MS);
  process.once('exit', release);
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    process.off('exit', release);
    release();
  }
}
