/**
 * Each construct of the script language once as it holds and once with one thing wrong, which must
 * be noticed: src/packetdrill as a whole.
 */
import { expect } from 'chai';
import { runScript } from '../../src/packetdrill/run.js';

const LISTEN = `0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 5) = 0
`;
const ESTABLISHED = `${LISTEN}+0 < S 0:0(0) win 65535 <mss 1000>
+0 > S. 0:0(0) ack 1 <mss 1460>
+.1 < . 1:1(0) ack 1 win 65535
+0 accept(3, ..., ...) = 4
`;
const WITH_TS = `${LISTEN}+0 < S 0:0(0) win 65535 <mss 1000,sackOK,TS val 7 ecr 0>
+0 > S. 0:0(0) ack 1 <mss 1460,sackOK,TS val 100 ecr 7>
+.1 < . 1:1(0) ack 1 win 65535 <nop,nop,TS val 8 ecr 100>
+0 accept(3, ..., ...) = 4
`;
const WRITE = '+0 write(4, ..., 10) = 10\n';
const TICK = '--tcp_ts_tick_usecs=1000\n';

/** What it is, what holds, what of it is changed into what, and the start. */
type Row = readonly [what: string, script: string, from: string, to: string, start?: string];

const ROWS: readonly Row[] = [
  ['an absolute time', `0.3 ${WRITE.slice(3)}0.3 > P. 1:11(10) ack 1`, '0.3 >', '0.5 >'],
  ['a range of relative times', `${WRITE}+0~+.1 > P. 1:11(10) ack 1`, '+0~+.1', '+.2~+.3'],
  ['a range of absolute times', `${WRITE}0.05~0.2 > P. 1:11(10) ack 1`, '0.05~0.2', '0.2~0.3'],
  ['any time', `${WRITE}* > P. 1:11(10) ack 1`, '(10) ack 1', '(10) ack 2'],
  [
    'a call that returns at an absolute time',
    '0.1...0.3 read(4, ..., 9) = 9\n0.3 < P. 1:10(9) ack 1 win 9\n* > . 1:1(0) ack 10',
    ...(['0.1...0.3', '0.1...0.5'] as const),
  ],
  ['silence', `+.5 > none\n${WRITE}+0 > P. 1:11(10) ack 1`, '+.5 > none', `${WRITE}+.5 > none`],
  ['a mark that is either ECT', '+0 < [ect0] . 1:1(0) ack 1 win 9', '< [ect0]', '> [ect01]'],
  ['the TOS byte', `${WRITE}+0 > [tos 0x0] P. 1:11(10) ack 1`, '0x0]', '0x4]'],
  ['the code point', `${WRITE}+0 > [dscp be,ecn noecn] P. 1:11(10) ack 1`, 'dscp be', 'dscp ef'],
  ['the TTL', `${WRITE}+0 > (ttl 64) P. 1:11(10) ack 1`, '64', '63'],
  ['ports', `${WRITE}+0 > 8080 > 40000 P. 1:11(10) ack 1`, '8080 >', '8081 >'],
  ['the ACE field', `${WRITE}+0 > P.0 1:11(10) ack 1`, 'P.0', 'P.1'],
  ['options not looked at', `${WRITE}+0 > P. 1:11(10) ack 1 <...>`, '<...>', '<nop,nop,nop,nop>'],
  [
    'an absolute number, and one that is not looked at',
    '+0 < . 5:5(0) ack 9 win 9\n+0 > R 9:9(0)!\n+0 < . 5:5(0) ack 9 win 9\n+0 > R ...(0)',
    ...(['9:9(0)!', '8:8(0)!', LISTEN] as const),
  ],
  [
    'a timestamp that is wanted, within the tolerance from the start',
    `${WRITE}+0 > P. 1:11(10) ack 1 <nop,nop,TS val 200 ecr 8>`,
    ...(['val 200', 'val 900', TICK + WITH_TS] as const),
  ],
  [
    'any timestamp, and a literal echo',
    `${WRITE}+0 > P. 1:11(10) ack 1 <nop,nop,TS val ... ecr 8>`,
    ...(['ecr 8', 'ecr 9', WITH_TS] as const),
  ],
  [
    'an echo of a timestamp that was sent',
    '+0 < . 1:1(0) ack 1 win 9 <nop,nop,TS val 9 ecr 100>',
    ...(['ecr 100', 'ecr 150', WITH_TS] as const),
  ],
  [
    'an echo that is computed',
    '+0 < . 1:1(0) ack 1 win 9 <nop,nop,TS val 9 ecr 150>',
    ...(['win 9', '', `--tcp_ts_ecr_scaled\n${WITH_TS}`] as const),
  ],
  [
    'one segment each',
    '+0 write(4, ..., 2000) = 2000\n+0 > . 1:1001(1000) ack 1\n+0 > P. 1001:2001(1000) ack 1',
    ...(['+0 > . 1:1001(1000) ack 1\n+0 > P. 1001:2001(1000)', '+0 > P. 1:2001(2000)'] as const),
    `--strict_segments\n${ESTABLISHED}`,
  ],
  [
    'pieces of one write as one packet',
    '+0 write(4, ..., 2500) = 2500\n+0 > P. 1:2501(2500) ack 1',
    ...(['P. 1:2501(2500)', '. 1:2501(2500)'] as const),
  ],
  [
    'readv and writev',
    '+0 writev(4, [{..., 4}, {..., 6}], 2) = 10\n+0 > P. 1:11(10) ack 1',
    ...(['{..., 6}], 2) = 10', '{..., 7}], 2) = 10'] as const),
  ],
  [
    'sendmsg and recvmsg with flags',
    `+0 sendmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 10}], msg_flags=0}, 0) = 10
    +0 > P. 1:11(10) ack 1
    +0 < P. 1:11(10) ack 11 win 9
    +0 > . 11:11(0) ack 11
    +0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 20}], msg_flags=0}, 0) = 10`,
    ...(['20}], msg_flags=0', '20}], msg_flags=MSG_TRUNC'] as const),
  ],
  [
    'control messages',
    `+0 setsockopt(4, IPPROTO_TCP, TCP_INQ, [1], 4) = 0
    +0 < P. 1:11(10) ack 1 win 9
    +0 > . 1:1(0) ack 11
    +0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 4}], msg_flags=0,
        msg_control=[{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=6}]}, 0) = 4`,
    ...(['cmsg_data=6', 'cmsg_data=7'] as const),
  ],
  [
    'poll, exactly',
    '+0 poll([{fd=4, events=POLLIN|POLLOUT, revents=POLLOUT}], 1, 0) = 1',
    ...(['revents=POLLOUT', 'revents=POLLIN'] as const),
  ],
  [
    'epoll with a pointer',
    `+0 epoll_create(1) = 9
    +0 epoll_ctl(9, EPOLL_CTL_ADD, 4, {events=EPOLLOUT, ptr=4321}) = 0
    +0 epoll_wait(9, {events=EPOLLOUT, ptr=4321}, 1, 0) = 1
    +0 epoll_ctl(9, EPOLL_CTL_MOD, 4, {events=EPOLLIN, u32=5}) = 0
    +0 epoll_wait(9, {events=0, ptr=0}, 1, 0) = 0`,
    ...(['EPOLLOUT, ptr=4321}, 1', 'EPOLLOUT, ptr=4322}, 1'] as const),
  ],
  ['ioctl', '+0 ioctl(4, FIONREAD, [0]) = 0\n+0 ioctl(4, SIOCOUTQ, [0]) = 0', 'Q, [0]', 'Q, [1]'],
  [
    'fcntl with the notes of the FreeBSD dialect',
    '+0 fcntl(4, F_GETFL) = 0x02 (flags O_RDWR)\n+0 fcntl(4, F_SETFL, O_RDWR | O_NONBLOCK) = 0',
    ...(['0x02', '0x802'] as const),
  ],
  [
    'an option as text',
    '+0 getsockopt(4, SOL_TCP, TCP_CONGESTION, "cubic", [5]) = 0',
    ...(['"cubic"', '"reno"'] as const),
  ],
  [
    'a name that the script defines',
    `+0 write(4, ..., SIZE) = SIZE\n+0 > P. 1:11(10) ack 1`,
    ...(['= SIZE', '= 11', `--define=SIZE=10\n${ESTABLISHED}`] as const),
  ],
  [
    'what an ICMP message is about',
    `${WRITE}+0 > P. 1:11(10) ack 1
    +0 < icmp unreachable host_unreachable [1:11(10)]
    +0 getsockopt(4, SOL_SOCKET, SO_ERROR, [EHOSTUNREACH], [4]) = 0`,
    ...(['host_unreachable [1:', 'host_unreachable [5001:'] as const),
  ],
  [
    'both addresses',
    `${WRITE}+0 > ipv4 192.168.0.1 > 192.0.2.1: P. 1:11(10) ack 1`,
    ...(['192.0.2.1:', '192.0.2.2:'] as const),
  ],
  [
    'addresses and ports of a SYN',
    `+0 < ipv4 10.0.0.9 > 192.168.0.1: 1234 > 8080 S 0:0(0) win 9
    +0 > ipv4 192.168.0.1 > 10.0.0.9: 8080 > 1234 S. 0:0(0) ack 1 <mss 1460>
    +0 < R 1:1(0) win 0`,
    ...(['> 10.0.0.9:', '> 192.0.2.1:', LISTEN] as const),
  ],
  [
    'an acknowledgment number where the flag is not set',
    '+0 < . 5:5(0) ack 9 win 9\n+0 > R 9:9(0) ack 0',
    ...(['ack 0', 'ack 1', LISTEN] as const),
  ],
  [
    'a timestamp of 0 that was sent and is echoed',
    '+0 %{ assert tcpi_rtt == 100000 }%',
    ...(['100000', '0', WITH_TS.replace('val 100', 'val 0').replace('ecr 100', 'ecr 0')] as const),
  ],
  [
    'the identifier of a query',
    '+0 < icmp timestamp_request id 77\n+0 > icmp timestamp_reply id 77',
    ...(['reply id 77', 'reply id 78'] as const),
  ],
  [
    'a query without a connection',
    '0 < icmp echo_request\n+0 > icmp echo_reply',
    ...(['echo_reply', 'timestamp_reply', ''] as const),
  ],
  [
    'an address that is bound to and one that is connected to',
    `0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3
    +0 bind(3, {sa_family=AF_INET, sin_port=htons(99), sin_addr=inet_addr("192.168.0.1")}, ...) = 0
    +0 connect(3, {sa_family=AF_INET, sin_port=htons(7), sin_addr=inet_addr("192.0.2.9")}, ...)
       = -1 EINPROGRESS (on its way)
    +0 > ipv4 192.168.0.1 > 192.0.2.9: 99 > 7 S 0:0(0) <...>
    +0 < S. 0:0(0) ack 1 win 9 <mss 1000>
    +0 > . 1:1(0) ack 1`,
    ...(['htons(7)', 'htons(8)', ''] as const),
  ],
  [
    'any local address',
    `0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
    +0 bind(3, {sa_family=AF_INET, sin_port=htons(99), sin_addr=INADDR_ANY}, ...) = 0
    +0 listen(3, 5) = 0
    +0 < 4000 > 99 S 0:0(0) win 9
    +0 > 99 > 4000 S. 0:0(0) ack 1 <mss 1460>
    +0 < R 1:1(0) win 0`,
    ...(['htons(99)', 'htons(98)', ''] as const),
  ],
  [
    'an errno by its other name',
    '+0 recv(4, ..., 9, MSG_DONTWAIT) = -1 EWOULDBLOCK (x)',
    'EW',
    'W',
  ],
  ['what the note names', '+0 fcntl(4, F_GETFL) = 0x2 (flags O_RDWR)', 'O_RDWR', 'O_WRONLY'],
  ['a buffer', '+0 write(4, ..., 1) = 1\n+0 > P. 1:2(1) ack 1', '...', '"a"'],
  ['how many arguments', '+0 recv(4, ..., 9, MSG_DONTWAIT) = -1 EAGAIN (x)', '9,', '9, 0,'],
  ['a length', '+0 read(4, NULL, 0) = 0', '0) = 0', '-1) = -1'],
  ['how many vectors', '+0 writev(4, [{..., 1}], 1) = 1\n+0 > P. 1:2(1) ack 1', '1) = 1', '2) = 1'],
  ['how many of poll', '+0 poll([{fd=4, events=0, revents=0}], 1, 0) = 0', '1, 0)', '2, 0)'],
  [
    'how many of msg_iov',
    '+0 sendmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 1}]}, 0) = 1\n+0 > P. 1:2(1) ack 1',
    ...(['msg_iov(1)', 'msg_iov(2)'] as const),
  ],
  ['the length of what is got', '+0 getsockopt(4, SOL_TCP, TCP_CORK, [0], [4]) = 0', '[4]', '[8]'],
  ['a system call', '+0 close(3) = 0', 'close', 'clsoe'],
  ['fields of tcp_info', '+0 %{ assert tcpi_rcv_mss == 536 }%', '536', '537'],
];

