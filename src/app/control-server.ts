/**
 * The control socket of a running `serve`: a unix stream socket that only its owner may use, which
 * answers questions of `ss`, `lsof` and `nstat`. A file that a dead process left is replaced; one
 * that somebody still listens on is not.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { FailedError } from './command.js';
import { type ControlCommand, PATH_MAX_BYTES } from './control-protocol.js';

/** Answers one command; what it throws becomes an error line. */
export type ControlAnswers = Readonly<Record<ControlCommand, () => unknown>>;

const REQUEST_MAX_BYTES = 4096;

export class ControlServer {
  readonly path: string;
  private readonly server: Server;
  private readonly clients = new Set<Socket>();

  private constructor(path: string, server: Server) {
    this.path = path;
    this.server = server;
    server.on('connection', (socket) => {
      this.clients.add(socket);
      socket.on('close', () => this.clients.delete(socket));
    });
  }

  /** Listens on `path`. Throws FailedError when it is in use, too long, or not to be had. */
  static async open(path: string, answers: ControlAnswers): Promise<ControlServer> {
    if (Buffer.byteLength(path) > PATH_MAX_BYTES) {
      throw new FailedError(
        `--control ${path}: a socket path has at most ${PATH_MAX_BYTES} bytes`,
        'a shorter --control PATH',
      );
    }
    await removeStale(path);
    const server = createServer((socket) => converse(socket, answers));
    await listen(server, path);
    return new ControlServer(path, server);
  }

  /** Removes the file at once; also safe from an exit handler. */
  close(): void {
    this.server.close(); // unlinks the path
    for (const client of this.clients) client.destroy();
    removeFile(this.path);
  }
}

/** Is somebody listening on `path`? */
export function isLive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}

async function removeStale(path: string): Promise<void> {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  if (!stats.isSocket()) {
    throw new FailedError(
      `--control ${path}: there is a file of another kind in the way`,
      'another --control PATH',
    );
  }
  if (await isLive(path)) {
    throw new FailedError(
      `--control ${path}: a running tunstack answers there`,
      'another --control PATH, or stop that one first',
    );
  }
  removeFile(path);
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Gone already.
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(
        new FailedError(`--control ${path}: ${error.message}`, 'a --control PATH you may write'),
      );
    });
    // bind makes the file at once, and nobody else may connect even for a moment.
    const mask = process.umask(0o177);
    server.listen(path, () => {
      chmodSync(path, 0o600);
      resolve();
    });
    process.umask(mask);
  });
}

/** Answers the lines of one client. */
function converse(socket: Socket, answers: ControlAnswers): void {
  let pending = '';
  socket.setEncoding('utf8');
  socket.on('error', () => socket.destroy());
  socket.on('data', (text: string) => {
    const lines = (pending + text).split('\n');
    pending = lines.pop()!;
    for (const line of lines) socket.write(`${JSON.stringify(answer(line, answers))}\n`);
    if (pending.length > REQUEST_MAX_BYTES) socket.destroy();
  });
}

function answer(line: string, answers: ControlAnswers): unknown {
  try {
    const request: unknown = JSON.parse(line);
    const cmd =
      typeof request === 'object' && request !== null && 'cmd' in request ? request.cmd : '';
    if (typeof cmd === 'string' && Object.hasOwn(answers, cmd))
      return answers[cmd as ControlCommand]();
    return { error: `unknown command ${JSON.stringify(cmd)}` };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}
