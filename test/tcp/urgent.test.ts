/** Urgent data: the mark that comes in, the pointer that goes out (RFC 9293 3.8.5, RFC 6093). */
import { expect } from 'chai';
import { BLOCK_SND_FLAGS, BLOCK_URG_SEQ, SND_MORE } from '../../src/net/sockmem.js';
import {
  URG_NOTYET,
  URG_READ,
  URG_VALID,
  urgentAnnounce,
  urgentArrive,
  urgentForget,
  urgentHead,
  urgentPassed,
  urgentReplace,
  urgentSkip,
  urgentState,
  urgentStop,
  urgentTake,
} from '../../src/net/urgent.js';
import { MSG_MORE, MSG_OOB } from '../../src/socket/uapi/constants.js';
import {
  fileAtMark,
  fileInq,
  fileInqHint,
  fileRead,
  fileReadUrgent,
} from '../../src/socket/uapi/file-read.js';
import { fileWrite } from '../../src/socket/uapi/file-write.js';
import { decodePacket } from '../../src/testing/packet.js';
import { pattern, type Rig, rig } from './rig.js';

const APPLICATION = 1;
const EAGAIN = -11;
const EINVAL = -22;
const EPOLLPRI = 2;

/** Reads what one call gives, as text; a number is -errno. */
function read(r: Rig, most = 100, peek = false, ahead = 0): string | number {
  const bytes = new Uint8Array(most);
  const count = fileRead(r.host.mem, r.fd, APPLICATION, bytes, 0, most, peek, ahead);
  return count < 0 ? count : new TextDecoder().decode(bytes.subarray(0, count));
}

function urgent(r: Rig, peek = false): string | number {
  const byte = fileReadUrgent(r.host.mem, r.fd, peek);
  return byte > 0 ? String.fromCharCode(byte - 256) : byte;
}

const atMark = (r: Rig): boolean => fileAtMark(r.host.mem, r.fd);

/** Writes with flags, as sys does. */
function write(r: Rig, bytes: Uint8Array, flags: number): number {
  const { host, fd } = r;
  host.stack.attachSendRing(fd);
  const count = fileWrite(host.mem, fd, APPLICATION, bytes, 0, bytes.length, flags);
  host.stack.published(fd);
  return count;
}

