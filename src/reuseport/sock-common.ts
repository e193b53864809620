/**
 * What every socket in a lookup table has, whatever else it is (Linux: include/net/sock.h: struct
 * sock_common, with the bind and reuseport fields of struct sock and inet_connection_sock that
 * lookup needs). Full sockets (tcp/tcb.ts), request sockets and time-wait sockets
 * (tcp/minisocks.ts) extend it. Addresses are u32 in host order as int32 bit patterns (`| 0`);
 * ports are numbers in host order.
 */
import { TCP_CLOSE } from '../net/tcp-states.js';
import type { BindBucket } from './bhash.js';
import type { ReuseportGroup } from './group.js';

export const AF_INET = 2;
export const AF_INET6 = 10;

/** Socket kinds: what an ehash entry is. */
export const SK_FULL = 0;
export const SK_REQUEST = 1;
export const SK_TIMEWAIT = 2;

export class SockCommon {
  /** SK_*. */
  readonly kind: number;
  /** TCP_*. */
  state: number = TCP_CLOSE;
  family: number = AF_INET;
  /** Peer address and port; 0 while not connected. */
  daddr = 0;
  dport = 0;
  /** Local address bound to (0 = any) and local port (0 = not bound). */
  rcvSaddr = 0;
  num = 0;
  /** SO_BINDTODEVICE: interface index, 0 = any. */
  boundDevIf = 0;
  ipv6only = false;
  /** SO_REUSEADDR, SO_REUSEPORT. */
  reuse = false;
  reuseport = false;
  /** SO_INCOMING_CPU, -1 = none. */
  incomingCpu = -1;
  /** Effective user id of the creator. */
  uid = 0;
  /** inetEhashfn value under which it is in ehash, int32. */
  hash = 0;

  /**
   * Place in the tables; owned by ehash.ts, lhash2.ts, bhash.ts and group.ts. -1 / null = not in
   * that table.
   */
  ehashSlot = -1;
  lhash2Slot = -1;
  bindBucket: BindBucket | null = null;
  bindIndex = -1;
  /** The port was asked for by bind(), not chosen for us (Linux: SOCK_BINDPORT_LOCK). */
  bindPortLock = false;
  /** The port was chosen by connect() (Linux: SOCK_CONNECT_BIND). Owned by bhash.ts. */
  connectBind = false;
  /** The address was asked for by bind() (Linux: SOCK_BINDADDR_LOCK). */
  bindAddrLock = false;
  /** IP_LOCAL_PORT_RANGE: lowest port | highest << 16, int32; a half that is 0 is not set. */
  localPortRange = 0;
  reuseportCb: ReuseportGroup | null = null;
  /** Place in reuseportCb.socks: a live member's index; -1 = in no group. Owned by group.ts. */
  reuseportSlot = -1;
  /** Its number among the members, kept while the index changes; -1 = in no group. */
  reuseportKey = -1;

  constructor(kind: number) {
    this.kind = kind;
  }
}
