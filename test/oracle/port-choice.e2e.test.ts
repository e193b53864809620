/**
 * Which port a socket gets that leaves the choice to the stack: where the kernel's dice and ours
 * cannot agree on the port itself, they must agree on the set that it comes from.
 */
import { expect } from 'chai';
import { suiteWith } from '../e2e/machine.js';
import { kernelAtLeast } from './kernel-sockets.js';
import {
  IP_BIND_ADDRESS_NO_PORT,
  IP_LOCAL_PORT_RANGE,
  IPPROTO_IP,
  ipv4,
  outcome,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOL_SOCKET,
} from './socket-calls.js';
import { setRange, type World, Worlds } from './worlds.js';

const LOCALHOST = ipv4('127.0.0.1');
const RESERVED = 'net.ipv4.ip_local_reserved_ports';
const AUTOBIND_REUSE = 'net.ipv4.ip_autobind_reuse';

type Open = (world: World, prepare: (fd: number) => void) => number | string;

function portOf({ calls }: World, fd: number): number {
  const name = calls.getsockname(fd);
  return typeof name === 'number' ? name : name.port;
}

/** Port that bind(0) gives, or why not. */
const byBind: Open = (world, prepare) => {
  const fd = world.calls.socket();
  prepare(fd);
  const result = world.calls.bind(fd, LOCALHOST, 0);
  return result < 0 ? outcome(result) : portOf(world, fd);
};

/** Port that connect() to `port` gives, or why not. */
const byConnect =
  (port: number): Open =>
  (world, prepare) => {
    const fd = world.calls.socket();
    prepare(fd);
    const result = world.calls.connect(fd, LOCALHOST, port);
    const took = outcome(result) === 'EINPROGRESS';
    return took ? portOf(world, fd) : outcome(result);
  };

const nothing = (): void => {};

/** Opens until nothing is left; ports less `low` in the order of their coming, then the error. */
function exhaust(world: World, low: number, open: Open, prepare = nothing as (fd: number) => void) {
  const said: (number | string)[] = [];
  for (let i = 0; i < 40; i++) {
    const port = open(world, prepare);
    said.push(typeof port === 'number' ? port - low : port);
    if (typeof port === 'string') break;
  }
  return said;
}

const parities = (ports: readonly (number | string)[]): string =>
  ports.map((port) => (typeof port === 'number' ? port & 1 : port)).join('');

/** The same ports as a set; their order is a matter of dice. */
const sorted = (ports: readonly (number | string)[]): string =>
  [...ports].sort((a, b) => Number(a) - Number(b)).join();

function reuse({ calls }: World): (fd: number) => void {
  return (fd) => void calls.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
}

