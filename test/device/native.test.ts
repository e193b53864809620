/** System calls through koffi: memory, descriptors, errno. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { DeviceError } from '../../src/device/errors.js';
import {
  mmapArena,
  munmapArena,
  native,
  nativeAddress,
  O_NONBLOCK,
  O_RDWR,
  viewArena,
} from '../../src/device/native.js';
import { checkTunOptions } from '../../src/device/tun.js';
import { TunDevice } from '../../src/device/tun-device.js';
import {
  closeFd,
  eventfdCreate,
  eventfdRead,
  eventfdWrite,
  MAX_SLEEP_MS,
  POLL_EVENT,
  POLL_GONE,
  POLL_TUN,
  pollWait,
} from '../../src/device/wait.js';
import { EBADF, ENOENT } from '../../src/net/errno.js';
import { fill, HOST, makeMemory, makeSkb, STACK, tcp, udp } from './packets.js';

const ROOM = new URL('../../src/device/', import.meta.url).href;

const DESCRIPTION = {
  name: 'x',
  address: '198.18.0.1',
  peer: '198.18.0.254',
  prefix: 24,
  mtu: 1500,
  txqueuelen: 500,
  vnet: false,
};

describe('native calls', () => {
  it('fail with errno and succeed with a value', () => {
    const calls = native();
    expect(calls).to.equal(native());
    expect(calls.open('/no/such/file', O_RDWR, 0)).to.equal(-1);
    expect(calls.errno()).to.equal(ENOENT);
    const fd = calls.open('/dev/zero', O_RDWR, 0);
    expect(fd).to.be.at.least(0);
    const { address, bytes } = mmapArena(4096);
    bytes.fill(7);
    expect(calls.read(fd, address + 100, 50)).to.equal(50);
    expect(bytes[99]).to.equal(7);
    expect([...bytes.subarray(100, 150)]).to.deep.equal(new Array(50).fill(0));
    expect(bytes[150]).to.equal(7);
    expect(calls.close(fd)).to.equal(0);
    munmapArena(address, 4096);
  });

  it('an arena knows its address, also seen a second time and from its middle', () => {
    const { address, bytes } = mmapArena(1 << 20);
    const again = viewArena(address, 1 << 20);
    bytes[5] = 42;
    expect(again[5]).to.equal(42);
    expect(nativeAddress(bytes)).to.equal(address);
    expect(nativeAddress(again.subarray(100))).to.equal(address + 100);
    expect(nativeAddress(new Uint8Array(8))).to.equal(0);
  });

  it('arenas have places of their own, where a taken one was wished for', () => {
    const arenas = Array.from({ length: 4 }, () => mmapArena(1 << 20));
    for (const [i, { bytes }] of arenas.entries()) bytes.fill(i + 1);
    const marks = arenas.map(({ bytes }) => [bytes[0], bytes.at(-1)]);
    expect(marks).to.deep.equal([1, 2, 3, 4].map((mark) => [mark, mark]));
    for (const { address } of arenas) munmapArena(address, 1 << 20);
  });

  it('a gibibyte costs no memory until it is touched', () => {
    const before = process.memoryUsage().rss;
    const { bytes } = mmapArena(1 << 30);
    bytes[0] = 1;
    bytes[(1 << 30) - 1] = 1;
    expect(process.memoryUsage().rss - before).to.be.lessThan(64 << 20);
  });

  it('an impossible arena is an error with a remedy', () => {
    expect(() => mmapArena(2 ** 47)).to.throw(DeviceError, /mmap of \d+ bytes failed/);
  });

  it('another thread sees the same memory and rings an eventfd', async () => {
    const { address, bytes } = mmapArena(1 << 20);
    const fd = eventfdCreate();
    const at = (file: string): string =>
      JSON.stringify(new URL(`../../src/device/${file}.js`, import.meta.url).href);
    const worker = new Worker(
      `const { workerData } = require('node:worker_threads');
       (async () => {
         const { viewArena } = await import(${at('native')});
         const { eventfdWrite } = await import(${at('wait')});
         viewArena(workerData.address, 1 << 20)[77] = 99;
         eventfdWrite(workerData.fd);
       })();`,
      { eval: true, workerData: { address, fd } },
    );
    const code = await new Promise((resolve, reject) => {
      worker.on('error', reject);
      worker.on('exit', resolve);
    });
    expect(code).to.equal(0);
    expect(bytes[77]).to.equal(99);
    expect(eventfdRead(fd)).to.equal(true);
    closeFd(fd);
  });
});

describe('without koffi', () => {
  /** Runs `body` in a process where koffi cannot be found; what it prints. */
  function withoutKoffi(body: string): unknown {
    const script = `
      import Module from 'node:module';
      const resolve = Module._resolveFilename;
      Module._resolveFilename = (request, ...rest) => {
        if (request === 'koffi') throw new Error('Cannot find module koffi');
        return resolve(request, ...rest);
      };
      const load = (file) => import(new URL(file + '.js', ${JSON.stringify(ROOM)}));
      ${body}`;
    const args = ['--input-type=module', '-e', script];
    return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }));
  }

  it('a call says what is missing; everything else works', () => {
    const found = withoutKoffi(`
      const { memoryPair } = await load('memory');
      const { PcapngWriter } = await load('pcapng');
      await Promise.all(['tun', 'capture', 'duplex', 'wait', 'rootless'].map(load));
      const { native } = await load('native');
      let error;
      try { native(); } catch (e) { error = e.toJSON(); }
      const { diagnose } = await load('doctor');
      const bad = diagnose().checks.filter((row) => !row.ok).map((row) => row.name);
      new PcapngWriter(() => {}).flush();
      console.log(JSON.stringify({ mtu: memoryPair().a.mtu, error, bad }));`) as {
      mtu: number;
      error: { code: string; message: string; exitCode: number };
      bad: string[];
    };
    expect(found.mtu).to.equal(1500);
    expect(found.error).to.include({ code: 'ENOKOFFI', exitCode: 1 });
    expect(found.error.message).to.contain('Cannot find module koffi');
    expect(found.bad).to.include.members(['koffi', 'open']);
  });
});

