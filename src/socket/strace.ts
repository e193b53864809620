/**
 * A system call table that writes a line in strace's grammar for each call, after it has returned.
 * Values are strace-values.ts. A table that is not wrapped pays nothing.
 */

import {
  bytesText,
  commandText,
  efdFlagsText,
  epollCreateFlagsText,
  epollEventText,
  epollOpText,
  familyText,
  fileFlagsText,
  howText,
  isTimeout,
  memfdFlagsText,
  messageText,
  msgFlagsText,
  optionText,
  optionValueText,
  pollEventsText,
  protocolText,
  requestText,
  resultText,
  sockaddrText,
  sockFlagsText,
  sockTypeText,
} from './strace-values.js';
import type { EpollEvent, PollFd, Sockaddr, Sys } from './sys-table.js';
import { F_GETFL, F_SETFL, MSG_OOB, MSG_TRUNC, SO_LINGER, SOL_SOCKET } from './uapi/constants.js';

export interface StraceOptions {
  /**
   * Before each line in brackets: a text as it is (`worker 2`), a number as strace -f does (`pid
   * 2`).
   */
  pid: number | string;
}

/** Writes `call(arguments) = result`. */
type Log = (call: string, result: number, suffix?: string) => void;

/** @param write gets each line, without a line feed */
export function straced(sys: Sys, write: (line: string) => void, options: StraceOptions): Sys {
  const { pid } = options;
  const prefix = typeof pid === 'number' ? `[pid ${String(pid).padStart(5)}] ` : `[${pid}] `;
  const log: Log = (call, result, suffix = '') =>
    write(`${prefix}${call} = ${resultText(result)}${suffix}`);
  return {
    ...tracedSockets(sys, log),
    ...tracedAddresses(sys, log),
    ...tracedIo(sys, log),
    ...tracedFiles(sys, log),
    ...tracedMessages(sys, log),
    ...tracedReadiness(sys, log),
  };
}

type SocketCalls =
  | 'socket'
  | 'listen'
  | 'setsockopt'
  | 'getsockopt'
  | 'shutdown'
  | 'close'
  | 'fcntl'
  | 'ioctl'
  | 'eventfd';

function tracedSockets(sys: Sys, log: Log): Pick<Sys, SocketCalls> {
  return {
    socket(domain, type, protocol) {
      const result = sys.socket(domain, type, protocol);
      const words = [familyText(domain), sockTypeText(type), protocolText(protocol)];
      log(`socket(${words.join(', ')})`, result);
      return result;
    },
    listen(fd, backlog) {
      const result = sys.listen(fd, backlog);
      log(`listen(${fd}, ${backlog})`, result);
      return result;
    },
    setsockopt(fd, level, name, value, value2) {
      const result = sys.setsockopt(fd, level, name, value, value2);
      const text = optionValueText(level, name, value, value2 ?? 0);
      log(`setsockopt(${fd}, ${optionText(level, name)}, ${text})`, result);
      return result;
    },
    getsockopt(fd, level, name, out) {
      const result = sys.getsockopt(fd, level, name, out);
      const value = getsockoptText(level, name, result, out);
      log(`getsockopt(${fd}, ${optionText(level, name)}, ${value})`, Math.min(result, 0));
      return result;
    },
    shutdown(fd, how) {
      const result = sys.shutdown(fd, how);
      log(`shutdown(${fd}, ${howText(how)})`, result);
      return result;
    },
    close(fd) {
      const result = sys.close(fd);
      log(`close(${fd})`, result);
      return result;
    },
    fcntl(fd, cmd, arg = 0) {
      const result = sys.fcntl(fd, cmd, arg);
      const more = cmd === F_SETFL ? `, ${fileFlagsText(arg)}` : arg === 0 ? '' : `, ${arg}`;
      const meaning = cmd === F_GETFL && result >= 0 ? ` (flags ${fileFlagsText(result)})` : '';
      log(`fcntl(${fd}, ${commandText(cmd)}${more})`, result, meaning);
      return result;
    },
    ioctl(fd, request, out) {
      const result = sys.ioctl(fd, request, out);
      const value = result < 0 ? 'NULL' : `[${out[0]}]`;
      log(`ioctl(${fd}, ${requestText(request)}, ${value})`, result);
      return result;
    },
    eventfd(initval, flags) {
      const result = sys.eventfd(initval, flags);
      log(`eventfd2(${initval}, ${efdFlagsText(flags)})`, result);
      return result;
    },
  };
}

