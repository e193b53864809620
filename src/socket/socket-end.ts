/**
 * What happens to a Socket's stream at its end, and how it is brought back for another connect
 * (Node's lib/net.js: onReadableStreamEnd, writeAfterFIN).
 */
import { Duplex } from 'node:stream';

type WriteCallback = (error?: Error | null) => void;

/** The peer has ended and half-open is not wanted: a later write is an error that says so. */
export function onReadableStreamEnd(this: Duplex): void {
  if (!this.allowHalfOpen) this.write = writeAfterFin as typeof this.write;
}

function writeAfterFin(
  this: Duplex,
  chunk: unknown,
  encoding?: BufferEncoding | WriteCallback,
  callback?: WriteCallback,
): boolean {
  if (!this.writableEnded) {
    return Duplex.prototype.write.call(this, chunk, encoding as BufferEncoding, callback);
  }
  const done = typeof encoding === 'function' ? encoding : callback;
  const error: NodeJS.ErrnoException = new Error('This socket has been ended by the other party');
  error.code = 'EPIPE';
  if (typeof done === 'function') process.nextTick(done, error);
  this.destroy(error);
  return false;
}

/**
 * A destroyed stream is made usable again for another connect; a method of Node's streams that has
 * no type.
 */
export function undestroy(stream: Duplex): void {
  (stream as unknown as { _undestroy(): void })._undestroy();
}
