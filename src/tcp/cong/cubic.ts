/**
 * CUBIC (RFC 9438, RFC 9293 MAY-18; Linux tcp_cubic.c, with its constants and its arithmetic on
 * whole numbers): the window as a cubic function of the time since the last reduction, the
 * Reno-friendly region, fast convergence; HyStart is in hystart.ts.
 */

import { CA_LOSS } from '../ca-state.js';
import { inSlowStart, type Sender } from '../sender.js';
import type { Tcb } from '../tcb.js';
import { type Congestion, congAvoidAi, isCwndLimited, slowStart } from './congestion.js';
import { type HystartState, hystartReset, hystartUpdate } from './hystart.js';

/** RFC 9438 4.6: multiplicative decrease, Linux's 717/1024. */
const BETA = 717;
const BETA_SCALE = 1024;
/** C of RFC 9438 4.1 in units of 1/1024 segments / s³, times ten: 0.4. */
const CUBE_SCALE = 410;
/** Unit of time on the curve: 1/1024 s. */
const CURVE_HZ = 1024;
/** 8 (1 + beta) / 3 (1 - beta): acknowledged segments, times 8 / cwnd, for one of Reno's growth. */
const FRIENDLY_SCALE = 15;
/** The same window is not computed anew more often, ms. */
const UPDATE_MS = 31;
/** After a reduction the round trip says nothing for so long, ms. */
const SETTLE_MS = 1000;
/** Until the first loss the window grows by at least a twentieth per round trip. */
const FIRST_CNT_MOST = 20;

interface CubicState extends HystartState {
  /** One segment more after so many are acknowledged. */
  cnt: number;
  /** Window before the last reduction, and the plateau of the current curve. */
  lastMaxCwnd: number;
  originPoint: number;
  /** When the plateau is reached, 1/1024 s after the epoch began. */
  k: number;
  lastCwnd: number;
  lastMs: number;
  /** 0 = no epoch yet, ms. */
  epochMs: number;
  /** For the friendly region: segments acknowledged, and what Reno would have. */
  ackCnt: number;
  renoCwnd: number;
}

/** What CUBIC knows of `tcb`, made when it is first asked for. */
export function cubicState(tcb: Tcb): CubicState {
  if (tcb.congestionState === null) {
    const fresh: CubicState = {
      cnt: 0,
      lastMaxCwnd: 0,
      originPoint: 0,
      k: 0,
      lastCwnd: 0,
      lastMs: 0,
      epochMs: 0,
      ackCnt: 0,
      renoCwnd: 0,
      delayMinUs: 0,
      found: false,
      roundStartUs: 0,
      endSeq: 0,
      lastAckUs: 0,
      currRttUs: Infinity,
      samples: 0,
    };
    hystartReset(tcb, fresh);
    // The next ACK of something begins the first round.
    fresh.endSeq = (tcb.sndUna - 1) | 0;
    tcb.congestionState = fresh;
  }
  return tcb.congestionState as CubicState;
}

/** Linux's jiffies of a kernel with HZ=1000. */
function nowMs(tcb: Tcb): number {
  return Math.floor(tcb.tcp.net.nowUs / 1000);
}

/** Everything but the rounds of HyStart begins anew. */
function reset(c: CubicState): void {
  c.cnt = c.lastMaxCwnd = c.originPoint = c.k = 0;
  c.lastCwnd = c.lastMs = c.epochMs = c.ackCnt = c.renoCwnd = c.delayMinUs = 0;
  c.found = false;
}

function beginEpoch(c: CubicState, cwnd: number, acked: number, ms: number): void {
  c.epochMs = ms;
  c.ackCnt = acked;
  c.renoCwnd = cwnd;
  if (c.lastMaxCwnd <= cwnd) {
    c.k = 0;
    c.originPoint = cwnd;
  } else {
    c.k = Math.floor(Math.cbrt((2 ** 40 / CUBE_SCALE) * (c.lastMaxCwnd - cwnd)));
    c.originPoint = c.lastMaxCwnd;
  }
}

