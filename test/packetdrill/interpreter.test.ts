/**
 * src/packetdrill/interpreter.ts: what it makes of time, packets, calls and code; above all that it
 * notices what is not as the script says.
 */
import { expect } from 'chai';
import { type Outcome, runScript } from '../../src/packetdrill/run.js';

const LISTEN = `
 0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 5) = 0
`;
const ESTABLISH = `${LISTEN}
+0 < S 0:0(0) win 65535 <mss 1000>
+0 > S. 0:0(0) ack 1 <mss 1460>
+.1 < . 1:1(0) ack 1 win 65535
+0 accept(3, ..., ...) = 4
`;

function run(events: string, before: string = ESTABLISH): Outcome {
  return runScript('test.pkt', before + events);
}

function failure(events: string, before: string = ESTABLISH): string {
  const outcome = run(events, before);
  expect(outcome.verdict).to.equal('failed');
  return outcome.verdict === 'failed' ? outcome.message : '';
}

function holds(events: string, before: string = ESTABLISH): void {
  const nothing = { printed: [], survived: [], leftover: [] };
  expect(run(events, before)).to.deep.equal({ verdict: 'ok', ...nothing });
}

describe('packetdrill interpreter: packets', () => {
  it('aggregates segments up to the expected length', () => {
    holds('+0 write(4, ..., 2500) = 2500\n+0 > P. 1:2501(2500) ack 1');
    holds(`+0 write(4, ..., 2500) = 2500
      +0 > . 1:1001(1000) ack 1
      +0 > P. 1001:2501(1500) ack 1`);
  });

  it('does not cut a segment', () => {
    const message = failure('+0 write(4, ..., 1000) = 1000\n+0 > P. 1:501(500) ack 1');
    expect(message).to.equal('expected P. 1:501(500) ack 1, got P. 1:1001(1000) ack 1');
  });

  it('takes each segment for itself with --strict_segments', () => {
    const outcome = runScript(
      't',
      `--strict_segments ${ESTABLISH} +0 write(4, ..., 2000) = 2000\n+0 > P. 1:2001(2000) ack 1`,
    );
    expect(outcome).to.deep.include({ verdict: 'failed' });
  });

  it('compares flags, numbers, window and options', () => {
    for (const wrong of [
      '. 1:11(10) ack 1',
      'P. 2:12(10) ack 1',
      'P. 1:12(11) ack 1',
      'P. 1:11(10) ack 2',
      'P. 1:11(10) ack 1 win 1',
      'P. 1:11(10) ack 1 urg 1',
      'P. 1:11(10) ack 1 <nop,nop,nop,nop>',
      '[ect0] P. 1:11(10) ack 1',
      '[ttl 63] P. 1:11(10) ack 1',
      '[tos 0x10] P. 1:11(10) ack 1',
      '8080 > 1 P. 1:11(10) ack 1',
      '1 > 40000 P. 1:11(10) ack 1',
    ]) {
      failure(`+0 write(4, ..., 10) = 10\n+0 > ${wrong}`);
    }
    holds('+0 write(4, ..., 10) = 10\n+0 > [noecn, ttl 64] 8080 > 40000 P. 1:11(10) ack 1 <...>');
  });

  it('misses a packet that does not come', () => {
    expect(failure('+0 > P. 1:11(10) ack 1')).to.equal('expected P. 1:11(10) ack 1, got nothing');
  });

  it('finds a packet that nobody expected, in the middle and at the end', () => {
    const end = failure('+0 write(4, ..., 10) = 10');
    expect(end).to.equal('expected nothing more at the end, got P. 1:11(10) ack 1 win 65535');
    failure('+0 write(4, ..., 10) = 10\n+.1 > none');
    failure('+0 write(4, ..., 10) = 10\n+0 close(4) = 0\n+0 > F. 11:11(0) ack 1');
  });

  it('gives segments without a connection absolute numbers', () => {
    holds('+0 < . 1:1(0) ack 1 win 100\n+0 > R 1:1(0)', LISTEN);
    failure('+0 < . 1:1(0) ack 1 win 100\n+0 > R 2:2(0)', LISTEN);
  });

  it('injects ICMP about a segment', () => {
    const lost = `+0 write(4, ..., 1000) = 1000
      +0 > P. 1:1001(1000) ack 1
      +0 < icmp unreachable frag_needed mtu 640 [1:1001(1000)]`;
    holds(`${lost}\n+0 > P. 1:1001(1000) ack 1`, ESTABLISH.replace('mss 1000', 'mss 1000'));
    failure(`${lost}\n+0 > P. 1:1002(1001) ack 1`);
  });
});

