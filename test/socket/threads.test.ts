/** Several real threads on one stack thread: nothing is lost, repeated, or left asleep. */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import * as errno from '../../src/net/errno.js';
import { RING_LOCK } from '../../src/net/ring.js';
import { BLOCK_RCV } from '../../src/net/sockmem.js';
import { createSys, type Sys } from '../../src/socket/sys.js';
import {
  AF_INET,
  EPOLLIN,
  EPOLLRDHUP,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from '../../src/socket/uapi/constants.js';
import {
  COMMAND_SLOTS,
  G_STOP,
  OP_CONSUMED,
  OP_THREAD_GONE,
  T_CMD_WAITING,
  T_SLEEPING,
  threadAt,
} from '../../src/socket/uapi/layout.js';
import {
  createCtl,
  declareDead,
  openShared,
  reserveThread,
  type SharedMemory,
  wakeInMemory,
} from '../../src/socket/uapi/shared.js';
import { ThreadPort } from '../../src/socket/uapi/thread-port.js';
import type { TaskData } from './task-worker.js';

const ADDRESS = '198.18.0.1';

/** An application thread at work: its messages in order, and its result. */
class Task {
  readonly worker: Worker;
  readonly number: number;
  readonly result: Promise<unknown>;
  /** The word that a task posts when it is about to block. */
  readonly started: Promise<unknown>;

  constructor(worker: Worker, number: number) {
    this.worker = worker;
    this.number = number;
    this.started = once(worker, 'message');
    this.result = new Promise((resolve, reject) => {
      worker.on('message', (message) => {
        if (typeof message === 'object') resolve(message.done);
      });
      worker.on('error', reject);
      worker.on('exit', () => resolve('exited'));
    });
  }
}

describe('socket: several threads', () => {
  let buffer: SharedArrayBuffer;
  let arena: SharedArrayBuffer;
  let shared: SharedMemory;
  let stack: Worker | null;
  let sys: Sys;
  let port: ThreadPort;
  let tasks: Task[];

  beforeEach(async () => {
    buffer = createCtl(8192);
    arena = new SharedArrayBuffer(64 << 20);
    shared = openShared(buffer, new Uint8Array(arena));
    stack = null;
    tasks = [];
    const number = reserveThread(shared.ctl, shared.layout);
    port = new ThreadPort(shared, number, () => wakeInMemory(shared.ctl));
    sys = createSys(port);
  });

  afterEach(async () => {
    for (const { worker } of tasks) await worker.terminate();
    await stop();
  });

  async function start(): Promise<void> {
    const url = new URL('../stack/stack-worker.js', import.meta.url);
    stack = new Worker(url, { workerData: { ctl: buffer, arena } });
    await once(stack, 'message');
  }

  interface Report {
    log: string[];
    open: number;
    fds: number;
  }

  /** Ends the stack thread: what it has to say. */
  async function stop(): Promise<Report | null> {
    if (stack === null) return null;
    const message = once(stack, 'message');
    Atomics.store(shared.ctl, G_STOP, 1);
    wakeInMemory(shared.ctl);
    const [report] = (await message) as [Report];
    await stack.terminate();
    stack = null;
    return report;
  }

  function run(task: TaskData['task'], fd = -1, bytes = 0): Task {
    const number = reserveThread(shared.ctl, shared.layout);
    const workerData: TaskData = { ctl: buffer, arena, number, task, fd, bytes };
    const worker = new Worker(new URL('./task-worker.js', import.meta.url), { workerData });
    const made = new Task(worker, number);
    tasks.push(made);
    return made;
  }

  function listener(number: number): number {
    const fd = sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    expect(sys.bind(fd, { address: ADDRESS, port: number })).to.equal(0);
    expect(sys.listen(fd, 1000)).to.equal(0);
    return fd;
  }

  /** Until the thread of `task` sleeps on its doorbell (it has said that it is about to). */
  async function asleep(task: Task): Promise<void> {
    const word = threadAt(shared.layout, task.number) + T_SLEEPING;
    while (Atomics.load(shared.ctl, word) === 0) await new Promise(setImmediate);
  }

  it('three million bytes there and back: blocking server, edge-triggered client', async () => {
    await start();
    const listening = listener(80);
    sys.fcntl(listening, 4, 0);
    const bytes = 3_000_000;
    const server = run('echo', listening);
    const client = run('client', -1, bytes);
    expect(await client.result).to.deep.equal({
      sent: bytes,
      received: bytes,
      waits: true,
      closed: 0,
    });
    expect(await server.result).to.deep.equal({ total: bytes, end: 0 });
    sys.close(listening);
    const report = await stop();
    expect(report).to.include({ open: 0, fds: 1 });
  }).timeout(20000);

  it('a shared listener: every connection is accepted exactly once', async () => {
    await start();
    const listening = listener(80);
    const stopper = sys.eventfd(0, 0);
    const acceptors = [1, 2, 3].map(() => run('acceptor', listening, stopper));
    for (const task of acceptors) await task.started;
    const expected: number[] = [];
    const local = { family: 0, address: '', port: 0 };
    const fds: number[] = [];
    for (let i = 0; i < 400; i++) {
      const fd = sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
      expect(sys.connect(fd, { address: ADDRESS, port: 80 })).to.equal(-errno.EINPROGRESS);
      sys.getsockname(fd, local);
      expected.push(local.port);
      fds.push(fd);
    }
    // Each client sees its end: all have been accepted.
    for (const fd of fds) {
      const polled = [{ fd, events: EPOLLRDHUP, revents: 0 }];
      expect(sys.poll(polled, 5000)).to.equal(1);
      sys.close(fd);
    }
    sys.write(stopper, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]));
    const results = await Promise.all(acceptors.map((task) => task.result));
    const ports = results.flatMap((result) => (result as { ports: number[] }).ports);
    expect(ports.sort((a, b) => a - b)).to.deep.equal(expected);
    sys.close(listening);
    expect((await stop())!.open).to.equal(0);
  }).timeout(20000);

  it('more commands than the ring holds wait for room and all arrive', async () => {
    await start();
    const fd = listener(80);
    const count = COMMAND_SLOTS * 3;
    for (let i = 0; i < count; i++) expect(port.post(OP_CONSUMED, fd)).to.equal(true);
    expect(port.call(OP_CONSUMED, fd)).to.equal(0);
    const report = await stop();
    expect(report!.log).to.have.length(count + 1);
  });

  it('a thread whose ring is full sleeps until the stack makes room', async () => {
    const count = COMMAND_SLOTS + 100;
    const flooder = run('flooder', -1, count);
    const waiting = threadAt(shared.layout, flooder.number) + T_CMD_WAITING;
    while (Atomics.load(shared.ctl, waiting) === 0) await new Promise(setImmediate);
    await start();
    expect(await flooder.result).to.deep.equal({ refused: 0 });
    const report = await stop();
    expect(report!.open).to.equal(count);
  }).timeout(20000);

  it('a thread whose ring is full learns that the stack died', async () => {
    const flooder = run('flooder', -1, COMMAND_SLOTS + 3);
    const waiting = threadAt(shared.layout, flooder.number) + T_CMD_WAITING;
    while (Atomics.load(shared.ctl, waiting) === 0) await new Promise(setImmediate);
    declareDead(shared.ctl, shared.layout, 'test');
    expect(await flooder.result).to.deep.equal({ refused: 3 });
  });

  it('a reader waits for a ring that another thread holds', async () => {
    await start();
    const listening = listener(80);
    const fd = sys.socket(AF_INET, SOCK_STREAM, 0);
    sys.connect(fd, { address: ADDRESS, port: 80 });
    const child = sys.accept4(listening, 0);
    sys.write(child, new Uint8Array([7, 8]));
    expect(sys.poll([{ fd, events: EPOLLIN, revents: 0 }], 5000)).to.equal(1);
    const lock = shared.mem.blockAt(fd) + BLOCK_RCV + RING_LOCK;
    Atomics.store(shared.ctl, lock, 99);
    const reader = run('reader', fd);
    await reader.started;
    for (let i = 0; i < 200; i++) await new Promise(setImmediate);
    Atomics.store(shared.ctl, lock, 0);
    expect(await reader.result).to.deep.equal({ result: 2, bytes: [7, 8, 0, 0, 0, 0, 0, 0] });
  });

  it('a thread that blocks in read learns that another one closed the file', async () => {
    await start();
    const listening = listener(80);
    const fd = sys.socket(AF_INET, SOCK_STREAM, 0);
    expect(sys.connect(fd, { address: ADDRESS, port: 80 })).to.equal(0);
    const child = sys.accept4(listening, 0);
    const reader = run('reader', fd);
    await reader.started;
    await asleep(reader);
    expect(sys.close(fd)).to.equal(0);
    expect(await reader.result).to.deep.include({ result: -errno.EBADF });
    expect(sys.read(child, new Uint8Array(1))).to.equal(0);
  });

  it('an eventfd wakes a blocking reader, and a blocking writer when there is room', async () => {
    await start();
    const fd = sys.eventfd(0, 0);
    const reader = run('reader', fd);
    await reader.started;
    await asleep(reader);
    expect(sys.write(fd, new Uint8Array([5, 0, 0, 0, 0, 0, 0, 0]))).to.equal(8);
    expect(await reader.result).to.deep.equal({ result: 8, bytes: [5, 0, 0, 0, 0, 0, 0, 0] });
    expect(sys.write(fd, new Uint8Array([9, 0, 0, 0, 0, 0, 0, 0]))).to.equal(8);
    const writer = run('counter', fd, 0xfffffffe);
    await writer.started;
    await asleep(writer);
    const into = new Uint8Array(8);
    expect(sys.read(fd, into)).to.equal(8);
    expect(into[0]).to.equal(9);
    expect(await writer.result).to.deep.equal({ result: 8 });
  });

  it('a blocking connect ends with the verdict; poll and accept wake', async () => {
    await start();
    const refused = run('connector', -1, 4711);
    expect(await refused.result).to.deep.equal({ result: -errno.ECONNREFUSED });
    const listening = listener(80);
    const poller = run('poller', listening);
    await poller.started;
    await asleep(poller);
    const accepted = run('connector', -1, 80);
    expect(await accepted.result).to.deep.equal({ result: 0 });
    expect(await poller.result).to.deep.equal({ result: 1, revents: EPOLLIN });
  });

  it('all who wait wake up when the stack dies', async () => {
    await start();
    const fd = sys.eventfd(0, 0);
    const waiting = [run('sleeper'), run('reader', fd), run('connector', -1, 9999)];
    waiting.push(run('poller', fd));
    for (const task of waiting) {
      await task.started;
      await asleep(task);
    }
    declareDead(shared.ctl, shared.layout, 'test');
    for (const task of waiting) {
      expect(await task.result).to.deep.include({ result: -errno.EIO });
    }
    expect(sys.socket(AF_INET, SOCK_STREAM, 0)).to.equal(-errno.EIO);
    expect(port.failure).to.equal('the stack thread died: test');
  });

  it('a thread that is killed leaves nothing; its peer is reset', async () => {
    await start();
    const listening = listener(80);
    sys.fcntl(listening, 4, 0);
    const server = run('echo', listening);
    const fd = sys.socket(AF_INET, SOCK_STREAM, 0);
    expect(sys.connect(fd, { address: ADDRESS, port: 80 })).to.equal(0);
    expect(sys.write(fd, new Uint8Array([1, 2]))).to.equal(2);
    const into = new Uint8Array(2);
    let count = 0;
    while (count < 2) count += sys.read(fd, into, count);
    expect([...into]).to.deep.equal([1, 2]);
    await asleep(server);
    await server.worker.terminate();
    expect(port.call(OP_THREAD_GONE, 0, server.number)).to.equal(0);
    expect(sys.read(fd, into)).to.equal(-errno.ECONNRESET);
    sys.close(fd);
    sys.close(listening);
    const report = await stop();
    expect(report).to.include({ open: 0, fds: 0 });
  });
});