describe('tcp: urgent data that comes', () => {
  // RFC 9293 MUST-32.
  it('one byte is out of line, and the mark is passed only by reading on', () => {
    const r = rig();
    r.peer.in('UP. 1:9(8) ack 1 urg 4', 'abcdefgh');
    expect(r.host.ready(r.fd) & EPOLLPRI).to.equal(EPOLLPRI);
    expect(r.host.events.some(([fd, bits]) => fd === r.fd && (bits & EPOLLPRI) !== 0)).to.equal(
      true,
    );
    expect(fileInq(r.host.mem, r.fd)).to.equal(3);
    expect(read(r)).to.equal('abc');
    expect(atMark(r)).to.equal(true);
    expect([urgent(r, true), urgent(r), urgent(r)]).to.deep.equal(['d', 'd', EINVAL]);
    expect(r.host.ready(r.fd) & EPOLLPRI).to.equal(0);
    expect(atMark(r)).to.equal(true);
    expect(read(r)).to.equal('efgh');
    expect(atMark(r)).to.equal(false);
    expect(urgentState(r.host.mem.ctl, r.tcb.at)).to.equal(0);
  });

  it('a byte that nobody takes is lost when it is read past', () => {
    const r = rig();
    r.peer.in('UP. 1:5(4) ack 1 urg 2', 'abcd');
    expect([read(r), read(r), urgent(r)]).to.deep.equal(['a', 'cd', EINVAL]);
  });

  it('a pointer of 0 and one of 1 mean the first byte', () => {
    for (const urg of [0, 1]) {
      const r = rig();
      r.peer.in(`UP. 1:4(3) ack 1 urg ${urg}`, 'abc');
      expect([atMark(r), read(r, 1), urgent(r)]).to.deep.equal([true, 'b', EINVAL]);
    }
  });

  it('comes before the text, out of order, and with a retransmission', () => {
    const r = rig();
    r.peer.in('U. 1:1(0) ack 1 urg 6');
    expect(urgent(r)).to.equal(EAGAIN);
    expect(r.host.ready(r.fd) & EPOLLPRI).to.equal(0);
    r.peer.in('P. 4:9(5) ack 1', 'defgh');
    // The byte is known although what comes before it is not.
    expect(urgent(r, true)).to.equal('f');
    r.peer.in('UP. 1:4(3) ack 1 urg 6', 'abc');
    expect([read(r), read(r)]).to.deep.equal(['abcde', 'gh']);
    r.peer.in('UP. 1:9(8) ack 1 urg 6', 'abcdefgh');
    expect([urgent(r), atMark(r)]).to.deep.equal([EINVAL, false]);
  });

  it('a pointer into what has been read or received is no news', () => {
    const r = rig();
    r.peer.in('P. 1:9(8) ack 1', 'abcdefgh');
    r.peer.in('UP. 9:11(2) ack 1 urg 1', 'ij');
    expect([read(r), urgent(r)]).to.deep.equal(['abcdefgh', 'i']);
    r.peer.in('UP. 11:13(2) ack 1 urg 2', 'kl');
    // Older than the mark there is now.
    r.peer.in('UP. 11:13(2) ack 1 urg 1', 'kl');
    expect([read(r), urgent(r)]).to.deep.equal(['jk', 'l']);
  });

  it('a newer mark makes the older byte part of the stream', () => {
    const r = rig();
    r.peer.in('UP. 1:5(4) ack 1 urg 2', 'abcd');
    r.peer.in('UP. 5:9(4) ack 1 urg 2', 'efgh');
    expect([read(r), urgent(r), read(r)]).to.deep.equal(['abcde', 'f', 'gh']);
  });

  it('unless the reader stands there', () => {
    const r = rig();
    r.peer.in('UP. 1:5(4) ack 1 urg 2', 'abcd');
    expect(read(r)).to.equal('a');
    r.peer.in('UP. 5:9(4) ack 1 urg 2', 'efgh');
    expect(fileInq(r.host.mem, r.fd)).to.equal(3);
    expect(fileInqHint(r.host.mem, r.fd)).to.equal(6);
    expect([read(r, 100, true), read(r), read(r)]).to.deep.equal(['cde', 'cde', 'gh']);
  });

  it('a mark right behind the one that the reader stands at', () => {
    const r = rig();
    r.peer.in('UP. 1:4(3) ack 1 urg 3', 'abc');
    expect(read(r)).to.equal('ab');
    r.peer.in('UP. 4:5(1) ack 1 urg 1', 'd');
    expect([atMark(r), urgent(r), read(r)]).to.deep.equal([true, 'd', EAGAIN]);
    r.peer.in('P. 5:6(1) ack 1', 'e');
    expect([read(r), atMark(r)]).to.deep.equal(['e', false]);
  });

  it('looks stop at the mark and go on behind it', () => {
    const r = rig();
    r.peer.in('UP. 1:7(6) ack 1 urg 3', 'abcdef');
    expect(read(r, 100, true)).to.equal('ab');
    expect(read(r, 100, true, 2)).to.equal('def');
    expect([read(r, 100, true), read(r), read(r, 100, true)]).to.deep.equal(['ab', 'ab', 'def']);
    expect(atMark(r)).to.equal(true);
  });

  it('in line it is text, but the mark still stops a read', () => {
    const r = rig({ listenerOptions: [[1, 10, 1]] });
    r.peer.in('UP. 1:7(6) ack 1 urg 3', 'abcdef');
    expect(urgent(r)).to.equal(EINVAL);
    expect([read(r), read(r)]).to.deep.equal(['ab', 'cdef']);
  });

  it('with the end of the stream behind it', () => {
    const r = rig();
    r.peer.in('FUP. 1:4(3) ack 1 urg 3', 'abc');
    expect([read(r), read(r, 100, true), urgent(r), read(r)]).to.deep.equal(['ab', '', 'c', '']);
  });

  it('announced and never sent: the end of the stream for MSG_OOB, too', () => {
    const r = rig();
    r.peer.in('U. 1:4(3) ack 1 urg 30', 'abc');
    expect(urgent(r)).to.equal(EAGAIN);
    r.peer.in('F. 4:4(0) ack 1');
    expect([urgent(r), read(r), read(r)]).to.deep.equal([0, 'abc', '']);
  });

  it('a listener and a closed socket have none', () => {
    const r = rig();
    expect(fileReadUrgent(r.host.mem, r.listener, false)).to.equal(-107);
    r.peer.in('UP. 1:4(3) ack 1 urg 3', 'abc');
    r.peer.in('R. 4:4(0) ack 1');
    expect(urgent(r)).to.equal(-107);
  });
});

