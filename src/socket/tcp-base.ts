/**
 * What connections and listeners have in common below the event loop: making and taking over a
 * descriptor, binding it, and the two addresses (Node's TCP wrap over libuv's uv_tcp_t). No
 * reading, no writing.
 */
import type { NetSys, SysName } from './net-sys.js';
import { type Reactor, ReactorHandle } from './reactor.js';
import {
  AF_INET,
  F_GETFL,
  F_SETFL,
  F_SETOWN,
  O_NONBLOCK,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from './uapi/constants.js';

/** An address as `address()` of Node's sockets shows it. */
export interface AddressInfo {
  address: string;
  family: string;
  port: number;
}

/** What both kinds of TCP handle share: addresses and binding. */
export abstract class TcpBase extends ReactorHandle {
  protected readonly sys: NetSys;

  constructor(type: string, reactor: Reactor) {
    super(type, reactor);
    this.sys = reactor.sys;
  }

  /** Makes the descriptor if there is none yet. @returns 0 or -errno */
  protected create(): number {
    if (this.fd >= 0) return 0;
    const fd = this.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) return fd;
    this.fd = fd;
    return 0;
  }

  /** @param address dotted IPv4 @returns 0 or -errno */
  bind(address: string, port: number, reusePort = false): number {
    let status = this.create();
    if (status < 0) return status;
    status = this.sys.setsockopt(this.fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (status >= 0 && reusePort) {
      status = this.sys.setsockopt(this.fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    return status < 0 ? status : this.sys.bind(this.fd, { address, port });
  }

  /** Fills `out`; 0 or -errno. */
  getsockname(out: Partial<AddressInfo>): number {
    return this.named(out, this.sys.getsockname(this.fd, scratchName));
  }

  getpeername(out: Partial<AddressInfo>): number {
    return this.named(out, this.sys.getpeername(this.fd, scratchName));
  }

  private named(out: Partial<AddressInfo>, status: number): number {
    if (status < 0) return status;
    out.address = scratchName.address;
    out.family = 'IPv4';
    out.port = scratchName.port;
    return 0;
  }
}

const scratchName: SysName = { family: AF_INET, address: '', port: 0 };

/** Makes `fd` non-blocking, and with `own` this thread's to close. @returns 0 or -errno */
export function takeOver(sys: NetSys, fd: number, own: boolean): number {
  const flags = sys.fcntl(fd, F_GETFL, 0);
  if (flags < 0) return flags;
  const status = (flags & O_NONBLOCK) === 0 ? sys.fcntl(fd, F_SETFL, flags | O_NONBLOCK) : 0;
  if (status < 0 || !own) return status;
  return sys.fcntl(fd, F_SETOWN, 0);
}
