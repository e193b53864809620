/**
 * What the system calls of one thread share: its line to the stack, its epoll instances, and how it
 * blocks. Also the reading and writing of socket addresses. The calls themselves are sys.ts and
 * sys-io.ts.
 */
import { EAFNOSUPPORT, EINVAL } from '../net/errno.js';
import { formatIpv4, parseIpv4 } from '../net/ipv4-address.js';
import { BLOCK_FLAGS, O_NONBLOCK, type SocketMemory } from '../net/sockmem.js';
import { BlockWait } from './block-wait.js';
import type { Epoll } from './epoll.js';
import type { Sockaddr, SockaddrArgument } from './sys-table.js';
import { AF_INET, AF_UNSPEC } from './uapi/constants.js';
import type { ThreadPort } from './uapi/thread-port.js';

export class SysContext {
  readonly port: ThreadPort;
  readonly mem: SocketMemory;
  /** This thread's epoll instances by descriptor. */
  readonly epolls: Map<number, Epoll> = new Map();
  readonly blocking: BlockWait;
  /** When the call that waits now must return, 0 = it has not waited yet. */
  waitEndMs = 0;
  /** parseAddress leaves address (int32 bit pattern) and port here. */
  address = 0;
  portNumber = 0;

  constructor(port: ThreadPort) {
    this.port = port;
    this.mem = port.mem;
    this.blocking = new BlockWait(port);
  }

  isNonblocking(fd: number): boolean {
    return (Atomics.load(this.mem.ctl, this.mem.blockAt(fd) + BLOCK_FLAGS) & O_NONBLOCK) !== 0;
  }

  /**
   * When a call on `fd` that begins to wait now must return.
   * @param word BLOCK_RCVTIMEO or BLOCK_SNDTIMEO
   */
  endOf(fd: number, word: number): number {
    const timeoutMs = Atomics.load(this.mem.ctl, this.mem.blockAt(fd) + word);
    return this.blocking.endOf(timeoutMs === 0 ? -1 : Math.max(0, timeoutMs));
  }

  /**
   * Takes `argument` apart into `address` and `portNumber`: 0, -EINVAL or -EAFNOSUPPORT. AF_UNSPEC
   * passes with the address 0, as Linux's bind() has it.
   */
  parseAddress(argument: SockaddrArgument | null | undefined): number {
    if (argument == null) return -EINVAL;
    const { address, port, family = AF_INET } = argument;
    if ((port & 0xffff) !== port) return -EINVAL;
    const value = typeof address === 'string' ? (parseIpv4(address) ?? Number.NaN) : address;
    if (!(value >= -0x80000000 && value <= 0xffffffff) || !Number.isInteger(value)) return -EINVAL;
    if (family !== AF_INET && (family !== AF_UNSPEC || value !== 0)) return -EAFNOSUPPORT;
    this.address = value | 0;
    this.portNumber = port;
    return 0;
  }
}

/** Fills `out` with an IPv4 address (u32 or int32 bit pattern) and a port. */
export function fillSockaddr(out: Sockaddr, address: number, port: number): void {
  out.family = AF_INET;
  out.address = formatIpv4(address);
  out.port = port;
}
