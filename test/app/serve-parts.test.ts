/**
 * The parts of `serve` that need no device: its threads, its signals, its view of the stack, its
 * output.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { expect } from 'chai';
import {
  type HashFacts,
  hashFacts,
  readConnection,
  StackView,
  stackStats,
} from '../../src/app/demo-server/stack-view.js';
import { THREAD, WorkerCounters } from '../../src/app/demo-server/worker-counters.js';
import { shownSockets } from '../../src/app/socket-table.js';
import { StopSignals } from '../../src/app/stop-signals.js';
import type { WorkerOrder } from '../../src/app/worker-message.js';
import { type PoolEvents, WorkerPool, workerThreads } from '../../src/app/worker-pool.js';
import {
  BLOCK_HASH,
  BLOCK_LADDR,
  BLOCK_LPORT,
  BLOCK_MEMBERS,
  BLOCK_RADDR,
  BLOCK_RPORT,
  BLOCK_SLOT,
  KIND_TCP,
  type SocketMemory,
} from '../../src/net/sockmem.js';
import type { ThreadParts } from '../../src/socket/attach.js';
import type { SocketRow } from '../../src/socket/open.js';
import { G_EHASH_SECRET, G_HASH_MIX } from '../../src/socket/uapi/layout.js';
import { createCtl, openShared } from '../../src/socket/uapi/shared.js';

const ORDER = { role: 'worker', worker: 1, workers: 2, profile: '6.18' } as unknown as WorkerOrder;

function pool(body: string, events: Partial<PoolEvents> = {}): WorkerPool {
  const imports = "import { parentPort, workerData } from 'node:worker_threads';";
  const entry = new URL(`data:text/javascript,${encodeURIComponent(`${imports}\n${body}`)}`);
  return new WorkerPool({ gone: () => {}, ...events }, workerThreads(entry));
}

describe('app/worker-pool', () => {
  it('knows when a thread is ready, takes no more, and has ended', async () => {
    const gone: string[] = [];
    const threads = pool("parentPort.postMessage('ready'); parentPort.postMessage('draining');", {
      gone: (thread) => gone.push(thread.name),
    });
    const thread = threads.start(ORDER);
    expect(threads.threads).to.have.length(1);
    expect(await thread.ready).to.equal(true);
    await thread.draining;
    expect(await threads.allExited(10_000)).to.equal(true);
    expect(gone).to.deep.equal(['worker 1']);
    expect(thread.failure).to.equal(null);
    expect(thread.exitCode).to.equal(0);
    expect(threads.threads).to.have.length(0);
  });

  it('reports a thread that fails, before and after it was ready', async () => {
    const failures: string[] = [];
    const gone: PoolEvents['gone'] = (thread) =>
      failures.push(`${thread.name}: ${thread.failure?.message} ${thread.exitCode}`);
    const early = pool("throw new Error('early');", { gone }).start(ORDER);
    expect(await early.ready).to.equal(false);
    expect(early.failure?.message).to.equal('early');
    const body = "parentPort.postMessage('ready'); throw new Error('late');";
    const late = pool(body, { gone }).start({ ...ORDER, role: 'acceptor' });
    expect(await late.ready).to.equal(true);
    await late.exited;
    const exit = pool('process.exit(3);', { gone }).start(ORDER);
    expect(await exit.ready).to.equal(false);
    const odd = pool("throw 'a word';", { gone }).start(ORDER);
    await odd.exited;
    expect(failures).to.deep.equal([
      'worker 1: early 1',
      'acceptor: late 1',
      'worker 1: undefined 3',
      'worker 1: a word 1',
    ]);
  });

  it('does not wait for ever, and ends what sleeps', async () => {
    const sleep = 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);';
    const threads = pool(`parentPort.postMessage('ready'); ${sleep}`);
    const thread = threads.start(ORDER);
    expect(await thread.ready).to.equal(true);
    expect(await threads.allExited(1)).to.equal(false);
    await threads.terminate();
    expect(threads.threads).to.have.length(0);
  });
});

describe('app/stop-signals', () => {
  const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  let before: Map<NodeJS.Signals, unknown[]>;

  beforeEach(() => {
    before = new Map(SIGNALS.map((signal) => [signal, process.rawListeners(signal)]));
  });

  /** Handlers of `signal` that this test has left. */
  function left(signal: NodeJS.Signals): NodeJS.SignalsListener[] {
    const now = process.rawListeners(signal) as NodeJS.SignalsListener[];
    return now.filter((handler) => !before.get(signal)!.includes(handler));
  }

  afterEach(() => {
    // What stays until a process is gone must not stay in that of the tests.
    for (const signal of SIGNALS) for (const each of left(signal)) process.off(signal, each);
  });

  it('hears the first signal and the impatience of a second SIGINT', async () => {
    let impatient = 0;
    const signals = new StopSignals(() => impatient++);
    const hangup = once(process, 'SIGHUP');
    process.kill(process.pid, 'SIGHUP');
    await hangup;
    expect(await signals.asked).to.equal('SIGHUP');
    const terminate = once(process, 'SIGTERM');
    process.kill(process.pid, 'SIGTERM');
    await terminate;
    expect(impatient).to.equal(0);
    // Not sent: the test runner has an ear for SIGINT, too.
    const handlers = process.rawListeners('SIGINT') as ((signal: NodeJS.Signals) => void)[];
    handlers.at(-1)!('SIGINT');
    expect(impatient).to.equal(1);
    signals.close();
    // From now on only a SIGINT can spoil the exit code.
    expect(SIGNALS.map((signal) => left(signal).length)).to.deep.equal([0, 1, 1]);
  });

  it('takes the end of the parent for a signal', async () => {
    const signals = new StopSignals(() => {});
    const handlers = process.rawListeners('disconnect') as (() => void)[];
    handlers.at(-1)!();
    expect(await signals.asked).to.equal('SIGTERM');
    signals.close();
  });

  it('leaves nothing behind when nobody has asked', () => {
    new StopSignals(() => {}).close();
    expect(SIGNALS.map((signal) => left(signal).length)).to.deep.equal([0, 0, 0]);
  });
});

