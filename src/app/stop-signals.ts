/**
 * SIGINT, SIGTERM and SIGHUP ask to stop; a second SIGINT wants out at once. Handlers are in place
 * from construction to `close`, so that a signal during the start is not lost. With a parent on an
 * IPC channel (--rootless), its end asks, too.
 */

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export class StopSignals {
  /** Resolves with the first signal. */
  readonly asked: Promise<NodeJS.Signals>;
  private readonly onSignal: (signal: NodeJS.Signals) => void;
  private readonly onOrphaned: () => void;

  /** @param impatient called at a SIGINT after the first signal */
  constructor(impatient: () => void) {
    let resolve: (signal: NodeJS.Signals) => void = () => {};
    this.asked = new Promise((settle) => {
      resolve = settle;
    });
    let signals = 0;
    this.onSignal = (signal) => {
      signals++;
      if (signals === 1) resolve(signal);
      else if (signal === 'SIGINT') impatient();
    };
    this.onOrphaned = () => this.onSignal('SIGTERM');
    for (const signal of SIGNALS) process.on(signal, this.onSignal);
    process.on('disconnect', this.onOrphaned);
    process.channel?.unref();
  }

  close(): void {
    for (const signal of SIGNALS) process.off(signal, this.onSignal);
    process.off('disconnect', this.onOrphaned);
  }
}
