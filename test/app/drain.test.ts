/** `tunstack drain`, both ends: what it asks, refuses and prints; and who is noticed as hung. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { FailedError, UsageError } from '../../src/app/command.js';
import type { ControlFields } from '../../src/app/control-protocol.js';
import { type ControlAnswers, ControlServer } from '../../src/app/control-server.js';
import {
  ACTIVE,
  DOWN,
  DRAIN,
  DRAINED,
  DRAINING,
  STATE,
  WorkerCounters,
} from '../../src/app/demo-server/worker-counters.js';
import { drainLine, isDone } from '../../src/app/drain.js';
import {
  type DrainParts,
  type DrainStatus,
  drainStatus,
  orderDrain,
} from '../../src/app/drain-orders.js';
import { HUNG_MS, HungWorkers } from '../../src/app/hung-workers.js';
import { main } from '../../src/app/main.js';
import type { ShownSocket } from '../../src/app/socket-table.js';
import { T_BEAT, T_SLEEPING, threadAt } from '../../src/socket/uapi/layout.js';
import { createCtl, layoutOf } from '../../src/socket/uapi/shared.js';
import { listening } from './run-main.js';

const STATUS: DrainStatus = {
  worker: 2,
  state: 'draining',
  drained: true,
  listens: true,
  queued: 3,
  halfOpen: 1,
  open: 14,
  slot: null,
  members: 0,
  warning: '',
};

/** A `serve` of four workers without threads: rows of counters and orders that were given. */
function parts(accept: DrainParts['accept'] = 'reuseport') {
  const counters = new WorkerCounters(4);
  const orders: [number, boolean][] = [];
  const sockets: Partial<ShownSocket>[] = [
    { worker: 2, state: 'LISTEN', fd: 6, recvQ: 3, slot: 2, group: 4, local: end(80) },
    { worker: 2, state: 'LISTEN', fd: 7, recvQ: 1, slot: 2, group: 4, local: end(7) },
    { worker: 2, state: 'ESTAB', fd: 8, recvQ: 50, local: end(80) },
    { worker: 1, state: 'LISTEN', fd: 9, recvQ: 9, slot: 1, group: 4, local: end(80) },
  ];
  const fake: DrainParts = {
    crew: {
      counters,
      wanted: (worker) => counters.row(worker)[DRAIN] === 0,
      want: (worker, connections) => {
        orders.push([worker, connections]);
        counters.row(worker)[DRAIN] = connections ? 0 : 1;
      },
      waiting: () => (accept === 'dispatch' ? 5 : 0),
    },
    sys: {
      getsockopt: (fd, _level, _name, out) => {
        if (fd === 7) return -22; // closed meanwhile
        out!.set([1, 4]);
        return 2;
      },
    },
    accept,
    port: 80,
    sockets: () => sockets as ShownSocket[],
  };
  return { fake, counters, orders };
}

function end(port: number): { address: string; port: number } {
  return { address: '0.0.0.0', port };
}

describe('app/drain-orders', () => {
  it('gives the order and says how far the worker is', () => {
    const { fake, counters, orders } = parts();
    counters.row(2)[ACTIVE] = 14;
    expect(drainStatus(fake, { worker: 2 })).to.deep.equal({
      worker: 2,
      state: 'serving',
      drained: false,
      listens: true,
      queued: 4,
      halfOpen: 4,
      open: 14,
      slot: 2,
      members: 4,
      warning: '',
    });
    expect(orderDrain(fake, { worker: 2 })).to.include({ drained: true, warning: '' });
    expect(orderDrain(fake, { worker: 2, resume: true })).to.include({ drained: false });
    expect(orders).to.deep.equal([
      [2, false],
      [2, true],
    ]);
  });

  it('refuses what is so already', () => {
    const { fake, counters } = parts();
    const refused = (request: ControlFields, what: RegExp): void => {
      expect(() => orderDrain(fake, request)).to.throw(FailedError, what);
    };
    refused({ worker: 0, resume: true }, /worker 0 takes connections already/);
    orderDrain(fake, { worker: 0 });
    counters.row(0)[STATE] = DRAINING;
    refused({ worker: 0 }, /worker 0 drains already/);
    counters.row(0)[STATE] = DRAINED;
    refused({ worker: 0 }, /worker 0 is drained already/);
  });

  it('knows its workers', () => {
    const { fake } = parts();
    for (const worker of [4, -1, 1.5, '2', undefined]) {
      expect(() => orderDrain(fake, { worker })).to.throw(UsageError, /they are 0 to 3/);
      expect(() => drainStatus(fake, { worker })).to.throw(UsageError);
    }
    const one = { ...fake, crew: { ...fake.crew, counters: new WorkerCounters(1) } };
    expect(() => drainStatus(one, { worker: 1 })).to.throw(/the only one is 0/);
  });

  for (const [accept, fate] of [
    ['reuseport', /are refused \(RST\)/],
    ['shared', /wait in the queue/],
    ['dispatch', /wait in the queue/],
  ] as const) {
    it(`warns when nobody is left (${accept})`, () => {
      const { fake, counters } = parts(accept);
      for (const worker of [0, 1]) {
        expect(orderDrain(fake, { worker }).warning).to.equal('');
      }
      counters.row(3)[STATE] = DOWN;
      expect(orderDrain(fake, { worker: 2 }).warning).to.match(fate);
      const { queued, listens } = drainStatus(fake, { worker: 1 });
      expect(queued).to.equal(accept === 'dispatch' ? 14 : 9);
      expect(listens).to.equal(accept === 'reuseport');
    });
  }
});

