/**
 * Reading and writing on the stack under test. A call that the script's socket would block in waits
 * as Linux does: for SO_RCVLOWAT bytes, or all with MSG_WAITALL, for SO_RCVTIMEO or SO_SNDTIMEO at
 * most, and not past the urgent mark. Buffers are zeros; what comes must be zeros, too.
 */
import { EAGAIN } from '../net/errno.js';
import type { ControlMessage, Message, PollFd } from '../socket/sys-table.js';
import {
  IPPROTO_TCP,
  MSG_DONTWAIT,
  MSG_FASTOPEN,
  MSG_OOB,
  MSG_PEEK,
  MSG_WAITALL,
  POLLERR,
  SIOCATMARK,
  SO_RCVLOWAT,
  SO_RCVTIMEO,
  SO_SNDTIMEO,
  SOL_SOCKET,
  TCP_INFO,
  TCP_SYN_SENT,
} from '../socket/uapi/constants.js';
import { type Arguments, Fields, numberOf } from './arguments.js';
import { handshakeEnd, openingWrite } from './opening-write.js';
import { type Made, PENDING, simple } from './operation.js';
import { type Expression, ScriptError, UnsupportedError } from './script.js';
import type { SystemCalls } from './system-calls.js';

/** When a call that begins now returns because of a time-out option, µs; Infinity = never. */
export function timeoutEnd(calls: SystemCalls, fd: number, name: number): number {
  const out = new Int32Array(2);
  const words = calls.table.getsockopt(fd, SOL_SOCKET, name, out);
  if (words !== 2 || (out[0] === 0 && out[1] === 0)) return Number.POSITIVE_INFINITY;
  return calls.told.nowUs() + out[0]! * 1_000_000 + out[1]!;
}

/** How many arguments each call takes. */
const ARGUMENTS: Readonly<Record<string, number>> = {
  ...{ read: 3, recv: 4, recvfrom: 6, write: 3, send: 4, sendto: 6 },
};
/** What a null pointer is here. */
const NOWHERE = null as unknown as Uint8Array;

/** One reading call: what it does once, without waiting, with the buffers from byte `done` on. */
type Take = (buffers: readonly Uint8Array[], flags: number) => number;

/**
 * Reads into `sizes` buffers.
 * @param take the call itself
 */
function reading(
  calls: SystemCalls,
  fd: number,
  sizes: readonly number[],
  flags: number,
  take: Take,
): Made {
  const whole = new Uint8Array(sizes.reduce((sum, size) => sum + size, 0));
  const waits = calls.blocks(fd) && (flags & (MSG_DONTWAIT | MSG_OOB)) === 0;
  const endUs = waits ? timeoutEnd(calls, fd, SO_RCVTIMEO) : 0;
  const lowat = calls.table.getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT);
  const content = (flags & MSG_WAITALL) !== 0 ? whole.length : Math.min(lowat, whole.length);
  const peek = (flags & MSG_PEEK) !== 0;
  let done = 0;
  return {
    deadlineUs: waits ? endUs : Number.POSITIVE_INFINITY,
    attempt() {
      if (done > 0 && stops(calls, fd)) return done;
      const result = take(buffersFrom(whole, sizes, peek ? 0 : done), flags);
      if (result > 0) done = peek ? result : done + result;
      else if (result !== -EAGAIN) return done > 0 ? done : result;
      if (done > 0 && (done >= content || stops(calls, fd))) return done;
      if (waits && calls.told.nowUs() < endUs) return PENDING;
      return done > 0 ? done : -EAGAIN;
    },
    check: () => (whole.some((byte) => byte !== 0) ? 'the data that came is not zeros' : null),
  };
}

/** At the urgent mark, or with an error for the next call, a read that has something ends. */
function stops(calls: SystemCalls, fd: number): boolean {
  const mark = new Int32Array(1);
  if (calls.table.ioctl(fd, SIOCATMARK, mark) === 0 && mark[0] === 1) return true;
  const entry: PollFd = { fd, events: 0, revents: 0 };
  calls.table.poll([entry], 0);
  return (entry.revents & POLLERR) !== 0;
}