describe('packetdrill interpreter: time', () => {
  it('tolerates 4 ms, or 12.5 % of the wait', () => {
    const event = (text: string): string =>
      `+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n${text} > P. 1:11(10) ack 1`;
    holds(event('+.2~+.4'));
    holds(event('*'));
    expect(failure(event('+1'))).to.match(/^expected it between 0\.97\d* s and 1\.22\d* s, got it/);
    expect(failure(event('+.001'))).to.contain('got it at');
  });

  it('has its tolerance to the microsecond', () => {
    const wait = (text: string): string => `+0 write(4, ..., 10) = 10\n${text} > P. 1:11(10) ack 1`;
    holds(wait('+.004'));
    failure(wait('+.004001'));
    holds(wait('+.004~+1'));
    failure(wait('+.004001~+1'));
    // The retransmission comes 0.3 s after the packet; an eighth of 0.342857 s is 0.042857 s.
    const again = (text: string): string => `${wait('+0')}\n${text} > P. 1:11(10) ack 1`;
    holds(again('+.342857'));
    failure(again('+.342858'));
    holds(again('+.266667'));
    failure(again('+.266666'));
  });

  it('takes the time of the last piece for that of the whole', () => {
    const pieces = `+0 setsockopt(4, SOL_TCP, TCP_NODELAY, [1], 4) = 0
      +0 write(4, ..., 1000) = 1000
      +.1 write(4, ..., 1000) = 1000`;
    holds(`${pieces}\n+0 > P. 1:2001(2000) ack 1`);
    failure(`${pieces}\n+0 > P. 1:1001(1000) ack 1\n+0 > P. 1001:2001(1000) ack 1`);
  });

  it('waits a second for a call that blocks before the next one that does', () => {
    const poll = (times: string, ms: number): string =>
      `${times} poll([{fd=4, events=POLLIN, revents=0}], 1, ${ms}) = 0\n`;
    holds(poll('+0...0.9', 900) + poll('+0...1.9', 1000));
    const late = poll('+0...1.1', 1100) + poll('+0...1.9', 800);
    expect(failure(late)).to.equal('poll() has not returned');
  });

  it('takes absolute times', () => {
    holds('0.5 write(4, ..., 10) = 10\n0.5 > P. 1:11(10) ack 1');
    expect(failure('0.05 write(4, ..., 10) = 10')).to.contain('this was to happen');
  });

  it('counts inbound bursts from their own times', () => {
    holds(`+0 < P. 1:11(10) ack 1 win 100
      +.01 < P. 11:21(10) ack 1 win 100
      +.01 < P. 21:31(10) ack 1 win 100
      * > . 1:1(0) ack 11
      * > . 1:1(0) ack 21
      0.12 > . 1:1(0) ack 31`);
  });
});

