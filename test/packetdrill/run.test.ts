/**
 * src/packetdrill/{run,explain}.ts: what the end of a script means, what is defined for all of
 * them, and how a failure is told.
 */
import { expect } from 'chai';
import { explainFailure } from '../../src/packetdrill/explain.js';
import { type Failure, type Outcome, runScript } from '../../src/packetdrill/run.js';

const LISTEN = `0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 5) = 0
`;
const ESTABLISHED = `${LISTEN}+0 < S 0:0(0) win 65535 <mss 1000>
+0 > S. 0:0(0) ack 1 <mss 1460>
+.1 < . 1:1(0) ack 1 win 65535
+0 accept(3, ..., ...) = 4
`;
const LEFT = `${ESTABLISHED}+0 write(4, ..., 10) = 10\n`;

function failure(outcome: Outcome): Failure {
  if (outcome.verdict !== 'failed') throw new Error(`it is ${outcome.verdict}`);
  return outcome;
}

const option = (
  name: string,
  value: string,
): { options: [{ line: 0; name: string; value: string }] } => ({
  options: [{ line: 0, name, value }],
});

describe('packetdrill: packets left at the end', () => {
  it('are a failure', () => {
    expect(failure(runScript('t', LEFT))).to.include({
      line: 8,
      message: 'expected nothing more at the end, got P. 1:11(10) ack 1 win 65535',
    });
  });

  it('are told, and no failure, for scripts of the public suites and on demand', () => {
    const told = { verdict: 'ok', leftover: ['P. 1:11(10) ack 1 win 65535'] };
    expect(runScript('t', `\`./defaults.sh\`\n${LEFT}`)).to.deep.include(told);
    expect(runScript('t', LEFT, option('leftover', 'note'))).to.deep.include(told);
    expect(runScript('t', `--leftover=note\n${LEFT}`)).to.deep.include(told);
    failure(runScript('t', `\`./defaults.sh\`\n${LEFT}`, option('leftover', 'fail')));
    failure(runScript('t', LEFT, option('leftover', 'perhaps')));
  });
});

describe('packetdrill: what is known before a script begins', () => {
  it('defines what the runner of the kernel defines', () => {
    const text = `\`./defaults.sh\`\n${LISTEN}
      +0 setsockopt(3, IPPROTO_TCP, TCP_FASTOPEN, [5], 4) = 0
      +0 < S 0:0(0) win 65535 <mss 1000,sackOK,FO>
      +0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,FO COOKIE,nop,nop>`;
    expect(runScript('t', text.replace('COOKIE', 'TFO_COOKIE')).verdict).to.equal('ok');
    failure(runScript('t', text.replace('COOKIE', 'TFO_COOKIE_ZERO')));
    const defines = new Map([['TFO_COOKIE', '0011223344556677']]);
    failure(runScript('t', text.replace('COOKIE', 'TFO_COOKIE'), { defines }));
  });

  it('does not read on when the options ask for another system', () => {
    expect(runScript('t', '--ip_version=ipv6\n0 nonsense')).to.deep.equal({
      ...{ verdict: 'skipped', line: 1, reason: '--ip_version=ipv6' },
    });
    failure(runScript('t', '--ip_version=ipv4\n0 nonsense'));
  });
});

describe('packetdrill: how a failure is told', () => {
  const explained = (events: string): string[] => {
    const source = ESTABLISHED + events;
    return explainFailure('t.pkt', source, failure(runScript('t.pkt', source)));
  };

  it('shows the place, both packets below each other, and the fields that differ', () => {
    const events = '+0 write(4, ..., 10) = 10\n   +0 > P. 1:11(10) ack 1 <nop,nop,nop,nop>';
    const [where, bar, text, mark, expected, got, marks] = explained(
      events.replace('1:11(10)', '2:12(10)').replace(' <nop,nop,nop,nop>', ' win 5'),
    );
    expect([where, bar, text, mark]).to.deep.equal([
      ...[' --> t.pkt:9:7', '  |', '9 |    +0 > P. 2:12(10) ack 1 win 5', '  |       ^'],
    ]);
    expect(expected).to.match(/^ {2}= expected {2}P\. 2:12\(10\) ack 1 win 5 {6}between 0\.0960/);
    expect(got).to.equal('  = got       P. 1:11(10) ack 1 win 65535  at 0.100000 s');
    expect(marks).to.equal('  =              ^^^^^^^^           ^^^^^');
    expect(explained(events).at(-1)).to.match(/^ {2}= +\^$/);
  });

  it('says how early or late a packet was, and points at the time', () => {
    const source = `${ESTABLISHED}+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n`;
    const early = failure(runScript('t', `${source}+1 > P. 1:11(10) ack 1`));
    expect(early.message).to.match(/ s, 0\.\d{6} s too early: P\. 1:11\(10\) ack 1 win 65535$/);
    expect(early.column).to.equal(1);
    const late = failure(runScript('t', `${source}+.01 > P. 1:11(10) ack 1`));
    expect(late.comparison?.gotAt).to.match(/ s too late$/);
  });

  it('says what was missing, what was in its place, and why pieces do not fit', () => {
    expect(failure(runScript('t', `${ESTABLISHED}+0 > . 1:1(0) ack 1`)).comparison).to.deep.include(
      {
        ...{ expected: '. 1:1(0) ack 1', got: 'nothing' },
      },
    );
    const ports = failure(runScript('t', `${LEFT}+0 > 1 > 2 P. 1:11(10) ack 1`));
    expect(ports.message).to.equal(
      'expected 1 > 2 P. 1:11(10) ack 1, got 8080 > 40000 P. 1:11(10) ack 1',
    );
    const marked = failure(runScript('t', `${LEFT}+0 > [ect01,ttl 1] P. 1:11(10) ack 1`));
    expect(marked.message).to.contain('got [noecn,ttl 64] P. 1:11(10) ack 1');
    expect(failure(runScript('t', `${LEFT}+0 > icmp unreachable`)).message).to.equal(
      'expected icmp unreachable code_0, got nothing',
    );
    const echo = `${ESTABLISHED}+0 < icmp echo_request\n+0 < P. 1:11(10) ack 1 win 9\n`;
    const after = '+0 > . 1:1(0) ack 11';
    expect(runScript('t', `${echo}${after}\n* > icmp echo_reply`).verdict).to.equal('ok');
    expect(failure(runScript('t', echo + after)).message).to.contain('at the end, got icmp echo');
    expect(failure(runScript('t', `${echo}* > icmp echo_request`)).message).to.equal(
      'expected icmp echo_request code_0, got icmp echo_reply code_0',
    );
  });

  it('points at the column of what cannot be read', () => {
    const source = '0 close(3) = 0\n+0 > . 1:3(1)';
    const told = failure(runScript('t.pkt', source));
    expect(told).to.include({ line: 2, column: 8 });
    expect(explainFailure('t.pkt', source, told)).to.deep.equal([
      ...[' --> t.pkt:2:8', '  |', '2 | +0 > . 1:3(1)', '  |        ^'],
    ]);
  });
});
