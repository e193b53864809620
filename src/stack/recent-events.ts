/**
 * The last state changes of connections, for the message with which a stack dies. Costs five words
 * a change.
 */
import { STATE_NAMES } from '../tcp/state.js';

const KEPT = 32;

export class RecentEvents {
  private readonly fds: Int32Array = new Int32Array(KEPT);
  private readonly froms: Uint8Array = new Uint8Array(KEPT);
  private readonly tos: Uint8Array = new Uint8Array(KEPT);
  private readonly times: Float64Array = new Float64Array(KEPT);
  private count = 0;

  /** Descriptor `fd` went from state `from` to `to` (Linux's numbers) at `nowUs`. */
  record(nowUs: number, fd: number, from: number, to: number): void {
    const at = this.count++ % KEPT;
    this.times[at] = nowUs;
    this.fds[at] = fd;
    this.froms[at] = from;
    this.tos[at] = to;
  }

  /** One line a change, oldest first. */
  lines(): string[] {
    const lines: string[] = [];
    for (let i = Math.max(0, this.count - KEPT); i < this.count; i++) {
      const at = i % KEPT;
      const seconds = (this.times[at]! / 1e6).toFixed(6);
      const move = `${STATE_NAMES[this.froms[at]!]} -> ${STATE_NAMES[this.tos[at]!]}`;
      lines.push(`${seconds} fd ${this.fds[at]} ${move}`);
    }
    return lines;
  }
}