// RFC 9293 MUST-66.
describe('tcp: urgent data at a closed window', () => {
  for (const [profile, waits, told] of [
    ['5.0', true, true],
    ['6.18', true, false],
    ['6.18', false, true],
  ] as const) {
    it(`${profile}, ${waits ? 'with text' : 'with nothing'} to read: ${told}`, () => {
      const r = rig({ profile, syn: '<mss 1000>', listenerOptions: [[1, 8, 4000]] });
      let at = 1;
      while (r.tcb.rcvWup + r.tcb.rcvWnd !== r.tcb.rcvNxt) {
        r.peer.in(`. ${at}:${at + 500}(500) ack 1`, pattern(500));
        at += 500;
        r.host.advance(50);
        r.host.sent.length = 0;
        expect(at).to.be.lessThan(9000);
      }
      r.peer.quiet();
      // Read, but the stack has not been told: the window is closed as before.
      if (!waits) for (let got = 0; got < at - 1; ) got += String(read(r, 9000)).length;
      r.peer.queue(`UP. ${at}:${at + 1}(1) ack 1 urg 1`, 'x');
      const pending = urgentState(r.tcb.tcp.ctl, r.tcb.at);
      expect(pending !== 0).to.equal(told);
    });
  }
});

describe('tcp: urgent data that goes', () => {
  it('every segment before its end points there', () => {
    const r = rig();
    expect(write(r, pattern(3000), MSG_OOB)).to.equal(3000);
    r.host.poll();
    r.peer.out('U. 1:1461(1460) ack 1 urg 3000');
    r.peer.out('U. 1461:2921(1460) ack 1 urg 1540');
    r.peer.out('PU. 2921:3001(80) ack 1 urg 80');
    r.host.write(r.fd, 'x');
    r.peer.out('P. 3001:3002(1) ack 1');
    expect(r.tcb.urgent).to.equal(true);
    r.peer.in('. 1:1(0) ack 3002');
    r.host.write(r.fd, 'y');
    expect(r.tcb.urgent).to.equal(false);
  });

  // RFC 9293 MUST-31.
  it('more than 64 KiB ahead: as far as the field goes', () => {
    const r = rig({ syn: '<mss 1460,nop,wscale 10>' });
    r.tcb.cwnd = 1000;
    write(r, pattern(60_000), 0);
    r.tcb.sndUp = (r.tcb.sndNxt + 70_000) | 0;
    r.tcb.urgent = true;
    r.host.poll();
    for (let at = 1; at < 60_001; at += 1460) {
      const length = Math.min(1460, 60_001 - at);
      const packet = decodePacket(r.host.sent.shift()!);
      expect(packet.payload.length).to.equal(length);
      expect(packet.urgent, `at ${at}`).to.equal(Math.min(0xffff, 70_001 - at));
    }
  });

  it('a retransmission points there, too', () => {
    const r = rig({ rttMs: 50 });
    write(r, pattern(10), MSG_OOB);
    r.host.poll();
    r.peer.out('PU. 1:11(10) ack 1 urg 10');
    r.host.advance(300);
    r.peer.out('PU. 1:11(10) ack 1 urg 10');
  });

  it('is not cut by the link, which would repeat the pointer', () => {
    const r = rig({ gsoMaxBytes: 65_536 });
    write(r, pattern(3000), MSG_OOB);
    r.host.poll();
    r.peer.out('U. 1:1461(1460) ack 1 urg 3000');
    r.peer.out('U. 1461:2921(1460) ack 1 urg 1540');
  });

  it('MSG_MORE leaves its flag until a write without it', () => {
    const r = rig();
    write(r, pattern(10), MSG_MORE);
    r.host.poll();
    r.peer.quiet();
    expect(r.tcb.more).to.equal(true);
    write(r, pattern(10), 0);
    r.host.poll();
    r.peer.out('P. 1:21(20) ack 1');
    expect(r.host.mem.ctl[r.tcb.at + BLOCK_SND_FLAGS]! & SND_MORE).to.equal(0);
  });

  it('MSG_MORE ends with whatever comes from the peer', () => {
    const r = rig();
    write(r, pattern(10), MSG_MORE);
    r.host.poll();
    r.peer.quiet();
    r.peer.in('P. 1:2(1) ack 1', 'x');
    r.peer.out('. 1:11(10) ack 2');
  });
});

