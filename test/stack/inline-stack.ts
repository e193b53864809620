/**
 * A fake stack in the calling thread: a command is carried out as soon as the doorbell rings. For
 * tests.
 */

import { createSys, type Sys } from '../../src/socket/sys.js';
import { G_STACK_SLEEPING, G_STATE, STACK_RUNNING } from '../../src/socket/uapi/layout.js';
import {
  createCtl,
  openShared,
  reserveThread,
  type SharedMemory,
} from '../../src/socket/uapi/shared.js';
import { ThreadPort } from '../../src/socket/uapi/thread-port.js';
import { Syscalls } from '../../src/stack/syscalls.js';
import { FakeStack } from './fake-stack.js';

export interface InlineStack {
  shared: SharedMemory;
  syscalls: Syscalls;
  stack: FakeStack;
  /** While true commands pile up; `turn` carries them out. */
  held: boolean;
  turn(): void;
  /** A further thread of the same stack. */
  thread(): { port: ThreadPort; sys: Sys };
}

export function inlineStack(maxFds = 256, ringBytes = 4096): InlineStack {
  const shared = openShared(createCtl(maxFds), new Uint8Array(new SharedArrayBuffer(16 << 20)));
  const syscalls = new Syscalls(shared);
  const stack = new FakeStack(shared.mem, syscalls, ringBytes);
  syscalls.attach(stack);
  Atomics.store(shared.ctl, G_STATE, STACK_RUNNING);
  Atomics.store(shared.ctl, G_STACK_SLEEPING, 1);
  const inline: InlineStack = {
    shared,
    syscalls,
    stack,
    held: false,
    turn() {
      while (syscalls.runCommands() > 0);
      syscalls.flush();
    },
    thread() {
      const number = reserveThread(shared.ctl, shared.layout);
      const port = new ThreadPort(shared, number, () => {
        if (!inline.held) inline.turn();
        Atomics.store(shared.ctl, G_STACK_SLEEPING, 1);
      });
      return { port, sys: createSys(port) };
    },
  };
  return inline;
}
