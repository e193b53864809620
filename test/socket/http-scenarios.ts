/** Scripts about an unmodified http.Server, for net-scenarios.ts. */
import { once } from 'node:events';
import http from 'node:http';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import { closed, pattern, type Same, sha256, type World } from './net-world.js';

export function httpScenarios(same: Same): void {
  function handler(world: World): http.RequestListener {
    return (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks);
        const encoding = request.headers['transfer-encoding'];
        world.note('server', `${request.method} ${request.url} ${encoding} ${body.length}`);
        response.end(`${body.length} ${sha256(body)}`);
      });
    };
  }

  it('keeps a connection alive and reads a chunked POST', async () => {
    const logs = await same(async (world) => {
      const server = http.createServer(handler(world));
      const port = await world.listenHttp(server);
      let connections = 0;
      server.on('connection', () => connections++);
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      (agent as unknown as { createConnection: unknown }).createConnection = world.net.connect;
      const ask = async (method: string, path: string, parts: Buffer[]) => {
        const request = http.request({ agent, host: world.host, port, method, path });
        for (const part of parts) request.write(part);
        request.end();
        const [response] = (await once(request, 'response')) as [http.IncomingMessage];
        const { statusCode, headers } = response;
        const { connection } = headers;
        world.note('client', `${statusCode} ${connection} ${await text(response)}`);
      };
      await ask('GET', '/first', []);
      await ask('POST', '/chunked', [pattern(100_000), Buffer.from('x'), pattern(200_000)]);
      await ask('GET', '/last', []);
      world.note('server', `connections ${connections}`);
      const done = once(server, 'close');
      server.close((error) => world.note('server', `closed ${error}`));
      agent.destroy();
      await done;
    });
    expect(logs['server']).to.deep.equal([
      'GET /first undefined 0',
      'POST /chunked chunked 300001',
      'GET /last undefined 0',
      'connections 1',
      'closed undefined',
    ]);
  });

  it('answers a bad request and closes idle connections', async () => {
    await same(async (world) => {
      const server = http.createServer(handler(world));
      const port = await world.listenHttp(server);
      const bad = world.watch('bad', world.net.connect(port, world.host));
      bad.write('NONSENSE\r\n\r\n');
      world.note('bad', await text(bad));
      const idle = world.watch('idle', world.net.connect(port, world.host));
      idle.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      await once(idle, 'data');
      server.close();
      await closed(idle);
    });
  });
}
