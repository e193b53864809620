/** Every kind of segment in the states of a connection that nobody reads or writes any more. */
import { closed, type Enter, established, shut, stateTable } from './state-table.js';

const finAcked: Enter = ({ peer }) => peer.in('. 1:1(0) ack 2');
const finCrossed: Enter = ({ peer }) => {
  peer.in('F. 1:1(0) ack 1');
  peer.out('. 2:2(0) ack 2');
};
const finReceived: Enter = ({ peer }) => {
  peer.in('F. 1:1(0) ack 2');
  peer.out('. 2:2(0) ack 2');
};
const lastAck: Enter = ({ host, peer, fd }) => {
  peer.in('F. 1:1(0) ack 1');
  host.advance(5);
  peer.out('. 1:1(0) ack 2');
  host.close(fd);
  peer.out('F. 1:1(0) ack 2');
};

describe('tcp: segments while the connection goes', () => {
  stateTable(
    'FIN-WAIT-1 of an orphan',
    [established, closed],
    `
S 1:1(0)                | . 2:2(0) ack 1 | FIN-WAIT-1 | challenge
S. 1:1(0) ack 1         | . 2:2(0) ack 1 | FIN-WAIT-1 | challenge
. 1:1(0) ack 1          | -              | FIN-WAIT-1 | TCPRenoReorder
. 1:1(0) ack 2          | -              | FIN-WAIT-2 | -
F. 1:1(0) ack 2         | . 2:2(0) ack 2 | TIME-WAIT  | -
. 1:1(0) ack 0          | . 2:2(0) ack 1 | FIN-WAIT-1 | TCPChallengeACK
. 1:1(0) ack 3          | . 2:2(0) ack 1 | FIN-WAIT-1 | TCPChallengeACK
. 1:1(0) ack 100001     | . 2:2(0) ack 1 | FIN-WAIT-1 | TCPChallengeACK
F 1:1(0)                | -              | FIN-WAIT-1 | -
F. 1:1(0) ack 1         | . 2:2(0) ack 2 | CLOSING    | -
R 1:1(0)                | -              | gone       | -
R 101:101(0)            | . 2:2(0) ack 1 | FIN-WAIT-1 | TCPChallengeACK
R 70001:70001(0)        | -              | FIN-WAIT-1 | -
R. 1:1(0) ack 1         | -              | gone       | -
R. 101:101(0) ack 1     | . 2:2(0) ack 1 | FIN-WAIT-1 | TCPChallengeACK
R. 1:1(0) ack 1001      | -              | gone       | -
R 0:0(0)                | -              | FIN-WAIT-1 | -
- 1:1(0)                | -              | FIN-WAIT-1 | -
- 70001:70001(0)        | -              | FIN-WAIT-1 | -
- 1:4(3)                | -              | FIN-WAIT-1 | -
S 101:101(0)            | . 2:2(0) ack 1 | FIN-WAIT-1 | challenge
S 70001:70001(0)        | . 2:2(0) ack 1 | FIN-WAIT-1 | challenge
S. 101:101(0) ack 1     | . 2:2(0) ack 1 | FIN-WAIT-1 | challenge
P. 1:4(3) ack 1         | R 1:1(0)       | gone       | TCPAbortOnData TcpOutRsts
P 1:4(3)                | -              | FIN-WAIT-1 | -
P. 101:104(3) ack 1     | R 1:1(0)       | gone       | TCPAbortOnData TcpOutRsts
P. 70001:70004(3) ack 1 | . 2:2(0) ack 1 | FIN-WAIT-1 | BeyondWindow
. 70001:70001(0) ack 1  | . 2:2(0) ack 1 | FIN-WAIT-1 | BeyondWindow
P. 0:1(1) ack 1         | . 2:2(0) ack 1 | FIN-WAIT-1 | DelayedACKLost
P. 0:4(4) ack 1         | R 1:1(0)       | gone       | TCPAbortOnData TcpOutRsts
. 0:0(0) ack 1          | . 2:2(0) ack 1 | FIN-WAIT-1 | -
FP. 1:4(3) ack 1        | R 1:1(0)       | gone       | TCPAbortOnData TcpOutRsts
F. 101:101(0) ack 1     | R 1:1(0)       | gone       | TCPAbortOnData TcpOutRsts
FS 1:1(0)               | . 2:2(0) ack 1 | FIN-WAIT-1 | challenge
SR 1:1(0)               | -              | gone       | -
SP 1:4(3)               | . 2:2(0) ack 1 | FIN-WAIT-1 | challenge
`,
  );

  stateTable(
    'FIN-WAIT-2 of an orphan: a minisocket',
    [established, closed, finAcked],
    `
S 1:1(0)                | R. 0:0(0) ack 2   | gone       | TcpOutRsts
S. 1:1(0) ack 2         | R 2:2(0)          | gone       | TcpOutRsts
. 1:1(0) ack 2          | -                 | FIN-WAIT-2 | -
. 1:1(0) ack 1          | -                 | FIN-WAIT-2 | -
. 1:1(0) ack 3          | -                 | FIN-WAIT-2 | -
. 1:1(0) ack 100002     | -                 | FIN-WAIT-2 | -
F 1:1(0)                | -                 | FIN-WAIT-2 | -
F. 1:1(0) ack 2         | . 2:2(0) ack 2    | TIME-WAIT  | -
R 1:1(0)                | -                 | gone       | -
R 101:101(0)            | -                 | gone       | -
R 70001:70001(0)        | . 2:2(0) ack 1    | FIN-WAIT-2 | -
R. 1:1(0) ack 2         | -                 | gone       | -
R. 101:101(0) ack 2     | -                 | gone       | -
R. 1:1(0) ack 1002      | -                 | gone       | -
R 0:0(0)                | . 2:2(0) ack 1    | FIN-WAIT-2 | -
- 1:1(0)                | -                 | FIN-WAIT-2 | -
- 70001:70001(0)        | . 2:2(0) ack 1    | FIN-WAIT-2 | -
- 1:4(3)                | -                 | FIN-WAIT-2 | -
S 101:101(0)            | R. 0:0(0) ack 102 | gone       | TcpOutRsts
S 70001:70001(0)        | . 2:2(0) ack 1    | FIN-WAIT-2 | -
S. 101:101(0) ack 2     | R 2:2(0)          | gone       | TcpOutRsts
P. 1:4(3) ack 2         | R 2:2(0)          | gone       | TcpOutRsts
P 1:4(3)                | -                 | FIN-WAIT-2 | -
P. 101:104(3) ack 2     | R 2:2(0)          | gone       | TcpOutRsts
P. 70001:70004(3) ack 2 | . 2:2(0) ack 1    | FIN-WAIT-2 | -
. 70001:70001(0) ack 2  | . 2:2(0) ack 1    | FIN-WAIT-2 | -
P. 0:1(1) ack 2         | . 2:2(0) ack 1    | FIN-WAIT-2 | -
P. 0:4(4) ack 2         | R 2:2(0)          | gone       | TcpOutRsts
. 0:0(0) ack 2          | . 2:2(0) ack 1    | FIN-WAIT-2 | -
FP. 1:4(3) ack 2        | R 2:2(0)          | gone       | TcpOutRsts
F. 101:101(0) ack 2     | R 2:2(0)          | gone       | TcpOutRsts
FS 1:1(0)               | R. 0:0(0) ack 3   | gone       | TcpOutRsts
SR 1:1(0)               | -                 | gone       | -
SP 1:4(3)               | R. 0:0(0) ack 5   | gone       | TcpOutRsts
`,
  );

  stateTable(
    'CLOSING',
    [established, shut, finCrossed],
    `
S 2:2(0)                | . 2:2(0) ack 2 | CLOSING   | challenge
S. 2:2(0) ack 1         | . 2:2(0) ack 2 | CLOSING   | challenge
. 2:2(0) ack 1          | -              | CLOSING   | -
. 2:2(0) ack 2          | -              | TIME-WAIT | -
F. 2:2(0) ack 2         | -              | TIME-WAIT | -
. 2:2(0) ack 0          | . 2:2(0) ack 2 | CLOSING   | TCPChallengeACK
. 2:2(0) ack 3          | . 2:2(0) ack 2 | CLOSING   | TCPChallengeACK
. 2:2(0) ack 100001     | . 2:2(0) ack 2 | CLOSING   | TCPChallengeACK
F 2:2(0)                | -              | CLOSING   | -
F. 2:2(0) ack 1         | -              | CLOSING   | -
R 2:2(0)                | -              | gone      | -
R 102:102(0)            | . 2:2(0) ack 2 | CLOSING   | TCPChallengeACK
R 70002:70002(0)        | -              | CLOSING   | -
R. 2:2(0) ack 1         | -              | gone      | -
R. 102:102(0) ack 1     | . 2:2(0) ack 2 | CLOSING   | TCPChallengeACK
R. 2:2(0) ack 1001      | -              | gone      | -
R 1:1(0)                | -              | gone      | -
- 2:2(0)                | -              | CLOSING   | -
- 70002:70002(0)        | -              | CLOSING   | -
- 2:5(3)                | -              | CLOSING   | -
S 102:102(0)            | . 2:2(0) ack 2 | CLOSING   | challenge
S 70002:70002(0)        | . 2:2(0) ack 2 | CLOSING   | challenge
S. 102:102(0) ack 1     | . 2:2(0) ack 2 | CLOSING   | challenge
P. 2:5(3) ack 1         | -              | CLOSING   | -
P 2:5(3)                | -              | CLOSING   | -
P. 102:105(3) ack 1     | -              | CLOSING   | -
P. 70002:70005(3) ack 1 | . 2:2(0) ack 2 | CLOSING   | BeyondWindow
. 70002:70002(0) ack 1  | . 2:2(0) ack 2 | CLOSING   | BeyondWindow
P. 1:2(1) ack 1         | . 2:2(0) ack 2 | CLOSING   | DelayedACKLost
P. 1:5(4) ack 1         | R 1:1(0)       | gone      | TCPAbortOnData TcpOutRsts
. 1:1(0) ack 1          | . 2:2(0) ack 2 | CLOSING   | -
FP. 2:5(3) ack 1        | -              | CLOSING   | -
F. 102:102(0) ack 1     | -              | CLOSING   | -
FS 2:2(0)               | . 2:2(0) ack 2 | CLOSING   | challenge
SR 2:2(0)               | -              | gone      | -
SP 2:5(3)               | . 2:2(0) ack 2 | CLOSING   | challenge
`,
  );

  stateTable(
    'LAST-ACK',
    [established, lastAck],
    `
S 2:2(0)                | . 2:2(0) ack 2 | LAST-ACK | challenge
S. 2:2(0) ack 1         | . 2:2(0) ack 2 | LAST-ACK | challenge
. 2:2(0) ack 1          | -              | LAST-ACK | -
. 2:2(0) ack 2          | -              | gone     | -
F. 2:2(0) ack 2         | -              | gone     | -
. 2:2(0) ack 0          | . 2:2(0) ack 2 | LAST-ACK | TCPChallengeACK
. 2:2(0) ack 3          | . 2:2(0) ack 2 | LAST-ACK | TCPChallengeACK
. 2:2(0) ack 100001     | . 2:2(0) ack 2 | LAST-ACK | TCPChallengeACK
F 2:2(0)                | -              | LAST-ACK | -
F. 2:2(0) ack 1         | -              | LAST-ACK | -
R 2:2(0)                | -              | gone     | -
R 102:102(0)            | . 2:2(0) ack 2 | LAST-ACK | TCPChallengeACK
R 70002:70002(0)        | -              | LAST-ACK | -
R. 2:2(0) ack 1         | -              | gone     | -
R. 102:102(0) ack 1     | . 2:2(0) ack 2 | LAST-ACK | TCPChallengeACK
R. 2:2(0) ack 1001      | -              | gone     | -
R 1:1(0)                | -              | gone     | -
- 2:2(0)                | -              | LAST-ACK | -
- 70002:70002(0)        | -              | LAST-ACK | -
- 2:5(3)                | -              | LAST-ACK | -
S 102:102(0)            | . 2:2(0) ack 2 | LAST-ACK | challenge
S 70002:70002(0)        | . 2:2(0) ack 2 | LAST-ACK | challenge
S. 102:102(0) ack 1     | . 2:2(0) ack 2 | LAST-ACK | challenge
P. 2:5(3) ack 1         | -              | LAST-ACK | -
P 2:5(3)                | -              | LAST-ACK | -
P. 102:105(3) ack 1     | -              | LAST-ACK | -
P. 70002:70005(3) ack 1 | . 2:2(0) ack 2 | LAST-ACK | BeyondWindow
. 70002:70002(0) ack 1  | . 2:2(0) ack 2 | LAST-ACK | BeyondWindow
P. 1:2(1) ack 1         | . 2:2(0) ack 2 | LAST-ACK | DelayedACKLost
P. 1:5(4) ack 1         | R 1:1(0)       | gone     | TCPAbortOnData TcpOutRsts
. 1:1(0) ack 1          | . 2:2(0) ack 2 | LAST-ACK | -
FP. 2:5(3) ack 1        | -              | LAST-ACK | -
F. 102:102(0) ack 1     | -              | LAST-ACK | -
FS 2:2(0)               | . 2:2(0) ack 2 | LAST-ACK | challenge
SR 2:2(0)               | -              | gone     | -
SP 2:5(3)               | . 2:2(0) ack 2 | LAST-ACK | challenge
`,
  );

  stateTable(
    'TIME-WAIT',
    [established, shut, finAcked, finReceived],
    `
S 2:2(0)                | . 2:2(0) ack 2 | TIME-WAIT | -
S. 2:2(0) ack 2         | . 2:2(0) ack 2 | TIME-WAIT | -
. 2:2(0) ack 2          | -              | TIME-WAIT | -
. 2:2(0) ack 1          | -              | TIME-WAIT | -
. 2:2(0) ack 3          | -              | TIME-WAIT | -
. 2:2(0) ack 100002     | -              | TIME-WAIT | -
F 2:2(0)                | . 2:2(0) ack 2 | TIME-WAIT | -
F. 2:2(0) ack 2         | . 2:2(0) ack 2 | TIME-WAIT | -
R 2:2(0)                | -              | gone      | -
R 102:102(0)            | -              | TIME-WAIT | -
R 70002:70002(0)        | -              | TIME-WAIT | -
R. 2:2(0) ack 2         | -              | gone      | -
R. 102:102(0) ack 2     | -              | TIME-WAIT | -
R. 2:2(0) ack 1002      | -              | gone      | -
R 1:1(0)                | -              | TIME-WAIT | -
- 2:2(0)                | -              | TIME-WAIT | -
- 70002:70002(0)        | . 2:2(0) ack 2 | TIME-WAIT | -
- 2:5(3)                | . 2:2(0) ack 2 | TIME-WAIT | -
S 102:102(0)            | S. 65539:65539(0) ack 103 win 64240 <mss 1460> | SYN-RECV  | -
S 70002:70002(0)        | S. 65539:65539(0) ack 70003 win 64240 <mss 1460> | SYN-RECV  | -
S. 102:102(0) ack 2     | . 2:2(0) ack 2 | TIME-WAIT | -
P. 2:5(3) ack 2         | . 2:2(0) ack 2 | TIME-WAIT | -
P 2:5(3)                | . 2:2(0) ack 2 | TIME-WAIT | -
P. 102:105(3) ack 2     | . 2:2(0) ack 2 | TIME-WAIT | -
P. 70002:70005(3) ack 2 | . 2:2(0) ack 2 | TIME-WAIT | -
. 70002:70002(0) ack 2  | . 2:2(0) ack 2 | TIME-WAIT | -
P. 1:2(1) ack 2         | . 2:2(0) ack 2 | TIME-WAIT | -
P. 1:5(4) ack 2         | . 2:2(0) ack 2 | TIME-WAIT | -
. 1:1(0) ack 2          | . 2:2(0) ack 2 | TIME-WAIT | -
FP. 2:5(3) ack 2        | . 2:2(0) ack 2 | TIME-WAIT | -
F. 102:102(0) ack 2     | . 2:2(0) ack 2 | TIME-WAIT | -
FS 2:2(0)               | . 2:2(0) ack 2 | TIME-WAIT | -
SR 2:2(0)               | -              | gone      | -
SP 2:5(3)               | . 2:2(0) ack 2 | TIME-WAIT | -
`,
  );
});
