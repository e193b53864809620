/**
 * What tun.e2e.test.ts runs inside a network namespace of its own: `node tun-child.js SCENARIO
 * [JSON]`. Each scenario prints one JSON value as its last line.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { DeviceError } from '../../src/device/errors.js';
import {
  IFF_NO_PI,
  IFF_TAP,
  IFF_TUN,
  IFF_UP,
  IfReq,
  SIOCGIFMTU,
  SIOCGIFTXQLEN,
  SIOCSIFADDR,
  SIOCSIFMTU,
  SIOCSIFNETMASK,
  TUNSETOWNER,
  TUNSETPERSIST,
} from '../../src/device/ifreq.js';
import { mmapArena, native, O_RDWR, viewArena } from '../../src/device/native.js';
import { judgeUserNamespaces, probeUserNamespaces } from '../../src/device/rootless.js';
import { openTun, type TunOptions } from '../../src/device/tun.js';
import type { TunDevice } from '../../src/device/tun-device.js';
import { eventfdCreate, eventfdWrite, POLL_EVENT, pollWait } from '../../src/device/wait.js';
import type { SocketMemory } from '../../src/net/sockmem.js';
import {
  echoRequest,
  fill,
  HOST,
  makeMemory,
  makeSkb,
  packetOf,
  pattern,
  STACK,
  udp,
} from './packets.js';
import { TcpPeer } from './tcp-peer.js';

const ARENA_BYTES = 4 << 20;
const NOBODY = 65_534;
const SELF = fileURLToPath(import.meta.url);

interface LinkOptions extends TunOptions {
  /** The arena is a plain buffer: packets go through the bounce buffer. */
  plain?: boolean;
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function arenaFor(options: LinkOptions): SocketMemory {
  return makeMemory(options.plain ? new Uint8Array(ARENA_BYTES) : mmapArena(ARENA_BYTES).bytes);
}

/** What opening says: the device's face, or the error. */
function tryOpen(options: TunOptions): object {
  try {
    const device = openTun(options);
    const { name, mtu, offload, txqueuelen } = device;
    return { opened: name, mtu, offload, txqueuelen };
  } catch (error) {
    if (error instanceof DeviceError) return error.toJSON();
    throw error;
  }
}

/** Opens, and asks the kernel what it has made of it. */
function settings(options: TunOptions): object {
  const { name, mtu, offload, txqueuelen } = openTun(options);
  const request = new IfReq(name);
  const kernel = {
    mtu: request.getInt(SIOCGIFMTU),
    txqueuelen: request.getInt(SIOCGIFTXQLEN),
    up: (request.getFlags() & IFF_UP) !== 0,
  };
  request.close();
  return { opened: { mtu, offload, txqueuelen }, kernel };
}

/** A kernel socket's datagram comes in, ours goes out to it, and the kernel answers our ping. */
async function datagrams(options: LinkOptions): Promise<object> {
  const device = openTun(options);
  const mem = arenaFor(options);
  const into = makeSkb(mem);
  const out = makeSkb(mem);
  const socket = createSocket('udp4');
  const heard: string[] = [];
  socket.on('message', (message, from) => heard.push(`${from.address}:${from.port} ${message}`));
  socket.bind(5555, '198.18.0.254');
  await once(socket, 'listening');
  socket.send(Buffer.from('from the kernel'), 7, '198.18.0.1');
  const result: Record<string, unknown> = {};
  const fd = eventfdCreate();
  const echo = echoRequest(STACK, HOST, pattern(1000));
  device.transmit(fill(out, echo));
  device.transmit(fill(out, udp(STACK, HOST, 7, 5555, Buffer.from('from the device'))));
  // Neither IPv4 nor IPv6: the kernel refuses it.
  device.transmit(fill(out, new Uint8Array(40)));
  result['refused'] = [device.counters.txErrors, device.lastErrno];
  while (heard.length === 0 || result['datagram'] === undefined || result['pong'] === undefined) {
    pollWait(device.fd, fd, 1);
    while (device.receive(into)) {
      const packet = packetOf(into);
      if (packet[0] !== 0x45) continue;
      if (packet[9] === 17) {
        result['datagram'] = Buffer.from(packet.subarray(28)).toString();
        result['ipSummed'] = into.ipSummed;
      }
      if (packet[9] === 1) {
        result['pong'] =
          packet[20] === 0 && Buffer.compare(packet.subarray(24), echo.subarray(24)) === 0;
      }
    }
    await nextTurn();
  }
  socket.close();
  device.close();
  return { ...result, heard, counters: device.counters };
}

/** 300,000 bytes from a kernel TCP socket and 200,000 back. */
async function stream(options: LinkOptions): Promise<object> {
  const device = openTun(options);
  const mem = arenaFor(options);
  const into = makeSkb(mem);
  const ring = makeSkb(mem).base;
  const upBytes = 300_000;
  const downBytes = 200_000;
  const peer = new TcpPeer(device, makeSkb(mem), ring, upBytes, downBytes);
  const socket = connect({ host: '198.18.0.1', port: 80 });
  const hash = createHash('sha256');
  let down = 0;
  socket.on('data', (chunk) => {
    down += chunk.length;
    hash.update(chunk);
  });
  const up = pattern(upBytes);
  socket.write(up);
  while (!peer.done || down < downBytes) {
    while (device.receive(into)) peer.input(into);
    await nextTurn();
  }
  socket.resetAndDestroy();
  while (!peer.reset) {
    while (device.receive(into)) peer.input(into);
    await nextTurn();
  }
  device.close();
  return {
    upIntact: Buffer.compare(Buffer.concat(peer.received), up) === 0,
    downIntact:
      hash.digest('hex') === createHash('sha256').update(pattern(downBytes)).digest('hex'),
    largestPacket: peer.largestPacket,
    largestGso: peer.largestGso,
    trusted: peer.trusted,
    counters: device.counters,
  };
}

