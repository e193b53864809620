/**
 * `tunstack trace [FILTER]`: the packets of a running stack as they come and go, in the form of
 * tcpdump(8), each SYN with the decision that it led to; or as JSON, or as pcapng.
 */
import { type FileSink, fileSink } from '../device/capture.js';
import { PcapngWriter, SNAPLEN } from '../device/pcapng.js';
import type { Explanation } from '../reuseport/decision-json.js';
import { explanationBrief, explanationLines } from '../reuseport/decision-text.js';
import type { TapRecord } from '../stack/tap-record.js';
import { type Command, EXIT_OK, FailedError, type Io, UsageError } from './command.js';
import { CONTROL_FLAG } from './control-client.js';
import { defaultControlPath } from './control-protocol.js';
import { type Flag, flagHelp, HELP_FLAG, type ParsedFlags, parseFlags } from './flags.js';
import { TraceClient } from './trace-client.js';
import { type PacketTest, parseFilter } from './trace-filter.js';
import { packetObject } from './trace-json.js';
import { packetLine, SequenceBook } from './trace-line.js';
import { dissect } from './trace-packet.js';
import type { TraceStart } from './trace-protocol.js';

const FLAGS: readonly Flag[] = [
  { name: 'count', short: 'c', value: 'N', text: 'end after N packets' },
  {
    name: 'write',
    short: 'w',
    value: 'FILE',
    text: 'pcapng with decisions as comments; - = stdout',
  },
  { name: 'absolute', short: 'S', text: 'absolute sequence numbers' },
  { name: 'numeric', short: 'n', text: 'addresses and ports as numbers (they always are)' },
  CONTROL_FLAG,
  { name: 'json', text: 'one object a packet and line; numbers as on the wire' },
  HELP_FLAG,
];

const HELP = `
FILTER is a part of pcap-filter(7): tcp udp icmp ip, [src|dst] host A, net A/N, port P, portrange
P-P, tcp[tcpflags] & (tcp-syn|tcp-fin) != 0, combined with and, or, not and parentheses; and in
short syn, fin, rst. A SYN is followed by its decision, which with -w is the packet's comment.
`;

/** Headers are enough for lines. */
const LINE_SNAPLEN = 128;
const WORDS_MAX = 1000;

interface TraceOptions {
  /** Infinity = until somebody stops it. */
  count: number;
  write: string | null;
  absolute: boolean;
  json: boolean;
  control: string | null;
  filter: PacketTest;
}

function parseOptions(flags: ParsedFlags): TraceOptions {
  const count = flags.values.get('count');
  if (count !== undefined && !/^[1-9]\d{0,14}$/.test(count)) {
    throw new UsageError(`trace: -c ${count}: must be a number of packets`, 'tunstack trace -c 10');
  }
  const write = flags.values.get('write') ?? null;
  const json = flags.given.has('json');
  if (write === '-' && json) {
    throw new UsageError(
      'trace: -w - and --json both want stdout',
      'tunstack trace --json -w FILE',
    );
  }
  return {
    count: count === undefined ? Infinity : Number(count),
    write,
    absolute: flags.given.has('absolute'),
    json,
    control: flags.values.get('control') ?? null,
    filter: parseFilter(flags.positionals.join(' ')),
  };
}

/** Where packets go: lines, objects, a file. */
class TraceOutput {
  /** Packets that came, and those that the filter let through. */
  received = 0;
  captured = 0;
  private readonly options: TraceOptions;
  private readonly io: Io;
  private readonly book: SequenceBook | null;
  private readonly sink: FileSink | null;
  private writer: PcapngWriter | null = null;

  constructor(options: TraceOptions, io: Io) {
    this.options = options;
    this.io = io;
    this.book = options.absolute ? null : new SequenceBook();
    this.sink = options.write === null ? null : fileSink(options.write, '-w');
  }

  get full(): boolean {
    return this.captured >= this.options.count;
  }

  /** Nobody wants more: the reader of a pipe has left, or the disk is full. */
  get gone(): boolean {
    return this.io.gone?.() === true || this.sink?.failure() != null;
  }

  begin({ tracing }: TraceStart): void {
    if (this.sink !== null)
      this.writer = new PcapngWriter(this.sink.write, { interfaceName: tracing });
    this.flush();
  }

  packet({ timestampUs, direction, length, data }: TapRecord, decision: Explanation | null): void {
    if (this.full || this.gone) return;
    this.received++;
    const packet = dissect(data, length);
    if (!this.options.filter(packet)) return;
    this.captured++;
    if (this.writer !== null) {
      const comment = decision === null ? {} : { comment: explanationLines(decision).join('\n') };
      this.writer.packet(timestampUs, data, { direction, ...comment });
    }
    if (this.options.json) {
      this.io.out(JSON.stringify(packetObject(timestampUs, direction, packet, decision)));
    } else if (this.writer === null) {
      this.io.out(packetLine(timestampUs, packet, this.book));
      if (decision !== null) this.io.out(`  → ${explanationBrief(decision)}`);
    }
  }

  flush(): void {
    this.writer?.flush();
  }

  /** As tcpdump tells it. */
  summary(dropped: number): string[] {
    const { received, captured } = this;
    const s = (count: number): string => `${count} packet${count === 1 ? '' : 's'}`;
    return [
      `${s(captured)} captured`,
      `${s(received)} received by filter`,
      `${s(dropped)} dropped by the trace`,
    ];
  }

  /** Throws FailedError when the file could not be written; a pipe's reader may leave. */
  close(): void {
    this.flush();
    this.sink?.close();
    const failure = this.sink?.failure() ?? null;
    if (failure === null || failure === 'EPIPE') return;
    throw new FailedError(`cannot write to ${this.options.write}: ${failure}`, '');
  }
}

async function runTrace(options: TraceOptions, io: Io): Promise<void> {
  const output = new TraceOutput(options, io);
  const path = options.control ?? defaultControlPath(io.env);
  const snaplen = options.write === null ? LINE_SNAPLEN : SNAPLEN;
  const client = new TraceClient(path, snaplen, {
    started: (start) => {
      output.begin(start);
      io.err(`listening on ${start.tracing}, link-type RAW (Raw IP), snapshot length ${snaplen}`);
    },
    packet: (record, decision) => {
      output.packet(record, decision);
      if (output.full || output.gone) client.stop();
    },
    batch: () => output.flush(),
  });
  const stop = (): void => client.stop();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, stop);
  try {
    await client.ended;
  } finally {
    for (const signal of signals) process.off(signal, stop);
    if (!output.gone) for (const line of output.summary(client.dropped)) io.err(line);
    output.close();
  }
}

export const trace: Command = {
  name: 'trace',
  summary: 'live packets in tcpdump lines, with decisions',
  async run(argv: readonly string[], io: Io): Promise<number> {
    const flags = parseFlags('trace', FLAGS, argv, WORDS_MAX);
    if (flags.given.has('help')) {
      const head = `tunstack trace [FLAGS] [FILTER]: ${trace.summary}`;
      io.out(`${head}\n\n${flagHelp(FLAGS)}\n${HELP.trimEnd()}`);
      return EXIT_OK;
    }
    await runTrace(parseOptions(flags), io);
    return EXIT_OK;
  },
};
