/**
 * SIGINT, SIGTERM and SIGHUP ask to stop; a second SIGINT wants out at once. Handlers are in place
 * from construction to `close`, so that a signal during the start is not lost; who asks once more
 * while the process takes itself apart does not spoil its exit code. With a parent on an IPC
 * channel (--rootless), its end asks, too.
 */

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** A stop has been asked for and is nearly done. */
function asGoodAsGone(): void {}

export class StopSignals {
  /** Resolves with the first signal. */
  readonly asked: Promise<NodeJS.Signals>;
  private readonly onSignal: (signal: NodeJS.Signals) => void;
  private readonly onOrphaned: () => void;
  private wasAsked = false;

  /** @param impatient called at a SIGINT after the first signal */
  constructor(impatient: () => void) {
    let resolve: (signal: NodeJS.Signals) => void = () => {};
    this.asked = new Promise((settle) => {
      resolve = settle;
    });
    let signals = 0;
    this.onSignal = (signal) => {
      signals++;
      this.wasAsked = true;
      if (signals === 1) resolve(signal);
      else if (signal === 'SIGINT') impatient();
    };
    this.onOrphaned = () => this.onSignal('SIGTERM');
    for (const signal of SIGNALS) process.on(signal, this.onSignal);
    process.on('disconnect', this.onOrphaned);
    process.channel?.unref();
  }

  close(): void {
    for (const signal of SIGNALS) {
      process.off(signal, this.onSignal);
      if (!this.wasAsked || signal === 'SIGINT') continue;
      if (!process.listeners(signal).includes(asGoodAsGone)) process.on(signal, asGoodAsGone);
    }
    process.off('disconnect', this.onOrphaned);
  }
}
