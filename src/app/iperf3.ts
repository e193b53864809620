/**
 * `tunstack iperf3 -s`: a stack and, in a thread of its own, a server that the real iperf3 client
 * measures against over TCP. Opens both, prints what the thread says, and takes both down again;
 * speaks no protocol.
 */
import { Worker } from 'node:worker_threads';
import { openStack, type StackHandle } from '../socket/open.js';
import { EFD_NONBLOCK } from '../socket/uapi/constants.js';
import {
  type Command,
  EXIT_FAILED,
  EXIT_INTERRUPTED,
  EXIT_OK,
  FailedError,
  type Io,
} from './command.js';
import { flagHelp } from './flags.js';
import type { Iperf3Message, Iperf3Order } from './iperf3-message.js';
import { IPERF3_FLAGS, type Iperf3Options, parseIperf3Options } from './iperf3-options.js';
import { bytesText } from './iperf3-report.js';
import type { Outcome } from './iperf3-test.js';
import { StopSignals } from './stop-signals.js';

const ENTRY = new URL('./iperf3-worker.js', import.meta.url);
/** How long the thread may take to leave: the grace of its loop and a little. */
const LEAVE_MS = 6000;
const AT_ONCE_MS = 250;
const WAKE: Uint8Array = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);

const ABOUT = `TCP only: a client that asks for UDP, SCTP, authentication, a CPU affinity of the
server or, of a sending server, a congestion control other than reno and cubic is refused and told
so. One test at a time.`;

class Iperf3Run {
  private readonly options: Iperf3Options;
  private readonly io: Io;
  private readonly signals: StopSignals;
  private handle: StackHandle | null = null;
  private readonly totals = { tests: 0, failed: 0, bytesIn: 0, bytesOut: 0, retransmits: 0 };

  constructor(options: Iperf3Options, io: Io) {
    this.options = options;
    this.io = io;
    this.signals = new StopSignals(() => this.leaveAtOnce());
  }

  /** From opening to totals. @returns the exit code. Throws what openStack throws, FailedError */
  async run(): Promise<number> {
    const { tun, address, peer, mtu, offload, oneOff } = this.options;
    try {
      const handle = await openStack({ tun, address, peer, mtu, offload });
      this.handle = handle;
      const died = new Promise<never>((_, reject) => {
        handle.onFatal = reject;
      });
      handle.onWarning = (message) => this.io.err(`tunstack: ${message}`);
      await Promise.race([this.serve(handle), died]);
      this.report();
      return oneOff && this.totals.failed > 0 ? EXIT_FAILED : EXIT_OK;
    } finally {
      await this.handle?.close();
      this.signals.close();
    }
  }

  /** Until the thread has left, because it was told to or has done its one test. */
  private async serve(handle: StackHandle): Promise<void> {
    const stopFd = handle.sys.eventfd(0, EFD_NONBLOCK);
    if (stopFd < 0) throw new FailedError(`eventfd failed with errno ${-stopFd}`, '');
    const shared = handle.share();
    const { port, intervalMs, json, oneOff } = this.options;
    const order: Iperf3Order = { shared, port, stopFd, intervalMs, json, oneOff };
    const worker = new Worker(ENTRY, { workerData: order, name: 'iperf3' });
    const ended = new Promise<void>((resolve, reject) => {
      worker.once('error', reject);
      worker.once('exit', () => resolve());
    });
    worker.on('message', (message: Iperf3Message) => this.hear(handle, message));
    let patience: NodeJS.Timeout | undefined;
    void this.signals.asked.then(() => {
      handle.sys.write(stopFd, WAKE, 0, WAKE.length);
      patience = setTimeout(() => void worker.terminate(), LEAVE_MS);
    });
    try {
      await ended;
    } finally {
      clearTimeout(patience);
      handle.threadGone(shared.thread); // resets what it has left open
    }
  }

  private hear(handle: StackHandle, message: Iperf3Message): void {
    if (message.event === 'say') this.io.out(message.line);
    else if (message.event === 'warn') this.io.err(`tunstack: ${message.line}`);
    else if (message.event === 'test') this.count(message.outcome);
    else {
      const port = this.options.port === 5201 ? '' : ` -p ${this.options.port}`;
      const where = `${handle.address}:${this.options.port} on ${handle.tun}`;
      this.io.err(`tunstack: iperf3 server at ${where}; try: iperf3 -c ${handle.address}${port}`);
    }
  }

  private count({ error, bytesIn, bytesOut, retransmits, json }: Outcome): void {
    const { totals } = this;
    totals.tests++;
    if (error !== null) totals.failed++;
    totals.bytesIn += bytesIn;
    totals.bytesOut += bytesOut;
    totals.retransmits += retransmits;
    if (this.options.json) this.io.out(JSON.stringify(json));
  }

  /** The sum of all tests; with --json stdout is for tests alone. */
  private report(): void {
    const { tests, failed, bytesIn, bytesOut, retransmits } = this.totals;
    const count = `${tests} ${tests === 1 ? 'test' : 'tests'} (${failed} failed)`;
    const received = `${bytesText(bytesIn).trim()} received`;
    const sent = `${bytesText(bytesOut).trim()} sent, ${retransmits} retransmits`;
    const line = `${count}, ${received}, ${sent}`;
    if (this.options.json) this.io.err(`tunstack: ${line}`);
    else this.io.out(line);
  }

  /** A second SIGINT: the device goes, and that is all. */
  private leaveAtOnce(): void {
    const leave = (): never => process.exit(EXIT_INTERRUPTED);
    setTimeout(leave, AT_ONCE_MS);
    (this.handle?.close() ?? Promise.resolve()).then(leave, leave);
  }
}

export const iperf3: Command = {
  name: 'iperf3',
  summary: 'an iperf3-compatible TCP server on the stack',
  async run(argv: readonly string[], io: Io): Promise<number> {
    const options = parseIperf3Options(argv);
    if (options.help) {
      io.out(
        `tunstack iperf3 -s [FLAGS]: ${iperf3.summary}\n\n${flagHelp(IPERF3_FLAGS)}\n\n${ABOUT}`,
      );
      return EXIT_OK;
    }
    return new Iperf3Run(options, io).run();
  },
};
