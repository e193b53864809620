/**
 * The last handshakes of a `serve` that is told to stop: who has our SYN-ACK believes that he will
 * be served. Listeners drain first (SO_DRAIN: a new SYN is refused, half-open connections finish
 * and are accepted as ever), for a moment; only then do the workers leave (crew.ts). A handshake
 * that is not finished by then, a scanner's perhaps, is forgotten with its listener.
 */
import type { Sys } from '../socket/sys-table.js';
import { SO_DRAIN, SOL_SOCKET } from '../socket/uapi/constants.js';

/** As long as one SYN-ACK that was lost takes to come again (1 s), and a round trip. */
export const HANDSHAKES_MS = 1500;
/** The first request comes right behind its handshake: what it may take for that. */
const FIRST_REQUEST_MS = 100;
/** How often the queues are looked at. */
const LOOK_MS = 10;

type HandshakeSys = Pick<Sys, 'getsockopt' | 'setsockopt'>;

/** Handshakes under way at a listener: the second word of SO_DRAIN. 0 when it does not listen. */
export function halfOpenAt(sys: Pick<Sys, 'getsockopt'>, fd: number): number {
  const words = new Int32Array(2);
  return sys.getsockopt(fd, SOL_SOCKET, SO_DRAIN, words) === 2 ? words[1]! : 0;
}

/**
 * Has `listeners` take no new connections, and waits for those that are half open, at most
 * HANDSHAKES_MS. Without any it does not wait at all.
 * @param pause waits for so many milliseconds
 */
export async function finishHandshakes(
  sys: HandshakeSys,
  listeners: readonly number[],
  pause: (milliseconds: number) => Promise<void>,
): Promise<void> {
  for (const fd of listeners) sys.setsockopt(fd, SOL_SOCKET, SO_DRAIN, 1);
  const underWay = (): boolean => listeners.some((fd) => halfOpenAt(sys, fd) > 0);
  if (!underWay()) return;
  for (let waitedMs = 0; waitedMs < HANDSHAKES_MS && underWay(); waitedMs += LOOK_MS) {
    await pause(LOOK_MS);
  }
  await pause(FIRST_REQUEST_MS);
}