describe('app/demo-server/stack-view', () => {
  const ctl = createCtl(64);
  const shared = openShared(ctl, new Uint8Array(64 * 4096));

  it('reads a connection off its block', () => {
    const mem: SocketMemory = shared.mem;
    const fd = mem.allocFd(KIND_TCP);
    const at = mem.blockAt(fd);
    for (const [word, value] of [
      [BLOCK_RADDR, 0xc61200fe | 0],
      [BLOCK_RPORT, 51702],
      [BLOCK_LADDR, 0xc6120001 | 0],
      [BLOCK_LPORT, 80],
      [BLOCK_HASH, 0xdeadbeef | 0],
      [BLOCK_SLOT, 3],
      [BLOCK_MEMBERS, 4],
    ] as const) {
      mem.ctl[at + word] = value;
    }
    expect(readConnection(mem, fd)).to.deep.equal({
      remoteAddress: '198.18.0.254',
      remotePort: 51702,
      localAddress: '198.18.0.1',
      localPort: 80,
      hash: 0xdeadbeef | 0,
      slot: 3,
      members: 4,
    });
  });

  it('adds the secrets of the hash modulo 2^32', () => {
    const words = new Int32Array(ctl);
    words[G_EHASH_SECRET] = -1;
    words[G_HASH_MIX] = 3;
    const facts: HashFacts = { secret: 2, profile: '5.0', localAddress: '0.0.0.0' };
    expect(hashFacts(words, '5.0')).to.deep.equal(facts);
    words[G_HASH_MIX] = -1;
    expect(hashFacts(words, '5.0').secret).to.equal(4294967294);
  });

  it('prints stats of workers, listeners, states and counters', () => {
    const row = (state: string, thread: number | null): SocketRow =>
      ({ state, thread, worker: (thread ?? 0) - 1, fd: 5 }) as SocketRow;
    const rows = [row('LISTEN', 1), row('ESTAB', 7), row('ESTAB', 2), row('ESTAB', null)];
    const parts = {
      memory: shared,
      sockets: () => rows,
      counters: () => ({ TcpInSegs: 9 }),
    } as unknown as ThreadParts;
    const counters = new WorkerCounters(2);
    counters.row(0)[THREAD] = 2;
    counters.row(1)[THREAD] = 8; // started again: another thread than at first
    const view = new StackView(ORDER, parts, counters);
    expect(view.worker).to.equal(1);
    expect(view.stats()).to.deep.include({
      workers: counters.stats(),
      listeners: [{ ...rows[0], worker: 0 }],
      tcp: { LISTEN: 1, ESTAB: 3 },
      mib: { TcpInSegs: 9 },
    });
    expect(view.connection(3).remotePort).to.equal(51702);
    expect(view.nowMs()).to.be.at.most(performance.now());
    expect(shownSockets(rows, counters).map(({ worker }) => worker)).to.deep.equal([
      0,
      1,
      null,
      null,
    ]);
    expect(stackStats([], hashFacts(new Int32Array(ctl), '6.18'), [], {})).to.have.keys(
      ...['workers', 'hash', 'listeners', 'tcp', 'mib'],
    );
  });
});

describe('app/process-io', () => {
  it('writes whole lines, which are out when the process leaves without ado', () => {
    const module = new URL('../../src/app/process-io.js', import.meta.url).href;
    const script = `const { processIo } = await import(${JSON.stringify(module)});
      const io = processIo();
      io.out('x'.repeat(300000));
      io.err('narration');
      io.out(String(io.color));
      process.exit(3);`;
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    expect(child.status).to.equal(3);
    expect(child.stdout).to.equal(`${'x'.repeat(300000)}\nfalse\n`);
    expect(child.stderr).to.equal('narration\n');
  });
});
