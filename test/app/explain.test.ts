/** `tunstack explain`: its command line, and the lookup without a stack. */
import { expect } from 'chai';
import fc from 'fast-check';
import { explainRunning } from '../../src/app/explain.js';
import type { Explanation } from '../../src/reuseport/decision-json.js';
import { readVectors } from '../reuseport/fixtures.js';
import { run as runMain } from './run-main.js';

const ENDS = ['198.18.0.254:51702', '198.18.0.1:80'];

const run = (...argv: string[]): ReturnType<typeof runMain> => runMain('explain', ...argv);

async function explained(...argv: string[]): Promise<Explanation> {
  const { code, out, err } = await run(...argv, '--json');
  expect(code, err).to.equal(0);
  return JSON.parse(out) as Explanation;
}

describe('app/explain without a stack', () => {
  it('reproduces the published hashes of both kernels, by its own command line', async () => {
    const vectors = readVectors();
    expect(vectors.length).to.be.greaterThan(100);
    for (const vector of vectors.filter((_, i) => i % 9 === 0)) {
      const { saddr, sport, daddr, dport, secret, netmix } = vector;
      const sum = String((secret + netmix) % 2 ** 32);
      const common = [`${saddr}:${sport}`, `${daddr}:${dport}`, '--secret', sum];
      const mix = ['--hash-mix', String(netmix)];
      for (const profile of ['5.0', '6.18'] as const) {
        const old = profile === '5.0';
        const any = ['--listen', `0.0.0.0:${dport}*4`, '--profile', profile];
        const e = await explained(...common, ...mix, ...any);
        expect(e.phash).to.equal(old ? vector.hash_any : vector.hash_any_6_15);
        expect(e.index).to.equal((old ? vector.scale_any : vector.scale_any_6_15)[3]);
        expect(e.hash).to.equal(old ? vector.hash : vector.hash_6_15);
        expect(e.buckets.wildcard).to.equal(vector.portaddr_any % e.buckets.ofListeners);
        expect(e.buckets.exact).to.equal(vector.portaddr % e.buckets.ofListeners);
        const exact = ['--listen', `${daddr}:${dport}*4`, '--profile', profile];
        const own = await explained(...common, ...mix, ...exact);
        expect(own.phash).to.equal(old ? vector.hash : vector.hash_6_15);
        expect(own.index).to.equal((old ? vector.scale : vector.scale_6_15)[3]);
      }
    }
  });

  it('prefers the exact address, and numbers workers within each --listen', async () => {
    const listens = ['--listen', '0.0.0.0:80*4', '--listen', '198.18.0.1:80*2'];
    const e = await explained(...ENDS, ...listens, '--secret', '0x3039');
    expect(e).to.include({ stage: 'exact', verdict: 'reuseport', secret: 12345 });
    expect(e.established).to.equal('miss');
    expect(e.group!.members).to.equal(2);
    expect(e.winner).to.include({ fd: 7 + e.index!, worker: e.index! });
    expect(e.candidates[0]).to.deep.include({ score: 2, terms: { device: 1, family: 1, cpu: 0 } });
    const nobody = await explained(ENDS[0]!, '198.18.0.1:81', ...listens);
    expect(nobody).to.include({ verdict: 'no-socket', winner: null, group: null, phash: null });
    const repeated = await explained(...ENDS, '--listen', '0.0.0.0:80', '--listen', '0.0.0.0:80');
    expect(repeated.group!.members).to.equal(2);
  });

  it('asks the selector', async () => {
    const listens = ['--listen', '0.0.0.0:80*4'];
    for (const name of ['random', 'rr', 'least', 'p2c', 'consistent']) {
      const { group, index } = await explained(...ENDS, ...listens, '--select', name);
      expect(group).to.include({ pickedBy: 'selector', selector: name });
      expect(index).to.be.within(0, 3);
    }
    const { group } = await explained(...ENDS, ...listens, '--select', 'hash');
    expect(group).to.include({ pickedBy: 'hash', selector: null });
  });

  it('prints text that holds the same numbers', async () => {
    const argv = [...ENDS, '--listen', '0.0.0.0:80*4', '--secret', '7'];
    const { phash, index } = await explained(...argv);
    const { out } = await run(...argv);
    expect(out).to.include(`= ${phash} (0x${phash!.toString(16).padStart(8, '0')})`);
    expect(out).to.match(new RegExp(`verdict: reuseport, worker ${index} fd ${index! + 3}$`));
  });

  it('never fails in another way than by usage, whatever is typed', async () => {
    const word = fc.oneof(
      fc.constantFrom(...ENDS, '--listen', '--secret', '--json', '--profile', '1.2.3.4:0', '*'),
      fc.string({ maxLength: 12 }).filter((text) => !text.startsWith('--control')),
    );
    const argv = fc
      .array(word, { maxLength: 5 })
      .map((words) => [...words, '--listen', '1.2.3.4:5']);
    await fc.assert(
      fc.asyncProperty(argv, async (words) => {
        expect((await run(...words)).code).to.be.oneOf([0, 2]);
      }),
      { numRuns: 100 },
    );
  });

  for (const [argv, what] of [
    [[], /both ends/],
    [[ENDS[0]!], /both ends/],
    [['198.18.0.254', ENDS[1]!], /source 198\.18\.0\.254: the port is missing/],
    [[ENDS[0]!, 'localhost:80'], /"localhost" is not an IPv4 address/],
    [[ENDS[0]!, '198.18.0.1:65536'], /"65536" is not a port/],
    [[ENDS[0]!, '198.18.0.1:0'], /"0" is not a port/],
    [[...ENDS, 'more'], /unexpected argument "more"/],
    [[...ENDS, '--secret', '1'], /--secret goes with --listen/],
    [[...ENDS, '--select', 'rr'], /--select goes with --listen/],
    [[...ENDS, '--listen', '0.0.0.0:80', '--secret', '4294967296'], /0 to 4294967295/],
    [[...ENDS, '--listen', '0.0.0.0:80', '--secret', '-1'], /0 to 4294967295/],
    [[...ENDS, '--listen', '0.0.0.0:80', '--profile', '4.4'], /5\.0 or 6\.18/],
    [[...ENDS, '--listen', '0.0.0.0:80', '--select', 'lest'], /one of hash/],
    [[...ENDS, '--listen', '0.0.0.0:80', '--control', '/x'], /one of them/],
    [[...ENDS, '--listen', '0.0.0.0:80*0'], /ADDR:PORT\*N/],
    [[...ENDS, '--listen', '0.0.0.0:80*2*2'], /ADDR:PORT\*N/],
    [[...ENDS, '--listen', '0.0.0.0'], /port is missing/],
  ] as const) {
    it(`refuses ${argv.join(' ') || 'nothing'}`, async () => {
      const { code, out, err } = await run(...argv);
      expect([code, out]).to.deep.equal([2, '']);
      expect(err).to.match(what).and.to.contain('try: tunstack explain');
    });
  }

  it('helps', async () => {
    const { code, out } = await run('--help');
    expect(code).to.equal(0);
    expect(out).to.contain('--listen ADDR:PORT[*N]').and.to.contain('hash.secret');
  });
});

describe('app/explain of a running stack', () => {
  const roster = { workerOf: (thread: number) => thread + 100 };
  const ends = { saddr: 1, sport: 2, daddr: 3, dport: 4 };

  it('puts the workers of the roster in, and believes no request', async () => {
    const e = await explained(...ENDS, '--listen', '0.0.0.0:80*2');
    const winner = { ...e.winner!, thread: 5 };
    const questions = { explain: () => Promise.resolve({ ...e, winner }) };
    const answer = await explainRunning(questions, roster, ends);
    expect(answer.winner!.worker).to.equal(105);
    for (const wrong of [{ sport: 65536 }, { dport: -1 }, { saddr: '1' }, { daddr: undefined }]) {
      const error = await explainRunning(questions, roster, { ...ends, ...wrong }).catch(
        (reason: Error) => reason,
      );
      expect(error).to.be.instanceOf(Error);
    }
    const silent = { explain: () => Promise.resolve(null) };
    const error = await explainRunning(silent, roster, ends).catch((reason: Error) => reason);
    expect(error).to.have.property('message', 'the stack has no memory for the question');
  });
});
