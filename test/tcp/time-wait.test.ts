/** TIME-WAIT: how long, what it answers, who may take its place, and when there are too many. */
import { expect } from 'chai';
import { EADDRNOTAVAIL, EINPROGRESS } from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import { inetLookupEstablished } from '../../src/reuseport/lookup.js';
import type { TimewaitSock } from '../../src/tcp/minisocks.js';
import { ipv4, type MemoryStack, Peer } from '../../src/testing/index.js';
import {
  closed,
  conversation,
  type Enter,
  established,
  fullEstablished,
  moved,
  shut,
  stateOf,
  stateTable,
  ts,
} from './state-table.js';

/** Both FINs acknowledged; the stack's end is a minisocket, our SND.NXT is 2. */
const timeWait: Enter = (c) => {
  established(c);
  closed(c);
  c.peer.in('F. 1:1(0) ack 2');
  c.peer.out('. 2:2(0) ack 2');
};
/** The same with timestamps; the peer's last one is 1000020. */
const fullTimeWait: Enter = (c) => {
  fullEstablished(c);
  closed(c);
  c.peer.in(`F. 1:1(0) ack 2 win 512 ${ts(1_000_020, 1000)}`);
  c.peer.out('. 2:2(0) ack 2');
};
const listenerGone: Enter = ({ host, listener }) => {
  host.close(listener);
};
const syn = (seq: number, val: number): string =>
  `S ${seq}:${seq}(0) <mss 1460,sackOK,TS val ${val} ecr 0,nop,wscale 7>`;
const reopened = 'S. 65539:65539(0) ack';

