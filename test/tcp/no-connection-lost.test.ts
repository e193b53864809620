/**
 * One of four listeners goes while a crowd is at the door: whom that costs a connection, by a dead
 * worker with and without migration, and by SO_DRAIN. The crowd is random; a failure names its
 * seed.
 */
import { expect } from 'chai';
import { reciprocalScale } from '../../src/net/hash.js';
import { inetEhashfn } from '../../src/reuseport/ehash.js';
import { SO_DRAIN, SOL_SOCKET } from '../../src/socket/uapi/constants.js';
import { type Client, Crowd, type CrowdOptions, PORT } from './crowd.js';

const SEEDS = [1, 2, 3, 4];
const WORKERS = 4;
const VICTIM = 1;
/** Steps before the listener goes, and after that while newcomers still come. */
const BEFORE = 250;
const AFTER = 100;
const PER_STEP = 3;
const SETTLE_MAX = 30_000;

interface Scene {
  crowd: Crowd;
  /** Whose SYN had come to the victim, by the hash, and who was not accepted when it went. */
  halfOpen: Set<Client>;
  queued: Set<Client>;
  /** Whom the victim had accepted, and not answered. */
  open: Set<Client>;
}

/** The member of the group of four that the hash picks for a client. */
function slotOf(crowd: Crowd, client: Client): number {
  const { hashinfo } = crowd.host.stack.tcp;
  const hash = inetEhashfn(hashinfo, 0, PORT, 0xc61200fe | 0, 10_000 + client.number);
  return reciprocalScale(hash, WORKERS);
}

/** A crowd in every phase of the victim's connections. */
function scene(
  options: Pick<CrowdOptions, 'seed' | 'migrate' | 'loss'>,
  perStep: number = PER_STEP,
): Scene {
  const crowd = new Crowd({ workers: WORKERS, ...options });
  for (let i = 0; i < BEFORE; i++) crowd.step(perStep);
  const victim = crowd.workers[VICTIM]!;
  const { host } = crowd;
  const halfOpen = new Set<Client>();
  const queued = new Set<Client>();
  for (const client of crowd.clients) {
    if (client.fate !== 'waiting' || victim.accepted.has(client)) continue;
    if (slotOf(crowd, client) !== VICTIM) continue;
    const phase = crowd.phase(client);
    if (phase === 'half-open') halfOpen.add(client);
    if (phase === 'queued') queued.add(client);
  }
  const open = new Set([...victim.open.values()]);
  expect(host.stack.sock(victim.listenFd)!.listen!.reqs, 'half open').to.equal(halfOpen.size);
  for (const [phase, clients] of Object.entries({ halfOpen, queued, open })) {
    expect(clients.size, phase).to.be.above(5);
  }
  return { crowd, halfOpen, queued, open };
}

function finish(crowd: Crowd): void {
  for (let i = 0; i < AFTER; i++) crowd.step(PER_STEP);
  crowd.settle(SETTLE_MAX);
  expect(crowd.waiting(), 'nobody waits for ever').to.equal(0);
}

/** Their numbers, in order. */
const numbers = (...groups: Iterable<Client>[]): number[] =>
  groups
    .flatMap((group) => [...group])
    .map(({ number }) => number)
    .sort((a, b) => a - b);

const reset = (crowd: Crowd): number[] =>
  numbers(crowd.clients.filter(({ fate }) => fate === 'reset'));

/** What is in use when everybody has gone home. */
function left({ host, workers }: Crowd): { fds: number; pages: number } {
  for (const { listenFd, alive } of workers) if (alive) host.close(listenFd);
  host.advance(200_000);
  return { fds: host.mem.fdsInUse, pages: host.mem.pagesInUse };
}

describe('tcp: no connection lost when a listener goes', () => {
  for (const seed of SEEDS) {
    const loss = seed % 2 === 0 ? 0.03 : 0;

    it(`a dead worker takes only what it had accepted, with migration (seed ${seed})`, () => {
      const { crowd, open, halfOpen, queued } = scene({ seed, migrate: true, loss });
      crowd.kill(VICTIM);
      finish(crowd);
      expect(reset(crowd)).to.deep.equal(numbers(open));
      for (const client of [...halfOpen, ...queued]) {
        expect(client).to.include({ fate: 'served' });
        expect(client.worker).to.not.equal(VICTIM);
      }
    });

    it(`without migration it takes the queued and the half open, too (seed ${seed})`, () => {
      const { crowd, open, halfOpen, queued } = scene({ seed, migrate: false, loss: 0 });
      crowd.kill(VICTIM);
      finish(crowd);
      expect(reset(crowd)).to.deep.equal(numbers(open, halfOpen, queued));
    });

    for (const migrate of [false, true]) {
      const migration = migrate ? 'with' : 'without';
      it(`SO_DRAIN loses nobody, ${migration} migration (seed ${seed})`, () => {
        const { crowd, open, halfOpen, queued } = scene({ seed, migrate, loss });
        const { stack } = crowd.host;
        const victim = crowd.workers[VICTIM]!;
        expect(stack.setsockopt(victim.listenFd, SOL_SOCKET, SO_DRAIN, 1, 0)).to.equal(0);
        const known = crowd.clients.length;
        finish(crowd);
        expect(reset(crowd)).to.deep.equal([]);
        expect(victim.listenFd, 'closed').to.equal(-1);
        for (const client of [...open, ...halfOpen, ...queued]) {
          expect(client.worker).to.equal(VICTIM);
        }
        for (const client of crowd.clients.slice(known)) {
          expect(client.worker).to.not.equal(VICTIM);
        }
      });
    }
  }

  it('a dead worker takes only what it had accepted, of thousands in flight', function () {
    this.timeout(120_000);
    const { crowd, open, halfOpen, queued } = scene({ seed: 5, migrate: true, loss: 0 }, 11);
    expect(crowd.waiting()).to.be.above(2000);
    expect(halfOpen.size + queued.size).to.be.above(400);
    crowd.kill(VICTIM);
    crowd.accepts = 40;
    finish(crowd);
    expect(reset(crowd)).to.deep.equal(numbers(open));
    expect(crowd.count(({ fate }) => fate === 'served')).to.equal(crowd.clients.length - open.size);
  });

  it('leaves no descriptor and no memory behind', () => {
    const { crowd } = scene({ seed: 77, migrate: true, loss: 0.02 });
    crowd.kill(VICTIM);
    finish(crowd);
    const small = new Crowd({ workers: 1, seed: 1, migrate: true, loss: 0 });
    small.step(1);
    small.settle(SETTLE_MAX);
    // What a stack keeps that had one connection: packet buffers.
    expect(left(crowd)).to.deep.equal(left(small)).and.include({ fds: 0 });
  });
});
