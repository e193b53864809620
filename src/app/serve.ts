/**
 * `tunstack serve`: reads its flags, re-runs itself in a namespace when asked, and lets
 * serve-master.ts do the work.
 */
import { spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  judgeUserNamespaces,
  probeUserNamespaces,
  rootlessCommand,
  rootlessError,
} from '../device/rootless.js';
import { FIRST_DELAY_MS, LONG_LIFE_MS, LONGEST_DELAY_MS } from './backoff.js';
import { type Command, EXIT_FAILED, EXIT_OK, type Io, UsageError } from './command.js';
import { flagHelp } from './flags.js';
import { ServeMaster } from './serve-master.js';
import { parseServeOptions, SERVE_FLAGS } from './serve-options.js';

const FAILURES = `A worker that fails is started again after ${FIRST_DELAY_MS / 1000} s; each time
it fails again the delay doubles, up to ${LONGEST_DELAY_MS / 1000} s, until it has lived for
${LONG_LIFE_MS / 1000} s. Its open connections are reset; those that it had not accepted yet go to
the other workers with --sysctl net.ipv4.tcp_migrate_req=1, and are reset without. A worker that
does not come back from its work is told about, and left alone.`;

const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export const serve: Command = {
  name: 'serve',
  summary: 'the stack, its workers and the demo server',
  async run(argv: readonly string[], io: Io): Promise<number> {
    const options = parseServeOptions(argv);
    if (options.help) {
      io.out(`tunstack serve [FLAGS]: ${serve.summary}\n\n${flagHelp(SERVE_FLAGS)}\n\n${FAILURES}`);
      return EXIT_OK;
    }
    if (options.root !== null) options.root = servedDirectory(options.root);
    if (options.rootless) return runInNamespace();
    return new ServeMaster(options, io).run();
  },
};

function servedDirectory(root: string): string {
  const path = resolve(root);
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    throw new UsageError(
      `serve: --root ${root}: there is no such directory`,
      'tunstack serve --root .',
    );
  }
  return path;
}

/**
 * The same command line inside `unshare -Urn`. In a session of its own, so that a Ctrl-C reaches it
 * once, through us; with a channel to us, so that it ends when we are gone.
 */
function runInNamespace(): Promise<number> {
  const verdict = judgeUserNamespaces(probeUserNamespaces());
  if (!verdict.ok) throw rootlessError(verdict);
  const { command, args } = rootlessCommand(process.argv.slice(1));
  const child = spawn(command, args, {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    detached: true,
    env: { ...process.env, TUNSTACK_ROOTLESS: '1' },
  });
  const forward = (signal: NodeJS.Signals): void => {
    child.kill(signal);
  };
  for (const signal of STOP_SIGNALS) process.on(signal, forward);
  return new Promise((settle, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => {
      for (const signal of STOP_SIGNALS) process.off(signal, forward);
      settle(code ?? EXIT_FAILED);
    });
  });
}