describe('tcp: TIME-WAIT', () => {
  stateTable(
    // RFC 9293 MAY-2.
    'a new SYN may take its place: later in sequence, or with a newer timestamp',
    [timeWait],
    `
S 3:3(0) <mss 1460> | ${reopened} 4 win 64240 <mss 1460> | SYN-RECV | -
S 2:2(0) <mss 1460> | . 2:2(0) ack 2 | TIME-WAIT | -
FS 1000:1000(0) | - | gone | -
`,
  );
  stateTable(
    // RFC 9293 SHLD-4, RFC 6191.
    'a new SYN with timestamps',
    [fullTimeWait],
    `
${syn(0, 1_000_021)} | ${reopened} 1 win 65160 <...> | SYN-RECV | -
${syn(0, 1_000_020)} | . 2:2(0) ack 2 | TIME-WAIT | -
${syn(1000, 1_000_020)} | ${reopened} 1001 win 65160 <...> | SYN-RECV | -
${syn(1000, 1_000_019)} | . 2:2(0) ack 2 | TIME-WAIT | PAWSTimewait
S 1000:1000(0) <mss 1460> | ${reopened} 1001 win 64240 <mss 1460> | SYN-RECV | -
. 2:2(0) ack 2 ${ts(1_000_019, 1000)} | . 2:2(0) ack 2 | TIME-WAIT | PAWSTimewait
R 2:2(0) ${ts(1_000_019, 1000)} | - | TIME-WAIT | PAWSTimewait
R 2:2(0) ${ts(1_000_020, 1000)} | - | gone | -
`,
  );
  stateTable(
    'without a listener a SYN is acknowledged only',
    [timeWait, listenerGone],
    'S 1000:1000(0) <mss 1460> | . 2:2(0) ack 2 | TIME-WAIT | -',
  );
  stateTable('a RST does not end it with tcp_rfc1337', [timeWait], 'R 2:2(0) | - | TIME-WAIT | -', {
    sysctl: { 'net.ipv4.tcp_rfc1337': 1 },
  });

  it('the reopened connection passes the limit of the SYN queue', () => {
    const c = conversation({ sysctl: { 'net.ipv4.tcp_syncookies': 0 } });
    timeWait(c);
    const { host, peer, listener } = c;
    host.stack.listen(listener, 0);
    const other = new Peer(host, { port: 41_000 });
    other.in('S 0:0(0)');
    other.out('S. 0:0(0) ack 1');
    new Peer(host, { port: 41_001 }).in('S 0:0(0)');
    other.quiet();
    expect(host.counter(Mib.TCPReqQFullDrop)).to.equal(1);
    peer.in('S 1000:1000(0) <mss 1460>');
    peer.out('S. 65539:65539(0) ack 1001');
  });

  it('but not that of the accept queue', () => {
    const c = conversation();
    timeWait(c);
    const { host, peer, listener } = c;
    host.stack.listen(listener, 0);
    const other = new Peer(host, { port: 41_000 });
    other.in('S 0:0(0)');
    other.out('S. 0:0(0) ack 1');
    other.in('. 1:1(0) ack 1');
    peer.in('S 1000:1000(0) <mss 1460>');
    peer.quiet();
    expect(host.counter(Mib.ListenOverflows)).to.equal(1);
    expect(stateOf(host, peer)).to.equal('gone');
  });

  // RFC 9293 MUST-13.
  it('lasts 60 s from the last segment that renews it', () => {
    const renews: [string, boolean][] = [
      ['. 2:2(0) ack 2', true],
      ['. 1:1(0) ack 2', true],
      ['F. 1:1(0) ack 2', true],
      ['P. 1:2(1) ack 2', true],
      ['F 1:1(0)', false],
      ['S 1:1(0)', false],
      ['R 5:5(0)', false],
    ];
    for (const [text, renewed] of renews) {
      const c = conversation();
      timeWait(c);
      c.host.advance(50_000);
      c.peer.in(text);
      c.host.sent.length = 0;
      c.host.advance(9999);
      expect(stateOf(c.host, c.peer), text).to.equal('TIME-WAIT');
      c.host.advance(1);
      expect(stateOf(c.host, c.peer), text).to.equal(renewed ? 'TIME-WAIT' : 'gone');
      c.host.advance(50_000);
      expect(stateOf(c.host, c.peer), text).to.equal('gone');
      expect(c.host.counter(Mib.TW)).to.equal(1);
      expect(c.host.stack.tcp.timewaits).to.equal(0);
      expect(c.host.stack.net.timers.size).to.equal(0);
    }
  });

  // RFC 1337.
  it('a RST does not renew it with tcp_rfc1337', () => {
    const c = conversation({ sysctl: { 'net.ipv4.tcp_rfc1337': 1 } });
    timeWait(c);
    c.host.advance(50_000);
    c.peer.in('R 2:2(0)');
    c.host.advance(9999);
    expect(stateOf(c.host, c.peer)).to.equal('TIME-WAIT');
    c.host.advance(1);
    expect(stateOf(c.host, c.peer)).to.equal('gone');
  });

  it('a RST with an old timestamp is believed again after a minute of silence', () => {
    const c = conversation();
    fullTimeWait(c);
    c.host.advance(59_000);
    c.peer.in(`. 2:2(0) ack 2 ${ts(1_000_019, 1000)}`);
    c.peer.out('. 2:2(0) ack 2');
    c.host.advance(999);
    c.peer.in(`R 2:2(0) ${ts(1_000_019, 1000)}`);
    expect(stateOf(c.host, c.peer)).to.equal('TIME-WAIT');
    c.host.advance(1);
    c.peer.in(`R 2:2(0) ${ts(1_000_019, 1000)}`);
    expect(stateOf(c.host, c.peer)).to.equal('gone');
  });

  it('remembers the newest timestamp', () => {
    const c = conversation();
    fullTimeWait(c);
    c.peer.in(`. 2:2(0) ack 2 ${ts(1_000_050, 1000)}`);
    c.peer.in(syn(0, 1_000_050));
    c.peer.out('. 2:2(0) ack 2 win 64 <nop,nop,TS val 1000 ecr 1000050>');
    expect(stateOf(c.host, c.peer)).to.equal('TIME-WAIT');
  });

  it('answers at most every 500 ms, but text and FIN always', () => {
    const c = conversation();
    timeWait(c);
    const { host, peer } = c;
    const before = Float64Array.from(host.stack.net.mib);
    peer.in('. 1:1(0) ack 2');
    peer.out('. 2:2(0) ack 2');
    for (const text of ['. 1:1(0) ack 2', 'S 1:1(0)', 'SP 1:4(3)']) {
      peer.in(text);
      peer.quiet();
    }
    for (const text of ['P. 1:4(3) ack 2', 'F. 1:1(0) ack 2']) {
      peer.in(text);
      peer.out('. 2:2(0) ack 2');
    }
    host.advance(500);
    peer.in('. 1:1(0) ack 2');
    peer.out('. 2:2(0) ack 2');
    expect(moved(host, before)).to.deep.equal(['TCPACKSkippedTimeWait+3']);
  });

  it('an ISN of 0 would mean none, so 1 follows', () => {
    for (const opener of ['peer', 'we']) {
      const c = conversation();
      fullTimeWait(c);
      const { host, peer } = c;
      const { hashinfo } = host.stack.tcp;
      const { address, port } = peer;
      const tw = inetLookupEstablished(hashinfo, address, port, host.address, 80, 1);
      (tw as TimewaitSock).sndNxt = -65_537;
      (tw as TimewaitSock).reuse = true;
      peer.localIsn = 0;
      if (opener === 'peer') {
        peer.in(syn(1000, 1_000_021));
        peer.out('S. 1:1(0) ack 1001');
        continue;
      }
      host.close(c.listener);
      host.advance(2000);
      const fd = host.stack.socket(0);
      host.stack.setsockopt(fd, 1, 2, 1, 0);
      expect(host.stack.bind(fd, host.address, 80)).to.equal(0);
      expect(host.stack.connect(fd, address, port)).to.equal(-EINPROGRESS);
      host.poll();
      peer.out('S 1:1(0) <...>');
    }
  });

  it("an orphan's FIN-WAIT-2 counts its own skipped ACKs, RSTs from outside included", () => {
    const c = conversation();
    established(c);
    closed(c);
    const { host, peer } = c;
    peer.in('. 1:1(0) ack 2');
    const before = Float64Array.from(host.stack.net.mib);
    peer.in('R 80000:80000(0)');
    peer.out('. 2:2(0) ack 1');
    peer.in('. 0:0(0) ack 2');
    peer.in('R 0:0(0)');
    peer.quiet();
    expect(moved(host, before)).to.deep.equal(['TCPACKSkippedFinWait2+2']);
  });

  it('PAWS of an old kernel counts under the name of connections', () => {
    const c = conversation({ profile: '5.0' });
    const { host, peer } = c;
    const listener = host.listen(80);
    peer.in(syn(0, 1000));
    peer.out('S. 0:0(0) ack 1 <...>');
    peer.in(`. 1:1(0) ack 1 ${ts(1001, 1000)}`);
    c.fd = host.accept(listener);
    closed(c);
    peer.in(`F. 1:1(0) ack 2 ${ts(1002, 1000)}`);
    peer.out('. 2:2(0) ack 2');
    peer.in(`. 2:2(0) ack 2 ${ts(900, 1000)}`);
    peer.out('. 2:2(0) ack 2');
    expect(host.counter(Mib.PAWSEstab)).to.equal(1);
    expect(host.counter(Mib.PAWSTimewait)).to.equal(0);
  });

  it('too many: the connection just ends, its last ACK sent', () => {
    for (const steps of [
      [established, closed],
      [established, shut],
    ]) {
      const c = conversation({ sysctl: { 'net.ipv4.tcp_max_tw_buckets': 0 } });
      for (const step of steps) step(c);
      c.peer.in('F. 1:1(0) ack 2');
      c.peer.out('. 2:2(0) ack 2');
      expect(stateOf(c.host, c.peer)).to.equal('gone');
      expect(c.host.counter(Mib.TCPTimeWaitOverflow)).to.equal(1);
      expect(c.host.stack.tcp.timewaits).to.equal(0);
      expect(c.host.stack.net.timers.size).to.equal(0);
      c.host.stack.close(c.fd);
      expect(c.host.mem.fdsInUse).to.equal(1);
    }
  });

  it("too many: an orphan's FIN-WAIT-2 ends too", () => {
    const c = conversation({ sysctl: { 'net.ipv4.tcp_max_tw_buckets': 0 } });
    established(c);
    closed(c);
    c.peer.in('. 1:1(0) ack 2');
    c.peer.quiet();
    expect(stateOf(c.host, c.peer)).to.equal('gone');
    expect(c.host.counter(Mib.TCPTimeWaitOverflow)).to.equal(1);
    c.peer.in('F. 1:1(0) ack 2');
    c.peer.out('R 2:2(0)');
  });

  it('the limit is on their number', () => {
    const { host } = conversation({ sysctl: { 'net.ipv4.tcp_max_tw_buckets': 2 } });
    const listener = host.listen(80);
    for (let i = 0; i < 3; i++) {
      const peer = new Peer(host, { port: 40_000 + i });
      const fd = peer.establish(listener);
      host.close(fd);
      peer.out('F. 1:1(0) ack 1');
      peer.in('F. 1:1(0) ack 2');
      peer.out('. 2:2(0) ack 2');
    }
    expect(host.stack.tcp.timewaits).to.equal(2);
    expect(host.counter(Mib.TCPTimeWaitOverflow)).to.equal(1);
  });
});

