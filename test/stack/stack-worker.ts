/**
 * A stack thread for tests: the real pump and command rings around a fake stack, woken through
 * memory. Posts 'ready', then what the fake stack was told.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { NetNs } from '../../src/net/netns.js';
import { Sysctl } from '../../src/net/sysctl.js';
import { declareDead, openShared, sleepInMemory } from '../../src/socket/uapi/shared.js';
import { Pump, type PumpDevice } from '../../src/stack/pump.js';
import { createRandom } from '../../src/stack/random.js';
import { Syscalls } from '../../src/stack/syscalls.js';
import { FakeStack } from './fake-stack.js';

const { ctl: buffer, arena } = workerData as { ctl: SharedArrayBuffer; arena: SharedArrayBuffer };
const shared = openShared(buffer, new Uint8Array(arena));
const { ctl, layout, mem, mib } = shared;
const counters = {
  rxPackets: 0,
  rxBytes: 0,
  rxErrors: 0,
  txPackets: 0,
  txBytes: 0,
  txDropped: 0,
  txErrors: 0,
};
const device: PumpDevice = {
  mtu: 1500,
  offload: { checksum: false, gsoMaxBytes: 0 },
  counters,
  receive: () => false,
  transmit: () => true,
  close() {},
};
const env = { device, random: createRandom(1), trace: null };
const net = new NetNs(env, new Sysctl('6.18'), mem, mib);
const syscalls = new Syscalls(shared);
const fake = new FakeStack(mem, syscalls, 16384);
syscalls.attach(fake);
const stack = {
  net,
  input() {},
  poll() {},
  nextDeadlineUs: () => Number.POSITIVE_INFINITY,
  orphans: 0,
  resetAll(): void {},
  releaseAcks: () => false,
};
const wait = (timeoutMs: number): void => sleepInMemory(ctl, timeoutMs);
const clock = (): number => performance.now() * 1000;
parentPort!.postMessage('ready');
new Pump({ ctl, stack, syscalls, device, clock, wait, spinUs: 0 }).run();
declareDead(ctl, layout, '');
parentPort!.postMessage({ log: fake.log, open: fake.open, fds: mem.fdsInUse });
