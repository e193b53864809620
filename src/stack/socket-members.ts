/**
 * The members of reuseport groups as a stack without threads knows them: their queues and their
 * connections. What the threads behind them do is live-members.ts.
 */
import type { MemberState } from '../reuseport/selector-request.js';
import type { SockCommon } from '../reuseport/sock-common.js';
import { connections, queueLength } from '../tcp/member-state.js';
import type { Tcb } from '../tcp/tcb.js';

export class SocketMembers implements MemberState {
  queueLength(sk: SockCommon): number {
    return queueLength(sk);
  }

  /**
   * Half-open ones count: the SYNs of a burst would otherwise all find the same member the least
   * loaded.
   */
  connections(sk: SockCommon): number {
    return connections(sk) + ((sk as Tcb).listen?.reqs ?? 0);
  }

  utilisation(_sk: SockCommon): number {
    return 0;
  }

  heartbeatAgeMs(_sk: SockCommon): number {
    return 0;
  }
}