describe('app/drain', () => {
  it('says each step in a line', () => {
    const lines: [Partial<DrainStatus>, boolean, string][] = [
      [{}, false, 'worker 2: draining: 3 queued, 1 half-open, 14 open'],
      [{ state: 'serving' }, false, 'worker 2: draining: 3 queued, 1 half-open, 14 open'],
      [{ state: 'drained' }, true, 'worker 2: listener closed; 14 connections go on'],
      [{ state: 'drained', open: 1 }, true, 'worker 2: listener closed; 1 connection goes on'],
      [
        { state: 'drained', listens: false },
        true,
        'worker 2: accepts no more; 14 connections go on',
      ],
      [{ state: 'down' }, true, 'worker 2: it has failed and stays drained when it is back'],
      [
        { state: 'down', drained: false },
        false,
        'worker 2: it has failed and listens again when it is back',
      ],
      [{ state: 'drained', drained: false }, false, 'worker 2: opening its listener'],
      [{ state: 'serving', drained: false }, false, 'worker 2: opening its listener'],
      [
        { state: 'serving', drained: false, slot: 3, members: 4 },
        true,
        'worker 2: listens again (slot 3 of 4)',
      ],
      [{ state: 'serving', drained: false, listens: false }, true, 'worker 2: accepts again'],
    ];
    for (const [fields, done, line] of lines) {
      const status = { ...STATUS, ...fields };
      expect(isDone(status), line).to.equal(done);
      expect(drainLine(status)).to.equal(line);
    }
  });

  describe('against a control socket', () => {
    let directory = '';
    let server: ControlServer | null = null;
    const asked: ControlFields[] = [];
    let answers: DrainStatus[] = [];

    beforeEach(async () => {
      directory = mkdtempSync(join(tmpdir(), 'tunstack-drain-'));
      const answer = (request: ControlFields): DrainStatus => {
        asked.push(request);
        return answers.shift()!;
      };
      const all = { drain: answer, 'drain-status': answer } as unknown as ControlAnswers;
      server = await ControlServer.open(join(directory, 'c'), all);
    });

    afterEach(() => {
      server?.close();
      rmSync(directory, { recursive: true });
      asked.length = 0;
    });

    async function drain(...argv: string[]) {
      const { io, out, err } = listening();
      const code = await main(['drain', ...argv, '--control', join(directory, 'c')], io);
      return { code, out, err };
    }

    it('asks until it is done, and prints what changes', async () => {
      const done = { ...STATUS, state: 'drained' as const, queued: 0, halfOpen: 0 };
      answers = [STATUS, STATUS, { ...STATUS, queued: 0 }, done];
      expect(await drain('2')).to.deep.equal({
        code: 0,
        out: [
          'worker 2: draining: 3 queued, 1 half-open, 14 open',
          'worker 2: draining: 0 queued, 1 half-open, 14 open',
          'worker 2: listener closed; 14 connections go on',
        ],
        err: [],
      });
      expect(asked[0]).to.deep.equal({ cmd: 'drain', worker: 2, resume: false });
      expect(asked[1]).to.deep.equal({ cmd: 'drain-status', worker: 2 });
    });

    it('prints objects with --json, and warnings on stderr', async () => {
      const warning = 'no worker takes connections any more';
      answers = [{ ...STATUS, state: 'down', warning }];
      const { code, out, err } = await drain('2', '--json');
      expect([code, err]).to.deep.equal([0, [`tunstack: ${warning}`]]);
      expect(out.map((line) => JSON.parse(line) as unknown)).to.deep.equal([
        { ...STATUS, state: 'down', warning },
      ]);
    });

    it('is a usage error without a worker, and fails without a stack', async () => {
      for (const argv of [[], ['two'], ['-1'], ['1', '2'], ['--nope']]) {
        expect((await drain(...argv)).code, argv.join(' ')).to.equal(2);
      }
      expect((await drain('--help')).out.join('\n')).to.contain('drain WORKER');
      server?.close();
      expect(await drain('2')).to.deep.include({ code: 1, out: [] });
    });
  });
});

describe('app/hung-workers', () => {
  it('tells once of a worker that does not come back, and once when it does', () => {
    const ctl = new Int32Array(createCtl(64));
    const at = threadAt(layoutOf(ctl), 3);
    const lines: string[] = [];
    const hung = new HungWorkers(ctl, (line) => lines.push(line));
    const look = (nowMs: number): void => hung.look(3, 'worker 2', nowMs);
    ctl[at + T_BEAT] = 1000;
    look(1000 + HUNG_MS - 1);
    expect(lines).to.deep.equal([]);
    ctl[at + T_SLEEPING] = 1;
    look(90_000);
    expect(lines, 'it waits for events').to.deep.equal([]);
    ctl[at + T_SLEEPING] = 0;
    look(1000 + HUNG_MS);
    look(9500);
    ctl[at + T_BEAT] = 9800;
    look(10_000);
    look(10_100);
    expect(lines).to.deep.equal([
      'tunstack: worker 2 has not looked at its connections for 5 s',
      'tunstack: worker 2 looks at its connections again, after 9 s',
    ]);
    look(20_000);
    hung.forget(3);
    ctl[at + T_BEAT] = 20_000;
    look(20_001);
    expect(lines).to.have.length(3);
  });
});
