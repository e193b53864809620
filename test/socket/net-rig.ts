/** A `net` over the fake system calls, and what its tests do again and again. */
import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import type { SocketError } from '../../src/socket/errors.js';
import { createNet, type Net, type Socket } from '../../src/socket/net.js';
import type { Server } from '../../src/socket/server.js';
import { createFakeNet, type FakeNet, HOST } from './fake-sys.js';

export interface Rig {
  fake: FakeNet;
  net: Net;
}

export function rig(bufferBytes?: number): Rig {
  const fake = createFakeNet(bufferBytes);
  return { fake, net: createNet(fake) };
}

export async function listening(server: Server, port = 80): Promise<void> {
  server.listen(port, HOST);
  await once(server, 'listening');
}

/** A client and its accepted peer on a server at port 80. */
export async function pair(net: Net): Promise<{ server: Server; client: Socket; peer: Socket }> {
  const server = net.createServer();
  await listening(server);
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const client = net.connect(80, HOST);
  await once(client, 'connect');
  const [peer] = await accepted;
  return { server, client, peer };
}

export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}

export async function failure(emitter: Socket | Server): Promise<SocketError> {
  const [error] = (await once(emitter, 'error')) as [SocketError];
  return error;
}
