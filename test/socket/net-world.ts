/**
 * A world in which a differential script runs: a `net`, an address of its own, and one list of what
 * happened for each socket. What happens at two sockets at once may interleave differently in two
 * worlds, so each socket has a list of its own.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type http from 'node:http';
import nodeNet, { type AddressInfo, type Server, type Socket } from 'node:net';
import { serve } from '../../src/socket/http.js';
import type { Net } from '../../src/socket/net.js';

export type NodeNet = typeof nodeNet;
export type Logs = Record<string, string[]>;

export interface World {
  net: NodeNet;
  host: string;
  logs: Logs;
  /** Logs the events of a socket or server under `name`. */
  watch<T extends Socket | Server>(name: string, emitter: T): T;
  note(name: string, line: string): void;
  /** An http server that listens on this world's net. */
  listenHttp(server: http.Server): Promise<number>;
}

const EVENTS = [
  'connect',
  'ready',
  'end',
  'finish',
  'drain',
  'timeout',
  'error',
  'close',
  'listening',
  'drop',
];

export function describeArgument(value: unknown): string {
  if (value instanceof Error) {
    const { code, errno, syscall, port } = value as NodeJS.ErrnoException & { port?: number };
    const text = value.message.replace(/(\d+\.){3}\d+(:\d+)?/g, 'ADDRESS');
    return `${code}/${errno}/${syscall}/${port === undefined ? 'no' : 'with'} port: ${text}`;
  }
  return typeof value === 'object' ? 'object' : String(value);
}

function createWorld(net: NodeNet, host: string, listenHttp: World['listenHttp']): World {
  const logs: Logs = {};
  const note = (name: string, line: string) => {
    logs[name] ??= [];
    logs[name].push(line);
  };
  return {
    net,
    host,
    logs,
    note,
    listenHttp,
    watch: (name, emitter) => {
      for (const event of EVENTS) {
        emitter.on(event, (...args: unknown[]) => {
          note(name, [event, ...args.map(describeArgument)].join(' '));
        });
      }
      return emitter;
    },
  };
}

export function kernelWorld(): World {
  const listenHttp = async (server: http.Server) => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  };
  return createWorld(nodeNet, '127.0.0.1', listenHttp);
}

/** A world on one of our `net`s, whose own address is `host`. */
export function stackWorld(ours: Net, host: string): World {
  const listenHttp = async (server: http.Server) => {
    const stackServer = ours.createServer();
    serve(server, stackServer);
    stackServer.listen(0, host);
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  };
  return createWorld(ours as unknown as NodeNet, host, listenHttp);
}

export async function listen(world: World, server: Server): Promise<number> {
  server.listen(0, world.host);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** A client and the server's side of its connection. */
export async function pair(
  world: World,
  options: { allowHalfOpen?: boolean } = {},
): Promise<{ client: Socket; peer: Socket; server: Server }> {
  const server = world.net.createServer(options);
  const port = await listen(world, server);
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const client = world.watch('client', world.net.connect({ port, host: world.host, ...options }));
  const [peer] = await accepted;
  world.watch('peer', peer);
  if (client.connecting) await once(client, 'connect');
  return { client, peer, server };
}

export function closed(...emitters: (Socket | Server)[]): Promise<unknown> {
  return Promise.all(emitters.map((emitter) => new Promise((done) => emitter.once('close', done))));
}

/** The pattern of CONTRACT's /bytes: byte i is i % 251. */
export function pattern(length: number): Buffer {
  const buffer = Buffer.alloc(length);
  for (let i = 0; i < length; i++) buffer[i] = i % 251;
  return buffer;
}

export function sha256(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

/** Runs a scenario in both worlds and returns what ours logged, after comparing. */
export type Same = (scenario: (world: World) => Promise<void>) => Promise<Logs>;
