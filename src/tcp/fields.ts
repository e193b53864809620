/**
 * Functions that name each field of a class's objects: to go through a list of names costs tens of
 * times as much, as the engine then looks each of them up. Numbers and truth values are part of the
 * text, so that the engine need not look what kind of value it stores. Which fields there are is
 * read off an object, so that none can be forgotten. What they are for: record.ts, spares.ts.
 */

/** Writes to `hits` the indices of fields whose values are not the usual ones; how many. */
export type Compare = (object: object, hits: Int32Array) => number;
/** Gives fields their usual values. */
export type Fill = (object: object) => void;

function literalOr(value: unknown, other: string): string {
  const plain = value === null || typeof value === 'number' || typeof value === 'boolean';
  return plain ? String(value) : other;
}

/** Compares the fields `keys` with the values of the same index. */
export function fieldCompare(keys: readonly string[], usual: readonly unknown[]): Compare {
  const value = (i: number): string => literalOr(usual[i], `u[${i}]`);
  const tests = keys.map((key, i) => `if (o.${key} !== ${value(i)}) hits[n++] = ${i};`);
  const body = `return (o, hits) => { let n = 0; ${tests.join('\n')} return n; };`;
  return new Function('u', body)(usual) as Compare;
}

/** Stores the values in the fields `keys` of the same index. */
export function fieldFill(keys: readonly string[], usual: readonly unknown[]): Fill {
  const stores = keys.map((key, i) => `o.${key} = ${literalOr(usual[i], `u[${i}]`)};`);
  return new Function('u', `return (o) => { ${stores.join('\n')} };`)(usual) as Fill;
}

/** Gives objects like `sample` the values that its fields have now, but for those in `without`. */
export function fillLike(sample: object, without: readonly string[] = []): Fill {
  const keys = Object.keys(sample).filter((key) => !without.includes(key));
  return fieldFill(
    keys,
    keys.map((key) => (sample as Record<string, unknown>)[key]),
  );
}
