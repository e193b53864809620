/** The test kit itself: it must see every kind of difference, and say both sides of it. */
import { expect } from 'chai';
import * as fc from 'fast-check';
import {
  decodePacket,
  encodePacket,
  formatSegment,
  ipv4,
  MemoryStack,
  type OptionText,
  Peer,
  parseSegment,
  seededRandom,
  type TcpPacket,
} from '../../src/testing/index.js';

const SYN = 'S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>';

function answered(options = {}): { host: MemoryStack; peer: Peer } {
  const host = new MemoryStack({ fds: 64, arenaBytes: 2 << 20 });
  host.listen(80);
  const peer = new Peer(host, { relativeTimestamps: true, ...options });
  peer.in(SYN);
  return { host, peer };
}

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const option: fc.Arbitrary<OptionText> = fc.oneof(
  fc.constantFrom<OptionText>({ kind: 'nop' }, { kind: 'sackOK' }),
  fc.record({ kind: fc.constant('mss' as const), value: fc.integer({ min: 0, max: 65_535 }) }),
  fc.record({ kind: fc.constant('wscale' as const), value: fc.integer({ min: 0, max: 255 }) }),
  fc.record({ kind: fc.constant('TS' as const), val: u32, ecr: u32 }),
);
const flags = fc
  .subarray([...'FSRPUEW'])
  .chain((letters) => fc.boolean().map((ack) => letters.join('') + (ack ? '.' : '')));
const packet: fc.Arbitrary<TcpPacket> = fc.record({
  source: u32,
  destination: u32,
  sport: fc.integer({ min: 0, max: 65_535 }),
  dport: fc.integer({ min: 0, max: 65_535 }),
  seq: u32,
  ack: u32,
  flags,
  window: fc.integer({ min: 0, max: 65_535 }),
  urgent: fc.integer({ min: 0, max: 65_535 }),
  options: fc.array(option, { maxLength: 3 }),
  payload: fc.uint8Array({ maxLength: 50 }),
  ttl: fc.integer({ min: 0, max: 255 }),
  tos: fc.integer({ min: 0, max: 255 }),
  id: fc.integer({ min: 0, max: 65_535 }),
  df: fc.boolean(),
});

describe('kit: time', () => {
  it('shows whole microseconds, and every deadline is looked at once', () => {
    const { host, peer } = answered();
    peer.in('. 1:1(0) ack 1 win 65535 <nop,nop,TS val 101 ecr 1000>');
    const { stack } = host;
    let polls = 0;
    const poll = stack.poll.bind(stack);
    stack.poll = (nowUs) => {
      polls++;
      poll(nowUs);
    };
    // Text under way (its RTO has a fraction), and a ring that is swept each second.
    host.write(host.accept(3), 'text');
    for (let i = 0; i < 4000; i++) host.advance(0.3337);
    expect(host.nowUs).to.equal(Math.round(host.nowUs));
    expect(host.nowUs).to.equal(1_000_000 + 4000 * 334);
    expect(polls).to.be.within(4000, 4020);
  });
});

