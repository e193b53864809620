/** What the simulator says when something is wrong: a kind that shrinking keeps, and a sentence. */
export class SimFailure extends Error {
  /** Short and stable: 'stuck', 'data', 'leak', 'invariant sndNxt', … */
  readonly kind: string;

  constructor(kind: string, message: string) {
    super(`${kind}: ${message}`);
    this.kind = kind;
  }
}

/** Fails unless `condition` holds; the sentence is made only then. */
export function must(condition: boolean, kind: string, message: () => string): void {
  if (!condition) throw new SimFailure(kind, message());
}
