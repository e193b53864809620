/** The adapters: http, https and undici clients over our sockets, and http servers on them. */
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { text } from 'node:stream/consumers';
import { setTimeout as wait } from 'node:timers/promises';
import { expect } from 'chai';
import { Agent, HttpsAgent, serve, undiciConnector } from '../../src/socket/http.js';
import { createNet, type Net, type Socket } from '../../src/socket/net.js';
import { CERTIFICATE, PRIVATE_KEY } from './certificate.js';
import { createFakeNet, HOST } from './fake-sys.js';

/** Listens on port `port` of the net with an unmodified server of Node. */
async function start(net: Net, server: http.Server | https.Server, port: number): Promise<void> {
  const stackServer = net.createServer();
  serve(server, stackServer);
  stackServer.listen(port, HOST);
  await once(server, 'listening');
}

function answer(request: http.ClientRequest): Promise<http.IncomingMessage> {
  return once(request, 'response').then(([response]) => response as http.IncomingMessage);
}

interface Dispatcher {
  close(): Promise<void>;
}

/** undici's Agent, of which Node has a copy for fetch. */
async function undiciAgent(options: object): Promise<Dispatcher> {
  await fetch('data:,x');
  const current = Reflect.get(globalThis, Symbol.for('undici.globalDispatcher.1')) as Dispatcher;
  return new (current.constructor as new (options: object) => Dispatcher)(options);
}

describe('http.Agent over the stack', () => {
  it('keeps connections alive and finds localhost', async () => {
    const net = createNet(createFakeNet());
    const server = http.createServer((request, response) => response.end(request.url));
    await start(net, server, 80);
    const agent = new Agent(net, { keepAlive: true });
    const sockets = new Set<unknown>();
    for (const path of ['/a', '/b', '/c']) {
      const request = http.get({ agent, path, host: 'localhost' });
      const response = await answer(request);
      sockets.add(request.socket);
      expect(await text(response)).to.equal(path);
      await new Promise(setImmediate);
    }
    expect(sockets.size).to.equal(1);
    agent.destroy();
    server.close();
    await once(server, 'close');
  });

  it('reports a refused connection as the request error', async () => {
    const net = createNet(createFakeNet());
    const request = http.get({ agent: new Agent(net), host: HOST, port: 81 });
    const [error] = (await once(request, 'error')) as [Error];
    expect(error.message).to.equal(`connect ECONNREFUSED ${HOST}:81`);
  });
});

describe('https over the stack', () => {
  it('TLS both ways, on an unmodified https.Server', async () => {
    const net = createNet(createFakeNet());
    const server = https.createServer(
      { key: PRIVATE_KEY, cert: CERTIFICATE },
      (request, response) => {
        response.end(`secure ${request.method}`);
      },
    );
    await start(net, server, 443);
    const agent = new HttpsAgent(net, { ca: CERTIFICATE, keepAlive: true });
    for (const method of ['GET', 'POST']) {
      const request = https.request({ agent, host: HOST, servername: 'stack.test', method });
      request.end(method === 'POST' ? 'x'.repeat(100_000) : undefined);
      expect(await text(await answer(request))).to.equal(`secure ${method}`);
    }
    agent.destroy();
    server.close();
    await once(server, 'close');
  });
});

describe('undici over the stack', () => {
  it('fetch with a dispatcher', async () => {
    const net = createNet(createFakeNet());
    const server = http.createServer(async (request, response) => {
      response.end(`${request.method} ${(await text(request)).length}`);
    });
    await start(net, server, 8080);
    const dispatcher = await undiciAgent({ connect: undiciConnector(net) });
    for (const body of ['', 'y'.repeat(300_000)]) {
      const init = { method: 'POST', body, dispatcher } as unknown as RequestInit;
      const response = await fetch(`http://${HOST}:8080/`, init);
      expect(await response.text()).to.equal(`POST ${body.length}`);
    }
    await dispatcher.close();
    server.close();
    await once(server, 'close');
  });

  it('connects with TLS, and gives up after a while', async () => {
    const fake = createFakeNet();
    const net = createNet(fake);
    const server = https.createServer({ key: PRIVATE_KEY, cert: CERTIFICATE });
    await start(net, server, 443);
    const connect = undiciConnector(net, { ca: CERTIFICATE, connectTimeoutMs: 0 });
    const target = { hostname: HOST, protocol: 'https:', port: '', servername: 'stack.test' };
    const socket = await new Promise<Socket>((resolve, reject) => {
      connect(target, (error, made) => (error ? reject(error) : resolve(made as Socket)));
    });
    expect(Reflect.get(socket, 'authorized')).to.equal(true);
    socket.destroy();
    fake.holdConnects = true;
    const hasty = undiciConnector(net, { connectTimeoutMs: 5 });
    const error = await new Promise<NodeJS.ErrnoException>((resolve) => {
      hasty({ hostname: HOST, protocol: 'http:', port: 80 }, (reason) => resolve(reason!));
    });
    expect(error.code).to.equal('UND_ERR_CONNECT_TIMEOUT');
    expect(error.message).to.include(`${HOST}:80`);
    server.close();
    await once(server, 'close');
  });
});

describe('serve', () => {
  it('runs the time-outs of an unmodified http.Server', async () => {
    const net = createNet(createFakeNet());
    const server = http.createServer({ connectionsCheckingInterval: 10, headersTimeout: 20 });
    await start(net, server, 80);
    const slow = net.connect(80, HOST);
    slow.write('GET / HTTP/1.1\r\n');
    expect(await text(slow)).to.match(/^HTTP\/1\.1 408 /);
    server.close();
    await once(server, 'close');
  });

  it("gives the http server the stack server's life", async () => {
    const net = createNet(createFakeNet());
    const server = http.createServer({ keepAlive: true, noDelay: true });
    const stackServer = net.createServer();
    expect(serve(server, stackServer)).to.equal(server);
    expect([stackServer.noDelay, stackServer.keepAlive, stackServer.allowHalfOpen]).to.deep.equal([
      true,
      true,
      true,
    ]);
    stackServer.listen(80, HOST);
    await once(server, 'listening');
    expect(server.address()).to.deep.equal({ address: HOST, family: 'IPv4', port: 80 });
    server.unref();
    server.ref();
    const failed = once(server, 'error');
    stackServer.emit('error', new Error('accept'));
    expect(((await failed) as [Error])[0].message).to.equal('accept');
    stackServer.close();
    await once(server, 'close');
    expect([server.listening, stackServer.listening]).to.deep.equal([false, false]);
  });

  it('serves an http server that listens on the kernel too', async () => {
    const net = createNet(createFakeNet());
    const server = http.createServer((_request, response) => response.end('both'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const before = server.address();
    const stackServer = net.createServer().listen(80);
    await once(stackServer, 'listening');
    serve(server, stackServer);
    expect(server.address()).to.deep.equal(before);
    const response = await answer(http.get({ agent: new Agent(net), host: HOST }));
    expect(await text(response)).to.equal('both');
    stackServer.close();
    server.close();
    await wait(1);
  });
});