/** What is for another system: the reason, and the script. */
const ELSEWHERE: readonly (readonly [string, string])[] = [
  ['sockets other than TCP over IPv4', '0 socket(..., SOCK_DGRAM, IPPROTO_UDP) = 3'],
  ['sockets other than TCP over IPv4', '0 socket(AF_INET6, SOCK_STREAM, IPPROTO_TCP) = 3'],
  ['the system call pipe', '0 pipe([5, 6]) = 0'],
  ['the system call psp_dev_get', '0 psp_dev_get(1) = 0'],
  [
    'a value of 4 bytes with the length 3',
    `${ESTABLISHED}+0 setsockopt(4, SOL_TCP, TCP_NODELAY, [1], 3) = -1 EINVAL (x)`,
  ],
  [
    'control messages of sendmsg',
    `${ESTABLISHED}+0 sendmsg(4, {msg_iov(1)=[{..., 1}], msg_control=[]}, 0) = 1`,
  ],
  ['sendto to an address', `${ESTABLISHED}+0 sendto(4, ..., 1, 0, {sa_family=AF_INET}, 16) = 1`],
  [
    'addresses of another family',
    '0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 bind(3, {sa_family=AF_INET6}, ...) = 0',
  ],
  ['--local_ip=::1: IPv6', '--local_ip=::1\n0 `true`'],
];