describe('kit: out() demands what is written', () => {
  const right = 'S. 0:0(0) ack 1 win 65160 <mss 1460,sackOK,TS val 1000 ecr 100,nop,wscale 10>';
  it('accepts the right text, and leaves what is not written open', () => {
    for (const text of [right, 'S. 0:0(0) ack 1', 'S. 0:0(0) ack 1 win 65160 <...>']) {
      const { peer } = answered();
      const { flags: seen, window } = peer.out(text);
      expect([seen, window]).to.deep.equal(['S.', 65_160]);
      peer.quiet();
    }
  });

  const wrong: [string, string][] = [
    ['flag', 'S 0:0(0) ack 1'],
    ['flag too many', 'SP. 0:0(0) ack 1'],
    ['sequence number', 'S. 1:1(0) ack 1'],
    ['length', 'S. 0:1(1) ack 1'],
    ['acknowledgement', 'S. 0:0(0) ack 2'],
    ['acknowledgement left out', 'S. 0:0(0)'],
    ['window', 'S. 0:0(0) ack 1 win 65161'],
    ['option value', right.replace('1460', '1461')],
    ['option order', right.replace('mss 1460,sackOK', 'sackOK,mss 1460')],
    ['option missing', right.replace(',nop,wscale 10', '')],
    ['option too many', right.replace('wscale 10', 'wscale 10,nop')],
    ['timestamp', right.replace('val 1000', 'val 1001')],
    ['echo', right.replace('ecr 100', 'ecr 101')],
    ['no options', right.replace(/<.*>/, '<>')],
  ];
  for (const [name, text] of wrong) {
    it(`sees a difference: ${name}`, () => {
      const { peer } = answered();
      expect(() => peer.out(text)).to.throw(
        Error,
        /^expected .*, got S\. 0:0\(0\) ack 1 win 65160/,
      );
    });
  }

  it('sees that nothing was sent, and that something was', () => {
    const { peer } = answered();
    expect(() => peer.quiet()).to.throw('expected nothing, got S. 0:0(0) ack 1 win 65160');
    expect(() => peer.out(right)).to.throw('but nothing was sent');
    peer.quiet();
  });

  it('sees a second packet', () => {
    const { host, peer } = answered();
    peer.out(right);
    host.advance(1000);
    expect(() => peer.quiet()).to.throw('expected nothing, got S.');
  });

  for (const [name, at, message] of [
    ['TCP checksum', 30, 'bad TCP checksum'],
    ['TCP payload or option', 50, 'bad TCP checksum'],
    ['IPv4 header', 8, 'bad IPv4 checksum'],
    ['length', 3, 'wrong IPv4 total length'],
    ['version', 0, 'not a TCP/IPv4 packet'],
  ] as const) {
    it(`sees a corrupted packet: ${name}`, () => {
      for (const look of ['out', 'quiet'] as const) {
        const { host, peer } = answered();
        host.sent[0]![at] = host.sent[0]![at]! ^ 4;
        expect(() => (look === 'out' ? peer.out(right) : peer.quiet())).to.throw(message);
      }
    });
  }
});

describe('kit: numbers as the text names them', () => {
  it('are relative to the ISN of each side, whatever it is', () => {
    for (const isn of [0, 0x7fff_ffff, 0xffff_ffff]) {
      const { host, peer } = answered({ isn, address: '198.18.0.77', port: 1 });
      peer.out('S. 0:0(0) ack 1');
      expect(peer.isn).to.equal(isn);
      peer.in('. 1:1(0) ack 1 <nop,nop,TS val 101 ecr 1000>');
      const fd = host.accept(3);
      host.write(fd, 'abc');
      peer.out('P. 1:4(3) ack 1 <nop,nop,TS val 1000 ecr 101>');
      peer.in('P. 5:7(2) ack 1');
      peer.out('. 4:4(0) ack 1 <nop,nop,TS val 1000 ecr 101,nop,nop,sack 5:7>');
      peer.in('. 1:1(0) ack 1 <nop,nop,sack 2:4>');
      const { seg } = host.stack.tcp;
      expect((seg.sacks[0]! - host.stack.sock(fd)!.sndUna) | 0).to.equal(1);
      expect((seg.sacks[1]! - seg.sacks[0]!) | 0).to.equal(2);
    }
  });

  it('the 0 of a RST|ACK is 0', () => {
    const { peer } = answered();
    peer.out('S. 0:0(0) ack 1');
    peer.in('S 5:5(0)');
    peer.out('R. 0:0(0) ack 6');
  });

  it('absolute timestamps unless asked for', () => {
    const { peer } = answered({ relativeTimestamps: false });
    expect(() =>
      peer.out('S. 0:0(0) ack 1 <mss 1460,sackOK,TS val 1000 ecr 100,nop,wscale 10>'),
    ).to.throw('got S.');
  });

  it('header fields can be set', () => {
    const { peer } = answered();
    const fields = { ttl: 9, tos: 8, id: 7, df: true };
    expect(decodePacket(peer.bytes('. 1:1(0)', undefined, fields))).to.include(fields);
  });
});

