/**
 * Two stacks on a simulated wire, in virtual time: whatever one sends the other gets, as the link's
 * faults allow.
 */
import { type MemoryDevice, type MemoryPairOptions, memoryPair } from '../device/memory.js';
import { MemoryStack, type MemoryStackOptions } from './memory-stack.js';

export interface WireOptions extends MemoryPairOptions {
  /** Settings of both stacks; addresses and seeds are chosen here. */
  stack?: Omit<MemoryStackOptions, 'device' | 'address' | 'mtu' | 'gsoMaxBytes'>;
}

export interface Wire {
  /** 198.18.0.1 and 198.18.0.2. */
  readonly a: MemoryStack;
  readonly b: MemoryStack;
  /** Packets that each end's link has lost, and so on. */
  readonly faults: readonly [MemoryDevice['faults'], MemoryDevice['faults']];
  /** Virtual time, µs. */
  readonly nowUs: number;
  /**
   * Lets time pass until `done` says so (true) or `limitMs` are over (false); `turn` runs after
   * each step.
   */
  run(limitMs: number, done?: () => boolean, turn?: () => void): boolean;
}

/** Packets that an end takes in one turn before it answers. */
const BURST = 64;

export function wire(options: WireOptions = {}): Wire {
  const seed = options.seed ?? 1;
  const pair = memoryPair(options);
  pair.advance(1_000_000);
  const end = (device: MemoryDevice, address: string, offset: number) =>
    new MemoryStack({ ...options.stack, device, address, seed: seed * 2 + offset });
  const a = end(pair.a, '198.18.0.1', 0);
  const b = end(pair.b, '198.18.0.2', 1);
  let nowUs = 1_000_000;

  function turn(stack: MemoryStack, device: MemoryDevice): void {
    const { net } = stack.stack;
    net.nowUs = nowUs;
    const skb = net.inputSkbs.alloc();
    if (skb === null) throw new Error('no input skb left');
    for (let n = 0; n < BURST; n++) {
      skb.reset();
      if (!device.receive(skb)) break;
      stack.stack.input(skb);
    }
    net.inputSkbs.release(skb);
    stack.stack.poll(nowUs);
  }

  return {
    a,
    b,
    faults: [pair.a.faults, pair.b.faults],
    get nowUs() {
      return nowUs;
    },
    run(limitMs, done = () => false, each = () => {}) {
      const limitUs = nowUs + limitMs * 1000;
      for (;;) {
        turn(a, pair.a);
        turn(b, pair.b);
        each();
        if (done()) return true;
        const next = Math.min(pair.nextUs(), a.stack.nextDeadlineUs(), b.stack.nextDeadlineUs());
        if (next > limitUs) break;
        nowUs = Math.max(next, nowUs + 1);
        pair.advance(nowUs);
      }
      nowUs = limitUs;
      pair.advance(nowUs);
      turn(a, pair.a);
      turn(b, pair.b);
      return done();
    },
  };
}