describe('packetdrill interpreter: calls', () => {
  it('lets a blocking call return at its time', () => {
    const incoming = '+.2 < P. 1:11(10) ack 1 win 100\n+0 > . 1:1(0) ack 11';
    holds(`+0...0.2 read(4, ..., 100) = 10\n${incoming}`);
    expect(failure(`+0...0.1 read(4, ..., 100) = 10\n${incoming}`)).to.contain('was to return');
    expect(failure(`+0...0.2 read(4, ..., 100) = 11\n${incoming}`)).to.contain('expected 11');
    expect(failure('+0...0.2 read(4, ..., 100) = 10')).to.contain('has not returned');
  });

  it('blocks in accept, connect, write, poll and epoll_wait', () => {
    holds(
      `+0...0.1 accept(3, ..., ...) = 4
      +0 < S 0:0(0) win 65535 <mss 1000>
      +0 > S. 0:0(0) ack 1 <mss 1460>
      +.1 < . 1:1(0) ack 1 win 65535`,
      LISTEN,
    );
    holds(
      `0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
      +0...0.1 connect(3, ..., ...) = 0
      +0 > S 0:0(0) <...>
      +.1 < S. 0:0(0) ack 1 win 65535 <mss 1000>
      +0 > . 1:1(0) ack 1`,
      '',
    );
    holds(`+0...0.1 poll([{fd=4, events=POLLIN, revents=0}], 1, 100) = 0
      +1 poll([{fd=4, events=POLLIN, revents=0}], 1, 0) = 0`);
    holds(`+0 epoll_create(1) = 5
      +0 epoll_ctl(5, EPOLL_CTL_ADD, 4, {events=EPOLLIN, fd=4}) = 0
      +0...0.1 epoll_wait(5, {events=EPOLLIN, fd=4}, 1, -1) = 1
      +.1 < P. 1:11(10) ack 1 win 100
      +0 > . 1:1(0) ack 11`);
  });

  it('does not wait where the script does not say so', () => {
    expect(failure('+0 read(4, ..., 1) = 1')).to.equal('read() would block for ever');
    holds(`+0 fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0
      +0 fcntl(4, F_GETFL) = 0x802 (flags O_RDWR|O_NONBLOCK)
      +0 read(4, ..., 1) = -1 EAGAIN (Resource temporarily unavailable)`);
  });

  it('compares results and errnos', () => {
    expect(failure('+0 close(9) = 0')).to.equal('close: expected 0, got -1 EBADF');
    failure('+0 close(9) = -1 EINVAL (x)');
    holds('+0 close(9) = -1 EBADF (x)');
    failure('+0 getsockopt(4, SOL_SOCKET, SO_ERROR, [1], [4]) = 0');
    holds('+0 getsockopt(4, SOL_SOCKET, SO_ERROR, [0], [4]) = 0');
    holds('+0 setsockopt(4, SOL_SOCKET, SO_LINGER, {onoff=1, linger=0}, 8) = 0');
    holds('+0 ioctl(4, SIOCINQ, [0]) = 0');
    failure('+0 ioctl(4, SIOCINQ, [1]) = 0');
  });
});

