/** Every kind of segment in the states in which data may still come or go. */
import { type Enter, established, shut, stateTable } from './state-table.js';

const finAcked: Enter = ({ peer }) => peer.in('. 1:1(0) ack 2');
const finReceived: Enter = ({ host, peer }) => {
  peer.in('F. 1:1(0) ack 1');
  host.advance(5);
  peer.out('. 1:1(0) ack 2');
};

describe('tcp: segments while one side may still send', () => {
  stateTable(
    'ESTABLISHED',
    [established],
    `
S 1:1(0)                | . 1:1(0) ack 1 | ESTAB      | challenge TcpInErrs
S. 1:1(0) ack 1         | . 1:1(0) ack 1 | ESTAB      | challenge TcpInErrs
. 1:1(0) ack 1          | -              | ESTAB      | -
. 1:1(0) ack 0          | . 1:1(0) ack 1 | ESTAB      | TCPChallengeACK
. 1:1(0) ack 2          | . 1:1(0) ack 1 | ESTAB      | TCPChallengeACK
. 1:1(0) ack 100001     | . 1:1(0) ack 1 | ESTAB      | TCPChallengeACK
F 1:1(0)                | -              | ESTAB      | -
F. 1:1(0) ack 1         | . 1:1(0) ack 2 | CLOSE-WAIT | -
R 1:1(0)                | -              | gone       | TcpEstabResets
R 101:101(0)            | . 1:1(0) ack 1 | ESTAB      | TCPChallengeACK
R 70001:70001(0)        | -              | ESTAB      | -
R. 1:1(0) ack 1         | -              | gone       | TcpEstabResets
R. 101:101(0) ack 1     | . 1:1(0) ack 1 | ESTAB      | TCPChallengeACK
R. 1:1(0) ack 1001      | -              | gone       | TcpEstabResets
R 0:0(0)                | -              | ESTAB      | -
- 1:1(0)                | -              | ESTAB      | -
- 70001:70001(0)        | -              | ESTAB      | -
- 1:4(3)                | -              | ESTAB      | -
S 101:101(0)            | . 1:1(0) ack 1 | ESTAB      | challenge TcpInErrs
S 70001:70001(0)        | . 1:1(0) ack 1 | ESTAB      | challenge TcpInErrs
S. 101:101(0) ack 1     | . 1:1(0) ack 1 | ESTAB      | challenge TcpInErrs
P. 1:4(3) ack 1         | . 1:1(0) ack 4 | ESTAB      | -
P 1:4(3)                | -              | ESTAB      | -
P. 101:104(3) ack 1     | . 1:1(0) ack 1 | ESTAB      | TCPOFOQueue
P. 70001:70004(3) ack 1 | . 1:1(0) ack 1 | ESTAB      | BeyondWindow
. 70001:70001(0) ack 1  | . 1:1(0) ack 1 | ESTAB      | BeyondWindow
P. 0:1(1) ack 1         | . 1:1(0) ack 1 | ESTAB      | DelayedACKLost
P. 0:4(4) ack 1         | . 1:1(0) ack 4 | ESTAB      | -
. 0:0(0) ack 1          | . 1:1(0) ack 1 | ESTAB      | -
FP. 1:4(3) ack 1        | . 1:1(0) ack 5 | CLOSE-WAIT | -
F. 101:101(0) ack 1     | . 1:1(0) ack 1 | ESTAB      | TCPOFOQueue
FS 1:1(0)               | . 1:1(0) ack 1 | ESTAB      | challenge TcpInErrs
SR 1:1(0)               | -              | gone       | TcpEstabResets
SP 1:4(3)               | . 1:1(0) ack 1 | ESTAB      | challenge TcpInErrs
`,
  );

  stateTable(
    'FIN-WAIT-1',
    [established, shut],
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
P. 1:4(3) ack 1         | . 2:2(0) ack 4 | FIN-WAIT-1 | -
P 1:4(3)                | -              | FIN-WAIT-1 | -
P. 101:104(3) ack 1     | . 2:2(0) ack 1 | FIN-WAIT-1 | TCPOFOQueue
P. 70001:70004(3) ack 1 | . 2:2(0) ack 1 | FIN-WAIT-1 | BeyondWindow
. 70001:70001(0) ack 1  | . 2:2(0) ack 1 | FIN-WAIT-1 | BeyondWindow
P. 0:1(1) ack 1         | . 2:2(0) ack 1 | FIN-WAIT-1 | DelayedACKLost
P. 0:4(4) ack 1         | . 2:2(0) ack 4 | FIN-WAIT-1 | -
. 0:0(0) ack 1          | . 2:2(0) ack 1 | FIN-WAIT-1 | -
FP. 1:4(3) ack 1        | . 2:2(0) ack 5 | CLOSING    | -
F. 101:101(0) ack 1     | . 2:2(0) ack 1 | FIN-WAIT-1 | TCPOFOQueue
FS 1:1(0)               | . 2:2(0) ack 1 | FIN-WAIT-1 | challenge
SR 1:1(0)               | -              | gone       | -
SP 1:4(3)               | . 2:2(0) ack 1 | FIN-WAIT-1 | challenge
`,
  );

  stateTable(
    'FIN-WAIT-2',
    [established, shut, finAcked],
    `
S 1:1(0)                | . 2:2(0) ack 1 | FIN-WAIT-2 | challenge
S. 1:1(0) ack 2         | . 2:2(0) ack 1 | FIN-WAIT-2 | challenge
. 1:1(0) ack 2          | -              | FIN-WAIT-2 | -
. 1:1(0) ack 1          | -              | FIN-WAIT-2 | -
. 1:1(0) ack 3          | . 2:2(0) ack 1 | FIN-WAIT-2 | TCPChallengeACK
. 1:1(0) ack 100002     | . 2:2(0) ack 1 | FIN-WAIT-2 | TCPChallengeACK
F 1:1(0)                | -              | FIN-WAIT-2 | -
F. 1:1(0) ack 2         | . 2:2(0) ack 2 | TIME-WAIT  | -
R 1:1(0)                | -              | gone       | -
R 101:101(0)            | . 2:2(0) ack 1 | FIN-WAIT-2 | TCPChallengeACK
R 70001:70001(0)        | -              | FIN-WAIT-2 | -
R. 1:1(0) ack 2         | -              | gone       | -
R. 101:101(0) ack 2     | . 2:2(0) ack 1 | FIN-WAIT-2 | TCPChallengeACK
R. 1:1(0) ack 1002      | -              | gone       | -
R 0:0(0)                | -              | FIN-WAIT-2 | -
- 1:1(0)                | -              | FIN-WAIT-2 | -
- 70001:70001(0)        | -              | FIN-WAIT-2 | -
- 1:4(3)                | -              | FIN-WAIT-2 | -
S 101:101(0)            | . 2:2(0) ack 1 | FIN-WAIT-2 | challenge
S 70001:70001(0)        | . 2:2(0) ack 1 | FIN-WAIT-2 | challenge
S. 101:101(0) ack 2     | . 2:2(0) ack 1 | FIN-WAIT-2 | challenge
P. 1:4(3) ack 2         | . 2:2(0) ack 4 | FIN-WAIT-2 | -
P 1:4(3)                | -              | FIN-WAIT-2 | -
P. 101:104(3) ack 2     | . 2:2(0) ack 1 | FIN-WAIT-2 | TCPOFOQueue
P. 70001:70004(3) ack 2 | . 2:2(0) ack 1 | FIN-WAIT-2 | BeyondWindow
. 70001:70001(0) ack 2  | . 2:2(0) ack 1 | FIN-WAIT-2 | BeyondWindow
P. 0:1(1) ack 2         | . 2:2(0) ack 1 | FIN-WAIT-2 | DelayedACKLost
P. 0:4(4) ack 2         | . 2:2(0) ack 4 | FIN-WAIT-2 | -
. 0:0(0) ack 2          | . 2:2(0) ack 1 | FIN-WAIT-2 | -
FP. 1:4(3) ack 2        | . 2:2(0) ack 5 | TIME-WAIT  | -
F. 101:101(0) ack 2     | . 2:2(0) ack 1 | FIN-WAIT-2 | TCPOFOQueue
FS 1:1(0)               | . 2:2(0) ack 1 | FIN-WAIT-2 | challenge
SR 1:1(0)               | -              | gone       | -
SP 1:4(3)               | . 2:2(0) ack 1 | FIN-WAIT-2 | challenge
`,
  );

  stateTable(
    'CLOSE-WAIT',
    [established, finReceived],
    `
S 2:2(0)                | . 1:1(0) ack 2 | CLOSE-WAIT | challenge
S. 2:2(0) ack 1         | . 1:1(0) ack 2 | CLOSE-WAIT | challenge
. 2:2(0) ack 1          | -              | CLOSE-WAIT | -
. 2:2(0) ack 0          | . 1:1(0) ack 2 | CLOSE-WAIT | TCPChallengeACK
. 2:2(0) ack 2          | . 1:1(0) ack 2 | CLOSE-WAIT | TCPChallengeACK
. 2:2(0) ack 100001     | . 1:1(0) ack 2 | CLOSE-WAIT | TCPChallengeACK
F 2:2(0)                | -              | CLOSE-WAIT | -
F. 2:2(0) ack 1         | -              | CLOSE-WAIT | -
R 2:2(0)                | -              | gone       | TcpEstabResets
R 102:102(0)            | . 1:1(0) ack 2 | CLOSE-WAIT | TCPChallengeACK
R 70002:70002(0)        | -              | CLOSE-WAIT | -
R. 2:2(0) ack 1         | -              | gone       | TcpEstabResets
R. 102:102(0) ack 1     | . 1:1(0) ack 2 | CLOSE-WAIT | TCPChallengeACK
R. 2:2(0) ack 1001      | -              | gone       | TcpEstabResets
R 1:1(0)                | -              | gone       | TcpEstabResets
- 2:2(0)                | -              | CLOSE-WAIT | -
- 70002:70002(0)        | -              | CLOSE-WAIT | -
- 2:5(3)                | -              | CLOSE-WAIT | -
S 102:102(0)            | . 1:1(0) ack 2 | CLOSE-WAIT | challenge
S 70002:70002(0)        | . 1:1(0) ack 2 | CLOSE-WAIT | challenge
S. 102:102(0) ack 1     | . 1:1(0) ack 2 | CLOSE-WAIT | challenge
P. 2:5(3) ack 1         | -              | CLOSE-WAIT | -
P 2:5(3)                | -              | CLOSE-WAIT | -
P. 102:105(3) ack 1     | -              | CLOSE-WAIT | -
P. 70002:70005(3) ack 1 | . 1:1(0) ack 2 | CLOSE-WAIT | BeyondWindow
. 70002:70002(0) ack 1  | . 1:1(0) ack 2 | CLOSE-WAIT | BeyondWindow
P. 1:2(1) ack 1         | . 1:1(0) ack 2 | CLOSE-WAIT | DelayedACKLost
P. 1:5(4) ack 1 | R 1:1(0) | gone | TCPAbortOnData TcpEstabResets TcpOutRsts
. 1:1(0) ack 1          | . 1:1(0) ack 2 | CLOSE-WAIT | -
FP. 2:5(3) ack 1        | -              | CLOSE-WAIT | -
F. 102:102(0) ack 1     | -              | CLOSE-WAIT | -
FS 2:2(0)               | . 1:1(0) ack 2 | CLOSE-WAIT | challenge
SR 2:2(0)               | -              | gone       | TcpEstabResets
SP 2:5(3)               | . 1:1(0) ack 2 | CLOSE-WAIT | challenge
`,
  );
});
