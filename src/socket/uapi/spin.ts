/**
 * When it pays to look again and again before sleeping. Waking a thread costs tens of microseconds
 * on both sides; a look costs one. So a thread whose waits were short of late looks for a while
 * first, and one whose waits are long, or whose looks are interrupted because others need the core,
 * sleeps at once. Between looks a thread lets others have its core, so that on a busy machine a
 * look costs others little. No clock and no wait of its own: the stack's pump and ThreadPort.sleep
 * use it.
 */

/** Short waits in a row before looking begins, and how many more are remembered. */
const CREDIT_PAYS = 8;
const CREDIT_MOST = 16;
/**
 * A wait up to this long, or as long as a look lasts, is short, µs. Looking makes waits shorter
 * than they were: that of a thread whose peers all sleep is two or three wake-ups long.
 */
const SHORT_US = 100;
/**
 * Short waits to sit out after an interruption: twice as many each time, one less after each look
 * that found something. Where cores are short, looking is tried again a few times a second.
 */
const DEBT_LEAST = 8;
const DEBT_MOST = 8192;

/**
 * How long to look unless somebody says otherwise, µs: longer than waking a thread takes, and short
 * beside anything that a person could notice.
 */
export const SPIN_DEFAULT_US = 50;

export class Spin {
  /** How long to look before sleeping, µs; 0 = not at all. */
  readonly mostUs: number;
  private readonly shortUs: number;
  private credit = 0;
  private debt = DEBT_LEAST;

  constructor(mostUs: number) {
    this.mostUs = mostUs;
    this.shortUs = Math.max(SHORT_US, mostUs);
  }

  /** Has looking paid of late? */
  get pays(): boolean {
    return this.mostUs > 0 && this.credit >= CREDIT_PAYS;
  }

  /** A wait is over that took `us` microseconds, looking and sleeping together. */
  waited(us: number): void {
    if (us > this.shortUs) {
      if (this.credit > 0) this.credit >>= 1;
      return;
    }
    if (this.pays && this.debt > DEBT_LEAST) this.debt--;
    if (this.credit < CREDIT_MOST) this.credit++;
  }

  /** A single look took so long that the thread cannot have had its core: others need it. */
  interrupted(): void {
    this.credit = -this.debt;
    this.debt = Math.min(this.debt * 2, DEBT_MOST);
  }
}

/** A look, or a few in a row, that took longer than this was interrupted, µs. */
export const LOOK_MOST_US = 200;