/** Value and length as the kernel would have filled them in. */
function getsockoptText(
  level: number,
  name: number,
  result: number,
  out?: Int32Array | Uint8Array,
): string {
  if (result < 0) return 'NULL, NULL';
  if (out === undefined) return `[${result}], [4]`;
  if (out instanceof Uint8Array) return `${bytesText(out, 0, result)}, [${result}]`;
  if (isTimeout(level, name)) return optionValueText(level, name, out[0]!, out[1]!, '[16]');
  if (level === SOL_SOCKET && name === SO_LINGER) {
    return `{l_onoff=${out[0]}, l_linger=${out[1]}}, [8]`;
  }
  return `[${out.subarray(0, result).join(', ')}], [${result * 4}]`;
}

type AddressCalls = 'bind' | 'connect' | 'accept4' | 'getsockname' | 'getpeername';

function tracedAddresses(sys: Sys, log: Log): Pick<Sys, AddressCalls> {
  const scratch: Sockaddr = { family: 0, address: '', port: 0 };
  const filled = (result: number, out: Sockaddr): string =>
    result < 0 ? 'NULL, NULL' : `${sockaddrText(out)}, [16]`;
  return {
    bind(fd, address) {
      const result = sys.bind(fd, address);
      log(`bind(${fd}, ${sockaddrText(address)}, 16)`, result);
      return result;
    },
    connect(fd, address) {
      const result = sys.connect(fd, address);
      log(`connect(${fd}, ${sockaddrText(address)}, 16)`, result);
      return result;
    },
    accept4(fd, flags, out = scratch) {
      const result = sys.accept4(fd, flags, out);
      log(`accept4(${fd}, ${filled(result, out)}, ${sockFlagsText(flags)})`, result);
      return result;
    },
    getsockname(fd, out) {
      const result = sys.getsockname(fd, out);
      log(`getsockname(${fd}, ${filled(result, out)})`, result);
      return result;
    },
    getpeername(fd, out) {
      const result = sys.getpeername(fd, out);
      log(`getpeername(${fd}, ${filled(result, out)})`, result);
      return result;
    },
  };
}

type FileCalls = 'memfd_create' | 'ftruncate' | 'pread' | 'pwrite' | 'sendfile';
type IoCalls = 'read' | 'write' | 'readv' | 'writev' | 'sendto' | 'recvfrom';
type MessageCalls = 'sendmsg' | 'recvmsg';

function tracedIo(sys: Sys, log: Log): Pick<Sys, IoCalls> {
  return {
    read(fd, buffer, offset = 0, length = buffer.length - offset) {
      const result = sys.read(fd, buffer, offset, length);
      log(`read(${fd}, ${takenText(buffer, offset, result)}, ${length})`, result);
      return result;
    },
    write(fd, buffer, offset = 0, length = buffer.length - offset) {
      const result = sys.write(fd, buffer, offset, length);
      log(`write(${fd}, ${bytesText(buffer, offset, length)}, ${length})`, result);
      return result;
    },
    readv(fd, buffers) {
      const result = sys.readv(fd, buffers);
      let left = Math.max(result, 0);
      const parts = buffers.map((buffer) => {
        const count = Math.min(left, buffer.length);
        left -= count;
        return `{iov_base=${bytesText(buffer, 0, count)}, iov_len=${buffer.length}}`;
      });
      log(`readv(${fd}, [${parts.join(', ')}], ${buffers.length})`, result);
      return result;
    },
    writev(fd, buffers) {
      const result = sys.writev(fd, buffers);
      const parts = buffers.map(
        ({ length }, i) => `{iov_base=${bytesText(buffers[i]!, 0, length)}, iov_len=${length}}`,
      );
      log(`writev(${fd}, [${parts.join(', ')}], ${buffers.length})`, result);
      return result;
    },
    sendto(fd, buffer, flags, address) {
      const result = sys.sendto(fd, buffer, flags, address);
      const to = `${sockaddrText(address)}, ${address === undefined ? 0 : 16}`;
      const text = bytesText(buffer, 0, buffer.length);
      log(`sendto(${fd}, ${text}, ${buffer.length}, ${msgFlagsText(flags)}, ${to})`, result);
      return result;
    },
    recvfrom(fd, buffer, flags, out) {
      const result = sys.recvfrom(fd, buffer, flags, out);
      const text = takenText(buffer, 0, result);
      const words = `${text}, ${buffer.length}, ${msgFlagsText(flags)}, NULL, NULL`;
      log(`recvfrom(${fd}, ${words})`, result);
      return result;
    },
  };
}