// Ranges are of even size: of an odd one a search leaves out a port that the dice choose.
suiteWith(['netns', 'root', 'ip', 'tun'], 'kernel as oracle: port choice', () => {
  let worlds: Worlds;

  before(() => {
    worlds = new Worlds();
  });
  after(() => worlds.leave());

  /** Both worlds say the same; `low` is the first of `count` ports that nobody has used. */
  function agree(count: number, body: (world: World, low: number) => unknown): void {
    const low = worlds.freshPorts(count + 1);
    // The parity of the lowest port decides: an even one.
    const { linux, ours } = worlds.both((world) => body(world, low + (low & 1)));
    expect(ours).to.deep.equal(linux);
  }

  it('bind(0): odd ports of an even range first, then even ones, then EADDRINUSE', () => {
    for (const size of [1, 2, 8]) {
      agree(16, (world, low) => {
        setRange(world, low, low + size - 1);
        const ports = exhaust(world, low, byBind);
        return [parities(ports), sorted(ports)];
      });
    }
  });

  it('bind(0): of a range that begins odd, even ones first', () => {
    agree(16, (world, low) => {
      setRange(world, low + 1, low + 8);
      const ports = exhaust(world, low, byBind);
      return [parities(ports), sorted(ports)];
    });
  });

  it('bind(0) with SO_REUSEADDR: the lower half first', () => {
    agree(40, (world, low) => {
      setRange(world, low, low + 31);
      const ports = exhaust(world, low, byBind, reuse(world));
      const halves = ports.map((port) => (typeof port === 'number' ? Number(port >= 16) : port));
      return [halves.join(''), parities(ports), sorted(ports)];
    });
  });

  it('bind(0): who may share by ip_autobind_reuse, and by options', () => {
    for (const knob of [0, 1]) {
      for (const options of [[SO_REUSEADDR], [SO_REUSEPORT], [SO_REUSEADDR, SO_REUSEPORT]]) {
        agree(4, (world, low) => {
          const { calls } = world;
          setRange(world, low);
          world.setSysctl(AUTOBIND_REUSE, knob);
          const said = [0, 0, 1000].map((uid) => {
            const fd = calls.socket(uid);
            for (const option of options) calls.setsockopt(fd, SOL_SOCKET, option, 1);
            return outcome(calls.bind(fd, LOCALHOST, 0));
          });
          world.setSysctl(AUTOBIND_REUSE, 0);
          return said;
        });
      }
    }
  });

  it('connect(): even ports first, then odd ones, then EADDRNOTAVAIL', () => {
    for (const size of [1, 2, 8]) {
      agree(16, (world, low) => {
        const server = world.calls.socket();
        world.calls.bind(server, LOCALHOST, low + 12);
        world.calls.listen(server, 100);
        setRange(world, low, low + size - 1);
        const ports = exhaust(world, low, byConnect(low + 12));
        return [parities(ports), sorted(ports)];
      });
    }
  });

  it('connect(): passes over what bind() owns, shares what connect() owns', () => {
    agree(16, (world, low) => {
      const { calls } = world;
      for (const port of [low + 8, low + 9]) {
        const server = calls.socket();
        calls.bind(server, LOCALHOST, port);
        calls.listen(server, 100);
      }
      calls.bind(calls.socket(), ipv4('127.0.0.3'), low + 1);
      setRange(world, low, low + 3);
      const first = exhaust(world, low, byConnect(low + 8));
      const second = exhaust(world, low, byConnect(low + 9));
      return [sorted(first), sorted(second)];
    });
  });

  it('ip_local_reserved_ports: chosen by nobody, taken by who asks', () => {
    agree(16, (world, low) => {
      const { calls } = world;
      world.setSysctl(RESERVED, `${low + 1},${low + 4}-${low + 6}`);
      const server = calls.socket();
      calls.bind(server, LOCALHOST, low + 12);
      calls.listen(server, 100);
      setRange(world, low, low + 7);
      const connected = exhaust(world, low, byConnect(low + 12));
      const bound = exhaust(world, low, byBind);
      const asked = outcome(calls.bind(calls.socket(), LOCALHOST, low + 4));
      world.setSysctl(RESERVED, '');
      return [sorted(connected), sorted(bound), asked];
    });
  });

  it('IP_BIND_ADDRESS_NO_PORT: connect() finds the port', () => {
    agree(16, (world, low) => {
      const { calls } = world;
      const server = calls.socket();
      calls.bind(server, LOCALHOST, low + 12);
      calls.listen(server, 100);
      setRange(world, low, low + 1);
      return [0, 1, 2].map(() => {
        const fd = calls.socket();
        calls.setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        const bound = outcome(calls.bind(fd, LOCALHOST, 0));
        const before = portOf(world, fd);
        const result = outcome(calls.connect(fd, LOCALHOST, low + 12));
        const port = portOf(world, fd);
        return [bound, before, result, port === 0 ? 0 : port - low];
      });
    });
  });

  // The option came with 6.3; connect() looks at all its ports one after another since 6.8.
  if (kernelAtLeast(6, 8)) {
    it('IP_LOCAL_PORT_RANGE: narrows the range, counts only inside of it', () => {
      const narrowed: [fromLow: number, toLow: number][] = [
        ...([
          [2, 2],
          [2, 5],
          [3, 6],
          [6, 20],
          [9, 12],
          [0, 0],
        ] as [number, number][]),
      ];
      for (const [from, to] of narrowed) {
        agree(40, (world, low) => {
          const { calls } = world;
          const server = calls.socket();
          calls.bind(server, LOCALHOST, low + 30);
          calls.listen(server, 100);
          setRange(world, low, low + 7);
          const range = ((low + to) << 16) | (low + from);
          const narrow = (fd: number): void =>
            void calls.setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, range);
          const connected = exhaust(world, low, byConnect(low + 30), narrow);
          calls.closeAll();
          const bound = exhaust(world, low, byBind, narrow);
          return [sorted(connected), parities(bound), sorted(bound)];
        });
      }
    });

    it('IP_LOCAL_PORT_RANGE: values that are refused, and ends that are open', () => {
      agree(4, ({ calls }) => {
        const words = [0, 5, 5 << 16, (5 << 16) | 5, (5 << 16) | 6, -1, 0xffff, (1 << 16) | 65_535];
        return words.map((word) => {
          const out = new Int32Array(1);
          const fd = calls.socket();
          const result = calls.setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, word);
          calls.getsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, out);
          return `${outcome(result)} ${out[0]}`;
        });
      });
    });
  }
});
