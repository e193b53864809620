/** A thread's sign of life: what the thread writes, what a ring adds, what others read. */
import { expect } from 'chai';
import fc from 'fast-check';
import { AF_INET, EPOLL_CTL_ADD, EPOLLIN, SOCK_STREAM } from '../../src/socket/uapi/constants.js';
import {
  BUSY_MEMORY_MS,
  beatAgeMs,
  blendShare,
  busyShare,
  Heartbeat,
  stampRing,
} from '../../src/socket/uapi/heartbeat.js';
import { T_BEAT, T_BUSY, T_SLEEPING, threadAt } from '../../src/socket/uapi/layout.js';
import { monotonicOffsetMs } from '../../src/socket/uapi/monotonic.js';
import { inlineStack } from '../stack/inline-stack.js';

const monotonicMs = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;

/** A thread in virtual time that works or waits as long as it is told. */
class Time {
  private ms: number = performance.now();
  private idle = 0;

  now(): number {
    return this.ms;
  }

  eventLoopUtilization(): { idle: number } {
    return { idle: this.idle };
  }

  works(ms: number): void {
    this.ms += ms;
  }

  waits(ms: number): void {
    this.ms += ms;
    this.idle += ms;
  }
}

describe('socket/uapi/monotonic', () => {
  it('makes performance.now() the clock that all threads share', () => {
    const before = monotonicMs();
    const now = performance.now() + monotonicOffsetMs();
    expect(now).to.be.within(before - 1, monotonicMs() + 1);
  });
});

describe('socket/uapi/heartbeat: reading', () => {
  it('the age of a beat is right around every wrap of the word, never negative', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 2 ** 45, noNaN: true }),
        fc.nat(2 ** 31),
        (nowMs, ageMs) => {
          const beat = (Math.floor(nowMs) - ageMs) | 0;
          expect(beatAgeMs(beat, nowMs)).to.equal(ageMs);
          // A beat that came after the time was read.
          expect(beatAgeMs((Math.floor(nowMs) + (ageMs % 60_000)) | 0, nowMs)).to.equal(0);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('a share goes to what it is now, half of the way in the time that is remembered', () => {
    expect(blendShare(0, 1, BUSY_MEMORY_MS)).to.equal(0.5);
    expect(blendShare(0.25, 1, 0)).to.equal(0.25);
    expect(blendShare(1, 0, 9 * BUSY_MEMORY_MS)).to.be.closeTo(0.1, 1e-9);
  });

  it('between two beats a waking thread grows busier, a sleeping one idler', () => {
    const ctl = new Int32Array(16);
    ctl[T_BUSY] = 500;
    ctl[T_BEAT] = 10_000;
    expect(busyShare(ctl, 0, 10_000)).to.equal(0.5);
    expect(busyShare(ctl, 0, 11_000)).to.equal(0.75);
    ctl[T_SLEEPING] = 3;
    expect(busyShare(ctl, 0, 11_000)).to.equal(0.25);
  });

  it('a ring is where the waking begins', () => {
    const ctl = new Int32Array(16);
    ctl[T_BUSY] = 800;
    ctl[T_BEAT] = 10_000;
    ctl[T_SLEEPING] = 1;
    stampRing(ctl, 0, 11_000);
    expect([ctl[T_BEAT], ctl[T_BUSY]]).to.deep.equal([11_000, 400]);
    ctl[T_SLEEPING] = 0;
    expect(busyShare(ctl, 0, 11_000)).to.equal(0.4);
    expect(beatAgeMs(ctl[T_BEAT]!, 12_500)).to.equal(1500);
  });
});

