/**
 * The system calls of several threads on a real stack in the calling thread: a command is carried
 * out as soon as the doorbell rings, and packets of the stack to itself arrive at once.
 */
import { Sysctl } from '../../src/net/sysctl.js';
import { createSys, type Sys } from '../../src/socket/sys.js';
import { G_STACK_SLEEPING, G_STATE, STACK_RUNNING } from '../../src/socket/uapi/layout.js';
import { createCtl, openShared, reserveThread } from '../../src/socket/uapi/shared.js';
import { ThreadPort } from '../../src/socket/uapi/thread-port.js';
import { Stack } from '../../src/stack/stack.js';
import { Syscalls } from '../../src/stack/syscalls.js';
import { ipv4, seededRandom } from '../../src/testing/index.js';

export interface SysOnStack {
  readonly stack: Stack;
  readonly sysctl: Sysctl;
  /** Of one more thread; `rung` is called after each of its commands. */
  thread(rung?: () => void): Sys;
  /** What is waiting is carried out, and `ms` milliseconds pass. */
  turn(ms?: number): void;
}

/** A stack at 198.18.0.1 whose link loses everything. */
export function sysOnStack(): SysOnStack {
  const shared = openShared(createCtl(64), new Uint8Array(new SharedArrayBuffer(16 << 20)));
  const syscalls = new Syscalls(shared);
  const link = { mtu: 1500, offload: { checksum: false, gsoMaxBytes: 0 }, transmit: () => true };
  const sysctl = new Sysctl();
  const env = { device: link, random: seededRandom(1), events: syscalls };
  const stack = new Stack(env, sysctl, shared.mem, { addresses: [ipv4('198.18.0.1')] });
  syscalls.attach(stack);
  stack.poll(1_000_000);
  Atomics.store(shared.ctl, G_STATE, STACK_RUNNING);
  Atomics.store(shared.ctl, G_STACK_SLEEPING, 1);

  function turn(ms = 0): void {
    while (syscalls.runCommands() > 0);
    const end = stack.net.nowUs + ms * 1000;
    for (;;) {
      const next = Math.max(stack.nextDeadlineUs(), stack.net.nowUs);
      if (next > end) break;
      stack.poll(next);
    }
    stack.poll(end);
    syscalls.flush();
  }

  return {
    stack,
    sysctl,
    turn,
    thread(rung) {
      const number = reserveThread(shared.ctl, shared.layout);
      const port = new ThreadPort(shared, number, () => {
        turn();
        // Whoever comes next must ring again.
        Atomics.store(shared.ctl, G_STACK_SLEEPING, 1);
        rung?.();
      });
      return createSys(port);
    },
  };
}
