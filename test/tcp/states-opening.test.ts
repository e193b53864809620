/** Every kind of segment in every state before ESTABLISHED. */

import type { Enter } from './state-table.js';
import { stateTable, synReceived, synSent } from './state-table.js';

const listening: Enter = (c) => {
  c.listener = c.host.listen(80, 8);
};
const crossed: Enter = ({ peer }) => {
  peer.in('S 0:0(0) <mss 1460>');
  peer.out('S. 0:0(0) ack 1 win 64240 <mss 1460>');
};

describe('tcp: segments before the connection is established', () => {
  stateTable(
    'CLOSED: no socket',
    [],
    `
S 1:1(0)                | R. 0:0(0) ack 2     | gone | TcpOutRsts
S. 1:1(0) ack 1         | R 1:1(0)            | gone | TcpOutRsts
. 1:1(0) ack 1          | R 1:1(0)            | gone | TcpOutRsts
. 1:1(0) ack 0          | R 0:0(0)            | gone | TcpOutRsts
. 1:1(0) ack 2          | R 2:2(0)            | gone | TcpOutRsts
. 1:1(0) ack 100001     | R 100001:100001(0)  | gone | TcpOutRsts
F 1:1(0)                | R. 0:0(0) ack 2     | gone | TcpOutRsts
F. 1:1(0) ack 1         | R 1:1(0)            | gone | TcpOutRsts
R 1:1(0)                | -                   | gone | -
R 101:101(0)            | -                   | gone | -
R 70001:70001(0)        | -                   | gone | -
R. 1:1(0) ack 1         | -                   | gone | -
R. 101:101(0) ack 1     | -                   | gone | -
R. 1:1(0) ack 1001      | -                   | gone | -
R 0:0(0)                | -                   | gone | -
- 1:1(0)                | R. 0:0(0) ack 1     | gone | TcpOutRsts
- 70001:70001(0)        | R. 0:0(0) ack 70001 | gone | TcpOutRsts
- 1:4(3)                | R. 0:0(0) ack 4     | gone | TcpOutRsts
S 101:101(0)            | R. 0:0(0) ack 102   | gone | TcpOutRsts
S 70001:70001(0)        | R. 0:0(0) ack 70002 | gone | TcpOutRsts
S. 101:101(0) ack 1     | R 1:1(0)            | gone | TcpOutRsts
P. 1:4(3) ack 1         | R 1:1(0)            | gone | TcpOutRsts
P 1:4(3)                | R. 0:0(0) ack 4     | gone | TcpOutRsts
P. 101:104(3) ack 1     | R 1:1(0)            | gone | TcpOutRsts
P. 70001:70004(3) ack 1 | R 1:1(0)            | gone | TcpOutRsts
. 70001:70001(0) ack 1  | R 1:1(0)            | gone | TcpOutRsts
P. 0:1(1) ack 1         | R 1:1(0)            | gone | TcpOutRsts
P. 0:4(4) ack 1         | R 1:1(0)            | gone | TcpOutRsts
. 0:0(0) ack 1          | R 1:1(0)            | gone | TcpOutRsts
FP. 1:4(3) ack 1        | R 1:1(0)            | gone | TcpOutRsts
F. 101:101(0) ack 1     | R 1:1(0)            | gone | TcpOutRsts
FS 1:1(0)               | R. 0:0(0) ack 3     | gone | TcpOutRsts
SR 1:1(0)               | -                   | gone | -
SP 1:4(3)               | R. 0:0(0) ack 5     | gone | TcpOutRsts
`,
  );

  stateTable(
    'LISTEN',
    [listening],
    `
S 0:0(0)                | S. 0:0(0) ack 1 win 64240 <mss 1460> | SYN-RECV | -
S. 0:0(0) ack 1         | R 1:1(0)           | gone     | TcpOutRsts
. 0:0(0) ack 1          | R 1:1(0)           | gone     | TcpOutRsts
. 0:0(0) ack 0          | R 0:0(0)           | gone     | TcpOutRsts
. 0:0(0) ack 2          | R 2:2(0)           | gone     | TcpOutRsts
. 0:0(0) ack 100001     | R 100001:100001(0) | gone     | TcpOutRsts
F 0:0(0)                | -                  | gone     | -
F. 0:0(0) ack 1         | R 1:1(0)           | gone     | TcpOutRsts
R 0:0(0)                | -                  | gone     | -
R 100:100(0)            | -                  | gone     | -
R 70000:70000(0)        | -                  | gone     | -
R. 0:0(0) ack 1         | -                  | gone     | -
R. 100:100(0) ack 1     | -                  | gone     | -
R. 0:0(0) ack 1001      | -                  | gone     | -
- 0:0(0)                | -                  | gone     | -
- 70000:70000(0)        | -                  | gone     | -
- 0:3(3)                | -                  | gone     | -
S 100:100(0)            | S. 0:0(0) ack 101 win 64240 <mss 1460> | SYN-RECV | -
S 70000:70000(0)        | S. 0:0(0) ack 70001 win 64240 <mss 1460> | SYN-RECV | -
S. 100:100(0) ack 1     | R 1:1(0)           | gone     | TcpOutRsts
P. 0:3(3) ack 1         | R 1:1(0)           | gone     | TcpOutRsts
P 0:3(3)                | -                  | gone     | -
P. 100:103(3) ack 1     | R 1:1(0)           | gone     | TcpOutRsts
P. 70000:70003(3) ack 1 | R 1:1(0)           | gone     | TcpOutRsts
. 70000:70000(0) ack 1  | R 1:1(0)           | gone     | TcpOutRsts
FP. 0:3(3) ack 1        | R 1:1(0)           | gone     | TcpOutRsts
F. 100:100(0) ack 1     | R 1:1(0)           | gone     | TcpOutRsts
FS 0:0(0)               | -                  | gone     | -
SR 0:0(0)               | -                  | gone     | -
SP 0:3(3)               | S. 0:0(0) ack 1 win 64240 <mss 1460> | SYN-RECV | -
`,
  );

  stateTable(
    // RFC 9293 MUST-11.
    'NEW-SYN-RECV: a request',
    [synReceived],
    `
S 1:1(0)                | R. 0:0(0) ack 2    | gone       | embryonic TcpOutRsts
S. 1:1(0) ack 1         | R 1:1(0)           | gone       | embryonic TcpOutRsts
. 1:1(0) ack 1          | -                  | ESTAB      | TcpPassiveOpens
. 1:1(0) ack 0          | R 0:0(0)           | SYN-RECV   | TcpOutRsts
. 1:1(0) ack 2          | R 2:2(0)           | SYN-RECV   | TcpOutRsts
. 1:1(0) ack 100001     | R 100001:100001(0) | SYN-RECV   | TcpOutRsts
F 1:1(0)                | -                  | SYN-RECV   | -
F. 1:1(0) ack 1         | . 1:1(0) ack 2     | CLOSE-WAIT | TcpPassiveOpens
R 1:1(0)                | -                  | gone       | embryonic
R 101:101(0)            | . 1:1(0) ack 1     | SYN-RECV   | TCPChallengeACK
R 70001:70001(0)        | -                  | SYN-RECV   | -
R. 1:1(0) ack 1         | -                  | gone       | embryonic
R. 101:101(0) ack 1     | . 1:1(0) ack 1     | SYN-RECV   | TCPChallengeACK
R. 1:1(0) ack 1001      | -                  | gone       | embryonic
R 0:0(0)                | -                  | SYN-RECV   | -
- 1:1(0)                | -                  | SYN-RECV   | -
- 70001:70001(0)        | . 1:1(0) ack 1     | SYN-RECV   | -
- 1:4(3)                | -                  | SYN-RECV   | -
S 101:101(0)            | R. 0:0(0) ack 102  | gone       | embryonic TcpOutRsts
S 70001:70001(0)        | . 1:1(0) ack 1     | SYN-RECV   | -
S. 101:101(0) ack 1     | R 1:1(0)           | gone       | embryonic TcpOutRsts
P. 1:4(3) ack 1         | . 1:1(0) ack 4     | ESTAB      | TcpPassiveOpens
P 1:4(3)                | -                  | SYN-RECV   | -
P. 101:104(3) ack 1     | . 1:1(0) ack 1     | ESTAB      | TCPOFOQueue TcpPassiveOpens
P. 70001:70004(3) ack 1 | . 1:1(0) ack 1     | SYN-RECV   | -
. 70001:70001(0) ack 1  | . 1:1(0) ack 1     | SYN-RECV   | -
P. 0:1(1) ack 1         | . 1:1(0) ack 1     | SYN-RECV   | -
P. 0:4(4) ack 1         | . 1:1(0) ack 4     | ESTAB      | TcpPassiveOpens
. 0:0(0) ack 1          | . 1:1(0) ack 1     | SYN-RECV   | -
FP. 1:4(3) ack 1        | . 1:1(0) ack 5     | CLOSE-WAIT | TcpPassiveOpens
F. 101:101(0) ack 1     | . 1:1(0) ack 1     | ESTAB      | TCPOFOQueue TcpPassiveOpens
FS 1:1(0)               | R. 0:0(0) ack 3    | gone       | embryonic TcpOutRsts
SR 1:1(0)               | -                  | gone       | embryonic
SP 1:4(3)               | R. 0:0(0) ack 5    | gone       | embryonic TcpOutRsts
S 0:0(0) | S. 0:0(0) ack 1 win 64240 <mss 1460> | SYN-RECV | TCPSynRetrans TcpRetransSegs
S. 0:0(0) ack 1         | . 1:1(0) ack 1     | SYN-RECV   | -
. 64241:64241(0) ack 1  | -                  | ESTAB      | TcpPassiveOpens
P. 64201:64301(100) ack 1 | . 1:1(0) ack 1     | ESTAB      | TCPOFOQueue TcpPassiveOpens
R 64241:64241(0)        | . 1:1(0) ack 1     | SYN-RECV   | TCPChallengeACK
P 6:9(3)                | -                  | SYN-RECV   | -
`,
  );

  // Linux answers a crossing SYN with all options that its own SYN had, offered or not.
  stateTable(
    'SYN-SENT',
    [synSent],
    `
S 0:0(0)                | S. 0:0(0) ack 1 win 64240 <mss 1460> | SYN-RECV | -
S. 0:0(0) ack 1         | . 1:1(0) ack 1   | ESTAB    | -
. 0:0(0) ack 1          | -                | SYN-SENT | -
. 0:0(0) ack 0          | R 0:0(0) ; S 0:0(0) <...> | SYN-SENT | synAgain TcpOutRsts
. 0:0(0) ack 2          | R 2:2(0) ; S 0:0(0) <...> | SYN-SENT | synAgain TcpOutRsts
. 0:0(0) ack 100001 | R 100001:100001(0) ; S 0:0(0) <...> | SYN-SENT | synAgain TcpOutRsts
F 0:0(0)                | -                | SYN-SENT | -
F. 0:0(0) ack 1         | -                | SYN-SENT | -
R 0:0(0)                | -                | SYN-SENT | -
R 100:100(0)            | -                | SYN-SENT | -
R 70000:70000(0)        | -                | SYN-SENT | -
R. 0:0(0) ack 1         | -                | gone     | TcpAttemptFails
R. 100:100(0) ack 1     | -                | gone     | TcpAttemptFails
R. 0:0(0) ack 1001      | S 0:0(0) <...>   | SYN-SENT | synAgain
- 0:0(0)                | -                | SYN-SENT | -
- 70000:70000(0)        | -                | SYN-SENT | -
- 0:3(3)                | -                | SYN-SENT | -
S 100:100(0)            | S. 0:0(0) ack 101 win 64240 <mss 1460> | SYN-RECV | -
S 70000:70000(0)        | S. 0:0(0) ack 70001 win 64240 <mss 1460> | SYN-RECV | -
S. 100:100(0) ack 1     | . 1:1(0) ack 101 | ESTAB    | -
P. 0:3(3) ack 1         | -                | SYN-SENT | -
P 0:3(3)                | -                | SYN-SENT | -
P. 100:103(3) ack 1     | -                | SYN-SENT | -
P. 70000:70003(3) ack 1 | -                | SYN-SENT | -
. 70000:70000(0) ack 1  | -                | SYN-SENT | -
FP. 0:3(3) ack 1        | -                | SYN-SENT | -
F. 100:100(0) ack 1     | -                | SYN-SENT | -
FS 0:0(0)               | S. 0:0(0) ack 1 win 64240 <mss 1460> | SYN-RECV | -
SR 0:0(0)               | -                | SYN-SENT | -
SP 0:3(3)               | S. 0:0(0) ack 1 win 64240 <mss 1460> | SYN-RECV | -
`,
  );

  // Linux takes an ACK of its ISS, which acknowledges nothing, for the end of the handshake.
  stateTable(
    'SYN-RECEIVED: both sides have opened',
    [synSent, crossed],
    `
S 1:1(0)                | . 1:1(0) ack 1     | SYN-RECV   | challenge
S. 1:1(0) ack 1         | . 1:1(0) ack 1     | SYN-RECV   | challenge
. 1:1(0) ack 1          | -                  | ESTAB      | -
. 1:1(0) ack 0          | R 0:0(0)           | SYN-RECV   | TcpOutRsts
. 1:1(0) ack 2          | R 2:2(0)           | SYN-RECV   | TcpOutRsts
. 1:1(0) ack 100001     | R 100001:100001(0) | SYN-RECV   | TcpOutRsts
F 1:1(0)                | -                  | SYN-RECV   | -
F. 1:1(0) ack 1         | . 1:1(0) ack 2     | CLOSE-WAIT | -
R 1:1(0)                | -                  | gone       | TcpAttemptFails
R 101:101(0)            | . 1:1(0) ack 1     | SYN-RECV   | TCPChallengeACK
R 70001:70001(0)        | -                  | SYN-RECV   | -
R. 1:1(0) ack 1         | -                  | gone       | TcpAttemptFails
R. 101:101(0) ack 1     | . 1:1(0) ack 1     | SYN-RECV   | TCPChallengeACK
R. 1:1(0) ack 1001      | -                  | gone       | TcpAttemptFails
R 0:0(0)                | -                  | SYN-RECV   | -
- 1:1(0)                | -                  | SYN-RECV   | -
- 70001:70001(0)        | -                  | SYN-RECV   | -
- 1:4(3)                | -                  | SYN-RECV   | -
S 101:101(0)            | . 1:1(0) ack 1     | SYN-RECV   | challenge
S 70001:70001(0)        | . 1:1(0) ack 1     | SYN-RECV   | challenge
S. 101:101(0) ack 1     | . 1:1(0) ack 1     | SYN-RECV   | challenge
P. 1:4(3) ack 1         | . 1:1(0) ack 4     | ESTAB      | -
P 1:4(3)                | -                  | SYN-RECV   | -
P. 101:104(3) ack 1     | . 1:1(0) ack 1     | ESTAB      | TCPOFOQueue
P. 70001:70004(3) ack 1 | . 1:1(0) ack 1     | SYN-RECV   | BeyondWindow
. 70001:70001(0) ack 1  | . 1:1(0) ack 1     | SYN-RECV   | BeyondWindow
P. 0:1(1) ack 1         | . 1:1(0) ack 1     | ESTAB      | DelayedACKLost
P. 0:4(4) ack 1         | . 1:1(0) ack 4     | ESTAB      | -
. 0:0(0) ack 1          | . 1:1(0) ack 1     | SYN-RECV   | -
FP. 1:4(3) ack 1        | . 1:1(0) ack 5     | CLOSE-WAIT | -
F. 101:101(0) ack 1     | . 1:1(0) ack 1     | ESTAB      | TCPOFOQueue
FS 1:1(0)               | . 1:1(0) ack 1     | SYN-RECV   | challenge
SR 1:1(0)               | -                  | gone       | TcpAttemptFails
SP 1:4(3)               | . 1:1(0) ack 1     | SYN-RECV   | challenge
`,
  );
});
