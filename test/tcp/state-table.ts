/**
 * Packet tables: a connection is brought into a state, one segment comes in, and a row of text says
 * what goes out, which state follows and which counters have moved. The rows were measured on Linux
 * 6.18 with a raw peer on a TUN; where this stack differs on purpose a comment says so.
 */
import { expect } from 'chai';
import { MIB_NAMES } from '../../src/net/mib.js';
import { inetLookupEstablished } from '../../src/reuseport/lookup.js';
import type { TimewaitSock } from '../../src/tcp/minisocks.js';
import { STATE_NAMES } from '../../src/tcp/state.js';
import { MemoryStack, type MemoryStackOptions, Peer } from '../../src/testing/index.js';

/** A stack, a peer, and the descriptors that the way into a state has made. */
export interface Conversation {
  readonly host: MemoryStack;
  readonly peer: Peer;
  listener: number;
  fd: number;
}

export type Enter = (c: Conversation) => void;

/** Counters that tell of traffic, not of a decision. */
const TRAFFIC = new Set([
  ...['TcpInSegs', 'TcpOutSegs', 'TcpCurrEstab', 'TW', 'TCPHPHits', 'TCPPureAcks', 'TCPHPAcks'],
  ...['TCPDelivered', 'TCPOrigDataSent', 'TCPRcvCoalesce', 'DelayedACKs', 'TCPAutoCorking'],
]);

/** Counters that always move together, by one name. */
const GROUPS: Readonly<Record<string, string[]>> = {
  embryonic: ['EmbryonicRsts', 'TcpAttemptFails'],
  synAgain: ['TCPSynRetrans', 'TCPTimeouts', 'TcpRetransSegs'],
  challenge: ['TCPChallengeACK', 'TCPSYNChallenge'],
};

/** Names of the TCP counters that have moved since `before`, `name+n` when by more than one. */
export function moved(host: MemoryStack, before: Float64Array): string[] {
  const names: string[] = [];
  for (let i = 0; i < MIB_NAMES.length; i++) {
    const name = MIB_NAMES[i]!;
    const by = host.counter(i) - before[i]!;
    if (by === 0 || TRAFFIC.has(name) || /^(?:Ip|Icmp|Tun)/.test(name)) continue;
    names.push(by === 1 ? name : `${name}+${by}`);
  }
  return names.sort();
}

/** What the tables hold for the peer's connection: a state's name as ss prints it, or 'gone'. */
export function stateOf(host: MemoryStack, peer: Peer): string {
  const { hashinfo } = host.stack.tcp;
  const { address, port, localPort } = peer;
  const sk = inetLookupEstablished(hashinfo, address, port, host.address, localPort, 1);
  if (sk === null) return 'gone';
  return STATE_NAMES[(sk as Partial<TimewaitSock>).substate ?? sk.state]!;
}

/** A small stack, for there are many of them. */
export function conversation(options: MemoryStackOptions = {}): Conversation {
  const sysctl = { 'net.ipv4.tcp_ehash_entries': 64, ...options.sysctl };
  const host = new MemoryStack({ fds: 64, arenaBytes: 2 << 20, ...options, sysctl });
  host.advance(5000);
  const peer = new Peer(host, { relativeTimestamps: true });
  return { host, peer, listener: -1, fd: -1 };
}

/** Half-open: the SYN is answered. */
export const synReceived: Enter = (c) => {
  c.listener = c.host.listen(80, 8);
  c.peer.in('S 0:0(0) <mss 1460>');
  c.peer.out('S. 0:0(0) ack 1 win 64240 <mss 1460>');
};

/** Accepted. */
export const established: Enter = (c) => {
  synReceived(c);
  c.peer.in('. 1:1(0) ack 1');
  c.fd = c.host.accept(c.listener);
  expect(c.fd).to.be.greaterThan(2);
};

/** A SYN as today's systems send it. */
export const FULL_SYN = 'S 0:0(0) <mss 1460,sackOK,TS val 1000000 ecr 0,nop,wscale 7>';

/** The timestamp option of a segment, as every modern stack lays it out. */
export const ts = (val: number, ecr: number): string => `<nop,nop,TS val ${val} ecr ${ecr}>`;

/** Half-open, with all options. */
export const fullSynReceived: Enter = (c) => {
  c.listener = c.host.listen(80, 8);
  c.peer.in(FULL_SYN);
  c.peer.out('S. 0:0(0) ack 1 win 65160 <mss 1460,sackOK,TS val 1000 ecr 1000000,nop,wscale 10>');
};

/** Accepted, with all options; the peer's last timestamp is 1000001. */
export const fullEstablished: Enter = (c) => {
  fullSynReceived(c);
  c.peer.in(`. 1:1(0) ack 1 win 512 ${ts(1_000_001, 1000)}`);
  c.fd = c.host.accept(c.listener);
  expect(c.fd).to.be.greaterThan(2);
};

/** Our SYN is out, from port 80 to the peer. */
export const synSent: Enter = (c) => {
  const { stack } = c.host;
  c.fd = stack.socket(0);
  expect(stack.bind(c.fd, c.host.address, 80)).to.equal(0);
  expect(stack.connect(c.fd, c.peer.address, c.peer.port)).to.equal(-115);
  c.host.poll();
  c.peer.out('S 0:0(0) win 64240 <mss 1460,sackOK,TS val 1000 ecr 0,nop,wscale 10>');
};

/** Ends the stack's sending side; the FIN is out. */
export const shut: Enter = (c) => {
  expect(c.host.shutdown(c.fd, 1)).to.equal(0);
  c.peer.out('F. 1:1(0) ack 1');
};

/** Closes the stack's end; the FIN is out. */
export const closed: Enter = (c) => {
  expect(c.host.close(c.fd)).to.equal(0);
  c.peer.out('F. 1:1(0) ack 1');
};

function expandCounters(text: string): string[] {
  if (text === '-') return [];
  return text
    .split(' ')
    .flatMap((name) => GROUPS[name] ?? [name])
    .sort();
}

/** One test a row: `segment in | segments out, '; ' between | state | counters`; '-' = none. */
export function stateTable(
  name: string,
  enter: Enter[],
  rows: string,
  options: MemoryStackOptions = {},
): void {
  describe(name, () => {
    for (const row of rows.trim().split('\n')) {
      const [segment, out, state, counters] = row.split('|').map((cell) => cell.trim());
      it(row.replace(/\s+/g, ' '), () => {
        const c = conversation(options);
        for (const step of enter) step(c);
        c.peer.quiet();
        const before = Float64Array.from(c.host.stack.net.mib);
        c.peer.in(segment!);
        c.host.advance(60);
        if (out !== '-') for (const text of out!.split(';')) c.peer.out(text);
        c.peer.quiet();
        expect(stateOf(c.host, c.peer)).to.equal(state);
        expect(moved(c.host, before)).to.deep.equal(expandCounters(counters!));
        expect(c.host.stack.net.outputSkbs.out, 'skbs').to.equal(0);
      });
    }
  });
}