describe('packetdrill interpreter: code and shell', () => {
  const code = (text: string): Outcome => run(`+0 %{ ${text} }%`);

  it('evaluates assertions', () => {
    for (const text of [
      'assert tcpi_snd_cwnd == 10',
      'assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd',
      'assert 9 <= tcpi_snd_cwnd <= 11',
      'assert (tcpi_options & TCPI_OPT_TIMESTAMPS) == 0, "no %d" % 1',
      'x = 3\nx += 2; assert x - 1 == 4 # five',
      'assert not (tcpi_state != TCP_ESTABLISHED) and True or False',
      'assert 7 // 2 == 3 and 7 % 4 == 3 and 2 * 3 == 6 and 1 << 3 == 8',
      'print("a", 1)',
      'assert (tcpi_state +\n 1) == 2 # lines within parentheses',
      'assert tcpi_state == \\\n 1',
      'assert (tcpi_state == 1) == 1',
      'assert tcpi_state == 1, [tcpi_state, {1: "{"}]',
    ]) {
      expect(code(text), text).to.include({ verdict: 'ok' });
    }
  });

  it('fails with what was not so', () => {
    const outcome = code('assert tcpi_snd_cwnd == 11, tcpi_snd_cwnd');
    expect(outcome).to.include({ message: 'assert tcpi_snd_cwnd == 11: tcpi_snd_cwnd is 10' });
    expect(code('assert 1 < 2 < 2')).to.include({ verdict: 'failed' });
  });

  it('leaves to other interpreters what it does not know', () => {
    const other = ['import os', 'assert tcpi_nonsense == 1', 'f(1)', 'assert a.b == 1'];
    for (const text of [...other, 'x = [1]', 'assert "abc', 'if tcpi_state: x = 1']) {
      expect(code(text), text).to.include({ verdict: 'skipped' });
    }
  });

  it('sets what a sysctl command sets, and runs nothing', () => {
    const probe = `${ESTABLISH}+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1`;
    const script = (shell: string): Outcome => runScript('t', `\`${shell}\`\n${probe}`);
    expect(script('sysctl -q net.ipv4.tcp_timestamps=0')).to.include({ verdict: 'ok' });
    expect(script('./set_sysctls.py /proc/sys/net/ipv4/tcp_sack=1')).to.include({ verdict: 'ok' });
    expect(script('./defaults.sh\nsysctl -w net.ipv4.tcp_rmem=\\"1 2 3\\"')).to.include({
      verdict: 'skipped',
    });
    expect(script('tc qdisc replace')).to.include({ reason: 'the command `tc qdisc replace`' });
    expect(script('sysctl -q net.ipv4.tcp_nonsense=1')).to.include({
      reason: 'the sysctl net.ipv4.tcp_nonsense',
    });
  });

  it('runs the shell text at the end, too', () => {
    expect(run('`sysctl -q net.ipv4.tcp_sack=1`')).to.include({ verdict: 'ok' });
    expect(failure('`false`')).to.equal('the command failed with 1: false');
    expect(run('`modprobe x`')).to.include({ verdict: 'skipped' });
  });

  it('runs what --init_scripts names as shell text', () => {
    const script = (files: string): Outcome => runScript('t', `--init_scripts=${files}\n${LISTEN}`);
    expect(script('./defaults.sh,/bin/true')).to.include({ verdict: 'ok' });
    expect(script('./defaults.sh,/bin/false')).to.include({ verdict: 'failed' });
    expect(script('/root/setup.sh')).to.include({ reason: 'the command `setup.sh`' });
  });

  it('asks the socket under test now, and nobody when there is none', () => {
    const known = '+0 %{ assert tcpi_state == 1 }%\n+0 close(4) = 0\n+0 > F. 1:1(0) ack 1\n';
    const message = 'there is no socket under test to ask for tcpi_state';
    expect(failure(`${known}+0 %{ assert tcpi_state == 1 }%`)).to.equal(message);
    expect(failure('0 %{ assert tcpi_state == 7 }%', '')).to.equal(message);
    expect(failure('+0 %{ assert cwdn == 7 }%')).to.equal('cwdn is not defined');
  });

  it('skips what asks for another system', () => {
    expect(run('+0 sendfile(4, 5, [0], 1) = 1')).to.include({
      reason: 'the system call sendfile',
    });
    expect(run('+0 setsockopt(4, SOL_SOCKET, SO_ZEROCOPY, [1], 4) = 0')).to.include({
      reason: 'SO_ZEROCOPY',
    });
    expect(runScript('t', `--ip_version=ipv6 ${LISTEN}`)).to.include({ verdict: 'skipped' });
  });
});

describe('packetdrill interpreter: several connections', () => {
  it('keeps them apart by name', () => {
    const two = (last: string): string => `
      +0 @a < S 0:0(0) win 65535 <mss 1000>
      +0 @b < S 7:7(0) win 65535 <mss 1000>
      +0 @b > S. 0:0(0) ack 8 <mss 1460>
      +0 @a > S. 0:0(0) ack 1 <mss 1460>
      +.1 @b < . 1:1(0) ack 1 win 65535
      +.1 @a < . 1:1(0) ack 1 win 65535
      +0 accept(3, ..., ...) = 4 @b
      +0 accept(3, ..., ...) = 5 @a
      +0 write(5, ..., 10) = 10
      +0 ${last} > P. 1:11(10) ack 1`;
    holds(two('@a'), LISTEN);
    failure(two('@b'), LISTEN);
    expect(failure('+0 @z > . 1:1(0)', LISTEN)).to.equal('no packet of @z has come yet');
  });
});