/** `whole` as buffers of `sizes`, without the first `skip` bytes. */
function buffersFrom(whole: Uint8Array, sizes: readonly number[], skip: number): Uint8Array[] {
  const buffers: Uint8Array[] = [];
  let at = 0;
  for (const size of sizes) {
    const from = Math.max(at, Math.min(skip, at + size));
    buffers.push(whole.subarray(from, at + size));
    at += size;
  }
  return buffers;
}

/** read, recv, recvfrom: (fd, buffer, n[, flags, …]). */
export function readCall(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(ARGUMENTS[args.call]!);
  args.buffer(1);
  const fd = calls.live(args.number(0));
  const size = args.size(2);
  const flags = args.call === 'read' ? 0 : args.number(3);
  if (args.isNull(1) && size > 0) {
    const { table } = calls;
    return simple(() =>
      args.call === 'read' ? table.read(fd, NOWHERE, 0, size) : table.recvfrom(fd, NOWHERE, flags),
    );
  }
  return reading(calls, fd, [size], flags, ([buffer], how) =>
    args.call === 'read'
      ? calls.table.read(fd, buffer!, 0, buffer!.length)
      : calls.table.recvfrom(fd, buffer!, how),
  );
}

/** readv: (fd, [{..., n}, …], count). */
export function readvCall(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(3);
  const fd = calls.live(args.number(0));
  return reading(calls, fd, vectorSizes(args.counted(1), args), 0, (buffers) =>
    calls.table.readv(fd, buffers),
  );
}

/** recvmsg: flags and control messages are compared where the script names them. */
export function recvmsgCall(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(3);
  const fd = calls.live(args.number(0));
  const fields = args.fields(1);
  const control: ControlMessage[] = [];
  const message: Message = { iov: [], control, flags: 0 };
  if (!fields.has('msg_control')) message.control = undefined as never;
  const made = reading(calls, fd, messageSizes(fields, args), args.number(2), (buffers, flags) => {
    message.iov = buffers;
    return calls.table.recvmsg(fd, message, flags);
  });
  const check = (result: number): string | null => {
    const wrong = made.check!(result);
    if (wrong !== null || result < 0) return wrong;
    return wrongFlags(fields, args, message.flags ?? 0) ?? wrongControl(fields, args, control);
  };
  return { ...made, check };
}

function wrongFlags(fields: Fields, args: Arguments, flags: number): string | null {
  if (!fields.has('msg_flags')) return null;
  const wanted = numberOf(fields.value('msg_flags'), args.line);
  if (flags === wanted) return null;
  return `expected msg_flags 0x${wanted.toString(16)}, got 0x${flags.toString(16)}`;
}

function wrongControl(
  fields: Fields,
  args: Arguments,
  control: readonly ControlMessage[],
): string | null {
  if (!fields.has('msg_control')) return null;
  const list = fields.value('msg_control');
  if (list.kind !== 'list') throw new ScriptError(args.line, 'msg_control is a list');
  const form = (level: number, type: number, data: number): string => `${level}/${type}=${data}`;
  const wanted = list.items.map((item) => {
    const one = new Fields(item, args.line, args.call);
    return form(one.number('cmsg_level'), one.number('cmsg_type'), one.number('cmsg_data'));
  });
  const got = control.map(({ level, type, data }) => form(level, type, data));
  if (got.join(' ') === wanted.join(' ')) return null;
  return `expected the control messages [${wanted}], got [${got}]`;
}

/** Lengths of an iovec list. */
function vectorSizes(items: readonly Expression[], args: Arguments): number[] {
  return items.map((item) => new Fields(item, args.line, args.call).length());
}

function messageSizes(fields: Fields, args: Arguments): number[] {
  return vectorSizes(fields.counted('msg_iov'), args);
}

