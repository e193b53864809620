/** src/reuseport/decision.ts: what a lookup writes down, and how it reads. */
import { expect } from 'chai';
import { Decision } from '../../src/reuseport/decision.js';
import { explain, type SocketNames } from '../../src/reuseport/decision-json.js';
import { explanationBrief, explanationLines } from '../../src/reuseport/decision-text.js';
import { inetEhashInsert } from '../../src/reuseport/ehash.js';
import { reuseportAttachSelector, reuseportUpdateIncomingCpu } from '../../src/reuseport/group.js';
import type { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import { inetLookup, inetLookupListener } from '../../src/reuseport/lookup.js';
import {
  AF_INET6,
  SK_REQUEST,
  SK_TIMEWAIT,
  type SockCommon,
} from '../../src/reuseport/sock-common.js';
import {
  accept,
  ip,
  listener,
  makeTables,
  packet,
  type SockFields,
  sock,
  type TableOptions,
} from './fixtures.js';

const US = ip('10.0.0.1');
const PEER = ip('10.0.0.2');

function watched(options: TableOptions = {}): { tables: InetHashinfo; decision: Decision } {
  const tables = makeTables({ hashMix: 0, secret: 0, ...options });
  const decision = new Decision();
  tables.decision = decision;
  return { tables, decision };
}

function syn(tables: InetHashinfo, sport = 40000, cpu = 0): SockCommon | null {
  return inetLookup(tables, PEER, sport, US, 80, 1, packet(cpu));
}

function textOf(decision: Decision, names?: SocketNames): string {
  return explanationLines(explain(decision, names)).join('\n');
}

describe('reuseport/decision', () => {
  it('costs nothing and changes nothing when it is not attached', () => {
    const { tables } = watched();
    const plain = makeTables({ hashMix: 0, secret: 0 });
    for (let i = 0; i < 5; i++) {
      listener(tables, 0, 80);
      listener(plain, 0, 80);
    }
    for (let sport = 1; sport < 100; sport++) {
      expect(syn(tables, sport)!.reuseportSlot).to.equal(syn(plain, sport)!.reuseportSlot);
      expect(tables.phash).to.equal(plain.phash);
    }
  });

  it('tells the whole story of a wildcard group', () => {
    const { tables, decision } = watched();
    const socks = [0, 1, 2, 3].map(() => listener(tables, 0, 80));
    const winner = syn(tables, 40000, 2);
    // The documented hash of 10.0.0.2:40000 -> 0.0.0.0:80 in the 6.15 form.
    expect(decision.phash >>> 0).to.equal(3702459360);
    expect(decision.index).to.equal(3);
    expect(winner).to.equal(socks[3]);
    expect(decision.winner).to.equal(winner);
    expect(decision.verdict).to.equal('reuseport');
    expect(decision.established).to.equal('miss');
    expect(decision.hash >>> 0).to.equal(1738216176);
    expect(decision.ehashBucket).to.equal(1738216176 % 1024);
    expect(decision.stage).to.equal('wildcard');
    expect(decision.exactBucket).to.equal(tables.lhash2.bucketOf(US, 80));
    expect(decision.wildcardBucket).to.equal(tables.lhash2.bucketOf(0, 80));
    expect(decision.members).to.have.ordered.members(socks);
    expect(decision.group).to.equal(socks[0]!.reuseportCb);
    // The scan ended at the newest listener.
    expect(decision.candidates).to.have.lengthOf(1);
    const [candidate] = decision.candidates;
    expect(candidate!.sk).to.equal(socks[3]);
    const { stage, score, device, family, cpu, mismatch } = candidate!;
    expect({ stage, score, device, family, cpu, mismatch }).to.deep.equal({
      stage: 'wildcard',
      score: 2,
      device: 1,
      family: 1,
      cpu: 0,
      mismatch: 0,
    });
    expect(textOf(decision).split('\n')).to.deep.equal([
      '10.0.0.2:40000 -> 10.0.0.1:80, interface 1, cpu 2, rules of Linux 6.18, secret 0',
      'established: hash = lport + jhash_3words(laddr, faddr, fport, secret)',
      '  = 80 + jhash_3words(0x0100000a, 0x0200000a, 0x0000409c, 0x00000000) = ' +
        '1738216176 (0x679b12f0)',
      '  bucket 752 of 1024, 0 looked at: miss',
      `listeners, exact: 10.0.0.1:80, bucket ${decision.exactBucket} of 1024: nobody listens`,
      `listeners, wildcard: 0.0.0.0:80, bucket ${decision.wildcardBucket} of 1024: 1 looked at`,
      '  0.0.0.0:80: score 2 = device 1 + family 1 + cpu 0',
      'reuseport group: 4 members, in listen() order',
      '  [0] 0.0.0.0:80',
      '  [1] 0.0.0.0:80',
      '  [2] 0.0.0.0:80',
      '  [3] 0.0.0.0:80  <==',
      'flow hash of 10.0.0.2:40000 -> 0.0.0.0:80 = ' +
        'lport + jhash_3words(laddr, faddr, fport, secret)',
      '  = 80 + jhash_3words(0x00000000, 0x0200000a, 0x0000409c, 0x00000000) = ' +
        '3702459360 (0xdcaf0be0)',
      'hash * 4 / 2^32 = 3702459360 * 4 / 4294967296 = 3.448, so 3',
      'verdict: reuseport, 0.0.0.0:80',
    ]);
    expect(explanationBrief(explain(decision))).to.equal(
      '0.0.0.0:80: group of 4, hash 0xdcaf0be0 → index 3',
    );
  });

  it('tells connections, requests and time-wait sockets apart', () => {
    const { tables, decision } = watched();
    const server = listener(tables, US, 80);
    const child = accept(tables, server, US, PEER, 40000);
    expect(syn(tables)).to.equal(child);
    expect([decision.established, decision.verdict, decision.stage]).to.deep.equal([
      'hit',
      'established',
      'none',
    ]);
    expect([decision.exactBucket, decision.wildcardBucket]).to.deep.equal([-1, -1]);
    expect(textOf(decision)).to.match(/1 looked at: hit\nverdict: established, 10\.0\.0\.1:80$/);
    const kinds = [
      [SK_REQUEST, 'request'],
      [SK_TIMEWAIT, 'time-wait'],
    ] as const;
    for (const [kind, verdict] of kinds) {
      const mini = sock({ rcvSaddr: US, num: 80, daddr: PEER, dport: kind }, kind);
      inetEhashInsert(tables, mini, null);
      expect(syn(tables, kind)).to.equal(mini);
      expect(decision.verdict).to.equal(verdict);
    }
  });

  it('starts afresh each time: nothing of the last lookup stays', () => {
    const { tables, decision } = watched();
    listener(tables, US, 80);
    syn(tables);
    expect(decision.verdict).to.equal('reuseport');
    expect(inetLookupListener(tables, PEER, 40000, US, 99, 1, null)).to.equal(null);
    expect(textOf(decision).split('\n')).to.deep.equal([
      '10.0.0.2:40000 -> 10.0.0.1:99, interface 1, cpu 0, rules of Linux 6.18, secret 0',
      `listeners, exact: 10.0.0.1:99, bucket ${decision.exactBucket} of 1024: nobody listens`,
      `listeners, wildcard: 0.0.0.0:99, bucket ${decision.wildcardBucket} of 1024: nobody listens`,
      'verdict: no-socket',
    ]);
    expect([decision.group, decision.winner, decision.index]).to.deep.equal([null, null, -1]);
    expect([decision.members.length, decision.candidates.length]).to.deep.equal([0, 0]);
    expect(decision.established).to.equal('skipped');
  });

  it('says why a listener was passed over', () => {
    const { tables, decision } = watched({ profile: '5.0' });
    const make = (fields: SockFields, addr: number): SockCommon => {
      const sk = sock({ num: 80, rcvSaddr: addr, ...fields });
      tables.lhash2.insert(sk);
      return sk;
    };
    const plain = make({}, 0);
    make({ boundDevIf: 7 }, 0);
    make({ family: AF_INET6, ipv6only: true }, 0);
    // Fields that moved under the table's feet: the score looks again.
    make({}, US).num = 81;
    make({}, US).rcvSaddr = US + 1;
    expect(syn(tables)).to.equal(plain);
    expect([decision.verdict, decision.index, decision.phash]).to.deep.equal(['listener', -1, 0]);
    const fds = new Map<SockCommon, number>();
    for (const candidate of decision.candidates) fds.set(candidate.sk, fds.size);
    const text = textOf(decision, (sk) => ({ fd: fds.get(sk)!, thread: null, worker: null }));
    expect(text.split('\n').slice(4)).to.deep.equal([
      `listeners, exact: 10.0.0.1:80, bucket ${decision.exactBucket} of 1024: 2 looked at`,
      '  fd 0: no, another address',
      '  fd 1: no, another port',
      `listeners, wildcard: 0.0.0.0:80, bucket ${decision.wildcardBucket} of 1024: 3 looked at`,
      '  fd 2: no, IPv6 only',
      '  fd 3 on interface 7: no, bound to another interface',
      '  fd 4: score 2 = device 0 + family 2 + cpu 0',
      'verdict: listener, fd 4',
    ]);
  });

  it('says who picked: selector or CPU', () => {
    const { tables, decision } = watched();
    const socks = [0, 1, 2].map(() => listener(tables, US, 80, { boundDevIf: 1 }));
    reuseportUpdateIncomingCpu(socks[1]!, 4);
    syn(tables, 40000, 4);
    const text = textOf(decision);
    expect(text).to.match(/\nfirst member from [0-2] on of cpu 4: 1\n/);
    expect(text).to.include('flow hash of 10.0.0.2:40000 -> 10.0.0.1:80 = ');
    expect(text).to.include('[1] 10.0.0.1:80 on interface 1  <==');
    reuseportAttachSelector(tables, socks[0]!, () => 2, false, 'two');
    expect(syn(tables, 40000, 4)).to.equal(socks[2]);
    expect(textOf(decision)).to.include('\nthe selector two chose 2\n');
    const one = watched();
    listener(one.tables, US, 80);
    syn(one.tables);
    expect(textOf(one.decision)).to.include('reuseport group: 1 member, in');
  });

  it('shows what a selector saw, and when it named nobody', () => {
    const { tables, decision } = watched();
    const socks = [0, 1, 2].map(() => listener(tables, 0, 80));
    tables.selectorRequest.state = {
      queueLength: (sk) => socks.indexOf(sk),
      connections: () => 7,
      utilisation: () => 0.255,
      heartbeatAgeMs: (sk) => (sk === socks[2] ? Infinity : 12.3),
    };
    let answer = 1;
    reuseportAttachSelector(tables, socks[0]!, () => answer, false, 'mine');
    syn(tables);
    const text = textOf(decision);
    expect(text).to.include(
      '[1] 0.0.0.0:80: queue 1, connections 7, utilisation 26 %, heartbeat 12 ms ago  <==',
    );
    expect(text).to.include('[2] 0.0.0.0:80: queue 2, connections 7, utilisation 26 %, gone\n');
    const explanation = explain(decision);
    expect(explanation.group).to.include({ pickedBy: 'selector', selector: 'mine' });
    expect(explanation.index).to.equal(1);
    // Over a socket Infinity becomes null.
    const sent = JSON.parse(JSON.stringify(explanation)) as typeof explanation;
    expect(explanationLines(sent).join('\n')).to.equal(text);
    const hash = `(hash 0x${(decision.phash >>> 0).toString(16)} → ${explanation.group!.byHash})`;
    expect(explanationBrief(explanation)).to.equal(
      `0.0.0.0:80: group of 3, selector mine → index 1 ${hash}`,
    );
    answer = -1;
    syn(tables);
    expect(textOf(decision)).to.include('\nthe selector mine named no member: the hash chooses\n');
    expect(explain(decision).group).to.include({ pickedBy: 'hash', selector: 'mine' });
    reuseportAttachSelector(tables, socks[0]!, () => JSON.parse('{') as number);
    syn(tables);
    expect(textOf(decision)).to.include('\nits selector was detached: ');
  });

  it('prints the ends of a large group and the chosen one, and lists as many as asked for', () => {
    const { tables, decision } = watched();
    for (let i = 0; i < 100; i++) listener(tables, 0, 80);
    for (let sport = 40_000; decision.index < 40 || decision.index > 60; sport++) {
      syn(tables, sport);
    }
    const lines = textOf(decision).split('\n');
    const members = lines.filter((line) => /^ {2}(\[|…)/.test(line));
    expect(members).to.have.lengthOf(16 + 1 + 1 + 1 + 16);
    expect(members[16]).to.equal(`  … ${decision.index - 16} more`);
    expect(members[17]).to.match(new RegExp(`^ {2}\\[${decision.index}\\].*<==$`));
    const few = explain(decision, undefined, 8);
    expect([few.group!.members, few.group!.sockets.length]).to.deep.equal([100, 8]);
    expect(explanationLines(few)).to.include('  … 92 more');
  });
});
