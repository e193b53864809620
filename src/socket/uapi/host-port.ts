/**
 * The line to the stack of a program that runs in the stack's own thread (run to completion).
 * Nobody else would run the stack while the program waits, so where a ThreadPort sleeps this one
 * runs turns of the stack, and sleeps as the stack does when a turn found nothing. Each epoll_wait
 * runs one, so that a program which is always busy does not starve the stack. To the stack threads
 * of other queues it is a thread like any other, but one that is woken as a stack thread is.
 */
import type { StackHost } from './host.js';
import { G_STOP, T_HOST, T_SLEEPING } from './layout.js';
import type { SharedMemory } from './shared.js';
import { ThreadPort } from './thread-port.js';

/**
 * How long it waits for another queue's stack thread without a turn of its own, ms: that thread may
 * wait for us.
 */
const AWAY_MS = 1;

export class HostPort extends ThreadPort {
  private readonly host: StackHost;

  /** @param wakeStack as ThreadPort's */
  constructor(
    shared: SharedMemory,
    number: number,
    wakeStack: (queue: number) => void,
    host: StackHost,
  ) {
    super(shared, number, wakeStack);
    this.host = host;
    this.looks = 0;
    Atomics.store(this.ctl, this.at + T_HOST, host.queue + 1);
  }

  /** Also false once the stack has been asked to end: the program must leave its thread first. */
  override get alive(): boolean {
    return super.alive && this.ctl[G_STOP] === 0;
  }

  override breathe(): void {
    this.host.turn();
  }

  protected override pause(queue: number, word: number, seen: number, timeoutMs: number): boolean {
    const { ctl, host } = this;
    const endMs = performance.now() + timeoutMs;
    while (Atomics.load(ctl, word) === seen) {
      const worked = host.turn();
      if (Atomics.load(ctl, word) !== seen || !this.alive) break;
      if (performance.now() >= endMs) return false;
      if (!worked && queue !== host.queue) Atomics.wait(ctl, word, seen, AWAY_MS);
    }
    return true;
  }

  override sleep(epoll: number, timeoutMs: number): number {
    const { ctl, at, host } = this;
    const endMs = performance.now() + timeoutMs;
    // What the stack threads of other queues bring from here on ends the rest.
    const before = Atomics.exchange(ctl, at + T_SLEEPING, epoll + 1);
    for (;;) {
      const worked = host.turn();
      if (!this.readyEmpty(epoll) || !this.alive) break;
      const nowMs = performance.now();
      if (nowMs >= endMs) break;
      if (!worked) host.rest(endMs - nowMs);
    }
    Atomics.store(ctl, at + T_SLEEPING, before);
    if (before !== 0) this.ringSelf();
    return this.heartbeat.waited();
  }
}
