/**
 * The filter of `trace`: a subset of pcap-filter(7) with its rules, so that what works here means
 * the same in tcpdump.
 *
 *     filter    := term { (and | or) term }       equal rank, left to right, as in pcap-filter
 *     term      := (not | !) term | ( filter ) | test
 *     test      := [ip|tcp|udp|icmp] [src|dst] [host ADDRESS | net CIDR | port P | portrange P-P]
 *                | tcp[tcpflags] [& flags] (= | == | !=) flags
 *                | syn | fin | rst                our short form of `tcp[tcpflags] & tcp-syn != 0`
 *     flags     := flag { "|" flag };  flag := N | tcp-syn … | ( flags )
 *
 * A bare ADDRESS or P after and/or/not stands behind the words of the test before it: `port 80 or
 * 443`. A mistake is a FilterError that points at its word.
 */
import { parseCidr, parseIpv4 } from '../device/address.js';
import { ACK, CWR, ECE, FIN, PSH, RST, SYN, URG } from '../net/layout.js';
import { UsageError } from './command.js';
import { nearest } from './flags.js';
import { isIcmp, isTcp, isUdp, type TracedPacket } from './trace-packet.js';

export type PacketTest = (packet: TracedPacket) => boolean;

interface Token {
  text: string;
  at: number;
}

/** The words in front of a value, which a following bare value inherits. */
interface Qualifiers {
  protocol: PacketTest | null;
  direction: 'src' | 'dst' | 'either';
  type: 'host' | 'net' | 'port' | 'portrange';
}

const PROTOCOLS: Readonly<Record<string, PacketTest>> = {
  ip: (packet) => packet.version === 4,
  tcp: isTcp,
  udp: isUdp,
  icmp: isIcmp,
};
const TYPES: readonly string[] = ['host', 'net', 'port', 'portrange'];
const SHORT_FLAGS: Readonly<Record<string, number>> = { syn: SYN, fin: FIN, rst: RST };
const FLAG_NAMES: Readonly<Record<string, number>> = {
  'tcp-fin': FIN,
  'tcp-syn': SYN,
  'tcp-rst': RST,
  'tcp-push': PSH,
  'tcp-ack': ACK,
  'tcp-urg': URG,
  'tcp-ece': ECE,
  'tcp-cwr': CWR,
};
const WORDS: readonly string[] = [
  ...['and', 'or', 'not', 'src', 'dst'],
  ...Object.keys(PROTOCOLS),
  ...TYPES,
  ...Object.keys(SHORT_FLAGS),
];

/** A word of the filter is wrong. */
class FilterError extends UsageError {
  constructor(filter: string, { text, at }: Token, why: string) {
    const mark = `${' '.repeat(at)}${'^'.repeat(Math.max(1, text.length))}`;
    super(
      `trace: filter: ${why}\n  ${filter}\n  ${mark}`,
      "tunstack trace 'tcp and port 80'\ntunstack trace --help",
    );
    this.name = 'FilterError';
  }
}

/** Throws FilterError; an empty filter lets everything through. */
export function parseFilter(filter: string): PacketTest {
  return new FilterParser(filter).parse();
}

class FilterParser {
  private readonly filter: string;
  private readonly tokens: Token[];
  private next = 0;
  private last: Qualifiers | null = null;

  constructor(filter: string) {
    this.filter = filter;
    const pattern = /&&|\|\||[!=]=|[()[\]!&|=]|[^\s()[\]!&|=]+/g;
    this.tokens = [...filter.matchAll(pattern)].map((match) => ({
      text: match[0],
      at: match.index,
    }));
  }

  parse(): PacketTest {
    if (this.tokens.length === 0) return () => true;
    const test = this.alternatives();
    const { text } = this.peek();
    if (text === ')') throw this.wrong('this parenthesis was never opened');
    if (text !== '') throw this.wrong(`expected "and" or "or" before "${text}"`);
    return test;
  }

  private peek(): Token {
    return this.tokens[this.next] ?? { text: '', at: this.filter.trimEnd().length };
  }

  private take(...texts: string[]): boolean {
    const found = texts.includes(this.peek().text);
    if (found) this.next++;
    return found;
  }

  private wrong(why: string, token: Token = this.peek()): FilterError {
    return new FilterError(this.filter, token, why);
  }

  private alternatives(): PacketTest {
    let left = this.term();
    for (;;) {
      const before = left;
      if (this.take('and', '&&')) {
        const right = this.term();
        left = (packet) => before(packet) && right(packet);
      } else if (this.take('or', '||')) {
        const right = this.term();
        left = (packet) => before(packet) || right(packet);
      } else {
        return left;
      }
    }
  }

  private term(): PacketTest {
    if (this.take('not', '!')) {
      const test = this.term();
      return (packet) => !test(packet);
    }
    const opening = this.peek();
    if (this.take('(')) {
      const test = this.alternatives();
      if (!this.take(')')) {
        const closed = this.peek().text === '';
        throw closed
          ? this.wrong('this parenthesis is never closed', opening)
          : this.wrong(`expected "and", "or" or ")" before "${this.peek().text}"`);
      }
      return test;
    }
    return this.test();
  }

  private test(): PacketTest {
    const word = this.peek().text;
    const flag = SHORT_FLAGS[word];
    if (flag !== undefined) {
      this.next++;
      return flagTest((flags) => (flags & flag) !== 0);
    }
    if (word === 'tcp' && this.tokens[this.next + 1]?.text === '[') return this.flagsTest();
    if (/^\d/.test(word)) return this.bareValue();
    return this.qualified();
  }

