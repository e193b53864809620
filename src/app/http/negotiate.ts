/**
 * Two small pieces of RFC 9110 that the demo server needs: whether `Accept` prefers HTML to plain
 * text (12.5.1), and a single byte range (14.1.2). Owns no state.
 */

/**
 * True when the client would rather have text/html than text/plain; a client that says nothing gets
 * plain text.
 */
export function prefersHtml(accept: string): boolean {
  if (!accept.toLowerCase().includes('text/html')) return false;
  const html = quality(accept, 'text/html');
  return html > 0 && html >= quality(accept, 'text/plain');
}

/** Quality that the most specific matching range gives to `type`, 0 when none matches. */
function quality(accept: string, type: string): number {
  const major = type.slice(0, type.indexOf('/'));
  let best = 0;
  let specificity = 0;
  for (const part of accept.toLowerCase().split(',')) {
    const [range = '', ...parameters] = part.split(';').map((piece) => piece.trim());
    const match = range === type ? 3 : range === `${major}/*` ? 2 : range === '*/*' ? 1 : 0;
    if (match <= specificity) continue;
    specificity = match;
    const q = parameters.find((parameter) => parameter.startsWith('q='));
    const value = q === undefined ? 1 : Number(q.slice(2));
    best = value >= 0 && value <= 1 ? value : 0;
  }
  return best;
}

/** First and one past the last byte of a range. */
export interface ByteRange {
  from: number;
  to: number;
}

/**
 * @param header the Range field ('' = absent)
 * @param size bytes of the whole representation
 * @returns null = serve all of it (absent, several ranges, another unit, malformed), a range, or
 * 'unsatisfiable'
 */
export function parseRange(header: string, size: number): ByteRange | null | 'unsatisfiable' {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/i.exec(header.trim());
  if (match === null) return null;
  const [, first = '', last = ''] = match;
  if (first === '' && last === '') return null;
  if (first === '') {
    const suffix = Number(last);
    return suffix === 0 || size === 0
      ? 'unsatisfiable'
      : { from: Math.max(0, size - suffix), to: size };
  }
  const from = Number(first);
  if (last !== '' && Number(last) < from) return null;
  if (from >= size) return 'unsatisfiable';
  return { from, to: last === '' ? size : Math.min(size, Number(last) + 1) };
}
