/** The situations that the tables of socket calls begin with, and an option's value as text. */
import { ipv4, outcome, type SocketCalls } from './socket-calls.js';

export const LOCALHOST: number = ipv4('127.0.0.1');
/** Where nobody answers. */
export const NOBODY: number = ipv4('198.51.100.77');

export function listening(calls: SocketCalls, port: number, backlog = 5): number {
  const fd = calls.socket();
  calls.bind(fd, LOCALHOST, port);
  calls.listen(fd, backlog);
  return fd;
}

export function connected(calls: SocketCalls, port: number): [client: number, child: number] {
  const listener = listening(calls, port);
  const client = calls.socket();
  calls.connect(client, LOCALHOST, port);
  return [client, calls.accept(listener)];
}

/** On its way to nobody. */
export function connecting(calls: SocketCalls): number {
  const fd = calls.socket();
  calls.connect(fd, NOBODY, 80);
  return fd;
}

/** The words of an option, at most `most`, or what getsockopt says instead. */
export function option(
  calls: SocketCalls,
  fd: number,
  level: number,
  name: number,
  most = 4,
): string {
  const out = new Int32Array(most);
  const words = calls.getsockopt(fd, level, name, out);
  return words < 0 ? outcome(words) : [...out.subarray(0, words)].join();
}
