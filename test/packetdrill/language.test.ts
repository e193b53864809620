/**
 * src/packetdrill/{lexer,parser}.ts: the language of packet scripts, its traps above all, and what
 * is said about a script that is wrong.
 */
import { expect } from 'chai';
import { lex } from '../../src/packetdrill/lexer.js';
import { parseScript } from '../../src/packetdrill/parser.js';
import {
  type Action,
  type PacketAction,
  ScriptError,
  type TcpBody,
  UnsupportedError,
} from '../../src/packetdrill/script.js';

const kinds = (source: string): string[] =>
  lex(source).map((token) => (token.kind === 'end' ? 'end' : `${token.kind} ${token.text}`));

function action(text: string): Action {
  return parseScript('t', text).events[0]!.action;
}

function segment(text: string): TcpBody {
  return (action(text) as PacketAction).body as TcpBody;
}

describe('packetdrill lexer', () => {
  it('takes the longest match', () => {
    expect(kinds('0...0.300')).to.deep.equal(['integer 0', 'ellipsis ...', 'float 0.300', 'end']);
    expect(kinds('+.1')).to.deep.equal(['mark +', 'float .1', 'end']);
    expect(kinds('P. P.5 P5.')).to.deep.equal([
      ...['word P', 'mark .', 'word P', 'float .5', 'word P5', 'mark .', 'end'],
    ]);
    expect(kinds('1:1001(1000)')).to.deep.equal([
      ...['integer 1', 'mark :', 'integer 1001', 'mark (', 'integer 1000', 'mark )', 'end'],
    ]);
    expect(kinds('00abaaab 3021b9d8 0x1F 192.0.2.1')).to.deep.equal([
      ...['word 00abaaab', 'word 3021b9d8', 'hex 0x1F', 'ipv4 192.0.2.1', 'end'],
    ]);
    expect(kinds('2001:db8::1')).to.deep.equal(['ipv6 2001:db8::1', 'end']);
  });

  it('knows strings, shell text, code, options and comments', () => {
    expect(kinds('"a\\x41\\n" "b"')).to.deep.equal(['string aA\n', 'string b', 'end']);
    expect(kinds('`echo \\`x\\``')).to.deep.equal(['shell echo `x`', 'end']);
    expect(kinds('%{ a }% // b\n/* c\n */ d')).to.deep.equal(['code  a ', 'word d', 'end']);
    expect(kinds('--mtu=1500 --name')).to.deep.equal(['option --mtu=1500', 'option --name', 'end']);
    expect(lex('a\n\nb')[1]!.line).to.equal(3);
  });

  it('puts definitions in the place of words', () => {
    const defines = new Map([
      ['SIZE', '1460'],
      ['TEXT', '"x"'],
      ['CMD', '`ls`'],
      ['WORD', 'SOCK_STREAM'],
      ['HEX', '0x10'],
    ]);
    const tokens = lex('SIZE TEXT CMD WORD HEX', defines);
    expect(tokens.map((token) => token.kind)).to.deep.equal([
      ...['integer', 'string', 'shell', 'word', 'hex', 'end'],
    ]);
  });

  it('leaves out what a condition does not want', () => {
    const source = '#ifdef A\na\n#else\nb\n#endif\n#ifndef A\nc\n#endif';
    expect(kinds(source)).to.deep.equal(['word b', 'word c', 'end']);
    expect(lex(source, new Map([['A', '1']]))[0]!.text).to.equal('a');
    expect(() => lex('#ifdef A')).to.throw(ScriptError, '#endif');
    expect(() => lex('#endif')).to.throw(ScriptError, 'without #ifdef');
  });

  it('says what has no end', () => {
    expect(() => lex('`x')).to.throw(ScriptError, '` without its end');
    expect(() => lex('"x')).to.throw(ScriptError, '" without its end');
    expect(() => lex('a /* x')).to.throw(ScriptError, '/* without its */');
    expect(() => lex('a %{ x')).to.throw(ScriptError, '%{ without its }%');
  });

  it('takes the definitions of the script itself, unless the same comes from outside', () => {
    const text = '--define=A=7 --define=B="x y" --define=C=`ls -l` --mtu=1500 A B C D';
    const words = (given: [string, string][], known: [string, string][]): string[] =>
      lex(text, new Map(given), new Map(known))
        .slice(4)
        .map((token) => `${token.kind} ${token.text}`);
    expect(words([], [])).to.deep.equal([
      ...['integer 7', 'string x y', 'shell ls -l', 'word D', 'end '],
    ]);
    expect(words([['A', '8']], [])[0]).to.equal('integer 8');
    expect(words([], [['A', '8'], ...([['D', '9']] as [string, string][])])).to.include.members([
      ...['integer 7', 'integer 9'],
    ]);
    expect(kinds('/* --define=A=7 */ A')).to.deep.equal(['word A', 'end']);
    expect(kinds('--define=win=7 win')).to.include('word win');
    expect(lex('--define=A=012 A')[1]).to.include({ kind: 'integer', text: '10' });
  });
});