/** Values that an option cannot have. */
const NO_VALUES = [
  ...['mtu=20', 'mtu=70000', 'bind_port=0', 'connect_port=x', 'local_ip=10.1.2', 'remote_ip=a'],
  ...['tolerance_usecs=', 'tolerance_percent=x', 'non_fatal=all', 'leftover=perhaps'],
  ...['ip_version=ipv5', 'strict_segments=1', 'tcp_ts_ecr_scaled=0'],
];

describe('packetdrill: each construct, and one thing wrong', () => {
  for (const [what, script, from, to, start = ESTABLISHED] of ROWS) {
    it(what, () => {
      expect(script).to.contain(from);
      expect(runScript('t', start + script)).to.include({ verdict: 'ok' });
      const wrong = start + script.replace(from, to);
      expect(runScript('t', wrong).verdict, 'with one thing wrong').to.equal('failed');
    });
  }

  for (const [reason, script] of ELSEWHERE) {
    it(`is skipped: ${reason}`, () => {
      expect(runScript('t', script)).to.include({ verdict: 'skipped', reason });
    });
  }

  for (const option of NO_VALUES) {
    it(`--${option} is refused`, () => {
      const outcome = runScript('t', `--${option}\n${ESTABLISHED}`);
      expect(outcome).to.include({ verdict: 'failed' });
      expect(outcome).to.have.property('message').that.contains(`--${option}`);
    });
  }

  it('what is not fatal is said, and the script goes on', () => {
    const events = `+0 close(77) = 0\n${WRITE}+0 > P. 1:11(10) ack 2\n+0 close(4) = 0`;
    const after = '+0 > F. 11:11(0) ack 1';
    const both = runScript('t', `--non_fatal=packet,syscall\n${ESTABLISHED}${events}\n${after}`);
    expect(both).to.include({ verdict: 'ok' });
    expect(both).to.have.property('survived').with.length(2);
    const one = runScript('t', `--non_fatal=packet\n${ESTABLISHED}${events}\n${after}`);
    expect(one).to.include({ verdict: 'failed', line: 9 });
  });

  it('a wider tolerance takes what a narrow one does not', () => {
    const late = `${WRITE}+.05 > P. 1:11(10) ack 1`;
    const run = (option: string): string =>
      runScript('t', `${option}\n${ESTABLISHED}${late}`).verdict;
    expect(run('--tolerance_usecs=60000')).to.equal('ok');
    expect(run('--tolerance_usecs=10000')).to.equal('failed');
    expect(run('--tolerance_percent=120')).to.equal('ok');
  });

  it('every name of the reference is a field of tcp_info', () => {
    const names = [
      ...['state', 'ca_state', 'retransmits', 'probes', 'backoff', 'options', 'snd_wscale'],
      ...['rcv_wscale', 'rto', 'ato', 'snd_mss', 'rcv_mss', 'unacked', 'sacked', 'lost', 'retrans'],
      ...['fackets', 'last_data_sent', 'last_ack_sent', 'last_data_recv', 'last_ack_recv', 'pmtu'],
      ...['rcv_ssthresh', 'rtt', 'rttvar', 'snd_ssthresh', 'snd_cwnd', 'advmss', 'reordering'],
      ...['rcv_rtt', 'rcv_space', 'total_retrans', 'bytes_acked', 'bytes_received', 'segs_out'],
      ...['segs_in', 'notsent_bytes', 'min_rtt', 'data_segs_in', 'data_segs_out', 'delivered'],
      ...['delivered_ce', 'bytes_sent', 'bytes_retrans', 'dsack_dups', 'reord_seen', 'snd_wnd'],
    ];
    const code = names.map((name) => `assert tcpi_${name} >= 0`).join('\n');
    expect(runScript('t', `${ESTABLISHED}+0 %{ ${code} }%`)).to.include({ verdict: 'ok' });
  });
});
