/**
 * A host that is the kernel itself: a network namespace behind a veth pair with a server on port
 * 80, to be asked the same questions as ours.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { must } from './machine.js';

const SERVER = fileURLToPath(new URL('./kernel-server.js', import.meta.url));
const NEAR = 'khost0';
const FAR = 'khost1';

export const KERNEL_HOST = '198.19.2.1';
const KERNEL_HOST_PEER = '198.19.2.254';

/** Runs `body` while the host is there; the congestion control is the server's. */
export async function withKernelHost(body: () => Promise<void>): Promise<void> {
  const child = spawn('unshare', ['-n', process.execPath, SERVER, '80', 'reno'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(createInterface({ input: child.stdout! }), 'line');
    await join(child);
    await body();
  } finally {
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    await gone;
  }
}

async function join(child: ChildProcess): Promise<void> {
  const there = ['nsenter', '-t', String(child.pid), '-n', 'ip'];
  await must(['ip', 'link', 'add', NEAR, 'type', 'veth', 'peer', 'name', FAR]);
  await must(['ip', 'link', 'set', FAR, 'netns', String(child.pid)]);
  await must(['ip', 'addr', 'add', `${KERNEL_HOST_PEER}/24`, 'dev', NEAR]);
  await must(['ip', 'link', 'set', NEAR, 'up']);
  await must([...there, 'addr', 'add', `${KERNEL_HOST}/24`, 'dev', FAR]);
  await must([...there, 'link', 'set', FAR, 'up']);
}
