/**
 * The control socket of a running `serve`: a unix stream socket that only its owner may use, which
 * answers questions of `ss`, `explain` and others, takes the orders of `drain`, and hands
 * connections over to those whose answers go on (`trace`). A file that a dead
 * process left is replaced; one that somebody still listens on is not.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { FailedError, UsageError } from './command.js';
import { type ControlCommand, type ControlFields, PATH_MAX_BYTES } from './control-protocol.js';

/**
 * Answers one command, given the whole request: with a value, a promise of one, or a Takeover; what
 * it throws becomes an error line.
 */
export type ControlAnswers = Readonly<
  Partial<Record<ControlCommand, (request: ControlFields) => unknown>>
>;

/** An answer that goes on: from now on the connection is `take`'s alone, its input as text. */
export class Takeover {
  readonly take: (socket: Socket) => void;

  constructor(take: (socket: Socket) => void) {
    this.take = take;
  }
}

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

/** Answers the lines of one client, one after the other. */
function converse(socket: Socket, answers: ControlAnswers): void {
  let pending = '';
  let turn: Promise<void> = Promise.resolve();
  const hear = (text: string): void => {
    const lines = (pending + text).split('\n');
    pending = lines.pop()!;
    for (const line of lines) turn = turn.then(() => respond(line));
    if (pending.length > REQUEST_MAX_BYTES) socket.destroy();
  };
  const respond = async (line: string): Promise<void> => {
    const value = await answer(line, answers);
    if (value instanceof Takeover) {
      socket.off('data', hear);
      value.take(socket);
    } else if (!socket.destroyed) {
      socket.write(`${JSON.stringify(value)}\n`);
    }
  };
  socket.setEncoding('utf8');
  socket.on('error', () => socket.destroy());
  socket.on('data', hear);
}

async function answer(line: string, answers: ControlAnswers): Promise<unknown> {
  try {
    const request: unknown = JSON.parse(line);
    const fields = typeof request === 'object' && request !== null ? request : {};
    const { cmd = '' } = fields as ControlFields;
    if (typeof cmd === 'string' && Object.hasOwn(answers, cmd))
      return await answers[cmd as ControlCommand]!(fields as ControlFields);
    return { error: `unknown command ${JSON.stringify(cmd)}` };
  } catch (error) {
    if (error instanceof UsageError) return { error: error.message, usage: error.remedy };
    if (error instanceof FailedError) return { error: error.message, remedy: error.remedy };
    return { error: error instanceof Error ? error.message : String(error) };
  }
}