  /** A value behind the words of the test before it, or an address on its own. */
  private bareValue(): PacketTest {
    const word = this.peek();
    if (this.last !== null) return this.value(this.last);
    if (parseIpv4(word.text) === null) {
      throw this.wrong(`"${word.text}" of what? say "port ${word.text}" or "host ADDRESS"`);
    }
    return this.value({ protocol: null, direction: 'either', type: 'host' });
  }

  private qualified(): PacketTest {
    const start = this.peek();
    const protocol = PROTOCOLS[start.text] ?? null;
    if (protocol !== null) this.next++;
    const direction = this.take('src') ? 'src' : this.take('dst') ? 'dst' : 'either';
    const type = TYPES.includes(this.peek().text) ? this.peek().text : null;
    if (type !== null) this.next++;
    if (type === null && direction === 'either') {
      if (protocol !== null) return protocol;
      throw this.unknown(start);
    }
    const qualifiers = { protocol, direction, type: type ?? 'host' } as Qualifiers;
    if (protocol === PROTOCOLS['icmp'] && type?.startsWith('port')) {
      throw this.wrong('ICMP has no ports', start);
    }
    this.last = qualifiers;
    return this.value(qualifiers);
  }

  private unknown(token: Token): FilterError {
    const { text } = token;
    if (text === '') return this.wrong('something is missing at the end', token);
    const near = nearest(text, WORDS);
    const hint = near === null ? '' : `; is it "${near}"?`;
    return this.wrong(`"${text}" is no word of the filter${hint}`, token);
  }

  private value({ protocol, direction, type }: Qualifiers): PacketTest {
    const word = this.peek();
    this.next++;
    const test =
      type === 'host' || type === 'net'
        ? this.addressTest(word, type, direction)
        : this.portTest(word, type, direction);
    return protocol === null ? test : (packet) => protocol(packet) && test(packet);
  }

  private addressTest(
    word: Token,
    type: 'host' | 'net',
    direction: Qualifiers['direction'],
  ): PacketTest {
    const [address, mask] = type === 'host' ? this.host(word) : this.net(word);
    const matches = (of: number): boolean => ((of ^ address) & mask) === 0;
    return (packet) =>
      packet.version === 4 &&
      ((direction !== 'dst' && matches(packet.saddr)) ||
        (direction !== 'src' && matches(packet.daddr)));
  }

  private host(word: Token): [address: number, mask: number] {
    const address = parseIpv4(word.text);
    if (address === null) throw this.wrong(`${quoted(word)} is not an IPv4 address`, word);
    return [address, -1];
  }

  private net(word: Token): [address: number, mask: number] {
    const cidr = parseCidr(word.text);
    if (cidr === null) throw this.wrong(`${quoted(word)} is not a net like 198.18.0.0/24`, word);
    const { address, prefix } = cidr;
    const mask = prefix === 0 ? 0 : -1 << (32 - (prefix ?? 32));
    if ((address & ~mask) !== 0) {
      throw this.wrong(`${quoted(word)} has bits set behind its prefix`, word);
    }
    return [address, mask];
  }

  private portTest(
    word: Token,
    type: 'port' | 'portrange',
    direction: Qualifiers['direction'],
  ): PacketTest {
    const [low, high] = type === 'port' ? [word.text, word.text] : word.text.split('-', 2);
    const [from, to] = [this.port(low, word, type), this.port(high, word, type)];
    const matches = (port: number | null): boolean => port !== null && port >= from && port <= to;
    return (packet) =>
      (direction !== 'dst' && matches(packet.sport)) ||
      (direction !== 'src' && matches(packet.dport));
  }

  private port(text: string | undefined, word: Token, type: string): number {
    const port = text !== undefined && /^\d{1,5}$/.test(text) ? Number(text) : -1;
    if (port < 0 || port > 65_535) {
      const form = type === 'port' ? 'a port number up to 65535' : 'a range like 8000-8080';
      throw this.wrong(`${quoted(word)} is not ${form}`, word);
    }
    return port;
  }

  /** tcp[tcpflags] & … != …; 13 is the offset that tcpflags stands for. */
  private flagsTest(): PacketTest {
    this.next += 2;
    if (!this.take('tcpflags', '13')) throw this.wrong('only tcp[tcpflags] can be looked at');
    this.expect(']');
    const mask = this.take('&') ? this.flags() : 0xff;
    const equal = this.take('=', '==');
    if (!equal && !this.take('!=')) throw this.wrong('expected =, == or !=');
    const value = this.flags();
    return flagTest((flags) => ((flags & mask) === value) === equal);
  }

  private expect(text: string): void {
    if (!this.take(text)) throw this.wrong(`expected "${text}"`);
  }

  private flags(): number {
    let flags = this.flagUnit();
    while (this.take('|')) flags |= this.flagUnit();
    return flags;
  }

  private flagUnit(): number {
    if (!this.take('(')) return this.flag();
    const flags = this.flags();
    this.expect(')');
    return flags;
  }

  private flag(): number {
    const word = this.peek();
    const value =
      FLAG_NAMES[word.text] ?? (/^(\d+|0x[\da-f]+)$/i.test(word.text) ? Number(word.text) : -1);
    if (value < 0 || value > 0xff) {
      const near = nearest(word.text, Object.keys(FLAG_NAMES));
      const hint = near === null ? ' like tcp-syn' : `; is it "${near}"?`;
      throw this.wrong(`${quoted(word)} is no TCP flag${hint}`);
    }
    this.next++;
    return value;
  }
}

function quoted({ text }: Token): string {
  return text === '' ? 'nothing' : `"${text}"`;
}

function flagTest(test: (flags: number) => boolean): PacketTest {
  return ({ tcp }) => tcp !== null && test(tcp.flags);
}
