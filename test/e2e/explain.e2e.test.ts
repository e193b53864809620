/**
 * Every decision can be foretold, recomputed and watched: explain, trace, the capture's comments
 * and ss against what /whoami says of the same connections.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { expect } from 'chai';
import type { ListedSocket } from '../../src/app/socket-table.js';
import type { TracedObject } from '../../src/app/trace-json.js';
import { readPcapng } from '../../src/device/pcapng.js';
import type { Explanation } from '../../src/reuseport/decision-json.js';
import type { Whoami } from './clients.js';
import { type Ended, ended, must, run, scratchDirectory, suiteWith } from './machine.js';
import { type ServeProcess, TUNSTACK, withServe } from './serve-process.js';

const FIRST_PORT = 21_000;

/** /whoami over a connection from a port of our choice. */
async function whoamiFrom({ ready }: ServeProcess, port: number): Promise<Whoami> {
  const url = `http://${ready.address}:${ready.port}/whoami`;
  return JSON.parse(await must(['curl', '-s', '--local-port', String(port), url])) as Whoami;
}

function ends({ ready }: ServeProcess, port: number): string[] {
  return [`${ready.peer}:${port}`, `${ready.address}:${ready.port}`];
}

interface Tracer {
  child: ChildProcess;
  end: Promise<Ended>;
}

/** A `trace` that is attached. */
async function startTrace(serve: ServeProcess, ...args: string[]): Promise<Tracer> {
  const [command, ...front] = [...TUNSTACK, 'trace', '--control', serve.control, ...args];
  const child = spawn(command!, front, { stdio: ['ignore', 'pipe', 'pipe'] });
  const end = ended(child);
  let said = '';
  while (!said.includes('listening on')) {
    const [text] = (await Promise.race([
      once(child.stderr!, 'data'),
      end.then(({ stderr }) => {
        throw new Error(`trace ended: ${stderr}`);
      }),
    ])) as [string];
    said += text;
  }
  return { child, end };
}

suiteWith(['tun', 'ip', 'curl'], 'end to end: explain and trace', () => {
  it('explain foretells the worker, and recomputes it without the stack', async () => {
    await withServe([], async (serve) => {
      const warmUp = Array.from({ length: 50 }, (_, i) => whoamiFrom(serve, FIRST_PORT - 1 - i));
      await Promise.all(warmUp);
      const { hash } = await serve.get<{ hash: { secret: number } }>('/stats');
      const offline = ['--listen', '0.0.0.0:80*4', '--secret', String(hash.secret)];
      const workers = new Set<number>();
      for (let port = FIRST_PORT; port < FIRST_PORT + 8; port++) {
        const told = await serve.json<Explanation>('explain', ...ends(serve, port));
        const again = await run([
          ...TUNSTACK,
          ...['explain', ...ends(serve, port), '--json', ...offline],
        ]);
        const alone = JSON.parse(again.stdout) as Explanation;
        const answer = await whoamiFrom(serve, port);
        expect(answer.remotePort).to.equal(port);
        expect(told.winner!.worker).to.equal(answer.worker);
        expect(alone.winner!.worker).to.equal(answer.worker);
        for (const explanation of [told, alone]) {
          expect(explanation).to.include({ verdict: 'reuseport', index: answer.slot });
          const hex = explanation.phash!.toString(16).padStart(8, '0');
          expect(`0x${hex}`).to.equal(answer.hash);
          expect(explanation.group!.members).to.equal(4);
        }
        workers.add(answer.worker);
      }
      expect(workers.size).to.be.greaterThan(1);
    });
  });

  it('trace and the capture show each SYN with the decision that explain told', async () => {
    const file = join(scratchDirectory(), 'all.pcapng');
    const answers: Whoami[] = [];
    await withServe(['--pcap', file], async (serve) => {
      const filter = 'tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn';
      const json = await startTrace(serve, '--json', '-c', '5', filter);
      const lines = await startTrace(serve, '-c', '3');
      for (let i = 0; i < 5; i++) answers.push(await whoamiFrom(serve, FIRST_PORT + 100 + i));
      const objects = (await json.end).stdout.trim().split('\n');
      const traced = objects.map((line) => JSON.parse(line) as TracedObject);
      expect(traced.map((packet) => packet.decision!.winner!.worker)).to.deep.equal(
        answers.map((answer) => answer.worker),
      );
      expect(traced.map((packet) => packet.src.port)).to.deep.equal(
        answers.map((answer) => answer.remotePort),
      );
      const { code, stdout, stderr } = await lines.end;
      expect(code).to.equal(0);
      const printed = stdout.trimEnd().split('\n');
      expect(printed).to.have.lengthOf(4); // three packets and a decision
      expect(printed[0]).to.match(/ IP \S+\.21100 > \S+\.80: Flags \[S\], seq \d+, win \d+, /);
      expect(printed[1]).to.contain(`→ worker ${answers[0]!.worker}: group of 4, hash`);
      expect(printed[1]).to.contain(answers[0]!.hash!);
      expect(stderr).to.contain('3 packets captured\n').and.to.contain('0 packets dropped by');
    });
    const { packets } = readPcapng(readFileSync(file));
    const commented = packets.filter((packet) => packet.comments.length > 0);
    expect(commented.map((packet) => packet.comments.length)).to.deep.equal([1, 1, 1, 1, 1]);
    for (const [i, { comments }] of commented.entries()) {
      expect(comments[0]).to.contain(`(${answers[i]!.hash})`);
      expect(comments[0]).to.contain(`verdict: reuseport, worker ${answers[i]!.worker} fd `);
    }
  });

  it('trace ends on SIGINT with a summary, and with the stack by exit code 1', async () => {
    await withServe([], async (serve) => {
      const tracer = await startTrace(serve, 'icmp');
      const file = join(scratchDirectory(), 'trace.pcapng');
      const writer = await startTrace(serve, '-w', file, 'port', '80');
      await whoamiFrom(serve, FIRST_PORT + 200);
      for (const { child } of [tracer, writer]) child.kill('SIGINT');
      const [said, wrote] = [await tracer.end, await writer.end];
      expect([said.code, wrote.code, said.stdout, wrote.stdout]).to.deep.equal([0, 0, '', '']);
      expect(said.stderr).to.contain('\n0 packets captured\n');
      const [, captured] = /\n(\d+) packets captured\n/.exec(wrote.stderr)!;
      // A handshake, a request and an answer at least; the last ACK may come later than the signal.
      expect(Number(captured)).to.be.within(3, 30);
      expect(readPcapng(readFileSync(file)).packets).to.have.lengthOf(Number(captured));
      const last = await startTrace(serve);
      serve.child.kill('SIGTERM');
      const { code, stderr } = await last.end;
      expect(code).to.equal(1);
      expect(stderr).to.contain('the running stack has ended');
    });
  });
});

