/** Random programs of socket calls, on the kernel's sockets and on ours, call by call. */
import { expect } from 'chai';
import { reuseportAttachSelector } from '../../src/reuseport/group.js';
import { seededRandom } from '../../src/testing/index.js';
import { suiteWith } from '../e2e/machine.js';
import { constantProgram } from './bpf.js';
import { FULL, told } from './full.js';
import {
  type Call,
  callText,
  type Director,
  makeProgram,
  parseProgram,
  playProgram,
  shrink,
} from './program.js';
import { SO_ATTACH_REUSEPORT_CBPF, SO_DETACH_REUSEPORT_BPF, SOL_SOCKET } from './socket-calls.js';
import { setRange, Worlds } from './worlds.js';

const PROGRAMS = FULL ? 40_000 : 3000;
/** Differences that are looked for before the test gives up. */
const SHOWN = 5;
/** Every other program is played with it on. */
const AUTOBIND_REUSE = 'net.ipv4.ip_autobind_reuse';

/** Programs that once found a difference: #slot, arguments as in program.ts. */
const FOUND: Readonly<Record<string, string>> = {
  'connect() says once that it is through': `
    socket(#0, 0, 0) connect(#0, 2130706433, 1) connect(#0, 0, 1) connect(#0, 0, 1)`,
  'a connection to itself, closed by itself, leaves a socket that binds': `
    socket(#2, 0, 0) connect(#2, 0, 1) shutdown(#2, 1, 0) bind(#2, 2130706434, 1)`,
  'shutdown() of a socket without a connection lasts': `
    socket(#0, 0, 0) shutdown(#0, 2, 0) poll(#0, 0, 0) connect(#0, 0, 1) poll(#0, 0, 0)
    send(#0, 0, 0)`,
  'shutdown() after a failed connect() makes the socket useless': `
    socket(#0, 0, 0) connect(#0, 2130706433, 2) shutdown(#0, 1, 0) connect(#0, 2130706433, 2)
    listen(#0, 1, 0)`,
  'an error that was asked for leaves ECONNABORTED to connect()': `
    socket(#0, 0, 0) connect(#0, 2130706433, 2) getsockopt(#0, 4, 0) connect(#0, 2130706433, 2)
    connect(#0, 2130706433, 2)`,
  'getsockname() shows a port that was given back': `
    socket(#0, 1000, 0) connect(#0, 2130706433, 2) connect(#0, 2130706433, 1)
    getsockname(#0, 0, 0)`,
  'getsockname() shows no address after a refused bind()': `
    socket(#1, 0, 0) socket(#2, 0, 0) connect(#2, 2130706434, 2) listen(#1, 0, 0)
    bind(#2, 2130706434, 1) getsockname(#2, 0, 0)`,
  'SO_REUSEPORT cleared later still shares the port': `
    socket(#0, 0, 0) socket(#1, 0, 0) reuseport(#1, 1, 0) reuseport(#0, 1, 0)
    listen(#0, -1, 0) reuseport(#0, 0, 0) bind(#1, 0, 1)`,
  'what was shut down before listen() is shut down in what is accepted': `
    socket(#1, 0, 0) socket(#3, 0, 0) bind(#1, 2130706433, 2) shutdown(#1, 1, 0) listen(#1, 5, 1)
    connect(#3, 2130706433, 2) recvWith(#3, 7, 4) poll(#1, 0, 0) accept(#1, 5, 0) send(#5, 0, 0)
    poll(#5, 0, 0) disconnect(#5, 0, 0) poll(#5, 0, 0)`,
  'reading as well': `
    socket(#1, 0, 0) socket(#3, 0, 0) bind(#1, 2130706433, 2) shutdown(#1, 2, 0) listen(#1, 5, 1)
    connect(#3, 2130706433, 2) send(#3, 0, 0) poll(#1, 0, 0) accept(#1, 5, 0) recv(#5, 0, 0)
    recv(#5, 0, 0) poll(#5, 0, 0) close(#1, 0, 0) poll(#5, 0, 0)`,
  'a port that was bound is for connect() again': `
    socket(#0, 0, 0) socket(#1, 0, 0) socket(#3, 1000, 0) connect(#3, 2130706433, 1)
    bind(#0, 2130706434, 1) close(#0, 0, 0) connect(#1, 2130706433, 2)`,
  'but not one whose owner has got an address by connect()': `
    socket(#1, 0, 0) socket(#3, 0, 0) bind(#1, 0, 1) connect(#1, 2130706434, 2)
    connect(#3, 2130706433, 2)`,
};

suiteWith(['netns', 'root', 'ip', 'tun'], 'kernel as oracle: random programs', () => {
  let worlds: Worlds;

  before(() => {
    worlds = new Worlds();
  });
  after(() => worlds.leave());

  function directors(): Record<'linux' | 'ours', Director> {
    const { kernel, ours } = worlds;
    const { stack } = ours;
    const attachLinux = (fd: number, member: number): number =>
      kernel.setsockoptBytes(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, constantProgram(member));
    const attachOurs = (fd: number, member: number): number =>
      reuseportAttachSelector(stack.tcp.hashinfo, stack.sock(fd)!, () => member);
    return {
      linux: {
        attach: attachLinux,
        detach: (fd) => kernel.setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0),
      },
      ours: {
        attach: attachOurs,
        detach: (fd) => ours.setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0),
      },
    };
  }

  /** The program with what was said, or null when both say the same. */
  function difference(program: readonly Call[], autobindReuse = 0): string | null {
    const port = worlds.freshPorts(2);
    const director = directors();
    const said = worlds.both((world) => {
      setRange(world, port);
      world.setSysctl(AUTOBIND_REUSE, autobindReuse);
      return playProgram(world.calls, program, port, director[world.name]);
    });
    if (said.linux.join() === said.ours.join()) return null;
    const rows = program.map((call, i) => {
      const [linux, ours] = [said.linux[i], said.ours[i]];
      return `${callText(call)} = ${linux === ours ? linux : `linux: ${linux}, ours: ${ours}`}`;
    });
    return rows.join('\n');
  }

  for (const [title, text] of Object.entries(FOUND)) {
    it(title, () => {
      expect(difference(parseProgram(text)) ?? '').to.equal('');
    });
  }

  it('answer as the kernel does', () => {
    const differences: string[] = [];
    let count = 0;
    for (; count < PROGRAMS && differences.length < SHOWN; count++) {
      const reuse = count & 1;
      const program = makeProgram(seededRandom(count));
      if (difference(program, reuse) === null) continue;
      const shortest = shrink(program, (shorter) => difference(shorter, reuse) !== null);
      differences.push(`seed ${count}\n${difference(shortest, reuse)}`);
    }
    expect(differences.join('\n\n')).to.equal('');
    expect(count).to.equal(PROGRAMS);
    told(`${count} programs agree`);
  }).timeout(300_000);
});
