/** `tunstack iperf3 -s` measured by the real iperf3 client. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect } from 'chai';
import { ROOT } from '../repository.js';
import { devices, type Ended, ended, must, run, suiteWith } from './machine.js';
import { TUNSTACK } from './serve-process.js';

const ADDRESS = '198.18.0.1';
const MEBI = 1 << 20;

/** What of `iperf3 -J` is looked at. */
interface Report {
  start: { test_start: { num_streams: number; reverse: number } };
  end: {
    streams: { sender: Side; receiver: Side }[];
    sum_sent: Side;
    sum_received: Side;
    cpu_utilization_percent: { remote_total: number };
    sender_tcp_congestion?: string;
  };
  server_output_text?: string;
  error?: string;
}

interface Side {
  bytes: number;
  seconds: number;
  retransmits?: number;
}

/** An object that `iperf3 -s --json` prints. */
interface Told {
  end: { streams: { sender: Side | null; receiver: Side | null }[] };
  error?: string;
}

const running = new Set<ChildProcess>();

class Iperf3Server {
  readonly child: ChildProcess;
  readonly end: Promise<Ended>;

  constructor(args: readonly string[]) {
    const [command, ...front] = TUNSTACK;
    this.child = spawn(command!, [...front, 'iperf3', '-s', ...args], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(this.child);
    this.end = ended(this.child);
  }

  async ready(): Promise<void> {
    let text = '';
    while (!text.includes('iperf3 server at')) {
      const [more] = (await Promise.race([
        once(this.child.stderr!, 'data'),
        this.end.then(({ stderr }) => Promise.reject(new Error(stderr))),
      ])) as [string];
      text += more;
    }
  }

  async stop(): Promise<Ended> {
    this.child.kill('SIGINT');
    const result = await this.end;
    running.delete(this.child);
    return result;
  }
}

async function withServer(
  args: readonly string[],
  body: (server: Iperf3Server) => Promise<void>,
): Promise<Ended> {
  const server = new Iperf3Server(args);
  let stopped: Ended;
  try {
    await server.ready();
    await body(server);
  } finally {
    stopped = await server.stop();
  }
  return stopped;
}

const client = (...args: string[]): Promise<Ended> => run(['iperf3', '-c', ADDRESS, ...args]);

async function measured(...args: string[]): Promise<Report> {
  return JSON.parse(await must(['iperf3', '-c', ADDRESS, '-J', ...args])) as Report;
}

/** A client in the middle of its test. */
async function midway(): Promise<ChildProcess> {
  const args = ['-c', ADDRESS, '-t', '30', '-i', '0.2', '--forceflush'];
  const child = spawn('iperf3', args, { stdio: ['ignore', 'pipe', 'ignore'] });
  running.add(child);
  child.stdout.setEncoding('utf8');
  for await (const text of child.stdout.iterator({ destroyOnReturn: false })) {
    if (/bits\/sec/.test(text as string)) break;
  }
  return child;
}

process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

suiteWith(['netns', 'tun', 'ip', 'iperf3'], 'end to end: iperf3', () => {
  it('receives, sends and does both, and both sides agree', async () => {
    const stopped = await withServer(['--json'], async () => {
      const plain = await measured('-t', '1');
      expect(plain.end.sum_received.bytes).to.be.within(MEBI, plain.end.sum_sent.bytes);
      expect(plain.end.cpu_utilization_percent.remote_total).to.be.greaterThan(0);
      const reverse = await measured('-t', '1', '-R', '-P', '4');
      expect(reverse.end.streams).to.have.length(4);
      for (const { sender, receiver } of reverse.end.streams) {
        expect(receiver.bytes).to.be.within(1, sender.bytes);
        expect(sender.retransmits).to.be.at.least(0);
      }
      const both = await measured('-t', '1', '--bidir');
      expect(both.end.streams).to.have.length(2);
      for (const { sender, receiver } of both.end.streams) {
        expect(receiver.bytes).to.be.within(1, sender.bytes);
      }
    });
    expect(stopped, stopped.stderr).to.include({ code: 0 });
    const told = stopped.stdout.trim().split('\n');
    const tests = told.map((line) => JSON.parse(line) as Told);
    expect(tests).to.have.length(3);
    for (const { end, error } of tests) {
      expect(error).to.equal(undefined);
      for (const { sender, receiver } of end.streams) {
        expect(receiver!.bytes).to.be.within(1, sender!.bytes);
      }
    }
    expect(stopped.stderr).to.contain('3 tests (0 failed)');
    expect(devices().filter((name) => name.startsWith('tunstack'))).to.deep.equal([]);
  });

  it('counts every byte of a test of a given size', async () => {
    const stopped = await withServer([], async () => {
      const { end } = await measured('-n', '64M');
      // The client sends whole blocks of 128 KiB, and on a busy machine one more than it was asked.
      expect(end.sum_sent.bytes).to.be.within(64 * MEBI, 65 * MEBI);
      expect(end.sum_received.bytes).to.equal(end.sum_sent.bytes);
      // So little that the end of the test overtakes it.
      for (let i = 0; i < 5; i++) {
        const small = (await measured('-n', '1M')).end;
        expect(small.sum_sent.bytes).to.be.at.least(MEBI);
        expect(small.sum_received.bytes).to.equal(small.sum_sent.bytes);
      }
    });
    expect(stopped.stdout).to.match(/64\.\d MBytes .*receiver\n/);
    expect(stopped.stdout).to.match(/6 tests \(0 failed\), (?:69|7\d)\.\d MBytes received/);
  });

  it('takes the options of the client', async () => {
    await withServer(['--no-offload', '-1'], async (server) => {
      const line =
        '-R -t 2 -O 1 -l 32K -w 256K -M 1000 -N -i 0.5 -C reno --get-server-output -b 80M';
      const { end, server_output_text: text } = await measured(...line.split(' '));
      // -b 80M is 10 MB a second, but who was late in the omitted second catches up; without -b it
      // would be ten times as much and more.
      expect(end.sum_sent.seconds).to.be.within(1.8, 6);
      expect(end.sum_sent.bytes / end.sum_sent.seconds).to.be.within(2e6, 20e6);
      expect(end.sender_tcp_congestion).to.equal('reno');
      expect(text)
        .to.contain('(omitted)')
        .and.to.match(/Mbits\/sec.*sender\n/);
      expect(await server.end).to.include({ code: 0 });
    });
  });

  it('refuses what it cannot do, in words that the client shows', async () => {
    const stopped = await withServer([], async () => {
      const udp = await client('-u', '-t', '1');
      expect(udp.code).to.equal(1);
      expect(udp.stderr).to.contain('not implemented');
      const bbr = await client('-R', '-C', 'bbr', '-t', '1');
      expect(bbr.stderr).to.contain('congestion control algorithm not supported');
      await measured('-n', '1M');
    });
    expect(stopped.stderr).to.contain('refused: UDP').and.to.contain('refused: congestion');
  });

  it('is busy with one client, survives its death, and serves the next', async () => {
    const stopped = await withServer([], async () => {
      const first = await midway();
      const second = await client('-t', '1');
      expect(second.code).to.equal(1);
      expect(second.stderr).to.contain('the server is busy running a test');
      first.kill('SIGKILL');
      await once(first, 'close');
      const { end } = await measured('-n', '1M');
      expect(end.sum_received.bytes).to.equal(MEBI);
    });
    expect(stopped).to.include({ code: 0 });
    expect(stopped.stderr).to.contain('the client has unexpectedly closed the connection');
    expect(stopped.stdout).to.contain('2 tests (1 failed)');
  });

  it('tells its client when it is interrupted, and exits with 0', async () => {
    const server = new Iperf3Server([]);
    await server.ready();
    const child = await midway();
    const left = ended(child);
    const stopped = await server.stop();
    const { code } = await left;
    expect(code).to.equal(1);
    expect(stopped).to.include({ code: 0 });
    expect(stopped.stderr).to.contain('the server has terminated');
    expect(stopped.stdout).to.match(/receiver\n1 test \(1 failed\), .* received/);
    expect(devices().filter((name) => name.startsWith('tunstack'))).to.deep.equal([]);
  });
});
