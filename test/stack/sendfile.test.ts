/**
 * sendfile() and memory files through all layers (src/socket/sys-file.ts, src/stack/syscalls.ts):
 * results as Linux has them, one stack thread and several, and threads that die with files and
 * references.
 */
import { expect } from 'chai';
import { RING_LOCK, RING_TAIL } from '../../src/net/ring.js';
import { extentAdd, extentsUsed } from '../../src/net/ring-extents.js';
import { BLOCK_EXTENTS, BLOCK_OWNER, BLOCK_SND } from '../../src/net/sockmem.js';
import { straced } from '../../src/socket/strace.js';
import type { Sys } from '../../src/socket/sys-table.js';
import * as c from '../../src/socket/uapi/constants.js';
import { OP_THREAD_GONE } from '../../src/socket/uapi/layout.js';
import { Client, QueueWorld } from './queue-world.js';

const [EBADF, EAGAIN, EFAULT, EINVAL, EFBIG, ENOSPC, ESPIPE, EPIPE] = [
  9, 11, 14, 22, 27, 28, 29, 32,
];
const pattern = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 7) % 253);

function listener(sys: Sys): number {
  const fd = sys.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, 0);
  expect(sys.bind(fd, { address: 0, port: 80 })).to.equal(0);
  expect(sys.listen(fd, 511)).to.equal(0);
  return fd;
}

/** A server's thread with one connection, and the client that the test plays. */
function served(queues = 1): {
  world: QueueWorld;
  sys: Sys;
  thread: ReturnType<QueueWorld['thread']>;
  client: Client;
  fd: number;
} {
  const world = new QueueWorld({ queues });
  const thread = world.thread();
  const listen = listener(thread.sys);
  let sport = 20_000;
  // Of several queues not the first one.
  while (queues > 1 && world.queueOf(sport) === 0) sport++;
  const client = new Client(world, sport);
  client.connect();
  const fd = thread.sys.accept4(listen, c.SOCK_NONBLOCK);
  expect(fd).to.be.above(0);
  return { world, sys: thread.sys, thread, client, fd };
}

function fileOf(sys: Sys, contents: Uint8Array): number {
  const file = sys.memfd_create('test', c.MFD_CLOEXEC);
  expect(sys.pwrite(file, contents, 0)).to.equal(contents.length);
  return file;
}

/** Acknowledges until nothing comes any more: the text that came. */
function receive(client: Client): Uint8Array {
  for (let before = -1; before !== client.got.length; ) {
    before = client.got.length;
    const last = client.got.filter(({ payload }) => payload.length > 0).at(-1);
    if (last !== undefined) client.ack = (last.seq + last.payload.length) >>> 0;
    client.world.inject(client.own, client.bytes('.'));
  }
  return Buffer.concat(client.got.map(({ payload }) => payload));
}

