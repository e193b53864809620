/**
 * The kernel's selftest stress_reuseport_listen on both sides: 300 addresses with 80 listeners of
 * one port each are bound, listen and are closed. Says what each side took, one after the other in
 * one run; what is asserted is that every call is answered, not how fast. Where the system allows
 * this process fewer descriptors, both sides have fewer addresses, and ours once more all.
 */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { suiteWith } from '../e2e/machine.js';
import { enterFreshNamespace, KernelSockets } from './kernel-sockets.js';
import { OurSockets } from './our-sockets.js';
import { ipv4, SO_REUSEPORT, SOL_SOCKET, type SocketCalls } from './socket-calls.js';

const ADDRESSES = 300;
const LISTENERS = 80;
const PORT = 8080;
const BACKLOG = 16;
/** What else this process has open. */
const OTHER_FDS = 512;
const FIRST_ADDRESS = ipv4('127.1.0.1');
const ROUNDS = 3;

/** Milliseconds for each of the three steps, all listeners together. */
type Steps = readonly [bind: number, listen: number, close: number];

/** As many of the addresses as there can be descriptors for, by the hard limit. */
function addressesAllowed(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const hard = Number(/^Max open files +\S+ +(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
  return Math.min(ADDRESSES, Math.floor((hard - OTHER_FDS) / LISTENERS));
}

function play(calls: SocketCalls, addresses: number): Steps {
  const fds: number[] = [];
  const clock = [performance.now()];
  for (let i = 0; i < addresses * LISTENERS; i++) {
    const fd = calls.socket();
    calls.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    fds.push(calls.bind(fd, FIRST_ADDRESS + Math.floor(i / LISTENERS), PORT) || fd);
  }
  clock.push(performance.now());
  expect(Math.min(...fds)).to.be.above(0);
  const errors = fds.map((fd) => calls.listen(fd, BACKLOG));
  clock.push(performance.now());
  expect(errors.every((error) => error === 0)).to.equal(true);
  for (const fd of fds) calls.close(fd);
  clock.push(performance.now());
  return [clock[1]! - clock[0]!, clock[2]! - clock[1]!, clock[3]! - clock[2]!];
}

/** Of each step the fastest round. */
function best(rounds: readonly Steps[]): Steps {
  const [first, ...more] = rounds as [Steps, ...Steps[]];
  return more.reduce<Steps>(
    (least, steps) =>
      steps.map((ms, i) => Math.min(ms, least[i]!)) as unknown as [number, number, number],
    first,
  );
}

function tell(side: string, addresses: number, steps: Steps): void {
  const [bind, listen, close] = steps.map((ms) => ms.toFixed(0));
  process.stdout.write(
    `    ${addresses} addresses x ${LISTENERS} listeners, ${side}: socket and bind ${bind} ms, ` +
      `listen ${listen} ms, close ${close} ms\n`,
  );
}

suiteWith(['netns', 'root', 'ip'], 'kernel as oracle: 300 addresses of 80 listeners', () => {
  let leave: () => void = () => {};

  before(() => {
    leave = enterFreshNamespace();
  });
  after(() => leave());

  it('bind, listen and close, as on the kernel', () => {
    const kernel = new KernelSockets();
    const fds = ADDRESSES * LISTENERS + OTHER_FDS;
    const ours = new OurSockets({ fds, arenaBytes: 256 << 20 });
    const addresses = addressesAllowed();
    expect(addresses).to.be.above(0);
    const rounds = Array.from({ length: ROUNDS }, () => ({
      kernel: play(kernel, addresses),
      ours: play(ours, addresses),
    }));
    for (const side of ['kernel', 'ours'] as const) {
      tell(side, addresses, best(rounds.map((round) => round[side])));
    }
    if (addresses < ADDRESSES) tell('ours', ADDRESSES, play(ours, ADDRESSES));
    const { lhash2, bhash } = ours.stack.tcp.hashinfo;
    expect([lhash2.size, bhash.ports]).to.deep.equal([0, 0]);
  });
});