function tracedFiles(sys: Sys, log: Log): Pick<Sys, FileCalls> {
  return {
    memfd_create(name, flags) {
      const result = sys.memfd_create(name, flags);
      log(`memfd_create(${JSON.stringify(name)}, ${memfdFlagsText(flags)})`, result);
      return result;
    },
    ftruncate(fd, length) {
      const result = sys.ftruncate(fd, length);
      log(`ftruncate(${fd}, ${length})`, result);
      return result;
    },
    pread(fd, buffer, offset) {
      const result = sys.pread(fd, buffer, offset);
      log(`pread64(${fd}, ${takenText(buffer, 0, result)}, ${buffer.length}, ${offset})`, result);
      return result;
    },
    pwrite(fd, buffer, offset) {
      const result = sys.pwrite(fd, buffer, offset);
      const text = bytesText(buffer, 0, buffer.length);
      log(`pwrite64(${fd}, ${text}, ${buffer.length}, ${offset})`, result);
      return result;
    },
    sendfile(outFd, inFd, offset, count) {
      const result = sys.sendfile(outFd, inFd, offset, count);
      const moved = result <= 0 ? '' : ` => [${offset + result}]`;
      log(`sendfile(${outFd}, ${inFd}, [${offset}]${moved}, ${count})`, result);
      return result;
    },
  };
}

function tracedMessages(sys: Sys, log: Log): Pick<Sys, MessageCalls> {
  return {
    sendmsg(fd, message, flags) {
      const result = sys.sendmsg(fd, message, flags);
      const text = messageText(message, Number.POSITIVE_INFINITY, 0);
      log(`sendmsg(${fd}, ${text}, ${msgFlagsText(flags)})`, result);
      return result;
    },
    recvmsg(fd, message, flags) {
      const result = sys.recvmsg(fd, message, flags);
      const taken = (flags & MSG_TRUNC) !== 0 && (flags & MSG_OOB) === 0 ? 0 : result;
      const text = result < 0 ? '{msg_namelen=0}' : messageText(message, taken, message.flags ?? 0);
      log(`recvmsg(${fd}, ${text}, ${msgFlagsText(flags)})`, result);
      return result;
    },
  };
}

/** What a read has put into `buffer`; strace shows an address when that is nothing. */
function takenText(buffer: Uint8Array, offset: number, result: number): string {
  return bytesText(buffer, offset, Math.max(result, 0));
}

type ReadinessCalls = 'epoll_create1' | 'epoll_ctl' | 'epoll_wait' | 'poll';

function tracedReadiness(sys: Sys, log: Log): Pick<Sys, ReadinessCalls> {
  return {
    epoll_create1(flags) {
      const result = sys.epoll_create1(flags);
      log(`epoll_create1(${epollCreateFlagsText(flags)})`, result);
      return result;
    },
    epoll_ctl(epfd, op, fd, event) {
      const result = sys.epoll_ctl(epfd, op, fd, event);
      log(`epoll_ctl(${epfd}, ${epollOpText(op)}, ${fd}, ${epollEventText(event)})`, result);
      return result;
    },
    epoll_wait(epfd, events, maxevents, timeoutMs) {
      const result = sys.epoll_wait(epfd, events, maxevents, timeoutMs);
      const list = eventsText(events, result);
      log(`epoll_wait(${epfd}, ${list}, ${maxevents}, ${timeoutMs})`, result);
      return result;
    },
    poll(fds, timeoutMs) {
      const result = sys.poll(fds, timeoutMs);
      const asked = fds.map(({ fd, events }) => `{fd=${fd}, events=${pollEventsText(events)}}`);
      const call = `poll([${asked.join(', ')}], ${fds.length}, ${timeoutMs})`;
      log(call, result, result < 0 ? '' : polledText(fds, result));
      return result;
    },
  };
}

function eventsText(events: readonly EpollEvent[], count: number): string {
  const shown = events.slice(0, Math.max(count, 0));
  return `[${shown.map((event) => epollEventText(event)).join(', ')}]`;
}

function polledText(fds: readonly PollFd[], count: number): string {
  if (count === 0) return ' (Timeout)';
  const ready = fds.filter(({ revents }) => revents !== 0);
  const parts = ready.map(({ fd, revents }) => `{fd=${fd}, revents=${pollEventsText(revents)}}`);
  return ` ([${parts.join(', ')}])`;
}