describe('sleep and wake', () => {
  it('an eventfd wakes, signals coalesce, reading takes them off', () => {
    const fd = eventfdCreate();
    const idle = eventfdCreate();
    expect(pollWait(idle, fd, 0)).to.equal(0);
    expect(eventfdRead(fd)).to.equal(false);
    eventfdWrite(fd);
    eventfdWrite(fd);
    expect(pollWait(idle, fd, 1000)).to.equal(POLL_EVENT);
    expect(eventfdRead(fd)).to.equal(true);
    expect(eventfdRead(fd)).to.equal(false);
    expect(pollWait(idle, fd, 0.2)).to.equal(0);
    eventfdWrite(idle);
    expect(pollWait(idle, fd, Number.POSITIVE_INFINITY)).to.equal(POLL_TUN);
    eventfdWrite(fd);
    expect(pollWait(idle, fd, -1)).to.equal(POLL_TUN | POLL_EVENT);
    closeFd(idle);
    expect(pollWait(idle, fd, 1000)).to.equal(POLL_GONE | POLL_EVENT);
    closeFd(fd);
    expect(MAX_SLEEP_MS).to.be.at.most(1000);
  });
});

describe('TUN device, what needs no privilege', () => {
  const mem = makeMemory();
  const skb = makeSkb(mem);

  it('refuses options that cannot be right with exit code 2', () => {
    const rows: [Parameters<typeof checkTunOptions>[0], RegExp][] = [
      [{ name: '' }, /not a name/],
      [{ name: '0123456789abcdef' }, /not a name/],
      [{ name: 'a/b' }, /not a name/],
      [{ name: 'a b' }, /not a name/],
      [{ name: '..' }, /not a name/],
      [{ name: '.' }, /not a name/],
      [{ name: 'tun%d' }, /not a name/],
      [{ name: 'äöüäöüäö' }, /not a name/],
      [{ mtu: 67 }, /--mtu 67: out of range/],
      [{ mtu: 65_536 }, /--mtu 65536: out of range/],
      [{ mtu: 1500.5 }, /out of range/],
      [{ txqueuelen: 0 }, /txqueuelen/],
      [{ txqueuelen: 1_000_001 }, /txqueuelen/],
      [{ txqueuelen: 1.5 }, /txqueuelen/],
      [{ address: '198.18.0.1/24', peer: '10.0.0.1' }, /not in the subnet/],
    ];
    for (const [options, message] of rows) {
      expect(() => checkTunOptions(options), JSON.stringify(options)).to.throw(
        DeviceError,
        message,
      );
    }
    expect(checkTunOptions({})).to.deep.include({ name: 'tunstack0', mtu: 1500, offload: true });
    expect(checkTunOptions({ name: '0123456789abcde', mtu: 68 }).mtu).to.equal(68);
    expect(checkTunOptions({ mtu: 65_535, offload: false, txqueuelen: 1 }).offload).to.equal(false);
  });

  it('a read that brings no packet and a write that fails are counted, never thrown', () => {
    // A pipe in the device's place: it can be empty, full, and hold something too short.
    const directory = mkdtempSync(join(tmpdir(), 'tunstack-fifo-'));
    const path = join(directory, 'fifo');
    execFileSync('mkfifo', [path]);
    const fd = native().open(path, O_RDWR | O_NONBLOCK, 0);
    rmSync(directory, { recursive: true });
    const device = new TunDevice({ ...DESCRIPTION, fd });
    expect(device.receive(skb)).to.equal(false);
    expect(device.counters.rxErrors).to.equal(0);
    const { address } = mmapArena(4096);
    native().write(fd, address, 19);
    expect(device.receive(skb)).to.equal(false);
    expect(device.counters).to.include({ rxErrors: 1, rxPackets: 0 });
    const packet = udp(STACK, HOST, 1, 2, new Uint8Array(996));
    let sent = 0;
    while (device.transmit(fill(skb, packet))) sent++;
    expect(sent).to.be.greaterThan(0);
    expect(device.counters).to.include({ txPackets: sent, txDropped: 1, txErrors: 0 });
    expect(device.counters.txBytes).to.equal(sent * 1024);
    skb.frag0Bytes = 65_536;
    expect(device.transmit(skb)).to.equal(false);
    expect(device.counters).to.include({ txErrors: 1 });
    closeFd(fd);
    munmapArena(address, 4096);
    fill(skb, tcp({ saddr: STACK, daddr: HOST, sport: 1, dport: 2, seq: 0, ack: 0, flags: 0 }));
    expect(device.transmit(skb)).to.equal(false);
    expect(device.receive(skb)).to.equal(false);
    expect(device.counters).to.include({ txErrors: 2, rxErrors: 2 });
    expect(device.lastErrno).to.equal(EBADF);
  });

  it('is quiet once closed, and may be closed again', () => {
    const device = new TunDevice({ ...DESCRIPTION, vnet: true, fd: eventfdCreate() });
    expect(device.offload).to.deep.equal({ checksum: true, gsoMaxBytes: 65_535 });
    device.close();
    device.close();
    expect(device.fd).to.equal(-1);
    expect(device.receive(skb)).to.equal(false);
    expect(device.transmit(skb)).to.equal(false);
    expect(device.counters).to.include({ rxErrors: 0, txErrors: 0 });
  });
});
