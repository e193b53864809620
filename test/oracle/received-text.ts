/** What a peer has received of a stream, and the SACK blocks (RFC 2018, 2883) that tell of it. */
export class ReceivedText {
  /** Everything before it is there. */
  next = 1;
  /** The newest segment was not needed: told once, the peer sets it back to null. */
  duplicate: readonly [number, number] | null = null;
  private readonly ranges: [number, number][] = [];
  private newest = 0;

  /** Takes [seq, end). True: it is next in order, and nothing waits past a hole. */
  take(seq: number, end: number): boolean {
    if (end <= this.next || this.ranges.some(([l, r]) => l <= seq && end <= r)) {
      this.duplicate = [seq, end];
      return false;
    }
    if (seq > this.next) {
      this.keep(seq, end);
      return false;
    }
    const holes = this.ranges.length > 0;
    this.next = end;
    while (this.ranges.length > 0 && this.ranges[0]![0] <= this.next) {
      this.next = Math.max(this.next, this.ranges.shift()![1]);
    }
    return !holes;
  }

  private keep(seq: number, end: number): void {
    this.newest = seq;
    this.ranges.push([seq, end]);
    this.ranges.sort(([a], [b]) => a - b);
    for (let i = 0; i + 1 < this.ranges.length; ) {
      const [left, right] = this.ranges[i]!;
      const next = this.ranges[i + 1]!;
      if (next[0] <= right) this.ranges.splice(i, 2, [left, Math.max(right, next[1])]);
      else i++;
    }
  }

  /** The duplicate, the newest range, then the others from the front; at most so many. */
  blocks(most: number): [number, number][] {
    const newest = this.ranges.filter(([l, r]) => l <= this.newest && this.newest < r);
    const others = this.ranges.filter((range) => !newest.includes(range));
    const all = [...(this.duplicate === null ? [] : [this.duplicate]), ...newest, ...others];
    return all.slice(0, most).map(([l, r]) => [l, r]);
  }
}
