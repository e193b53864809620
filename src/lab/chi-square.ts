/**
 * How even are the shares of the workers? Pearson's chi-square against equal shares, and the
 * probability of a value at least that large when every connection is an independent throw of a
 * fair die (Numerical Recipes 6.2: incomplete gamma by series and by continued fraction).
 */

export interface EvenShares {
  /** Sum of (observed - expected)^2 / expected. */
  chiSquare: number;
  /** Small = uneven beyond chance. 1 when there is nothing to compare. */
  pValue: number;
  /** Largest share over smallest; Infinity when one is zero, 1 when all are. */
  maxOverMin: number;
}

export function evenShares(shares: readonly number[]): EvenShares {
  const total = shares.reduce((sum, share) => sum + share, 0);
  if (total === 0 || shares.length < 2) return { chiSquare: 0, pValue: 1, maxOverMin: 1 };
  const expected = total / shares.length;
  const chiSquare = shares.reduce((sum, share) => sum + (share - expected) ** 2 / expected, 0);
  return {
    chiSquare,
    pValue: gammaUpper((shares.length - 1) / 2, chiSquare / 2),
    maxOverMin: Math.max(...shares) / Math.min(...shares),
  };
}

const TERMS_MAX = 500;
const PRECISION = 1e-12;

/** Regularised upper incomplete gamma function Q(a, x). */
export function gammaUpper(a: number, x: number): number {
  if (x <= 0) return 1;
  const scale = Math.exp(a * Math.log(x) - x - logGamma(a));
  return x < a + 1 ? 1 - scale * lowerSeries(a, x) : scale * upperFraction(a, x);
}

function lowerSeries(a: number, x: number): number {
  let term = 1 / a;
  let sum = term;
  for (let n = 1; n < TERMS_MAX && term > sum * PRECISION; n++) {
    term *= x / (a + n);
    sum += term;
  }
  return sum;
}

/** Lentz's method; x > a + 1 keeps every denominator away from zero. */
function upperFraction(a: number, x: number): number {
  let b = x + 1 - a;
  let c = Number.MAX_VALUE;
  let d = 1 / b;
  let fraction = d;
  for (let n = 1; n < TERMS_MAX; n++) {
    const factor = -n * (n - a);
    b += 2;
    d = 1 / (factor * d + b);
    c = b + factor / c;
    fraction *= c * d;
    if (Math.abs(c * d - 1) < PRECISION) break;
  }
  return fraction;
}

/** Lanczos approximation, g = 7, for a > 0. */
const LANCZOS: readonly number[] = [
  0.9999999999998099, 676.5203681218851, -1259.1392167224028, 771.3234287776531, -176.6150291621406,
  12.507343278686905, -0.13857109526572012, 9.984369578019572e-6, 1.5056327351493116e-7,
];

function logGamma(a: number): number {
  let sum = LANCZOS[0]!;
  for (let i = 1; i < LANCZOS.length; i++) sum += LANCZOS[i]! / (a - 1 + i);
  const t = a + 6.5;
  return 0.5 * Math.log(2 * Math.PI) + (a - 0.5) * Math.log(t) - t + Math.log(sum);
}