describe('tcp: connect() over a TIME-WAIT of the same name', () => {
  /** A closed connection from port 80 to the peer, whose last timestamp came now. */
  function left(host: MemoryStack, peer: Peer, options: string): void {
    const fd = host.stack.socket(0);
    expect(host.stack.bind(fd, host.address, 80)).to.equal(0);
    expect(host.stack.connect(fd, peer.address, peer.port)).to.equal(-EINPROGRESS);
    host.poll();
    peer.out('S 0:0(0) <...>');
    peer.in(`S. 0:0(0) ack 1 ${options}`);
    peer.out('. 1:1(0) ack 1');
    host.close(fd);
    peer.out('F. 1:1(0) ack 1');
    peer.in(`F. 1:1(0) ack 2 ${options.includes('TS') ? ts(8, 1000) : ''}`);
    peer.out('. 2:2(0) ack 2');
  }
  const FULL = '<mss 1460,sackOK,TS val 7 ecr 1000,nop,wscale 7>';
  const again = (host: MemoryStack, peer: Peer): number => {
    const fd = host.stack.socket(0);
    expect(host.stack.setsockopt(fd, 1, 2, 1, 0)).to.equal(0);
    const bound = host.stack.bind(fd, host.address, 80);
    if (bound !== 0) return bound;
    const result = host.stack.connect(fd, peer.address, peer.port);
    host.poll();
    return result;
  };

  /** bind() in the face of a TIME-WAIT needs SO_REUSEADDR on both sockets. */
  const reusable = (host: MemoryStack): void => {
    const { socket } = host.stack;
    host.stack.socket = (uid: number) => {
      const fd = socket.call(host.stack, uid);
      host.stack.setsockopt(fd, 1, 2, 1, 0);
      return fd;
    };
  };

  it('takes its place when timestamps protect it, with a later ISN', () => {
    const { host, peer } = conversation();
    reusable(host);
    left(host, peer, FULL);
    expect(again(host, peer), 'a port of bind() at once').to.equal(-EINPROGRESS);
    // Timestamps are known to be there: whole segments of that size.
    peer.out('S 65539:65539(0) win 65160 <mss 1460,sackOK,TS val 1000 ecr 8,nop,wscale 10>');
    expect(host.counter(Mib.TWRecycled)).to.equal(1);
    expect(host.stack.tcp.timewaits).to.equal(0);
    expect(stateOf(host, peer)).to.equal('SYN-SENT');
  });

  it('a port that connect() looks for waits for tcp_tw_reuse_delay and for the FIN', () => {
    for (const [fin, delay, waitMs, between, expected] of [
      [true, 1000, 1000, '', -EADDRNOTAVAIL],
      [true, 1000, 1001, '', -EINPROGRESS],
      [true, 300, 301, '', -EINPROGRESS],
      // What comes meanwhile does not make the TIME-WAIT younger; the FIN that was missing does.
      [true, 1000, 1001, `. 2:2(0) ack 2 ${ts(9, 1000)}`, -EINPROGRESS],
      [false, 1000, 1001, '', -EADDRNOTAVAIL],
      [false, 1000, 1001, `F. 1:1(0) ack 2 ${ts(9, 1000)}`, -EADDRNOTAVAIL],
    ] as const) {
      const sysctl = {
        'net.ipv4.tcp_tw_reuse': 1,
        'net.ipv4.tcp_tw_reuse_delay': delay,
        'net.ipv4.ip_local_port_range': '50000 50000',
      };
      const { host, peer } = conversation({ sysctl });
      peer.localPort = 50_000;
      const { stack } = host;
      const fd = stack.socket(0);
      stack.connect(fd, peer.address, peer.port);
      host.poll();
      peer.out('S 0:0(0) <...>');
      peer.in(`S. 0:0(0) ack 1 ${FULL}`);
      host.close(fd);
      peer.in(`${fin ? 'F.' : '.'} 1:1(0) ack 2 ${ts(8, 1000)}`);
      host.advance(waitMs / 2);
      if (between !== '') peer.in(between);
      host.advance(waitMs / 2);
      const what = `${fin} ${delay} ${waitMs} ${between}`;
      expect(stack.connect(stack.socket(0), peer.address, peer.port), what).to.equal(expected);
    }
  });

  it('an orphan in FIN-WAIT-2 knows the timestamp of the ACK that has brought it there', () => {
    const c = conversation();
    fullEstablished(c);
    c.host.close(c.fd);
    c.peer.in(`. 1:1(0) ack 2 ${ts(1_000_050, 1000)}`);
    c.peer.in(`F. 1:1(0) ack 2 ${ts(1_000_049, 1000)}`);
    expect(stateOf(c.host, c.peer)).to.equal('FIN-WAIT-2');
    c.peer.in(`F. 1:1(0) ack 2 ${ts(1_000_050, 1000)}`);
    expect(stateOf(c.host, c.peer)).to.equal('TIME-WAIT');
  });

  it('an ACK that the old one still owed is not sent any more', () => {
    const { host, peer } = conversation();
    reusable(host);
    left(host, peer, FULL);
    host.advance(1001);
    peer.queue('F. 1:1(0) ack 2');
    expect(again(host, peer)).to.equal(-EINPROGRESS);
    peer.out('S 65539:65539(0) <...>');
    peer.quiet();
  });

  it('never without timestamps', () => {
    const { host, peer } = conversation();
    reusable(host);
    left(host, peer, '<mss 1460>');
    host.advance(59_000);
    expect(again(host, peer)).to.equal(-EADDRNOTAVAIL);
    host.advance(1000);
    expect(again(host, peer)).to.equal(-EINPROGRESS);
  });

  it('for a port of our choice tcp_tw_reuse must allow it', () => {
    for (const [reuse, expected] of [
      [0, -EADDRNOTAVAIL],
      [1, -EINPROGRESS],
      [2, -EADDRNOTAVAIL],
    ] as const) {
      const { host, peer } = conversation({
        sysctl: { 'net.ipv4.tcp_tw_reuse': reuse, 'net.ipv4.ip_local_port_range': '50000 50000' },
      });
      peer.localPort = 50_000;
      for (const round of [1, 2]) {
        const fd = host.stack.socket(0);
        const result = host.stack.connect(fd, peer.address, peer.port);
        host.poll();
        if (round === 2) {
          expect(result, `tcp_tw_reuse ${reuse}`).to.equal(expected);
          break;
        }
        peer.out('S 0:0(0) <...>');
        peer.in(`S. 0:0(0) ack 1 ${FULL}`);
        peer.out('. 1:1(0) ack 1');
        host.close(fd);
        peer.out('F. 1:1(0) ack 1');
        peer.in(`F. 1:1(0) ack 2 ${ts(8, 1000)}`);
        peer.out('. 2:2(0) ack 2');
        host.advance(1001);
      }
    }
  });

  it('tcp_tw_reuse 2 is for 127.0.0.0/8 and for who is bound to lo', () => {
    for (const [to, dev, recycled] of [
      ['127.0.0.1', '', 1],
      ['198.18.0.1', 'lo', 1],
      ['198.18.0.1', '', 0],
    ] as const) {
      const { host } = conversation({
        sysctl: { 'net.ipv4.tcp_tw_reuse': 2, 'net.ipv4.ip_local_port_range': '50000 50000' },
      });
      const { stack } = host;
      const listener = host.listen(80);
      stack.setsockoptText(listener, 1, 25, dev);
      const connect = (): number => {
        const fd = stack.socket(0);
        stack.setsockoptText(fd, 1, 25, dev);
        const result = stack.connect(fd, ipv4(to), 80);
        host.advance(1);
        expect(stack.sock(fd)!.state).to.equal(result === -EINPROGRESS ? 1 : 7);
        return fd;
      };
      const client = connect();
      host.close(client);
      host.advance(1);
      host.close(host.accept(listener));
      host.advance(1001);
      expect(stack.tcp.timewaits).to.equal(1);
      connect();
      expect(host.counter(Mib.TWRecycled), `${to} ${dev}`).to.equal(recycled);
    }
  });
});