/** RFC 9438 4.2, 4.4, 4.5: towards where the curve is one round trip from now. */
function followCurve(c: CubicState, cwnd: number, ms: number): void {
  const t = Math.floor(((ms - c.epochMs + Math.ceil(c.delayMinUs / 1000)) * CURVE_HZ) / 1000);
  const delta = Math.floor((CUBE_SCALE * Math.abs(t - c.k) ** 3) / 2 ** 40);
  const target = t < c.k ? c.originPoint - delta : c.originPoint + delta;
  c.cnt = target > cwnd ? Math.floor(cwnd / (target - cwnd)) : 100 * cwnd;
  if (c.lastMaxCwnd === 0 && c.cnt > FIRST_CNT_MOST) c.cnt = FIRST_CNT_MOST;
}

/** RFC 9438 4.3: not slower than Reno with the same reduction. */
function keepFriendly(c: CubicState, cwnd: number): void {
  const each = (cwnd * FRIENDLY_SCALE) >> 3;
  if (c.ackCnt > each) {
    const grow = Math.ceil(c.ackCnt / each) - 1;
    c.ackCnt -= grow * each;
    c.renoCwnd += grow;
  }
  if (c.renoCwnd > cwnd) c.cnt = Math.min(c.cnt, Math.floor(cwnd / (c.renoCwnd - cwnd)));
}

/** Computes after how many acknowledged segments the window grows by one. */
function update(c: CubicState, cwnd: number, acked: number, ms: number): void {
  c.ackCnt += acked;
  if (c.lastCwnd === cwnd && ms - c.lastMs <= UPDATE_MS) return;
  if (c.epochMs === 0 || ms !== c.lastMs) {
    c.lastCwnd = cwnd;
    c.lastMs = ms;
    if (c.epochMs === 0) beginEpoch(c, cwnd, acked, ms);
    followCurve(c, cwnd, ms);
  }
  keepFriendly(c, cwnd);
  // At most half as much again per round trip.
  c.cnt = Math.max(c.cnt, 2);
}

export const CUBIC: Congestion = {
  name: 'cubic',

  congAvoid(tcb: Tcb, s: Sender, acked: number): void {
    if (!isCwndLimited(tcb, s)) return;
    let rest = acked;
    // RFC 9438 4.10.
    if (inSlowStart(tcb)) {
      rest = slowStart(tcb, acked);
      if (rest === 0) return;
    }
    const c = cubicState(tcb);
    update(c, tcb.cwnd, rest, nowMs(tcb));
    congAvoidAi(tcb, s, c.cnt, rest);
  },

  ssthresh(tcb: Tcb): number {
    const c = cubicState(tcb);
    const { cwnd } = tcb;
    c.epochMs = 0;
    // RFC 9438 4.7: a second loss before the old maximum was reached gives bandwidth to newer
    // flows.
    const fast = cwnd < c.lastMaxCwnd;
    c.lastMaxCwnd = fast ? Math.floor((cwnd * (BETA_SCALE + BETA)) / (2 * BETA_SCALE)) : cwnd;
    return Math.max(Math.floor((cwnd * BETA) / BETA_SCALE), 2);
  },

  /** RFC 9438 4.8: after a time-out the curve begins anew. */
  setState(tcb: Tcb, to: number): void {
    if (to !== CA_LOSS) return;
    const c = cubicState(tcb);
    reset(c);
    hystartReset(tcb, c);
  },

  /** A pause of the application does not count as time on the curve. */
  txStart(tcb: Tcb): void {
    const c = tcb.congestionState as CubicState | null;
    if (c === null || c.epochMs === 0) return;
    const now = nowMs(tcb);
    const idle = now - Math.floor(tcb.lastSentUs / 1000);
    if (idle > 0) c.epochMs = Math.min(c.epochMs + idle, now);
  },

  acked(tcb: Tcb, s: Sender, rttUs: number): void {
    if (rttUs < 0) return;
    const c = cubicState(tcb);
    if (c.epochMs !== 0 && nowMs(tcb) - c.epochMs < SETTLE_MS) return;
    const delay = Math.max(rttUs, 1);
    if (c.delayMinUs === 0 || c.delayMinUs > delay) c.delayMinUs = delay;
    if (!c.found && inSlowStart(tcb)) hystartUpdate(tcb, s, c, delay);
  },
};
