/**
 * The same script on `node:net` (kernel sockets on loopback) and on ours: each socket must see the
 * same events, errors and bytes in the same order.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import { httpScenarios } from './http-scenarios.js';
import {
  closed,
  describeArgument,
  kernelWorld,
  listen,
  pair,
  pattern,
  type Same,
  sha256,
  type World,
} from './net-world.js';

function socketScenarios(same: Same): void {
  it('echoes, and ends from the client', async () => {
    const logs = await same(async (world) => {
      const server = world.watch('server', world.net.createServer());
      let peerClosed: Promise<unknown> = Promise.resolve();
      server.on('connection', (socket) => {
        peerClosed = closed(world.watch('peer', socket));
        socket.on('data', (chunk) => socket.write(chunk));
        world.note('peer', `${socket.readyState} ${socket.remoteFamily} ${socket.localFamily}`);
      });
      const port = await listen(world, server);
      const client = world.watch('client', world.net.connect(port, world.host));
      world.note('client', `${client.readyState} ${client.pending} ${client.connecting}`);
      client.write('hel');
      client.write('lo');
      world.note('client', `${client.bytesWritten} ${client.writableLength}`);
      let got = '';
      client.on('data', (chunk) => {
        got += chunk;
        if (got.length === 5) client.end();
      });
      client.on('connect', () => {
        world.note('client', `${client.readyState} ${client.remotePort === port}`);
        world.note('client', `${client.remoteAddress === world.host}`);
      });
      await closed(client);
      await peerClosed;
      world.note(
        'client',
        `${got} ${client.bytesRead} ${client.bytesWritten} ${client.readyState}`,
      );
      await new Promise<void>((done) => server.close(() => done()));
    });
    expect(logs['client']).to.include.members(['hello 5 5 closed', 'close false']);
    expect(logs['server']).to.deep.equal(['listening', 'close']);
  });

  it('half close: the client ends, the server still sends', async () => {
    const logs = await same(async (world) => {
      const { client, peer, server } = await pair(world, { allowHalfOpen: true });
      // One write may come as two segments, or two as one: what was said is compared as a whole.
      let answer = '';
      client.on('data', (chunk) => (answer += chunk));
      client.on('end', () => world.note('client', `answer ${answer}`));
      peer.on('data', (chunk) => world.note('peer', `data ${chunk}`));
      client.end('question');
      await once(peer, 'end');
      world.note('peer', peer.readyState);
      peer.write('ans');
      await turn();
      peer.end('wer');
      await closed(client, peer);
      server.close();
    });
    expect(logs['peer']!.slice(0, 3)).to.deep.equal(['data question', 'end', 'writeOnly']);
  });

  it('half close: the server ends, the client still sends', async () => {
    await same(async (world) => {
      const { client, peer, server } = await pair(world, { allowHalfOpen: true });
      const both = closed(client, peer);
      client.resume();
      peer.end('bye');
      await once(client, 'end');
      world.note('client', client.readyState);
      client.end('late');
      world.note('peer', await text(peer));
      await both;
      server.close();
    });
  });

  it('without allowHalfOpen the end of one side ends the other', async () => {
    const logs = await same(async (world) => {
      const { client, peer, server } = await pair(world);
      client.resume();
      peer.resume();
      peer.end();
      await closed(client, peer);
      server.close();
    });
    expect(logs['client']).to.deep.equal(['connect', 'ready', 'end', 'finish', 'close false']);
  });

  it('a write after the other party has ended says so', async () => {
    const logs = await same(async (world) => {
      const { client, peer, server } = await pair(world);
      client.resume();
      client.on('end', () => {
        const late = () => {
          const more = client.write('late', (error) => {
            world.note('client', `callback ${describeArgument(error)}`);
          });
          world.note('client', `write ${more}`);
        };
        // By then the stream has ended itself.
        process.nextTick(() => process.nextTick(late));
      });
      peer.resume();
      peer.end();
      await closed(client, peer);
      server.close();
    });
    expect(logs['client']!.join()).to.match(/EPIPE.*ended by the other party/);
  });

  it('destroy in the middle of a transfer resets the other side', async () => {
    const logs = await same(async (world) => {
      const { client, peer, server } = await pair(world);
      peer.write(pattern(1 << 20));
      await once(client, 'readable');
      const both = closed(client, peer);
      // Nobody reads any more: once the client's buffers have filled again, it goes with text
      // unread.
      for (let i = 0; i < 20_000; i++) await turn();
      client.destroy();
      await both;
      server.close();
    });
    expect(logs['peer']).to.deep.equal([
      'error ECONNRESET/-104/read/no port: read ECONNRESET',
      'close true',
    ]);
  });

  it('destroy(error) emits the error, then close(true)', async () => {
    await same(async (world) => {
      const { client, peer, server } = await pair(world);
      peer.resume();
      client.destroy(new Error('mine'));
      world.note('client', `${client.destroyed} ${client.readyState} ${client.localPort}`);
      await closed(client, peer);
      client.write('x', (error) => world.note('client', describeArgument(error)));
      await turn();
      server.close();
    });
  });

  it('destroy while connecting, with a write waiting', async () => {
    await same(async (world) => {
      const server = world.net.createServer((peer) => peer.resume());
      const port = await listen(world, server);
      const client = world.watch('client', world.net.connect(port, world.host));
      client.write('x', (error) => world.note('client', `write ${describeArgument(error)}`));
      client.destroy();
      world.note('client', client.readyState);
      await closed(client);
      server.close();
      await closed(server);
    });
  });

  it('refused connections: same error, same close', async () => {
    const logs = await same(async (world) => {
      const server = world.net.createServer();
      const port = await listen(world, server);
      server.close();
      await closed(server);
      const client = world.watch('client', world.net.connect(port, world.host));
      client.on('connectionAttemptFailed', () => world.note('client', 'attempt failed'));
      client.write('lost', (error) => world.note('client', `write ${describeArgument(error)}`));
      await closed(client);
      world.note('client', `${client.connecting} ${client.destroyed}`);
    });
    expect(logs['client']).to.include(
      'error ECONNREFUSED/-111/connect/with port: connect ECONNREFUSED ADDRESS',
    );
  });

  it('an address in use: same error from listen', async () => {
    const logs = await same(async (world) => {
      const first = world.net.createServer();
      const port = await listen(world, first);
      const second = world.watch('second', world.net.createServer());
      second.listen(port, world.host);
      await once(second, 'error');
      world.note('second', `${second.listening} ${second.address()}`);
      first.close();
      await closed(first);
      await listen(world, second);
      second.close();
      await closed(second);
    });
    expect(logs['second']![0]).to.match(
      /^error EADDRINUSE.*listen EADDRINUSE: address already in use ADDRESS/,
    );
  });

  it('8 MiB through a reader that pauses: nothing lost, write() pushes back', async () => {
    const data = pattern(8 << 20);
    const logs = await same(async (world) => {
      const { client, peer, server } = await pair(world);
      const hash = createHash('sha256');
      let bytes = 0;
      let pauses = 0;
      peer.on('data', (chunk) => {
        hash.update(chunk);
        bytes += chunk.length;
        if (bytes >> 20 === pauses) return;
        pauses = bytes >> 20;
        peer.pause();
        const before = bytes;
        setImmediate(() =>
          setImmediate(() => {
            if (bytes !== before) world.note('peer', 'data while paused');
            peer.resume();
          }),
        );
      });
      // Not all at once: the writer waits for 'drain' as a program should.
      client.removeAllListeners('drain');
      let refused = 0;
      for (let at = 0; at < data.length; at += 1 << 18) {
        if (client.write(data.subarray(at, at + (1 << 18)))) continue;
        refused++;
        await once(client, 'drain');
      }
      client.end();
      await closed(peer, client);
      world.note('peer', `${bytes} ${hash.digest('hex')} ${pauses}`);
      world.note('client', `${client.bytesWritten} ${refused > 0}`);
      server.close();
    });
    expect(logs['peer']).to.include(`${data.length} ${sha256(data)} 8`);
  });

  it('a paused reader that never resumes stops the writer', async () => {
    await same(async (world) => {
      const { client, peer, server } = await pair(world);
      peer.pause();
      let taken = 0;
      const chunk = Buffer.alloc(1 << 20);
      // 64 MiB are more than any buffers on the way hold.
      for (let i = 0; i < 64; i++) client.write(chunk, (error) => !error && taken++);
      for (let i = 0; i < 50; i++) await turn();
      world.note('client', `stopped ${taken < 64} ${client.writableNeedDrain}`);
      client.destroy();
      peer.resume();
      peer.on('error', () => {});
      await closed(peer);
      server.close();
    });
  });

  it('cork and uncork write once', async () => {
    const logs = await same(async (world) => {
      const { client, peer, server } = await pair(world);
      client.cork();
      for (const part of ['one ', Buffer.from('two '), 'thr\u00e9e']) client.write(part);
      client.write('66 6f 75 72'.replaceAll(' ', ''), 'hex');
      world.note('client', `${client.writableLength > 0} ${client.bytesWritten}`);
      process.nextTick(() => client.uncork());
      const [chunk] = (await once(peer, 'data')) as [Buffer];
      world.note('peer', chunk.toString());
      client.end();
      await closed(client, peer);
      server.close();
    });
    expect(logs['peer']![0]).to.equal('one two thr\u00e9efour');
  });

  it('server.close waits for open connections', async () => {
    const logs = await same(async (world) => {
      const { client, peer, server } = await pair(world);
      world.watch('server', server);
      peer.resume();
      server.close((error) => world.note('server', `callback ${error}`));
      world.note('server', `${server.listening} ${server.address()}`);
      for (let i = 0; i < 5; i++) await turn();
      server.getConnections((_error, count) => world.note('server', `open ${count}`));
      await turn();
      client.end();
      await closed(client, peer, server);
      server.close((error) => world.note('server', `again ${describeArgument(error)}`));
      await turn();
    });
    expect(logs['server']).to.deep.equal([
      'false null',
      'open 1',
      'close',
      'callback undefined',
      'close',
      'again ERR_SERVER_NOT_RUNNING/undefined/undefined/no port: Server is not running.',
    ]);
  });

  it('maxConnections drops what is too much', async () => {
    const logs = await same(async (world) => {
      const server = world.watch('server', world.net.createServer());
      server.maxConnections = 1;
      const port = await listen(world, server);
      const first = world.net.connect(port, world.host);
      await once(server, 'connection');
      const second = world.watch('second', world.net.connect(port, world.host));
      second.resume();
      await closed(second);
      first.destroy();
      server.close();
      await closed(server);
    });
    expect(logs['server']).to.include('drop object');
  });

  it('resetAndDestroy sends a RST', async () => {
    await same(async (world) => {
      const { client, peer, server } = await pair(world);
      peer.resume();
      client.resetAndDestroy();
      await closed(client, peer);
      const never = world.watch('never', new world.net.Socket());
      never.resetAndDestroy();
      await closed(never);
      server.close();
    });
  });

  it('destroySoon writes everything first', async () => {
    await same(async (world) => {
      const { client, peer, server } = await pair(world);
      const both = closed(client, peer);
      client.write(pattern(300_000));
      client.destroySoon();
      const chunks: Buffer[] = [];
      for await (const chunk of peer) chunks.push(chunk);
      world.note('peer', sha256(Buffer.concat(chunks)));
      await both;
      server.close();
    });
  });

  it('pauseOnConnect leaves the data where it is', async () => {
    await same(async (world) => {
      const server = world.net.createServer({ pauseOnConnect: true });
      const port = await listen(world, server);
      const client = world.net.connect(port, world.host);
      client.end('waiting');
      const [peer] = (await once(server, 'connection')) as [Socket];
      for (let i = 0; i < 5; i++) await turn();
      world.note('peer', `${peer.isPaused()} ${peer.bytesRead} ${peer.readableLength}`);
      world.note('peer', await text(peer));
      server.close();
      await closed(server);
    });
  });

  it('a socket can connect again after it was destroyed', async () => {
    await same(async (world) => {
      const server = world.net.createServer((peer) => peer.end('hello'));
      const port = await listen(world, server);
      const socket = world.watch('client', new world.net.Socket());
      socket.on('data', (chunk) => world.note('client', `data ${chunk}`));
      for (let i = 0; i < 2; i++) {
        socket.connect(port, world.host, () => world.note('client', `connected ${i}`));
        await closed(socket);
      }
      server.close();
      await closed(server);
    });
  });

  it('the same mistakes throw the same errors', async () => {
    const logs = await same(async (world) => {
      const { net } = world;
      const attempts: (() => unknown)[] = [
        () => net.connect({ port: 99999 }),
        () => net.connect({ port: -1, host: world.host }),
        () => net.connect({ port: 'x' as unknown as number, host: world.host }),
        () => net.connect({} as { port: number }),
        () => net.connect({ port: {} as number }),
        () => net.connect({ port: 1, localAddress: 'nowhere' }),
        () => net.connect({ port: 1, localPort: 'x' as unknown as number }),
        () => net.connect({ port: 1, host: 'a.example', lookup: 5 as unknown as never }),
        () => net.createServer(5 as unknown as object),
        () => net.createServer().listen({}),
        () => net.createServer().listen({ port: 65536 }),
        () => net.createServer().listen({ port: true as unknown as number }),
        () => net.createServer().listen({ port: 0, signal: 3 as unknown as AbortSignal }),
        () => net.createServer({ keepAliveInitialDelay: '1' as unknown as number }),
        () => net.createServer({ highWaterMark: 'a' as unknown as number }),
        () => new net.Socket().setTimeout('soon' as unknown as number),
        () => new net.Socket().setTimeout(-1),
        () => new net.Socket().setTimeout(10, 'f' as unknown as () => void),
        () => new net.Socket({ objectMode: true } as object),
      ];
      for (const attempt of attempts) {
        try {
          attempt();
          world.note('errors', 'none');
        } catch (error) {
          const { name } = error as Error;
          world.note('errors', `${name} ${describeArgument(error)} | ${error}`);
        }
      }
      await turn();
    });
    expect(logs['errors']).to.have.length(19).and.not.include('none');
  });
}

/** @param ourWorld makes a fresh world for each scenario */
export function differentialSuite(title: string, ourWorld: () => World): void {
  const same: Same = async (scenario) => {
    const kernel = kernelWorld();
    await scenario(kernel);
    const ours = ourWorld();
    await scenario(ours);
    expect(ours.logs).to.deep.equal(kernel.logs);
    return ours.logs;
  };
  describe(`${title}: sockets beside those of node:net`, () => socketScenarios(same));
  describe(`${title}: an unmodified http.Server beside its kernel self`, () => httpScenarios(same));
}