describe('stack: sendfile', () => {
  for (const queues of [1, 2]) {
    it(`sends from a file that lies elsewhere, ${queues} queue(s)`, () => {
      const { world, sys, client, fd } = served(queues);
      const contents = pattern(60_000);
      const file = fileOf(sys, contents);
      expect(sys.write(fd, Buffer.from('head'))).to.equal(4);
      expect(sys.sendfile(fd, file, 100, 50_000)).to.equal(50_000);
      const { mem } = world.first.shared;
      const table = mem.ctl[mem.blockAt(fd) + BLOCK_EXTENTS]!;
      expect(extentsUsed(mem, table)).to.equal(1);
      expect(sys.close(file)).to.equal(0);
      const expected = Buffer.concat([Buffer.from('head'), contents.subarray(100, 50_100)]);
      expect(expected.equals(receive(client))).to.equal(true);
      world.pass(3000);
      expect(mem.ctl[mem.blockAt(fd) + BLOCK_EXTENTS]).to.equal(0);
      expect(world.first.syscalls.files.waiting).to.equal(0);
    });
  }

  it('says what Linux says', () => {
    const { sys, fd } = served();
    const file = fileOf(sys, pattern(1000));
    const event = sys.eventfd(0, 0);
    const epoll = sys.epoll_create1(0);
    expect(sys.sendfile(fd, 99, 0, 10)).to.equal(-EBADF);
    expect(sys.sendfile(99, file, 0, 10)).to.equal(-EBADF);
    expect(sys.sendfile(fd, fd, 0, 10)).to.equal(-ESPIPE);
    expect(sys.sendfile(fd, event, 0, 10)).to.equal(-ESPIPE);
    for (const out of [event, epoll, file]) {
      expect(sys.sendfile(out, file, 0, 10)).to.equal(-EINVAL);
    }
    expect(sys.sendfile(fd, file, -1, 10)).to.equal(-EINVAL);
    expect(sys.sendfile(fd, file, 0, -1)).to.equal(-EINVAL);
    expect(sys.sendfile(fd, file, 0, 0)).to.equal(0);
    expect(sys.sendfile(fd, file, 1000, 10)).to.equal(0);
    expect(sys.sendfile(fd, file, 990, 100)).to.equal(10);
    const unconnected = sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
    expect(sys.sendfile(unconnected, file, 0, 10)).to.equal(-EPIPE);
    expect(sys.shutdown(fd, c.SHUT_WR)).to.equal(0);
    expect(sys.sendfile(fd, file, 0, 10)).to.equal(-EPIPE);
    expect(sys.close(file)).to.equal(0);
    expect(sys.sendfile(fd, file, 0, 10)).to.equal(-EBADF);
  });

  it('takes what there is room for, then EAGAIN', () => {
    const { sys, fd } = served();
    const file = fileOf(sys, new Uint8Array(1 << 20));
    const taken = sys.sendfile(fd, file, 0, 1 << 20);
    expect(taken).to.equal(65_536);
    expect(sys.sendfile(fd, file, taken, 1 << 20)).to.equal(-EAGAIN);
  });

  it('memory files are read, written and made longer', () => {
    const { sys, fd } = served();
    expect(sys.memfd_create('x', 2)).to.equal(-EINVAL);
    expect(sys.memfd_create('x'.repeat(250), 0)).to.equal(-EINVAL);
    const file = sys.memfd_create('x', 0);
    expect(sys.ftruncate(file, 0)).to.equal(0);
    expect(sys.pread(file, new Uint8Array(5), 0)).to.equal(0);
    expect(sys.ftruncate(file, 5000)).to.equal(0);
    const out = new Uint8Array(6000).fill(1);
    expect(sys.pread(file, out, 1000)).to.equal(4000);
    expect(out.subarray(0, 4001)).to.deep.equal(new Uint8Array(4001).fill(0).fill(1, 4000));
    expect(sys.pwrite(file, pattern(100), 7000)).to.equal(100);
    expect(sys.pread(file, out, 6999)).to.equal(101);
    expect(out.subarray(1, 101)).to.deep.equal(pattern(100));
    expect(sys.pwrite(file, new Uint8Array(0), 99_999)).to.equal(0);
    expect(sys.pwrite(file, pattern(1), 8192)).to.equal(-ENOSPC);
    expect(sys.ftruncate(file, 8193)).to.equal(-ENOSPC);
    expect(sys.ftruncate(file, -1)).to.equal(-EINVAL);
    expect(sys.pread(file, out, -1)).to.equal(-EINVAL);
    expect(sys.pwrite(file, 'text' as never, 0)).to.equal(-EFAULT);
    expect(sys.pread(file, 'text' as never, 0)).to.equal(-EFAULT);
    expect(sys.pread(fd, out, 0)).to.equal(-ESPIPE);
    expect(sys.pwrite(fd, out, 0)).to.equal(-ESPIPE);
    expect(sys.ftruncate(fd, 1)).to.equal(-EINVAL);
    expect(sys.ftruncate(99, 1)).to.equal(-EBADF);
    for (const wrong of [fd, 99]) {
      expect(sys.pread(wrong, out, -1)).to.equal(-EINVAL);
      expect(sys.pwrite(wrong, out, -1)).to.equal(-EINVAL);
      expect(sys.ftruncate(wrong, -1)).to.equal(-EINVAL);
    }
    expect(sys.read(file, out)).to.equal(-EINVAL);
    expect(sys.write(file, out)).to.equal(-EINVAL);
    const huge = sys.memfd_create('huge', 0);
    expect(sys.ftruncate(huge, 2 ** 40)).to.equal(-EFBIG);
    expect(sys.pwrite(huge, pattern(1), 2 ** 40)).to.equal(-EFBIG);
  });

  it('shows as strace shows it', () => {
    const { sys, fd } = served();
    const lines: string[] = [];
    const traced = straced(sys, (line) => lines.push(line), { pid: 'w' });
    const file = traced.memfd_create('pages', c.MFD_CLOEXEC);
    traced.ftruncate(file, 70_000);
    traced.pwrite(file, Buffer.from('abc'), 10);
    traced.pread(file, new Uint8Array(2), 10);
    traced.sendfile(fd, file, 0, 65_536);
    traced.sendfile(fd, file, 0, 65_536);
    expect(lines.map((line) => line.slice(4))).to.deep.equal([
      `memfd_create("pages", MFD_CLOEXEC) = ${file}`,
      `ftruncate(${file}, 70000) = 0`,
      `pwrite64(${file}, "abc", 3, 10) = 3`,
      `pread64(${file}, "ab", 2, 10) = 2`,
      `sendfile(${fd}, ${file}, [0] => [65536], 65536) = 65536`,
      `sendfile(${fd}, ${file}, [0], 65536) = -1 EAGAIN (Resource temporarily unavailable)`,
    ]);
  });

  it('a thread that dies takes its files and references with it', () => {
    const world = new QueueWorld({ queues: 2 });
    const { port } = world.thread();
    const pages = () => world.sides.map(({ shared }) => shared.mem.pagesInUse);
    let before: number[] = [];
    for (let cycle = 0; cycle < 6; cycle++) {
      const { number, sys } = world.thread();
      const listen = listener(sys);
      for (let i = 0; i < 4; i++) {
        const client = new Client(world, 20_000 + cycle * 10 + i);
        client.connect();
        const fd = sys.accept4(listen, c.SOCK_NONBLOCK);
        const file = fileOf(sys, pattern(60_000));
        expect(sys.sendfile(fd, file, 0, 60_000)).to.equal(60_000);
        if (i === 0) expect(sys.close(file)).to.equal(0);
      }
      world.threadGone(port, number);
      world.pass(1000);
      if (cycle === 0) before = pages();
      expect(pages()).to.deep.equal(before);
      expect(world.first.syscalls.files.waiting).to.equal(0);
      expect(world.first.shared.mem.fdsInUse).to.equal(0);
    }
  });

  it('what a thread was about to send when it died is not part of the stream', () => {
    const { world, sys, client, fd } = served();
    const other = world.thread();
    const contents = pattern(40_000);
    const file = fileOf(sys, contents);
    expect(sys.sendfile(fd, file, 0, 20_000)).to.equal(20_000);
    const { mem } = world.first.shared;
    const { ctl } = mem;
    const block = mem.blockAt(fd);
    const table = ctl[block + BLOCK_EXTENTS]!;
    // The connection belongs to nobody; the other thread dies between entry and tail.
    Atomics.store(ctl, block + BLOCK_OWNER, 0);
    const tail = ctl[block + BLOCK_SND + RING_TAIL]!;
    extentAdd(mem, table, tail, 20_000, 4096, 1);
    Atomics.store(ctl, block + BLOCK_SND + RING_LOCK, other.number + 1);
    expect(world.thread().port.call(OP_THREAD_GONE, 0, other.number)).to.equal(0);
    expect(extentsUsed(mem, table)).to.equal(1);
    expect(sys.write(fd, contents.subarray(20_000))).to.equal(20_000);
    expect(contents).to.deep.equal(new Uint8Array(receive(client)));
  });
});
