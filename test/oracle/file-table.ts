/** What the calls on memory files answer in each situation: the same must come out of both. */
import type { FileCalls } from './file-calls.js';
import { connected, connecting, listening } from './situations.js';
import { outcome, SHUT_RD, SHUT_WR, type SocketCalls } from './socket-calls.js';

export type FileSituation = (files: FileCalls, calls: SocketCalls, port: number) => string[];

const MFD_CLOEXEC = 1;
const NO_FD = 4000;

/** `length` bytes that differ from place to place. */
function text(length: number, from = 0): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (from + i) % 251;
  return bytes;
}

function fileOf(files: FileCalls, length: number): number {
  const fd = files.memfdCreate('table', MFD_CLOEXEC);
  files.pwrite(fd, text(length), 0);
  return fd;
}

/** '3: 1 2 3', or the error. */
function told(result: number, bytes: Uint8Array): string {
  return result < 0 ? outcome(result) : `${result}: ${[...bytes.subarray(0, result)].join(' ')}`;
}

function readAt(files: FileCalls, fd: number, length: number, offset: number): string {
  const into = new Uint8Array(length);
  return told(files.pread(fd, into, offset), into);
}

/** A value as it is, or the error's name. */
function value(result: number): string {
  return result < 0 ? outcome(result) : String(result);
}

/** Everything that `fd` has now. */
function receiveAll(calls: SocketCalls, fd: number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (;;) {
    const part = calls.recv(fd, 65_536);
    if (typeof part === 'number' || part.length === 0) break;
    parts.push(part.slice());
  }
  return new Uint8Array(Buffer.concat(parts));
}

/** Bytes received, and whether they are those of the file from `offset` on. */
function compared(bytes: Uint8Array, offset: number): string {
  return `${bytes.length} ${Buffer.from(text(bytes.length, offset)).equals(bytes)}`;
}

export const FILE_SITUATIONS: Readonly<Record<string, FileSituation>> = {
  'memfd_create: flags and names': (files) => {
    const names = ['', 'x', 'n'.repeat(249), 'n'.repeat(250), 'ü'.repeat(125)];
    const made = names.map((name) => outcome(files.memfdCreate(name, MFD_CLOEXEC)));
    return [...made, outcome(files.memfdCreate('f', 0)), outcome(files.memfdCreate('f', 0x100))];
  },
  'ftruncate: longer, shorter, wrong': (files, calls) => {
    const fd = fileOf(files, 4);
    const said = [outcome(files.ftruncate(fd, 2)), readAt(files, fd, 8, 0)];
    said.push(outcome(files.ftruncate(fd, 4)), readAt(files, fd, 8, 0));
    said.push(outcome(files.ftruncate(fd, 0)), readAt(files, fd, 8, 0));
    said.push(outcome(files.ftruncate(fd, -1)), outcome(files.ftruncate(calls.socket(), 1)));
    return [...said, outcome(files.ftruncate(NO_FD, 1)), outcome(files.ftruncate(NO_FD, -1))];
  },
  'pwrite and pread: past the end, in a hole, nothing': (files) => {
    const fd = files.memfdCreate('holes', 0);
    files.ftruncate(fd, 16);
    const said = [value(files.pwrite(fd, text(3, 7), 10)), readAt(files, fd, 20, 8)];
    said.push(readAt(files, fd, 4, 16), readAt(files, fd, 4, 17), readAt(files, fd, 0, 0));
    said.push(value(files.pwrite(fd, new Uint8Array(0), 100)), readAt(files, fd, 4, 14));
    return said;
  },
  'pwrite and pread: what is no file, offsets below 0': (files, calls) => {
    const [socket, fd] = [calls.socket(), fileOf(files, 4)];
    const one = new Uint8Array(1);
    const both = (where: number, offset: number): string[] => [
      outcome(files.pread(where, one, offset)),
      outcome(files.pwrite(where, one, offset)),
    ];
    return [fd, socket, NO_FD].flatMap((where) => [...both(where, 0), ...both(where, -1)]);
  },
  'sendfile: whole, a part, past the end, nothing': (files, calls, port) => {
    const [client, child] = connected(calls, port);
    const fd = fileOf(files, 1000);
    const ways: [offset: number, count: number][] = [
      ...([
        [0, 1000],
        [10, 20],
        [990, 100],
        [1000, 1],
        [2000, 1],
        [5, 0],
      ] as [number, number][]),
    ];
    return ways.map(([offset, count]) => {
      const sent = value(files.sendfile(client, fd, offset, count));
      return `${sent} ${compared(receiveAll(calls, child), offset)}`;
    });
  },
  'sendfile: more than any buffer holds, in order': (files, calls, port) => {
    const length = 12_000_000;
    const [client, child] = connected(calls, port);
    const fd = fileOf(files, length);
    const parts: Uint8Array[] = [];
    let sent = 0;
    let full = false;
    for (let turns = 0; sent < length && turns < 10_000; turns++) {
      const count = files.sendfile(client, fd, sent, length - sent);
      if (count > 0) sent += count;
      else {
        full = true;
        parts.push(receiveAll(calls, child));
      }
    }
    parts.push(receiveAll(calls, child));
    return [String(sent), String(full), compared(new Uint8Array(Buffer.concat(parts)), 0)];
  },
  'sendfile: which descriptors': (files, calls, port) => {
    const [client] = connected(calls, port);
    const fd = fileOf(files, 10);
    const listener = listening(calls, port + 1);
    const outs = [calls.socket(), listener, connecting(calls), NO_FD, client];
    return [
      ...outs.map((out) => value(files.sendfile(out, fd, 0, 10))),
      value(files.sendfile(client, NO_FD, 0, 10)),
      value(files.sendfile(NO_FD, NO_FD, 0, 10)),
      value(files.sendfile(client, client, 0, 10)),
      value(files.sendfile(client, fd, -1, 10)),
      value(files.sendfile(NO_FD, fd, -1, 10)),
    ];
  },
  'sendfile: to ends that are shut': (files, calls, port) => {
    const fd = fileOf(files, 10);
    const shut = [SHUT_WR, SHUT_RD].map((how, i) => {
      const [client] = connected(calls, port + i);
      calls.shutdown(client, how);
      return value(files.sendfile(client, fd, 0, 10));
    });
    const [closed, child] = connected(calls, port + 2);
    calls.close(child);
    calls.settle();
    const [reset, other] = connected(calls, port + 3);
    calls.abort(other);
    calls.settle();
    const twice = (out: number): string[] =>
      [0, 1].map(() => value(files.sendfile(out, fd, 0, 10)));
    return [...shut, ...twice(closed), ...twice(reset)];
  },
  'sendfile: the file is closed, or becomes shorter, before the text is read': (
    files,
    calls,
    port,
  ) => {
    const [client, child] = connected(calls, port);
    const fd = fileOf(files, 40_000);
    const sent = value(files.sendfile(client, fd, 0, 40_000));
    files.closeFiles();
    calls.settle();
    return [sent, compared(receiveAll(calls, child), 0)];
  },
};
