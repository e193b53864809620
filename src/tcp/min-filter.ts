/**
 * The smallest of a value over a sliding window of time, with three samples (Kathleen Nichols'
 * algorithm; Linux lib/win_minmax.c: minmax_running_min): the smallest, the smallest since then,
 * and the smallest since that. Times are µs.
 */

export class MinFilter {
  /** Infinity = there was no sample. */
  value: number = Infinity;
  private atUs = 0;
  private second: number = Infinity;
  private secondUs = 0;
  private third: number = Infinity;
  private thirdUs = 0;

  /** Takes one sample; older ones than `windowSeconds` are forgotten. */
  update(windowSeconds: number, nowUs: number, value: number): void {
    const windowUs = windowSeconds * 1e6;
    if (value <= this.value || nowUs - this.thirdUs > windowUs) {
      this.value = this.second = this.third = value;
      this.atUs = this.secondUs = this.thirdUs = nowUs;
      return;
    }
    if (value <= this.second) {
      this.second = this.third = value;
      this.secondUs = this.thirdUs = nowUs;
    } else if (value <= this.third) {
      this.third = value;
      this.thirdUs = nowUs;
    }
    this.age(windowUs, nowUs, value);
  }

  /** Moves up what has become the best when a better one is too old. */
  private age(windowUs: number, nowUs: number, value: number): void {
    const elapsed = nowUs - this.atUs;
    if (elapsed > windowUs) {
      this.value = this.second;
      this.atUs = this.secondUs;
      this.second = this.third;
      this.secondUs = this.thirdUs;
      this.third = value;
      this.thirdUs = nowUs;
      if (nowUs - this.atUs > windowUs) {
        this.value = this.second;
        this.atUs = this.secondUs;
        this.second = this.third;
        this.secondUs = this.thirdUs;
      }
    } else if (this.secondUs === this.atUs && elapsed > windowUs / 4) {
      this.second = this.third = value;
      this.secondUs = this.thirdUs = nowUs;
    } else if (this.thirdUs === this.secondUs && elapsed > windowUs / 2) {
      this.third = value;
      this.thirdUs = nowUs;
    }
  }
}