/** The device in a worker thread, the arena seen by both. */
async function threads(): Promise<object> {
  const { address, bytes } = mmapArena(ARENA_BYTES);
  const wake = eventfdCreate();
  const worker = new Worker(SELF, { workerData: { address, wake } });
  await once(worker, 'message');
  const socket = createSocket('udp4');
  socket.send(Buffer.from('across threads'), 7, '198.18.0.1');
  const [where] = (await once(worker, 'message')) as [{ start: number; end: number }];
  const text = Buffer.from(bytes.subarray(where.start + 28, where.end)).toString();
  socket.close();
  eventfdWrite(wake);
  const [code] = await once(worker, 'exit');
  return { text, code };
}

function stackThread(data: { address: number; wake: number }): void {
  const device = openTun();
  const skb = makeSkb(makeMemory(viewArena(data.address, ARENA_BYTES)));
  parentPort!.postMessage('ready');
  for (;;) {
    if (pollWait(device.fd, data.wake, 1000) & POLL_EVENT) break;
    while (device.receive(skb)) {
      const isDatagram = skb.bytes[skb.start] === 0x45 && skb.bytes[skb.start + 9] === 17;
      if (isDatagram) parentPort!.postMessage({ start: skb.start, end: skb.end });
    }
  }
  device.close();
}

/** The same name twice, then another name with the same, an overlapping, and a free subnet. */
function taken(): object {
  const first = openTun({ name: 'first0' });
  const result = {
    sameName: tryOpen({ name: 'first0' }),
    sameAddress: tryOpen({ name: 'second0' }),
    larger: tryOpen({ name: 'second0', address: '198.18.3.1/16', peer: '198.18.3.2' }),
    free: tryOpen({ name: 'second0', address: '198.19.0.1/24', peer: '198.19.0.2' }),
  };
  first.close();
  return { ...result, after: tryOpen({ name: 'third0' }) };
}

const interfaces = (): string[] =>
  readFileSync('/proc/net/dev', 'latin1')
    .split('\n')
    .slice(2)
    .map((line) => line.split(':')[0]!.trim())
    .filter((name) => name !== '');

/** A process with the device is killed with SIGKILL: nothing is left. */
async function killed(): Promise<object> {
  const child = spawn(process.execPath, [SELF, 'hold'], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(createInterface(child.stdout), 'line');
  const before = interfaces();
  child.kill('SIGKILL');
  await once(child, 'exit');
  return { before, after: interfaces() };
}

function hold(): void {
  const device: TunDevice = openTun();
  console.log(JSON.stringify(device.name));
  setInterval(() => device.fd, 60_000);
}

/** Makes a persistent device that belongs to `owner`, and sets it up unless `address` is null. */
function makePersistent(name: string, address: number | null, flags: number): void {
  const fd = native().open('/dev/net/tun', O_RDWR, 0);
  const request = new IfReq(name);
  const results = [
    request.attach(fd, flags | IFF_NO_PI),
    request.setValue(fd, TUNSETPERSIST, 1),
    request.setValue(fd, TUNSETOWNER, NOBODY),
  ];
  if (address !== null) {
    results.push(
      request.setAddress(SIOCSIFADDR, address),
      request.setAddress(SIOCSIFNETMASK, -256),
      request.setInt(SIOCSIFMTU, 1400),
      request.up(),
    );
  }
  if (results.some((result) => result < 0)) throw new Error(`not made: ${results}`);
  request.close();
  native().close(fd);
}

function asNobody(options: TunOptions): unknown {
  const uid = String(NOBODY);
  const capability = ['--inh-caps', '+dac_read_search', '--ambient-caps', '+dac_read_search'];
  const user = ['--reuid', uid, '--regid', uid, '--clear-groups', ...capability];
  const args = [...user, process.execPath, SELF, 'open', JSON.stringify(options)];
  const run = spawnSync('setpriv', args, { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(run.stderr);
  return JSON.parse(run.stdout);
}

/**
 * Devices made beforehand for an unprivileged user: set up rightly, not at all, wrongly, and of
 * another kind.
 */
function premade(): object {
  makePersistent('ready0', HOST, IFF_TUN);
  const ready = {
    right: asNobody({ name: 'ready0', mtu: 1400 }),
    again: asNobody({ name: 'ready0', mtu: 1400, offload: false }),
    otherMtu: asNobody({ name: 'ready0', mtu: 1500 }),
    otherAddress: asNobody({ name: 'ready0', address: '10.9.0.1/24', peer: '10.9.0.2' }),
  };
  makePersistent('bare0', null, IFF_TUN);
  makePersistent('tap0', null, IFF_TAP);
  const link = { address: '10.9.0.1/24', peer: '10.9.0.2' };
  return {
    ...ready,
    bare: asNobody({ name: 'bare0', ...link }),
    bareAsRoot: tryOpen({ name: 'bare0', ...link }),
    tap: tryOpen({ name: 'tap0', address: '10.8.0.1/24', peer: '10.8.0.2' }),
    left: interfaces(),
  };
}

const scenarios: Record<string, (options: LinkOptions) => unknown> = {
  open: tryOpen,
  settings,
  datagrams,
  stream,
  threads,
  taken,
  killed,
  hold,
  premade,
  userNamespaces: () => judgeUserNamespaces(probeUserNamespaces()),
};

if (isMainThread) {
  const [name, options] = process.argv.slice(2);
  const result = await scenarios[name!]!(JSON.parse(options ?? '{}') as LinkOptions);
  if (result !== undefined) console.log(JSON.stringify(result));
} else {
  stackThread(workerData as { address: number; wake: number });
}
