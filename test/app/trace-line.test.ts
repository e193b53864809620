/**
 * Packets as lines and as objects. The expected lines are what tcpdump 4.99 prints with -n for the
 * same bytes.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { packetObject } from '../../src/app/trace-json.js';
import { clockText, packetLine, SequenceBook } from '../../src/app/trace-line.js';
import { dissect } from '../../src/app/trace-packet.js';
import { icmp, ipv4, tcp, udp } from './trace-packets.js';

/** The lines without their clocks. */
function lines(packets: readonly Uint8Array[], absolute = false): string[] {
  const book = absolute ? null : new SequenceBook();
  return packets.map((bytes) => packetLine(0, dissect(bytes, bytes.length), book).slice(16));
}

const FULL_OPTIONS = [
  ...[2, 4, 0x05, 0xb4],
  ...[4, 2],
  ...[8, 10, 0, 0, 0, 1, 0, 0, 0, 0],
  ...[1],
  ...[3, 3, 7],
];
const HANDSHAKE = [
  ipv4(6, tcp(0x02, { seq: 123, options: FULL_OPTIONS })),
  ipv4(6, tcp(0x12, { sport: 80, dport: 51702, seq: 9000, ack: 124 }), { back: true }),
  ipv4(6, tcp(0x10, { seq: 124, ack: 9001 })),
  ipv4(6, tcp(0x18, { seq: 124, ack: 9001, data: 78 })),
  ipv4(6, tcp(0x11, { sport: 80, dport: 51702, seq: 9001, ack: 202, win: 501 }), { back: true }),
  ipv4(6, tcp(0x04, { seq: 202, win: 0 })),
];

