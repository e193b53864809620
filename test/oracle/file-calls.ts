/**
 * System calls on memory files, and sending from them, on the kernel and on ours. Values ≥ 0, or
 * negated errnos with Linux's numbers; what a file has is told as text, so that it can be compared.
 */
import { libc } from './kernel-sockets.js';
import type { OurSockets } from './our-sockets.js';

export interface FileCalls {
  memfdCreate(name: string, flags: number): number;
  ftruncate(fd: number, length: number): number;
  pwrite(fd: number, bytes: Uint8Array, offset: number): number;
  /** Reads to the end of `into`. */
  pread(fd: number, into: Uint8Array, offset: number): number;
  sendfile(outFd: number, inFd: number, offset: number, count: number): number;
  closeFiles(): void;
}

class KernelFiles implements FileCalls {
  private readonly c = libc();
  private readonly open: number[] = [];
  private readonly position = new BigInt64Array(1);

  private result(value: number): number {
    return value < 0 ? -this.c.errno() : value;
  }

  memfdCreate(name: string, flags: number): number {
    const fd = this.result(this.c.memfd_create(name, flags));
    if (fd >= 0) this.open.push(fd);
    return fd;
  }

  ftruncate(fd: number, length: number): number {
    return this.result(this.c.ftruncate(fd, length));
  }

  pwrite(fd: number, bytes: Uint8Array, offset: number): number {
    return this.result(this.c.pwrite(fd, bytes, bytes.length, offset));
  }

  pread(fd: number, into: Uint8Array, offset: number): number {
    return this.result(this.c.pread(fd, into, into.length, offset));
  }

  /** Node ignores SIGPIPE: a broken pipe is an error here, too. */
  sendfile(outFd: number, inFd: number, offset: number, count: number): number {
    this.position[0] = BigInt(offset);
    return this.result(this.c.sendfile(outFd, inFd, this.position, count));
  }

  closeFiles(): void {
    for (const fd of this.open.splice(0)) this.c.close(fd);
  }
}

class OurFiles implements FileCalls {
  private readonly open: number[] = [];
  private readonly ours: OurSockets;

  constructor(ours: OurSockets) {
    this.ours = ours;
  }

  memfdCreate(name: string, flags: number): number {
    const fd = this.ours.sys.memfd_create(name, flags);
    if (fd >= 0) this.open.push(fd);
    return fd;
  }

  ftruncate(fd: number, length: number): number {
    return this.ours.sys.ftruncate(fd, length);
  }

  pwrite(fd: number, bytes: Uint8Array, offset: number): number {
    return this.ours.sys.pwrite(fd, bytes, offset);
  }

  pread(fd: number, into: Uint8Array, offset: number): number {
    return this.ours.sys.pread(fd, into, offset);
  }

  sendfile(outFd: number, inFd: number, offset: number, count: number): number {
    const result = this.ours.sys.sendfile(outFd, inFd, offset, count);
    this.ours.settle();
    return result;
  }

  closeFiles(): void {
    for (const fd of this.open.splice(0)) this.ours.sys.close(fd);
  }
}

export const kernelFiles = (): FileCalls => new KernelFiles();
export const ourFiles = (ours: OurSockets): FileCalls => new OurFiles(ours);
