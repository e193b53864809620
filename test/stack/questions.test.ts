/** Questions to the stack thread: the dry run that changes nothing, and the lists. */
import { expect } from 'chai';
import { EPERM } from '../../src/net/errno.js';
import { BLOCK_OWNER } from '../../src/net/sockmem.js';
import { Decision } from '../../src/reuseport/decision.js';
import { reuseportAttachSelector } from '../../src/reuseport/group.js';
import { inetLookup } from '../../src/reuseport/lookup.js';
import { OP_EXPLAIN, OP_LIST, OP_TRACE } from '../../src/socket/uapi/layout.js';
import { Questions } from '../../src/stack/questions.js';
import { ipv4, MemoryStack, Peer } from '../../src/testing/index.js';
import { inlineStack } from './inline-stack.js';

const US = ipv4('198.18.0.1');

interface Scene {
  host: MemoryStack;
  questions: Questions;
  listeners: number[];
}

function scene(count = 3, backlog = 8): Scene {
  const sysctl = { 'net.ipv4.tcp_ehash_entries': 64 };
  const host = new MemoryStack({ fds: 64, arenaBytes: 4 << 20, sysctl });
  host.advance(1000);
  const listeners: number[] = [];
  for (let i = 0; i < count; i++) {
    const fd = host.listen(80, backlog, { reuseport: true });
    host.mem.ctl[host.mem.blockAt(fd) + BLOCK_OWNER] = i + 2;
    listeners.push(fd);
  }
  return { host, questions: new Questions(host.stack.tcp), listeners };
}