describe('app/trace-line', () => {
  it('counts sequence numbers from the first ACK on, as tcpdump', () => {
    const there = 'IP 198.18.0.254.51702 > 198.18.0.1.80: Flags';
    const back = 'IP 198.18.0.1.80 > 198.18.0.254.51702: Flags';
    const options = 'options [mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7]';
    expect(lines(HANDSHAKE)).to.deep.equal([
      `${there} [S], seq 123, win 64240, ${options}, length 0`,
      `${back} [S.], seq 9000, ack 124, win 64240, length 0`,
      `${there} [.], ack 1, win 64240, length 0`,
      `${there} [P.], seq 1:79, ack 1, win 64240, length 78`,
      `${back} [F.], seq 1, ack 79, win 501, length 0`,
      `${there} [R], seq 202, win 0, length 0`,
    ]);
    expect(lines(HANDSHAKE, true)[3]).to.equal(
      `${there} [P.], seq 124:202, ack 9001, win 64240, length 78`,
    );
  });

  it('begins in the middle, wraps, and shows SACK blocks in the other side’s numbers', () => {
    const sack = [1, 1, 5, 18, 0, 0, 0, 110, 0, 0, 0, 120, 0, 0, 0, 130, 0, 0, 0, 140];
    const there = 'IP 198.18.0.254.51702 > 198.18.0.1.80: Flags';
    const packets = [
      ipv4(6, tcp(0x10, { seq: 0xfffffff0, ack: 77 })),
      ipv4(6, tcp(0x10, { seq: 0xfffffff1, ack: 99, options: sack })),
      ipv4(6, tcp(0x18, { seq: 0xfffffff1, ack: 99, data: 40 })),
    ];
    expect(lines(packets)).to.deep.equal([
      `${there} [.], ack 77, win 64240, length 0`,
      `${there} [.], ack 23, win 64240, options [nop,nop,sack 2 {34:44}{54:64}], length 0`,
      `${there} [P.], seq 1:41, ack 23, win 64240, length 40`,
    ]);
  });

  it('names every flag, urgent data and odd options', () => {
    const options = [34, 2, 1, 1, 254, 4, 0xf9, 0x89, 0, 0, 0, 0];
    const cookie = [34, 4, 0xab, 0x01];
    const texts = lines([
      ipv4(6, tcp(0)),
      ipv4(6, tcp(0xff, { ack: 5, urgent: 7 })),
      ipv4(6, tcp(0x02, { options })),
      ipv4(6, tcp(0x02, { options: cookie })),
      ipv4(6, tcp(0x02, { options: [2, 9, 1, 1] })),
      ipv4(6, tcp(0x02), { options: [1, 1, 1, 0] }),
    ]).map((line) => line.slice(line.indexOf('Flags')));
    expect(texts).to.deep.equal([
      'Flags [none], win 64240, length 0',
      'Flags [FSRP.UEW], seq 1000, ack 5, win 64240, urg 7, length 0',
      'Flags [S], seq 1000, win 64240, ' +
        'options [tfo  cookiereq,nop,nop,unknown-254 0xf989,eol], length 0',
      'Flags [S], seq 1000, win 64240, options [tfo  cookie ab01], length 0',
      'Flags [S], seq 1000, win 64240, options [[bad opt]], length 0',
      'Flags [S], seq 1000, win 64240, length 0',
    ]);
  });

  it('tells other protocols', () => {
    const there = 'IP 198.18.0.254 > 198.18.0.1:';
    const quoted = ipv4(17, udp(5000, 9, 4));
    const errors = [
      [3, 0, 'net 198.18.0.1 unreachable'],
      [3, 1, 'host 198.18.0.1 unreachable'],
      [3, 2, '198.18.0.1 protocol 17 unreachable'],
      [3, 3, '198.18.0.1 udp port 9 unreachable'],
      [3, 4, '198.18.0.1 unreachable - need to frag (mtu 1400)'],
      [3, 13, 'host 198.18.0.1 unreachable - admin prohibited filter'],
      [11, 0, 'time exceeded in-transit'],
      [11, 1, 'ip reassembly time exceeded'],
      [12, 0, 'parameter problem - octet 0'],
    ] as const;
    for (const [type, code, text] of errors) {
      const error = ipv4(1, icmp(type, code, [0, 0, 0x05, 0x78], quoted));
      expect(lines([error])).to.deep.equal([`${there} ICMP ${text}, length 40`]);
    }
    expect(
      lines([
        ipv4(1, icmp(8, 0, [0, 7, 0, 9], new Uint8Array(56))),
        ipv4(1, icmp(0, 0, [0, 7, 0, 9])),
        ipv4(1, icmp(40, 0)),
        ipv4(1, icmp(3, 3)),
        ipv4(1, new Uint8Array(4)),
        ipv4(1, icmp(3, 3, [0, 0, 0, 0], ipv4(6, tcp(2)))),
        ipv4(17, udp(5353, 53, 4)),
        ipv4(17, new Uint8Array(100), { fragment: 0x10 }),
        ipv4(99, new Uint8Array(30)),
        ipv4(6, new Uint8Array(6)),
      ]),
    ).to.deep.equal([
      `${there} ICMP echo request, id 7, seq 9, length 64`,
      `${there} ICMP echo reply, id 7, seq 9, length 8`,
      `${there} ICMP type-#40, length 8`,
      `${there} ICMP port unreachable, length 8`,
      `${there} [|icmp]`,
      `${there} ICMP 198.18.0.1 tcp port 80 unreachable, length 48`,
      'IP 198.18.0.254.5353 > 198.18.0.1.53: UDP, length 4',
      `${there} ip-proto-17`,
      `${there} ip-proto-99 30`,
      'IP 198.18.0.254.0 > 198.18.0.1.0: [|tcp]',
    ]);
  });

  it('shows IPv6 as much as a host says on a new device', () => {
    const solicitation = new Uint8Array(48);
    solicitation.set([0x60, 0, 0, 0, 0, 8, 58, 255]);
    solicitation.set([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x43, 0xde, 0, 0, 0, 0, 0, 0xd1], 8);
    solicitation.set([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], 24);
    solicitation[40] = 133;
    const other = solicitation.slice();
    other.set([0x20, 1, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7], 8);
    other[6] = 17;
    const third = solicitation.slice();
    third[40] = 143;
    expect(lines([solicitation, other, third, new Uint8Array(3)])).to.deep.equal([
      'IP6 fe80::43de:0:0:d1 > ff02::2: ICMP6, router solicitation, length 8',
      'IP6 2001:1:2:3:4:5:6:7 > ff02::2: ip-proto-17, length 8',
      'IP6 fe80::43de:0:0:d1 > ff02::2: ICMP6, type-#143, length 8',
      'unknown packet, length 3',
    ]);
  });

  it('prints a local clock with microseconds', () => {
    const us = new Date(2026, 0, 2, 3, 4, 5, 678).getTime() * 1000 + 9;
    expect(clockText(us)).to.equal('03:04:05.678009');
  });

  it('never throws, whatever the bytes and however they are cut', () => {
    const first = fc.constantFrom(0x45, 0x46, 0x4f, 0x60, 0x00);
    const protocol = fc.constantFrom(1, 6, 17, 99);
    const anything = fc.tuple(first, protocol, fc.uint8Array({ maxLength: 120 }));
    fc.assert(
      fc.property(anything, fc.nat(200), ([head, number, bytes], more) => {
        if (bytes.length > 9) [bytes[0], bytes[9]] = [head, number];
        const packet = dissect(bytes, bytes.length + more);
        expect(packetLine(0, packet, new SequenceBook())).to.match(/^\S+ (IP6?|unknown) /);
        expect(JSON.stringify(packetObject(0, 'in', packet, null))).to.contain('"direction":"in"');
      }),
      { numRuns: 500 },
    );
  });
});

describe('app/trace-json', () => {
  it('has the numbers of the wire', () => {
    const options = [...FULL_OPTIONS, 5, 10, 0, 0, 0, 9, 0xff, 0, 0, 0, 0, 0];
    const bytes = ipv4(6, tcp(0x02, { seq: 0xfffffff0, options: options.slice(0, 32) }));
    expect(
      packetObject(1_500_000_000_123_456, 'in', dissect(bytes, bytes.length), null),
    ).to.deep.equal({
      time: 1_500_000_000.123456,
      direction: 'in',
      src: { address: '198.18.0.254', port: 51702 },
      dst: { address: '198.18.0.1', port: 80 },
      protocol: 'tcp',
      flags: 'S',
      seq: 0xfffffff0,
      ack: null,
      win: 64240,
      options: {
        mss: 1460,
        sackOK: true,
        timestamp: { val: 1, ecr: 0 },
        wscale: 7,
        sack: [[9, 0xff000000]],
      },
      length: 0,
    });
  });

  it('leaves out what is not TCP’s', () => {
    const bytes = ipv4(1, icmp(8, 0));
    const object = packetObject(0, 'out', dissect(bytes, bytes.length), null);
    expect(object).to.have.all.keys('time', 'direction', 'src', 'dst', 'protocol', 'length');
    expect(object.src).to.deep.equal({ address: '198.18.0.254', port: null });
  });
});
