/**
 * Child processes of the bench: servers and load generators. Each is in a session of its own, so
 * that a Ctrl-C reaches this process alone, and those of Node have a channel to it, whose end ends
 * them. Nothing is left when `killAll` has run.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { FailedError } from '../command.js';

/** A server leaves within this long after it was asked to, ms; then it is killed. */
const STOP_PATIENCE_MS = 7000;
const STDERR_KEPT = 4000;

export class Children {
  private readonly alive = new Set<ChildProcess>();
  private readonly errors = new WeakMap<ChildProcess, string>();

  /** @param channel the child is one of Node and watches its parent */
  private start(argv: readonly string[], channel: boolean): ChildProcess {
    const child = spawn(argv[0]!, argv.slice(1), {
      stdio: channel ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.alive.add(child);
    child.once('exit', () => this.alive.delete(child));
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.errors.set(child, ((this.errors.get(child) ?? '') + text).slice(-STDERR_KEPT));
    });
    return child;
  }

  private failure(argv: readonly string[], child: ChildProcess): FailedError {
    const how = child.exitCode ?? child.signalCode;
    return new FailedError(
      `${argv.join(' ')} ended with ${how}: ${this.errors.get(child) ?? ''}`,
      '',
    );
  }

  /** Starts a program of Node that says one line of JSON when it is ready. */
  async ready<T>(argv: readonly string[]): Promise<{ child: ChildProcess; said: T }> {
    const child = this.start(argv, true);
    const lines = createInterface({ input: child.stdout! });
    const said = await new Promise<T>((resolve, reject) => {
      lines.once('line', (line) => resolve(JSON.parse(line) as T));
      child.once('error', reject);
      child.once('close', () => reject(this.failure(argv, child)));
    });
    return { child, said };
  }

  /**
   * Runs a command to its end; what it said on stdout. Rejects when it ends with anything but 0.
   */
  output(argv: readonly string[], channel = false): Promise<string> {
    const child = this.start(argv, channel);
    let text = '';
    child.stdout!.setEncoding('utf8').on('data', (more: string) => {
      text += more;
    });
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) =>
        code === 0 ? resolve(text) : reject(this.failure(argv, child)),
      );
    });
  }

  /** Asks a server to leave and waits until it has. */
  async stop(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    const patience = setTimeout(() => child.kill('SIGKILL'), STOP_PATIENCE_MS);
    await gone;
    clearTimeout(patience);
  }

  /** At once, and waits until all are gone. */
  async killAll(): Promise<void> {
    const gone = [...this.alive].map(
      (child) => new Promise((resolve) => child.once('exit', resolve)),
    );
    for (const child of this.alive) child.kill('SIGKILL');
    await Promise.all(gone);
  }
}