describe('stack/questions', () => {
  it('says beforehand what a connection will meet', () => {
    const { host, questions, listeners } = scene();
    for (let port = 40_000; port < 40_040; port++) {
      const peer = new Peer(host, { port });
      const e = questions.explain(peer.address, port, US, 80)!;
      expect(e).to.include({ verdict: 'reuseport', established: 'miss', stage: 'wildcard' });
      peer.in('S 0:0(0)');
      peer.out('S. 0:0(0) ack 1');
      const half = questions.explain(peer.address, port, US, 80)!;
      expect(half).to.include({ verdict: 'request', established: 'hit', group: null });
      expect(half.winner).to.include({ fd: e.winner!.fd, worker: e.index });
      peer.in('. 1:1(0) ack 1');
      const taken = listeners.findIndex((listener) => host.accept(listener) >= 0);
      expect(e.winner).to.include({ fd: listeners[taken], thread: taken + 1, worker: taken });
      expect(e.index).to.equal(taken);
      expect(questions.explain(peer.address, port, US, 80)!.verdict).to.equal('established');
      peer.in('R 1:1(0)');
    }
  });

  it('changes nothing: counters, the last choice, dice, selectors, the attached decision', () => {
    const { host, questions, listeners } = scene();
    const { hashinfo } = host.stack.tcp;
    const asked: boolean[] = [];
    const sk = host.stack.sock(listeners[0]!)!;
    reuseportAttachSelector(hashinfo, sk, (request) => {
      asked.push(request.dryRun);
      expect(request.skb!.daddr).to.equal(US);
      return 2;
    });
    hashinfo.decision = new Decision();
    inetLookup(hashinfo, ipv4('10.0.0.9'), 9, US, 80, 1, null);
    const { phash, slot, members, pickedBy, visited, decision } = hashinfo;
    const before = JSON.stringify([decision!.saddr, decision!.phash, decision!.index]);
    const mib = Float64Array.from(host.stack.net.mib);
    const e = questions.explain(ipv4('10.0.0.2'), 40000, US, 80)!;
    expect(e.group).to.include({ pickedBy: 'selector' });
    expect(e.index).to.equal(2);
    expect(asked).to.deep.equal([true]);
    expect(hashinfo).to.include({ phash, slot, members, pickedBy, visited, decision });
    expect(JSON.stringify([decision!.saddr, decision!.phash, decision!.index])).to.equal(before);
    expect(host.stack.net.mib).to.deep.equal(mib);
    expect(hashinfo.selectorRequest.dryRun).to.equal(false);
    expect(host.stack.net.outputSkbs.out).to.equal(0);
    host.poll();
    expect(host.sent).to.have.lengthOf(0);
  });

  it('tells how full the winner’s queues are', () => {
    const { host, questions } = scene(1, 1);
    const syn = (port: number): Peer => {
      const peer = new Peer(host, { port });
      peer.in('S 0:0(0) <mss 1460>');
      return peer;
    };
    for (const port of [1, 2]) {
      const peer = syn(port);
      peer.out('S. 0:0(0) ack 1 <...>');
      peer.in('. 1:1(0) ack 1');
    }
    const { winner } = questions.explain(ipv4('10.0.0.2'), 40000, US, 80)!;
    expect(winner!.acceptQueue).to.deep.equal({ length: 2, backlog: 1, full: true });
    expect(winner!.synQueue).to.deep.equal({ length: 0, backlog: 1, full: false });
    expect(questions.explain(ipv4('10.0.0.2'), 40000, US, 81)).to.include({ verdict: 'no-socket' });
  });

  it('has no answer when there is no memory for a packet', () => {
    const { host, questions } = scene();
    const pool = host.stack.net.outputSkbs;
    while (pool.alloc() !== null);
    expect(questions.explain(1, 2, US, 80)).to.equal(null);
  });

  it('lists half-open and TIME-WAIT connections', () => {
    const { host, questions, listeners } = scene(1);
    const peer = new Peer(host, { port: 40_000 });
    peer.in('S 0:0(0)');
    peer.out('S. 0:0(0) ack 1');
    const [half, ...rest] = questions.minisocks(0).rows;
    expect(rest).to.deep.equal([]);
    expect(half).to.deep.include({
      state: 'SYN-RECV',
      local: { address: '198.18.0.1', port: 80 },
      peer: { address: '198.18.0.254', port: 40_000 },
      listener: listeners[0],
      thread: 1,
      group: 1,
      slot: 0,
      retransmits: 0,
    });
    expect(half!.expiresMs).to.be.within(1, 1000);
    peer.in('. 1:1(0) ack 1');
    const fd = host.accept(listeners[0]!);
    expect(questions.minisocks(0).rows).to.deep.equal([]);
    host.close(fd);
    peer.out('F. 1:1(0) ack 1');
    peer.in('F. 1:1(0) ack 2');
    const [wait] = questions.minisocks(0).rows;
    expect(wait).to.deep.include({ state: 'TIME-WAIT', listener: null, thread: null, slot: null });
    expect(wait!.expiresMs).to.be.within(59_000, 60_000);
  });

  it('calls an orphan’s last stage by its name, and gives long lists in pieces', () => {
    const sysctl = { 'net.ipv4.tcp_fin_timeout': 30 };
    const host = new MemoryStack({ fds: 64, arenaBytes: 4 << 20, sysctl });
    const questions = new Questions(host.stack.tcp);
    const listener = host.listen(80, 2000);
    const peer = new Peer(host, { port: 50_000 });
    const fd = peer.establish(listener);
    host.close(fd);
    peer.out('F. 1:1(0) ack 1');
    peer.in('. 1:1(0) ack 2');
    expect(questions.minisocks(0).rows.map((row) => row.state)).to.deep.equal(['FIN-WAIT-2']);
    for (let port = 1; port <= 1500; port++) new Peer(host, { port }).in('S 0:0(0)');
    const first = questions.minisocks(0);
    expect(first.next).to.equal(1024);
    const second = questions.minisocks(first.next!);
    expect(second.next).to.equal(null);
    expect(first.rows.length + second.rows.length).to.equal(1501);
    expect(questions.minisocks(-5).rows.length).to.be.greaterThan(1000);
    expect(questions.minisocks(1e9)).to.deep.equal({ rows: [], next: null });
  });

  it('shows what is inside of sockets', () => {
    const { host, questions, listeners } = scene(2);
    const { hashinfo } = host.stack.tcp;
    const sk = host.stack.sock(listeners[0]!)!;
    reuseportAttachSelector(hashinfo, sk, () => 0, false, 'first');
    const peer = new Peer(host, { port: 40_000 });
    const fd = peer.establish(listeners[0]!, '<mss 1000,sackOK,nop,wscale 7>');
    const { rows, next } = questions.details(0);
    expect(next).to.equal(null);
    const of = (wanted: number) => rows.find((row) => row.fd === wanted)!;
    expect(of(listeners[1]!)).to.deep.equal({
      fd: listeners[1],
      uid: 0,
      selector: 'first',
      synQueue: 0,
      info: null,
    });
    const { info, selector, synQueue } = of(fd);
    expect([selector, synQueue]).to.deep.equal([null, null]);
    expect(info).to.include({
      congestion: 'cubic',
      sack: true,
      timestamps: false,
      sndWscale: 7,
      mss: 1000,
      ssthresh: null,
      unacked: 0,
    });
    expect(info!.cwnd).to.equal(10);
    expect(questions.details(1e6)).to.deep.equal({ rows: [], next: null });
  });
});

describe('stack/syscalls: questions', () => {
  it('are the opener’s alone, and need somebody who answers', () => {
    const inline = inlineStack();
    const first = inline.thread();
    const second = inline.thread();
    expect(first.port.call(OP_EXPLAIN, 0, 1, 2, 3, 4)).to.equal(-38);
    const asked: number[][] = [];
    inline.syscalls.onQuestion = (...words) => {
      asked.push(words);
      return 0;
    };
    expect(first.port.call(OP_EXPLAIN, 0, 1, 2, 3, 4)).to.equal(0);
    expect(first.port.call(OP_LIST, 0, 1, 2, 0, 5)).to.equal(0);
    expect(second.port.call(OP_TRACE, 0, 128, 0, 0, 6)).to.equal(-EPERM);
    expect(asked).to.deep.equal([
      [OP_EXPLAIN, 1, 2, 3, 4],
      [OP_LIST, 1, 2, 0, 5],
    ]);
  });
});
