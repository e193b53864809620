/** The filter of `trace`: what it lets through, and how it points at mistakes. */
import { expect } from 'chai';
import { UsageError } from '../../src/app/command.js';
import { parseFilter } from '../../src/app/trace-filter.js';
import { dissect, type TracedPacket } from '../../src/app/trace-packet.js';
import { icmp, ipv4, tcp, udp } from './trace-packets.js';

function packet(bytes: Uint8Array): TracedPacket {
  return dissect(bytes, bytes.length);
}

const SYN = packet(ipv4(6, tcp(0x02)));
const SYN_ACK = packet(ipv4(6, tcp(0x12, { sport: 80, dport: 51702 }), { back: true }));
const DATA = packet(ipv4(6, tcp(0x18, { data: 10 })));
const FIN = packet(ipv4(6, tcp(0x11, { dport: 8080 })));
const PING = packet(ipv4(1, icmp(8, 0)));
const QUERY = packet(ipv4(17, udp(5353, 53, 4)));
const FRAGMENT = packet(ipv4(6, new Uint8Array(40), { fragment: 0x10 }));
const ALL = { SYN, SYN_ACK, DATA, FIN, PING, QUERY, FRAGMENT };

/** Names of the packets that `filter` lets through. */
function through(filter: string): string {
  const test = parseFilter(filter);
  return Object.entries(ALL)
    .filter(([, candidate]) => test(candidate))
    .map(([name]) => name)
    .join(' ');
}

const TCP = 'SYN SYN_ACK DATA FIN FRAGMENT';
const EVERY = Object.keys(ALL).join(' ');

describe('app/trace-filter', () => {
  for (const [filter, expected] of [
    ['', EVERY],
    ['ip', EVERY],
    ['tcp', TCP],
    ['udp', 'QUERY'],
    ['icmp', 'PING'],
    ['not tcp', 'PING QUERY'],
    ['! tcp', 'PING QUERY'],
    ['not not tcp', TCP],
    ['host 198.18.0.254', EVERY],
    ['198.18.0.254', EVERY],
    ['host 198.18.0.9', ''],
    ['src host 198.18.0.1', 'SYN_ACK'],
    ['src 198.18.0.1', 'SYN_ACK'],
    ['dst host 198.18.0.254', 'SYN_ACK'],
    ['icmp dst host 198.18.0.1', 'PING'],
    ['src net 198.18.0.254/32', 'SYN DATA FIN PING QUERY FRAGMENT'],
    ['net 198.18.0.0/24', EVERY],
    ['net 0.0.0.0/0', EVERY],
    ['dst net 10.0.0.0/8', ''],
    ['port 80', 'SYN SYN_ACK DATA'],
    ['src port 80', 'SYN_ACK'],
    ['dst port 80', 'SYN DATA'],
    ['tcp dst port 80', 'SYN DATA'],
    ['udp port 80', ''],
    ['portrange 50-90', 'SYN SYN_ACK DATA QUERY'],
    ['dst portrange 8000-9000', 'FIN'],
    ['port 80 or 53', 'SYN SYN_ACK DATA QUERY'],
    ['port 80 or 53 and udp', 'QUERY'],
    ['udp or tcp and dst port 80', 'SYN DATA'],
    ['udp or (tcp and dst port 80)', 'SYN DATA QUERY'],
    ['udp || (tcp && dst port 80)', 'SYN DATA QUERY'],
    ['not (port 80 or icmp)', 'FIN QUERY FRAGMENT'],
    ['syn', 'SYN SYN_ACK'],
    ['fin or rst', 'FIN'],
    ['syn and not src port 80', 'SYN'],
    ['tcp[tcpflags] & tcp-syn != 0', 'SYN SYN_ACK'],
    ['tcp[tcpflags]&(tcp-syn|tcp-fin)!=0', 'SYN SYN_ACK FIN'],
    ['tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn', 'SYN'],
    ['tcp[tcpflags] == tcp-syn|tcp-ack', 'SYN_ACK'],
    ['tcp[tcpflags] = tcp-syn', 'SYN'],
    ['tcp[13] & 0x12 = 18', 'SYN_ACK'],
  ] as const) {
    it(`"${filter}"`, () => {
      expect(through(filter)).to.equal(expected);
    });
  }

  for (const [filter, what, word] of [
    ['porrt 80', '"porrt" is no word of the filter; is it "port"?', 'porrt'],
    ['tcp and xyzzyxyzzy', '"xyzzyxyzzy" is no word', 'xyzzyxyzzy'],
    ['tcp port', 'nothing is not a port number', ''],
    ['tcp port 80 81', 'expected "and" or "or" before "81"', '81'],
    ['port http', '"http" is not a port number', 'http'],
    ['port 65536', '"65536" is not a port number', '65536'],
    ['portrange 80', '"80" is not a range', '80'],
    ['80', '"80" of what?', '80'],
    ['host example.org', '"example.org" is not an IPv4 address', 'example.org'],
    ['net 198.18.0.0/33', '"198.18.0.0/33" is not a net', '198.18.0.0/33'],
    ['net 198.18.0.1/24', 'has bits set behind its prefix', '198.18.0.1/24'],
    ['icmp port 7', 'ICMP has no ports', 'icmp'],
    ['tcp and', 'something is missing at the end', ''],
    ['tcp)', 'this parenthesis was never opened', ')'],
    ['udp or (tcp', 'this parenthesis is never closed', '('],
    ['(tcp udp)', 'expected "and", "or" or ")"', 'udp'],
    ['tcp[tcpflag] = 0', 'only tcp[tcpflags]', 'tcpflag'],
    ['tcp[tcpflags = 0', 'expected "]"', '='],
    ['tcp[tcpflags] & tcp-syn', 'expected =, == or !=', ''],
    ['tcp[tcpflags] = tcp-sny', 'is no TCP flag; is it "tcp-syn"?', 'tcp-sny'],
    ['tcp[tcpflags] & (tcp-syn = 0', 'expected ")"', '='],
    ['tcp[tcpflags] = 256', '"256" is no TCP flag', '256'],
  ] as const) {
    it(`points at what is wrong in "${filter}"`, () => {
      let error: unknown = null;
      try {
        parseFilter(filter);
      } catch (thrown) {
        error = thrown;
      }
      expect(error).to.be.instanceOf(UsageError);
      const [first, shown, mark] = (error as UsageError).message.split('\n');
      expect(first).to.contain(what);
      expect(shown).to.equal(`  ${filter}`);
      const at = mark!.indexOf('^') - 2;
      const marked = filter.slice(at, at + mark!.trim().length);
      expect(marked).to.equal(word);
    });
  }
});