/** A connect() that waits for the first text (TCP_FASTOPEN_CONNECT). */
function isOpening(calls: SystemCalls, fd: number): boolean {
  return (calls.table.getsockopt(fd, IPPROTO_TCP, TCP_INFO) & 0xff) === TCP_SYN_SENT;
}

/** One writing call, without waiting. */
type Give = (buffers: readonly Uint8Array[], flags: number) => number;

/** Writes zeros; a blocking socket takes all of them, unless SO_SNDTIMEO is over before. */
function writing(
  calls: SystemCalls,
  fd: number,
  sizes: readonly number[],
  flags: number,
  give: Give,
): Made {
  const whole = new Uint8Array(sizes.reduce((sum, size) => sum + size, 0));
  const waits = calls.blocks(fd) && (flags & MSG_DONTWAIT) === 0;
  const endUs = waits ? timeoutEnd(calls, fd, SO_SNDTIMEO) : 0;
  // The first text goes with the SYN: whether there is a connection decides what is said.
  let opening = waits && isOpening(calls, fd);
  let done = 0;
  return {
    deadlineUs: waits ? endUs : Number.POSITIVE_INFINITY,
    attempt() {
      if (opening && done > 0) {
        const ended = handshakeEnd(calls, fd);
        if (ended !== 0) return ended;
        opening = false;
      }
      const result = give(buffersFrom(whole, sizes, done), flags);
      if (result > 0) done += result;
      if (opening && done > 0) return PENDING;
      if (done === whole.length && result >= 0) return done;
      if (result < 0 && result !== -EAGAIN) return done > 0 ? done : result;
      if (waits && calls.told.nowUs() < endUs) return PENDING;
      return done > 0 ? done : -EAGAIN;
    },
  };
}

/** write, send, sendto: (fd, buffer, n[, flags, …]). */
export function writeCall(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(ARGUMENTS[args.call]!);
  args.buffer(1);
  const fd = calls.live(args.number(0));
  const size = args.size(2);
  const flags = args.call === 'write' ? 0 : args.number(3);
  if (args.isNull(1) && size > 0) {
    const { table, told } = calls;
    return simple(() =>
      args.call === 'write'
        ? table.write(fd, NOWHERE, 0, size)
        : table.sendto(fd, NOWHERE, flags, told.connectTo),
    );
  }
  if ((flags & MSG_FASTOPEN) !== 0) {
    return openingWrite(calls, fd, size, flags, args.isUnspecified(4));
  }
  if (args.call === 'sendto') noAddress(args, 4);
  return writing(calls, fd, [size], flags, ([buffer], how) =>
    args.call === 'write' ? calls.table.write(fd, buffer!) : calls.table.sendto(fd, buffer!, how),
  );
}

/** To whom a connection writes is settled. */
function noAddress(args: Arguments, i: number): void {
  if (args.isEllipsis(i) || args.isNull(i)) return;
  throw new UnsupportedError(args.line, `${args.call} to an address`);
}

/** writev: (fd, [{..., n}, …], count). */
export function writevCall(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(3);
  const fd = calls.live(args.number(0));
  const sizes = vectorSizes(args.counted(1), args);
  return writing(calls, fd, sizes, 0, (buffers) => calls.table.writev(fd, buffers));
}

export function sendmsgCall(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(3);
  const fd = calls.live(args.number(0));
  const fields = args.fields(1);
  if (fields.has('msg_control')) {
    throw new UnsupportedError(args.line, 'control messages of sendmsg');
  }
  const sizes = messageSizes(fields, args);
  const flags = args.number(2);
  if ((flags & MSG_FASTOPEN) !== 0) {
    return openingWrite(
      calls,
      fd,
      sizes.reduce((sum, size) => sum + size, 0),
      flags,
    );
  }
  return writing(calls, fd, sizes, flags, (iov, how) => calls.table.sendmsg(fd, { iov }, how));
}