describe('socket/uapi/heartbeat: writing', () => {
  it('begins idle and alive, and says when it runs', () => {
    const ctl = new Int32Array(16).fill(77);
    const heartbeat = new Heartbeat(ctl, 0);
    expect(ctl[T_BUSY]).to.equal(0);
    expect(beatAgeMs(ctl[T_BEAT]!, monotonicMs())).to.be.below(10_000);
    ctl[T_BEAT] = 0;
    const nowMs = performance.now();
    expect(heartbeat.worked()).to.be.within(nowMs, performance.now());
    expect(beatAgeMs(ctl[T_BEAT]!, monotonicMs())).to.be.below(10_000);
  });

  it('counts work before and waiting after', () => {
    const ctl = new Int32Array(16);
    const time = new Time();
    const heartbeat = new Heartbeat(ctl, 0, time);
    time.works(BUSY_MEMORY_MS);
    heartbeat.worked();
    expect(ctl[T_BUSY]).to.equal(500);
    time.waits(BUSY_MEMORY_MS);
    expect(heartbeat.waited()).to.equal(time.now());
    expect(ctl[T_BUSY]).to.equal(250);
  });

  it('asks the event loop of a thread that lives on one', () => {
    const ctl = new Int32Array(16);
    const time = new Time();
    const heartbeat = new Heartbeat(ctl, 0, time);
    heartbeat.livesOnLoop();
    time.works(60);
    time.waits(40);
    heartbeat.waited(); // whatever it is told: the loop knows better
    const busy = ctl[T_BUSY]!;
    expect(busy).to.equal(Math.round(1000 * blendShare(0, 0.6, 100)));
    heartbeat.livesOnLoop();
    ctl[T_BEAT] = 0;
    time.works(49);
    heartbeat.worked(); // too soon to ask again, but it runs
    expect(ctl[T_BUSY]).to.equal(busy);
    expect(ctl[T_BEAT]).to.not.equal(0);
    time.works(1);
    heartbeat.worked();
    expect(ctl[T_BUSY]).to.equal(Math.round(1000 * blendShare(blendShare(0, 0.6, 100), 1, 50)));
  });
});

describe('socket: who shows that it runs', () => {
  it('epoll_wait and poll, with and without waiting, and a ring', () => {
    const inline = inlineStack();
    const { sys, port } = inline.thread();
    const { ctl } = inline.shared;
    const at = threadAt(inline.shared.layout, port.number);
    const beats = (call: () => void): boolean => {
      ctl[at + T_BEAT] = (monotonicMs() - 50_000) | 0;
      call();
      return beatAgeMs(ctl[at + T_BEAT]!, monotonicMs()) < 10_000;
    };
    const epfd = sys.epoll_create1(0);
    const fd = sys.eventfd(1, 0);
    sys.epoll_ctl(epfd, EPOLL_CTL_ADD, fd, { events: EPOLLIN, data: fd });
    const fds = [{ fd, events: EPOLLIN, revents: 0 }];
    expect(beats(() => expect(sys.epoll_wait(epfd, [], 8, 0)).to.equal(1))).to.equal(true);
    expect(beats(() => expect(sys.poll(fds, 0)).to.equal(1))).to.equal(true);
    const none = sys.epoll_create1(0);
    expect(beats(() => expect(sys.epoll_wait(none, [], 8, 1)).to.equal(0))).to.equal(true);
    expect(beats(() => expect(sys.poll([], 1)).to.equal(0))).to.equal(true);
    // Calls that do not wait say nothing.
    expect(beats(() => sys.socket(AF_INET, SOCK_STREAM, 0))).to.equal(false);
    // A sleeper that is rung.
    ctl[at + T_SLEEPING] = 1;
    expect(beats(() => inline.turn())).to.equal(false);
    inline.syscalls.ready(fd, EPOLLIN);
    ctl[at + T_SLEEPING] = 1;
    expect(beats(() => inline.syscalls.flush())).to.equal(true);
    expect(ctl[at + T_SLEEPING]).to.equal(0);
  });

  it('an event loop, when it goes to sleep and when it wakes', () => {
    const inline = inlineStack();
    const { port } = inline.thread();
    const { ctl } = inline.shared;
    const at = threadAt(inline.shared.layout, port.number);
    for (const [call, sleeping] of [
      [() => port.arm(), -1],
      [() => port.disarm(), 0],
    ] as const) {
      ctl[at + T_BEAT] = (monotonicMs() - 50_000) | 0;
      call();
      expect(beatAgeMs(ctl[at + T_BEAT]!, monotonicMs())).to.be.below(10_000);
      expect(ctl[at + T_SLEEPING]).to.equal(sleeping);
    }
  });
});