describe('net: the urgent mark', () => {
  const AT = 0;
  const words = (): Int32Array => new Int32Array(64);

  it('a mark that comes while a reader passes the old one stays', () => {
    const ctl = words();
    urgentAnnounce(ctl, AT, 100);
    urgentArrive(ctl, AT, 0x41);
    expect(urgentState(ctl, AT)).to.equal(URG_VALID | 0x41);
    expect(urgentStop(ctl, AT, 90, 50)).to.equal(10);
    expect(urgentStop(ctl, AT, 100, 50)).to.equal(50);
    expect(urgentStop(ctl, AT, 90, 10)).to.equal(10);
    urgentPassed(ctl, AT, 100);
    expect(urgentState(ctl, AT)).to.not.equal(0);
    urgentPassed(ctl, AT, 101);
    expect(urgentState(ctl, AT)).to.equal(0);
    urgentAnnounce(ctl, AT, 200);
    urgentPassed(ctl, AT, 150);
    expect(urgentState(ctl, AT)).to.equal(URG_NOTYET);
    expect(urgentTake(ctl, AT, false)).to.equal(-1);
    urgentForget(ctl, AT);
    expect(urgentTake(ctl, AT, false)).to.equal(-2);
  });

  it('a taken byte leaves the mark', () => {
    const ctl = words();
    urgentAnnounce(ctl, AT, -1);
    urgentArrive(ctl, AT, 0xff);
    expect(urgentTake(ctl, AT, true)).to.equal(0xff);
    expect(urgentTake(ctl, AT, false)).to.equal(0xff);
    expect(urgentState(ctl, AT)).to.equal(URG_READ);
    expect(urgentSkip(ctl, AT, -1)).to.equal(1);
    expect(urgentSkip(ctl, AT, 0)).to.equal(0);
    expect(ctl[AT + BLOCK_URG_SEQ]).to.equal(-1);
  });

  it('the byte of a replaced mark is passed over where the reader stood', () => {
    const ctl = words();
    urgentAnnounce(ctl, AT, 10);
    urgentReplace(ctl, AT, 11);
    expect(urgentHead(ctl, AT, 10)).to.equal(11);
    expect(urgentHead(ctl, AT, 9)).to.equal(9);
    expect(urgentSkip(ctl, AT, 10)).to.equal(2);
    urgentArrive(ctl, AT, 1);
    expect(urgentHead(ctl, AT, 10)).to.equal(11);
    expect(urgentTake(ctl, AT, false)).to.equal(1);
    expect(urgentHead(ctl, AT, 10)).to.equal(11);
  });
});