suiteWith(['tun', 'ip', 'nft'], 'end to end: ss', () => {
  /** A request whose answer ends the connection, by the server. */
  async function served(address: string, port: number): Promise<number> {
    const socket = connect({ host: address, port });
    socket.write('GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    await once(socket, 'connect');
    const { localPort } = socket;
    socket.resume();
    await once(socket, 'close');
    return localPort!;
  }

  it('shows half-open and TIME-WAIT connections, groups and what is inside', async () => {
    await withServe([], async (serve) => {
      const { address, port, tun } = serve.ready;
      const closed = await served(address, port);
      const open = connect({ host: address, port });
      await once(open, 'connect');
      const { localPort } = open;
      // Our SYN-ACKs are lost from now on.
      const chain = '{ type filter hook input priority 0; }';
      await must(['nft', 'add', 'table', 'ip', 'tunstack']);
      await must(['nft', 'add', 'chain', 'ip', 'tunstack', 'in', chain]);
      const match = ['iifname', tun, 'tcp', 'flags', '&', '(syn|ack)', '==', '(syn|ack)', 'drop'];
      await must(['nft', 'add', 'rule', 'ip', 'tunstack', 'in', ...match]);
      const half = connect({ host: address, port });
      half.on('error', () => {});
      let rows: ListedSocket[] = [];
      while (!rows.some((row) => row.state === 'SYN-RECV')) {
        rows = await serve.json<ListedSocket[]>('ss', '-a', '-i');
      }
      half.destroy();
      await must(['nft', 'delete', 'table', 'ip', 'tunstack']);
      const request = rows.find((row) => row.state === 'SYN-RECV')!;
      expect(request).to.include({ fd: null, group: 4, recvQ: 0, sendQ: 0 });
      expect(request.worker).to.equal(request.slot);
      const waiting = rows.filter((row) => row.state === 'TIME-WAIT');
      expect(waiting.map((row) => row.peer.port)).to.deep.equal([closed]);
      expect(waiting[0]).to.include({ fd: null, worker: null, slot: null });
      expect(waiting[0]!.expiresMs).to.be.within(1, 60_000);
      const mine = rows.find((row) => row.peer.port === localPort)!;
      expect(mine.info).to.include({ congestion: 'cubic', sack: true });
      const listeners = rows.filter((row) => row.state === 'LISTEN');
      expect(listeners.map((row) => [row.slot, row.group, row.selector])).to.deep.equal(
        [0, 1, 2, 3].map((slot) => [slot, 4, null]),
      );
      open.destroy();
      const { stdout } = await serve.command('ss', '-tlnep');
      expect(stdout).to.match(/users:\(\("worker 3",fd=\d+\)\) uid:\d+ ino:\d+ group:3\/4/);
      expect((await serve.command('ss', '-tan')).stdout).to.match(/\nTIME-WAIT +0 +0 /);
    });
  });
});
