/**
 * What an application thread does with native memory and system calls: looking at the payload arena
 * that the stack thread has mapped, ringing the eventfd on which it sleeps, and giving up the core.
 * koffi is loaded at the first use, so a stack in memory works without it. This is the only file of
 * the room that reaches into the device room.
 */
import { viewArena } from '../device/native.js';
import { eventfdWrite, yieldCpu } from '../device/wait.js';
import { type CtlLayout, G_STACK_WAKE, G_WAKE_FD, globalAt } from './uapi/layout.js';
import { arenaOf } from './uapi/shared.js';

/** The arena published by the stack thread, as this thread sees it. */
export function mappedArena(ctl: Int32Array): Uint8Array {
  const { address, bytes } = arenaOf(ctl);
  return viewArena(address, bytes);
}

/**
 * What a thread does between two looks for news: where cores are few, whoever would bring the news
 * needs this one. In memory (no koffi) the looks follow each other.
 */
export function yielder(ctl: Int32Array): () => void {
  return Atomics.load(ctl, G_WAKE_FD) >= 0 ? yieldCpu : () => {};
}

/**
 * A function that ends the sleep of a queue's stack thread; to be called only when it sleeps, or is
 * to end.
 */
export function stackWaker(ctl: Int32Array, layout: CtlLayout): (queue: number) => void {
  return (queue) => {
    const fd = Atomics.load(ctl, globalAt(layout, G_WAKE_FD, queue));
    if (fd >= 0) {
      eventfdWrite(fd);
    } else {
      const word = globalAt(layout, G_STACK_WAKE, queue);
      Atomics.add(ctl, word, 1);
      Atomics.notify(ctl, word);
    }
  };
}