describe('packetdrill parser', () => {
  it('reads all forms of time', () => {
    const times = parseScript(
      't',
      `0 close(3) = 0
      +.25 close(3) = 0
      +1~+2 > . 1:1(0) ack 1
      1~2 > . 1:1(0) ack 1
      * > . 1:1(0) ack 1`,
    ).events.map((event) => event.time);
    expect(times).to.deep.equal([
      { kind: 'absolute', us: 0 },
      { kind: 'relative', us: 250_000 },
      { kind: 'relative-range', us: 1_000_000, endUs: 2_000_000 },
      { kind: 'absolute-range', us: 1_000_000, endUs: 2_000_000 },
      { kind: 'any' },
    ]);
  });

  it('reads a blocking call', () => {
    const call = action('+0...0.300 read(4, ..., 1000) = 1000');
    expect(call).to.include({ kind: 'call', name: 'read', returnsUs: 300_000 });
  });

  it('reads the options before and the shell text around', () => {
    const script = parseScript('t', '--mtu=1400\n--name="a b"\n`x`\n0 `y`\n`z`');
    expect(script.options.map(({ name, value }) => [name, value])).to.deep.equal([
      ['mtu', '1400'],
      ['name', 'a b'],
    ]);
    expect([script.init?.text, script.cleanup?.text]).to.deep.equal(['x', 'z']);
    expect(script.events).to.have.length(1);
  });

  it('reads segments', () => {
    expect(segment('0 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>')).to.deep.equal({
      ...{ protocol: 'tcp', sport: null, dport: null, flags: 2, ace: null },
      seq: { start: 0, length: 0, absolute: false, unchecked: false },
      ...{ ack: null, win: 32792, urg: null },
      options: [
        { kind: 'mss', value: 1000 },
        { kind: 'sackOK' },
        { kind: 'nop' },
        { kind: 'nop' },
        { kind: 'nop' },
        { kind: 'wscale', value: 7 },
      ],
    });
    const full = segment('0 > 80 > 99 PU.7 1:11(10) ack 2 win 3 urg 4 <...>');
    expect(full).to.include({ sport: 80, dport: 99, flags: 0x38, ace: 7, urg: 4, options: null });
    expect(segment('0 > .5 1:1(0) ack 1')).to.include({ flags: 0x10, ace: 5 });
    expect(segment('0 > - 1:1(0)')).to.include({ flags: 0 });
    expect(segment('0 > FEW. 1:1(0) ack 1')).to.include({ flags: 0xd1 });
    expect(segment('0 > R. ...(0) ack 1').seq).to.include({ unchecked: true });
    expect(segment('0 > R 5:5(0)!').seq).to.include({ absolute: true, start: 5 });
  });

  it('reads every option', () => {
    const text = '0 < . 1:1(0) ack 1 win 1 <nop,nop,sack 1:2 3:4,nop,nop,TS val 7 ecr 8>';
    expect(segment(text).options).to.deep.equal([
      { kind: 'nop' },
      { kind: 'nop' },
      {
        kind: 'sack',
        blocks: [
          [1, 2],
          [3, 4],
        ],
      },
      { kind: 'nop' },
      { kind: 'nop' },
      { kind: 'TS', val: 7, ecr: 8, ecrAbsolute: false },
    ]);
    const cookies = segment('0 > S 0:0(0) <FO 00abaaab,nop,nop,FOEXP,eol,eol,eol,eol>').options!;
    expect(cookies[0]).to.deep.equal({ kind: 'FO', cookie: '00abaaab' });
    expect(cookies[3]).to.deep.equal({ kind: 'FOEXP', cookie: '' });
    expect(segment('0 > S 0:0(0) <exp-FO 0011,nop,nop>').options![0]).to.deep.equal({
      ...{ kind: 'FOEXP', cookie: '0011' },
    });
    const digest = '000102030405060708090a0b0c0d0e0f';
    expect(segment(`0 < . 1:1(0) win 1 <md5 ${digest},nop,nop>`).options![0]).to.deep.equal({
      ...{ kind: 'md5', digest },
    });
    expect(segment('0 > . 1:1(0) <0xfd04abcd>').options).to.deep.equal([
      { kind: 'raw', hex: 'fd04abcd' },
    ]);
  });

  it('reads AccECN counters in both orders and dialects', () => {
    const counters = (text: string): unknown => segment(`0 > . 1:1(0) <${text}>`).options![0];
    expect(counters('ECN e0b 1 ceb 2 e1b 3,nop')).to.deep.equal({
      ...{ kind: 'ECN', first: 0, counts: [1, 2, 3] },
    });
    expect(counters('ECN e1b 7,nop,nop,nop')).to.deep.equal({ kind: 'ECN', first: 1, counts: [7] });
    expect(counters('AccECN1 ee1b 1 eceb 2,nop,nop,nop,nop')).to.deep.equal({
      ...{ kind: 'ECN', first: 1, counts: [1, 2] },
    });
    expect(() => counters('ECN e0b 16777216,nop,nop,nop')).to.throw(ScriptError, '24 bits');
  });

  it('reads IP marks, addresses, names of connections and silence', () => {
    const packet = action('0 @b > ipv4 10.0.0.1 > 10.0.0.2: [ect0,ttl 9] . 1:1(0) ack 1');
    expect(packet).to.deep.include({
      connection: 'b',
      ip: { ecn: 2, tos: null, dscp: null, ttl: 9 },
    });
    expect((packet as PacketAction).addresses).to.deep.equal({
      ...{ source: '10.0.0.1', target: '10.0.0.2' },
    });
    expect(action('+0 @a > none')).to.deep.equal({ kind: 'nothing', connection: 'a' });
  });

  it('reads the marks of the FreeBSD dialect', () => {
    const ip = (text: string): unknown => (action(`0 > ${text} . 1:1(0)`) as PacketAction).ip;
    const none = { ecn: null, tos: null, dscp: null, ttl: null };
    expect(ip('(tos 0x10, hlim 3)')).to.deep.equal({ ...none, tos: 16, ttl: 3 });
    expect(ip('[dscp af41, ecn ce]')).to.deep.equal({ ...none, dscp: 34, ecn: 3 });
    expect(ip('[dscp cs3,class 7]')).to.deep.equal({ ...none, dscp: 24, tos: 7 });
    expect(ip('[dscp 0x2e,ecn ect01]')).to.deep.equal({ ...none, dscp: 46, ecn: 'ect01' });
    expect(() => ip('[dscp best]')).to.throw(ScriptError, 'a code point');
    expect(() => ip('[ecn best]')).to.throw(ScriptError, 'noecn, ect0');
    expect(() => ip('[speed 3]')).to.throw(ScriptError, 'says nothing about an IP header');
  });

  it('reads flags with the ACE field in front or behind, and other notes of that dialect', () => {
    for (const text of ['5.', '.5', 'P5.', 'P.5', 'F5.']) {
      expect(segment(`0 > ${text} 1:1(0) ack 1`), text).to.include({ ace: 5 });
    }
    expect(segment('0 > . 1:1(0) ack 1! <nop,nop,TS val ... ecr 7!>').options![2]).to.include({
      ...{ val: null, ecr: 7, ecrAbsolute: true },
    });
  });

  it('reads ICMP', () => {
    const packet = action('0 < icmp unreachable frag_needed mtu 1200 [1:1461(1460)]');
    expect((packet as PacketAction).body).to.deep.equal({
      ...{ protocol: 'icmp', type: 3, code: 4, mtu: 1200, id: null },
      echoed: { start: 1, length: 1460, absolute: false, unchecked: false },
    });
    const front = action('0 < [1:1461(1460)] icmp unreachable frag_needed mtu 1200');
    expect(front).to.deep.equal(packet);
    expect((action('0 < icmp type_200 code_9') as PacketAction).body).to.include({
      ...{ type: 200, code: 9, id: null, echoed: null },
    });
    expect((action('0 > icmp echo_reply id 7') as PacketAction).body).to.include({ id: 7 });
    expect(() => action('0 < [1:2(1)] . 1:1(0) win 1')).to.throw(ScriptError, 'expected `icmp`');
    expect(() => action('0 < icmp type_256')).to.throw(ScriptError, 'is not an ICMP type');
    expect(() => action('0 < icmp nonsense')).to.throw(ScriptError, 'nonsense is not an ICMP type');
  });

  it('reads calls, structures and notes', () => {
    const call = action(
      '0 sendmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 10}], msg_flags=0}, MSG_MORE|0x40)' +
        ' = -1 EPIPE (no (more) readers)',
    );
    expect(call).to.include({ name: 'sendmsg', errno: 'EPIPE' });
    const flags = action('0 fcntl(3, F_GETFL) = 0x2 (flags O_RDWR)');
    expect(flags).to.deep.include({ noteFlags: { kind: 'symbol', name: 'O_RDWR' } });
    expect(action('0 f("a" "b") = 0')).to.deep.include({
      arguments: [{ kind: 'string', value: 'ab' }],
    });
  });

  const wrong: readonly [string, string, string][] = [
    ['no event', '`x`', 'expected an event'],
    ['a time without an action', '0', 'expected a packet'],
    ['a length that does not fit', '0 > . 1:3(1)', 'the end should be 2'],
    ['options that are no words long', '0 > . 1:1(0) <nop>', 'the options have 1 bytes'],
    ['an inbound segment without window', '0 < . 1:1(0)', 'needs a window'],
    ['an errno without its note', '0 close(3) = -1 EBADF', 'a note in parentheses'],
    ['a range for what is no packet', '+0~+1 close(3) = 0', 'only an outbound packet'],
    ['an end before the beginning', '2~1 > . 1:1(0)', 'ends before it begins'],
    ['flags that are none', '0 > X 1:1(0)', 'no flags of a segment'],
    ['an unknown option', '0 > . 1:1(0) <zzz>', 'no TCP option'],
    ['text after the end', '0 close(3) = 0 )', 'expected a time'],
    ['a return time of a packet', '0...1 > . 1:1(0)', 'only a system call'],
    ['half a byte', '0 > . 1:1(0) <0xabc,nop>', 'half a byte'],
    ['a digest of another length', '0 > . 1:1(0) <md5 00,nop>', 'a digest has 16 bytes'],
    ['a cookie that is none', '0 > . 1:1(0) <FO abc,nop>', 'abc is no cookie'],
    ['another time than 0 at the start', '0.1 close(3) = 0', 'the first event is at time 0'],
    ['a range at the start', '0~1 > . 1:1(0)', 'the first event is at time 0'],
    ['absolute times that run backwards', '0 `a`\n.5 `b`\n.4 `c`', 'does not run backwards'],
    ['a call that returns before it begins', '+.5...0.3 f() = 0', 'returns before it begins'],
    ['letters behind the dot', '0 > .P 1:1(0)', '.P are no flags'],
    ['letters that the ACE field stands for', '0 > PE.5 1:1(0)', 'PE.5 are no flags'],
    ['an ACE field of four bits', '0 > .8 1:1(0)', '.8 are no flags'],
    ['either ECT inbound', '0 < [ect01] . 1:1(0) win 1', 'ect01 can only be expected'],
    ['a TOS byte said twice', '0 < [tos 0x10,ecn ce] . 1:1(0) win 1', 'code point and ECN mark'],
    ['a TOS byte of nine bits', '0 > [tos 0x100] . 1:1(0)', 'a TOS byte is 0 to 255'],
    ['a port of 17 bits', '0 > 80 > 65536 . 1:1(0)', 'a port is 0 to 65535'],
    ['a window of 17 bits', '0 < . 1:1(0) win 65536', 'a window is 0 to 65535'],
    ['a number of 33 bits', '0 > . 4294967296:4294967296(0)', 'is 0 to 4294967295'],
    ['a negative length', '0 > . 1:0(-1)', 'a length is 0 to'],
    ['more than a packet holds', '0 < . 1:65497(65496) win 9', 'do not fit into a packet'],
    ['an inbound segment without number', '0 < . ...(0) win 1', 'needs its number'],
    ['an inbound timestamp without value', '0 < . 1:1(0) win 1 <TS val ... ecr 8>', 'has a value'],
    ['an AccECN option without counters', '0 > . 1:1(0) <ECN,nop,nop>', 'expected `e0b` or `e1b`'],
    ['a code of another ICMP type', '0 < icmp redirect host_unknown', 'not a code of this ICMP'],
    ['an ICMP type without its number', '0 < icmp type_', 'type_ is not an ICMP type'],
    ['an MTU that nobody tells', '0 < icmp unreachable net_unknown mtu 9', 'tells an MTU'],
    ['an identifier of an error', '0 < icmp unreachable id 7', 'have an identifier'],
    ['a query about a segment', '0 < icmp echo_request [1:2(1)]', 'is about no segment'],
    ['a definition without a value', '--define=X\n0 `a`', '--define=SYM=VALUE is meant'],
  ];
  for (const [what, source, message] of wrong) {
    it(`refuses ${what}`, () => {
      expect(() => parseScript('t', source)).to.throw(ScriptError, message);
    });
  }

  it('says where on the line it is', () => {
    for (const [source, line, column] of [
      ['0 close(3) = 0 )', 1, 16],
      ['0 close(3) = 0\n+0 > . 1:3(1)', 2, 8],
      ['// x\n  0 > . 1:1(0) <mss 1460,\n   zzz 4>', 3, 4],
    ] as const) {
      expect(() => parseScript('t', source), source)
        .to.throw(ScriptError)
        .that.includes({ line, column });
    }
  });

  for (const source of [
    '0 > ipv6 ::1 > ::2: . 1:1(0)',
    '0 < udp (10)',
    '0 > . 1:1(0) <md5 valid,nop,nop>',
    '0 > gre: . 1:1(0)',
    '0 > ipv4 1.2.3.4 > 5.6.7.8: ipv4 1.2.3.4 > 5.6.7.8: . 1:1(0)',
    '0 > . 1:1(0) ack 1 <nop,nop,nop,nop>/udp(9899 > 9899)',
    '0 > R. 1:1(0) ack 1 [cause_code 2, pen 3]',
    '0 > [flowlabel 0x1] . 1:1(0)',
    '0 < icmp unreachable port_unreachable [udp (10)]',
    '0 < [raw (10)] icmp unreachable port_unreachable',
  ]) {
    it(`leaves to other systems: ${source}`, () => {
      expect(() => parseScript('t', source)).to.throw(UnsupportedError);
    });
  }
});
