/**
 * The members of reuseport groups with the threads that accept from them: how busy a thread is and
 * how long ago it gave a sign of life, read from its region (socket/uapi/heartbeat.ts). The thread
 * of a listener is its owner, BLOCK_OWNER.
 *
 * Words of other threads are read plainly here and not with Atomics: each answer is a guess about a
 * moving thing anyway, an aligned word is never torn, and `least` asks for every member of the
 * group (Atomics.load is a call in today's V8, six of them a member).
 */
import type { NetNs } from '../net/netns.js';
import { BLOCK_OWNER } from '../net/sockmem.js';
import type { SockCommon } from '../reuseport/sock-common.js';
import { beatAgeMs, busyShare } from '../socket/uapi/heartbeat.js';
import {
  type CtlLayout,
  MAX_THREADS,
  T_BEAT,
  T_SLEEPING,
  T_STATE,
  THREAD_FREE,
  threadAt,
} from '../socket/uapi/layout.js';
import { monotonicOffsetMs } from '../socket/uapi/monotonic.js';
import type { SharedMemory } from '../socket/uapi/shared.js';
import type { Tcb } from '../tcp/tcb.js';
import { SocketMembers } from './socket-members.js';

export class LiveMembers extends SocketMembers {
  private readonly ctl: Int32Array;
  private readonly layout: CtlLayout;
  private readonly net: NetNs;
  private readonly offsetMs: number;

  /**
   * @param net its nowUs is performance.now() of this thread
   * @param offsetMs from that to the clock of the heartbeats
   */
  constructor(shared: SharedMemory, net: NetNs, offsetMs: number = monotonicOffsetMs()) {
    super();
    this.ctl = shared.ctl;
    this.layout = shared.layout;
    this.net = net;
    this.offsetMs = offsetMs;
  }

  override utilisation(sk: SockCommon): number {
    const at = this.threadOf(sk);
    return at < 0 ? 0 : busyShare(this.ctl, at, this.nowMs);
  }

  override heartbeatAgeMs(sk: SockCommon): number {
    const at = this.threadOf(sk);
    if (at < 0) return Number.POSITIVE_INFINITY;
    if (this.ctl[at + T_SLEEPING] !== 0) return 0;
    return beatAgeMs(this.ctl[at + T_BEAT]!, this.nowMs);
  }

  /** The time of the batch: the same for all members of a decision, and no clock is read. */
  private get nowMs(): number {
    return this.net.nowUs / 1000 + this.offsetMs;
  }

  /** First word of the region of the thread that owns the listener, -1 = there is none. */
  private threadOf(sk: SockCommon): number {
    const thread = this.ctl[(sk as Tcb).at + BLOCK_OWNER]! - 1;
    if (thread < 0 || thread >= MAX_THREADS) return -1;
    const at = threadAt(this.layout, thread);
    return this.ctl[at + T_STATE] === THREAD_FREE ? -1 : at;
  }
}
