/** What a system call of a script is while it runs; the calls themselves are system-calls.ts. */

/** A call that would block. */
export const PENDING: number = Number.NEGATIVE_INFINITY;

/** A call on its way: its value, -errno, or PENDING. */
export interface Operation {
  attempt(): number;
  /** A new descriptor is named by the script when the call is done. */
  makesFd: boolean;
  /** When it returns at the latest, by its own time-out, µs. */
  deadlineUs: number;
  /** What else of the outcome is not as the script says, or null. */
  check(result: number): string | null;
}

/** A call as its maker describes it. */
export interface Made {
  attempt(): number;
  makesFd?: boolean;
  deadlineUs?: number;
  check?(result: number): string | null;
}

/** Something to do at once. */
export function simple(attempt: () => number): Made {
  return { attempt };
}
