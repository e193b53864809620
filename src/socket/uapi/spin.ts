/**
 * When it pays to look again and again before sleeping. Waking a thread costs tens of microseconds
 * on both sides; a look costs one. So a thread whose waits were short of late looks for a while
 * first, and one whose waits are long, or whose looks are interrupted because others need the core,
 * sleeps at once. No clock and no wait of its own: the stack's pump and ThreadPort.sleep use it.
 */

/** Short waits in a row before looking begins, and how many more are remembered. */
const CREDIT_PAYS = 8;
const CREDIT_MOST = 16;
/** A wait up to this long would have been worth looking for, µs. */
const SHORT_US = 100;

export class Spin {
  /** How long to look before sleeping, µs; 0 = not at all. */
  readonly mostUs: number;
  private credit = 0;

  constructor(mostUs: number) {
    this.mostUs = mostUs;
  }

  /** Has looking paid of late? */
  get pays(): boolean {
    return this.mostUs > 0 && this.credit >= CREDIT_PAYS;
  }

  /** A wait is over that took `us` microseconds, looking and sleeping together. */
  waited(us: number): void {
    if (us <= SHORT_US) this.credit = Math.min(this.credit + 1, CREDIT_MOST);
    else this.credit >>= 1;
  }

  /** A single look took so long that the thread cannot have had its core: others need it. */
  interrupted(): void {
    this.credit = 0;
  }
}

/** A look, or a few in a row, that took longer than this was interrupted, µs. */
export const LOOK_MOST_US = 200;
