/**
 * CUBIC (RFC 9438; Linux tcp_cubic.c for the constants): window growth as a cubic function of the
 * time since the last loss, with the Reno-friendly region and fast convergence. HyStart is not
 * here.
 */
import type { Tcb } from '../tcb.js';
import { type Congestion, slowStart } from './congestion.js';

/** RFC 9438 4.6: multiplicative decrease, Linux's 717/1024. */
const BETA = 717 / 1024;
/** RFC 9438 5: aggressiveness, segments / s³. */
const C = 0.4;
/** RFC 9438 4.3: additive increase that makes the friendly region as fast as Reno. */
const ALPHA = (3 * (1 - BETA)) / (1 + BETA);

interface CubicState {
  /** Window before the last reduction, and origin of the current curve, segments. */
  wMax: number;
  origin: number;
  /** Start of the current congestion-avoidance stage, µs; 0 = none yet. */
  epochUs: number;
  /** Time at which the curve reaches the origin, seconds. */
  k: number;
  /**
   * What Reno would have by now, segments; once it is back at `prior`, the window at the last
   * reduction, at full pace.
   */
  wEst: number;
  prior: number;
}

function state(tcb: Tcb): CubicState {
  if (tcb.congestionState === null) {
    const fresh: CubicState = { wMax: 0, origin: 0, epochUs: 0, k: 0, wEst: 0, prior: 0 };
    tcb.congestionState = fresh;
  }
  return tcb.congestionState as CubicState;
}

function reduce(tcb: Tcb): number {
  const s = state(tcb);
  const cwnd = tcb.cwnd / tcb.sndMss;
  // RFC 9438 4.7: a second loss before the old maximum was reached gives bandwidth to newer flows.
  s.wMax = cwnd < s.wMax ? (cwnd * (1 + BETA)) / 2 : cwnd;
  s.prior = cwnd;
  s.epochUs = 0;
  return Math.max(Math.floor(tcb.cwnd * BETA), 2 * tcb.sndMss);
}

/** RFC 9438 4.2: the window `t` seconds into the stage, segments. */
function curve(s: CubicState, t: number): number {
  return C * (t - s.k) ** 3 + s.origin;
}

export const CUBIC: Congestion = {
  name: 'cubic',

  onAck(tcb: Tcb, acked: number, nowUs: number): void {
    const rest = slowStart(tcb, acked);
    if (rest <= 0) return;
    const s = state(tcb);
    const cwnd = tcb.cwnd / tcb.sndMss;
    if (s.epochUs === 0) {
      s.epochUs = nowUs;
      s.wEst = cwnd;
      s.origin = Math.max(cwnd, s.wMax);
      s.k = Math.cbrt((s.origin - cwnd) / C);
    }
    const t = (nowUs - s.epochUs) / 1e6;
    s.wEst += (s.wEst < s.prior ? ALPHA : 1) * (rest / tcb.cwnd);
    if (curve(s, t) < s.wEst) {
      // RFC 9438 4.3, the Reno-friendly region.
      tcb.cwnd = Math.max(tcb.cwnd, Math.floor(s.wEst * tcb.sndMss));
      return;
    }
    // 4.4, 4.5: towards where the curve will be one round trip from now.
    const target = Math.min(curve(s, t + tcb.srttUs / 1e6), 1.5 * cwnd);
    if (target > cwnd) tcb.cwnd = Math.floor(tcb.cwnd + ((target - cwnd) / cwnd) * rest);
  },

  onLoss: reduce,

  onRto(tcb: Tcb): number {
    const ssthresh = reduce(tcb);
    // RFC 9438 4.8: the next curve begins at its origin.
    state(tcb).wMax = 0;
    return ssthresh;
  },

  onIdle(tcb: Tcb): void {
    if (tcb.congestionState !== null) state(tcb).epochUs = 0;
  },
};
