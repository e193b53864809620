/**
 * Sockets of the kernel by plain system calls, for load generators that must cost less than what
 * they measure: a blocking TCP connection, and a raw socket that sends whole IPv4 packets. Buffers
 * are addresses of mapped memory (mmapArena). Nothing of the stack uses this.
 */
import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';
import type * as Koffi from 'koffi';
import { AF_INET, mmapArena, type Native, native } from './native.js';

const SOCK_STREAM = 1;
const SOCK_RAW = 3;
/** The sender writes the IP header itself. */
const IPPROTO_RAW = 255;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
const IPPROTO_IP = 0;
/** bind() of an address alone: the port is chosen when the other end is known. */
const IP_BIND_ADDRESS_NO_PORT = 24;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const SOCKADDR_BYTES = 16;
const SCRATCH_BYTES = 4096;

interface SocketCalls {
  connect(fd: number, address: number, length: number): number;
  bind(fd: number, address: number, length: number): number;
  setsockopt(fd: number, level: number, name: number, value: number, length: number): number;
}

interface Bound {
  calls: Native;
  sockets: SocketCalls;
  /** One page for addresses and option values. */
  scratch: number;
  view: DataView;
}

let bound: Bound | null = null;

function bind(): Bound {
  if (bound !== null) return bound;
  const koffi = createRequire(import.meta.url)('koffi') as typeof Koffi;
  const libc = koffi.load(null);
  const address = ['int32', 'uintptr_t', 'uint32'];
  const option = ['int32', 'int32', 'int32', 'uintptr_t', 'uint32'];
  const { address: scratch, bytes } = mmapArena(SCRATCH_BYTES);
  bound = {
    calls: native(),
    sockets: {
      connect: libc.func('connect', 'int32', address) as unknown as SocketCalls['connect'],
      bind: libc.func('bind', 'int32', address) as unknown as SocketCalls['bind'],
      setsockopt: libc.func('setsockopt', 'int32', option) as unknown as SocketCalls['setsockopt'],
    },
    scratch,
    view: new DataView(bytes.buffer, bytes.byteOffset, SCRATCH_BYTES),
  };
  return bound;
}

/** A system call's result, or an Error with its errno's name. */
function checked(result: number, call: string): number {
  if (result >= 0) return result;
  throw new Error(`${call}: ${getSystemErrorName(-native().errno())}`);
}

/** Puts a struct sockaddr_in into the scratch page. */
function putAddress({ view }: Bound, address: string, port: number): void {
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, port);
  address.split('.').forEach((part, i) => {
    view.setUint8(4 + i, Number(part));
  });
  view.setBigUint64(8, 0n);
}

export class KernelSocket {
  readonly fd: number;
  private readonly calls: Native;

  private constructor(fd: number) {
    this.fd = fd;
    this.calls = bind().calls;
  }

  /**
   * A blocking TCP connection without Nagle's delay. Throws an Error with the errno's name.
   * @param source the address to come from, null = as the route says
   * @param timeoutMs of connecting, and of each read and write
   */
  static connect(
    address: string,
    port: number,
    timeoutMs: number,
    source: string | null = null,
  ): KernelSocket {
    const { calls, sockets, scratch, view } = bind();
    const fd = checked(calls.socket(AF_INET, SOCK_STREAM, 0), 'socket');
    try {
      view.setBigInt64(0, BigInt(Math.floor(timeoutMs / 1000)), true);
      view.setBigInt64(8, BigInt(Math.floor(timeoutMs % 1000) * 1000), true);
      for (const name of [SO_RCVTIMEO, SO_SNDTIMEO]) {
        checked(sockets.setsockopt(fd, SOL_SOCKET, name, scratch, 16), 'setsockopt');
      }
      view.setInt32(0, 1, true);
      checked(sockets.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, scratch, 4), 'setsockopt');
      if (source !== null) {
        const noPort = IP_BIND_ADDRESS_NO_PORT;
        checked(sockets.setsockopt(fd, IPPROTO_IP, noPort, scratch, 4), 'setsockopt');
        putAddress(bind(), source, 0);
        checked(sockets.bind(fd, scratch, SOCKADDR_BYTES), 'bind');
      }
      putAddress(bind(), address, port);
      checked(sockets.connect(fd, scratch, SOCKADDR_BYTES), 'connect');
    } catch (error) {
      calls.close(fd);
      throw error;
    }
    return new KernelSocket(fd);
  }

  /** A raw socket for whole IPv4 packets to `address`; needs CAP_NET_RAW. */
  static raw(address: string): KernelSocket {
    const { calls, sockets, scratch } = bind();
    const fd = checked(calls.socket(AF_INET, SOCK_RAW, IPPROTO_RAW), 'socket');
    putAddress(bind(), address, 0);
    checked(sockets.connect(fd, scratch, SOCKADDR_BYTES), 'connect');
    return new KernelSocket(fd);
  }

  /** @returns bytes read; 0 = end of stream. Throws on an errno, also when the time is over */
  read(address: number, length: number): number {
    return checked(this.calls.read(this.fd, address, length), 'read');
  }

  /** @returns bytes written, or -1: the queue below is full, or an error */
  tryWrite(address: number, length: number): number {
    return this.calls.write(this.fd, address, length);
  }

  write(address: number, length: number): number {
    return checked(this.tryWrite(address, length), 'write');
  }

  close(): void {
    this.calls.close(this.fd);
  }
}
