/**
 * Options of SOL_SOCKET that few programs know (Linux core/sock.c: sk_setsockopt, sk_getsockopt,
 * sk_get_meminfo). There is nothing to poll busily and nothing that paces: SO_BUSY_POLL and its
 * like are kept; SO_MAX_PACING_RATE also bounds the size of bursts.
 */
import { EINVAL, ENOENT, ENOPROTOOPT, EOPNOTSUPP, EPERM } from '../../net/errno.js';
import { ringUsed } from '../../net/ring.js';
import { BLOCK_PEEK_OFF } from '../../net/sockmem.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { bindToIndex } from './bind-to-device.js';
import { sndbuf } from './buffers.js';
import { setRare } from './rare.js';

const SO_PEERCRED = 17;
const SO_DETACH_FILTER = 27;
const SO_PEEK_OFF = 42;
const SO_BUSY_POLL = 46;
const SO_MAX_PACING_RATE = 47;
const SO_MEMINFO = 55;
const SO_BINDTOIFINDEX = 62;
const SO_BUSY_POLL_BUDGET = 70;
const SO_RESERVE_MEM = 73;
const SO_TXREHASH = 74;

const U32 = 2 ** 32;
const BUDGET_MOST = 0xffff;
/** struct ucred of nobody: no process, user or group. */
const NO_PEER: readonly number[] = [0, -1, -1];
const MEMINFO_WORDS = 9;

/** 0 or -errno; `value2` is the upper half of values of 64 bits. */
export function setRareSocketOption(
  tcp: Tcp,
  tcb: Tcb,
  name: number,
  value: number,
  value2: number,
): number {
  switch (name) {
    case SO_PEEK_OFF:
      Atomics.store(tcp.ctl, tcb.at + BLOCK_PEEK_OFF, ~value);
      return 0;
    case SO_BINDTOIFINDEX:
      return bindToIndex(tcp, tcb, value);
    case SO_MAX_PACING_RATE:
      setRare(tcb, { maxPacingRate: pacingRate(value, value2) });
      return 0;
    case SO_BUSY_POLL:
      if (value < 0) return -EINVAL;
      setRare(tcb, { busyPollUs: value });
      return 0;
    case SO_BUSY_POLL_BUDGET:
      if (value < 0 || value > BUDGET_MOST) return -EINVAL;
      if (value > tcb.rare.busyPollBudget && tcb.uid !== 0) return -EPERM;
      setRare(tcb, { busyPollBudget: value });
      return 0;
    case SO_TXREHASH:
      if (value < -1 || value > 1) return -EINVAL;
      setRare(tcb, { noTxRehash: value === 0 });
      return 0;
    case SO_RESERVE_MEM:
      return value < 0 ? -EINVAL : -EOPNOTSUPP;
    case SO_DETACH_FILTER:
      return -ENOENT;
  }
  return -ENOPROTOOPT;
}

/** All bits set, of 32 (`high` is 0 then) or of 64, is no limit. */
function pacingRate(low: number, high: number): number {
  if (low === -1 && (high === 0 || high === -1)) return Infinity;
  return (low >>> 0) + (high >>> 0) * U32;
}

/** Writes the option's words to `out`; their number or -errno. */
export function getRareSocketOption(tcp: Tcp, tcb: Tcb, name: number, out: Int32Array): number {
  const { rare } = tcb;
  switch (name) {
    case SO_MEMINFO:
      return meminfo(tcp, tcb, out);
    case SO_PEERCRED:
      return words(out, NO_PEER);
    case SO_MAX_PACING_RATE:
      if (rare.maxPacingRate === Infinity) return words(out, [-1, -1]);
      return words(out, [rare.maxPacingRate | 0, Math.floor(rare.maxPacingRate / U32) | 0]);
    case SO_PEEK_OFF:
      return words(out, [~tcp.ctl[tcb.at + BLOCK_PEEK_OFF]!]);
    case SO_BINDTOIFINDEX:
      return words(out, [tcb.boundDevIf]);
    case SO_BUSY_POLL:
      return words(out, [rare.busyPollUs]);
    case SO_RESERVE_MEM:
      return words(out, [0]);
    case SO_TXREHASH:
      return words(out, [rare.noTxRehash ? 0 : 1]);
  }
  return -ENOPROTOOPT;
}

function words(out: Int32Array, values: readonly number[]): number {
  const count = Math.min(values.length, out.length);
  for (let i = 0; i < count; i++) out[i] = values[i]!;
  return count;
}

/** Bytes that wait to be read, SO_RCVBUF, bytes not acknowledged twice, SO_SNDBUF; then nothing. */
function meminfo(tcp: Tcp, tcb: Tcb, out: Int32Array): number {
  const received = tcb.listen === null ? Math.max(0, ringUsed(tcp.ctl, tcb.rcvRing)) : 0;
  const queued = Math.max(0, ringUsed(tcp.ctl, tcb.sndRing));
  const values = new Array<number>(MEMINFO_WORDS).fill(0);
  values[0] = received;
  values[1] = tcb.rcvSpace * 2;
  values[2] = values[5] = queued;
  values[3] = sndbuf(tcp, tcb);
  return words(out, values);
}