describe('kit: segments as text', () => {
  it('the text of every segment is read as that segment', () => {
    fc.assert(
      fc.property(
        flags,
        u32,
        fc.nat(2000),
        fc.array(option, { maxLength: 4 }),
        u32,
        (f, a, n, o, k) => {
          const segment = { flags: f, seq: a, length: n, ack: k, win: n, urg: 0, options: o };
          const read = parseSegment(formatSegment(segment));
          const { urg: _, ...rest } = segment;
          expect({ options: [], ...read }).to.deep.equal(rest);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('writes and reads every field', () => {
    const text = 'FSRPUEW. 5:8(3) ack 7 win 9 urg 2 <eol,nop,sack 1:2 3:4>';
    expect(formatSegment(parseSegment(text))).to.equal(text);
    expect(formatSegment(parseSegment('- 1:1(0) <...>'))).to.equal('- 1:1(0) <...>');
    expect(formatSegment(parseSegment('. 1:1(0) <>'))).to.equal('. 1:1(0)');
  });

  for (const text of ['', 'X 0:0(0)', 'S 0:1(0)', 'S 0(0)', 'S 0:0(0) <mess 5>', 'S 0:0(0) ack']) {
    it(`refuses '${text}'`, () => {
      expect(() => parseSegment(text)).to.throw(SyntaxError);
    });
  }

  it('payload must have the length that the text says', () => {
    const { peer } = answered();
    expect(() => peer.in('P. 1:4(3)', 'ab')).to.throw(SyntaxError, 'payload is 2 bytes');
  });
});

describe('kit: packets', () => {
  it('what is encoded is decoded', () => {
    fc.assert(
      fc.property(packet, (value) => {
        const decoded = decodePacket(encodePacket(value));
        const options = decoded.options.filter(({ kind }) => kind !== 'eol');
        expect({ ...decoded, options }).to.deep.equal(value);
      }),
      { numRuns: 200 },
    );
  });

  it('options that nobody knows are refused', () => {
    const bytes = encodePacket({
      ...decodePacket(new Peer(new MemoryStack({ arenaBytes: 2 << 20 })).bytes('. 0:0(0)')),
      options: [{ kind: 'eol' }, { kind: 'mss', value: 1 }],
    });
    bytes[41] = 99;
    expect(() => decodePacket(bytes, true)).to.throw(SyntaxError, 'unknown TCP option 99');
  });
});

describe('kit: the stack in memory', () => {
  it('runs the same for the same seed', () => {
    const isns = [1, 1, 2].map((seed) => {
      const host = new MemoryStack({ seed, arenaBytes: 2 << 20 });
      host.listen(80);
      const peer = new Peer(host);
      peer.in(SYN);
      return peer.out('S. 0:0(0) ack 1').seq;
    });
    expect(isns[0]).to.equal(isns[1]);
    expect(isns[0]).not.to.equal(isns[2]);
    const dice = seededRandom(7);
    expect(dice.u32()).not.to.equal(dice.u32());
  });

  it('says what is wrong with its settings, its listeners and its peers', () => {
    const settings = { sysctl: { 'net.ipv4.tcp_window_scaling': 7 } };
    expect(() => new MemoryStack(settings)).to.throw(RangeError);
    const { host, peer } = answered();
    expect(() => host.listen(80)).to.throw('bind: errno 98');
    expect(() => host.listen(81, 1, { address: ipv4('10.0.0.1') })).to.throw('bind: errno 99');
    host.sent.length = 0;
    host.stack.mem.allocRing = () => 0;
    expect(() => host.listen(82)).to.throw('listen: errno 12');
    peer.localIsn = null;
    const other = new Peer(host, { localPort: 80, port: 9 });
    host.accept = () => -11;
    expect(() => other.establish(3)).to.throw('accept: errno 11');
  });

  it('reads text, nothing yet, and errors', () => {
    const host = new MemoryStack({ arenaBytes: 2 << 20 });
    const peer = new Peer(host);
    const fd = peer.establish(host.listen(80));
    expect(host.readText(fd)).to.equal('');
    peer.in('P. 1:3(2) ack 1', 'hi');
    expect(host.readText(fd)).to.equal('hi');
    peer.in('R 3:3(0)');
    expect(() => host.readText(fd)).to.throw('read: errno 104');
  });

  it('input buffers are limited', () => {
    const { host, peer } = answered();
    while (host.stack.net.inputSkbs.alloc() !== null);
    expect(() => peer.in('. 1:1(0) ack 1')).to.throw('no input skb left');
  });
});
