/**
 * Stacks with one mistake each: the compiled sources with one line changed, in a directory of their
 * own, and the simulator run on them. Each mistake is one that a programmer could make; the test
 * says which kinds of failure must name it. Owns the list, not the invariants.
 */
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parametersOf } from '../../src/sim/parameters.js';
import { ROOT } from '../repository.js';

/** The rooms that the simulator needs. */
const ROOMS = ['net', 'reuseport', 'tcp', 'stack', 'sim', 'testing', 'device', 'socket'];
const SOURCES = join(ROOT, 'dist', 'src');

/** One mistake: in `file`, `from` (which is there once) becomes `to`. */
export interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** Kinds of failure that are right. */
  readonly finds: RegExp;
}

function mutant(name: string, file: string, from: string, to: string, finds: RegExp): Mutant {
  return { name, file, from, to, finds };
}

export const MUTANTS: readonly Mutant[] = [
  mutant(
    'the retransmission timer is never armed',
    'tcp/timer-arm.js',
    'armXmitTimer(tcb, TIME_RETRANS, instead ?',
    'void (instead ?',
    /^invariant retransmission|^stuck/,
  ),
  mutant(
    'the window probe is never armed',
    'tcp/timer-arm.js',
    'armXmitTimer(tcb, TIME_PROBE0, delayUs);',
    '',
    /^invariant probe|^stuck/,
  ),
  mutant(
    'a FIN is not sent again',
    'tcp/output/retransmit.js',
    'const flags = ACK | (fin !== 0 ? FIN : 0)',
    'const flags = ACK | 0',
    /^invariant unanswered/,
  ),
  mutant(
    'pages are not given back',
    'net/sockmem.js',
    'this.pages.release(page - this.firstPage, capacity / PAGE_BYTES);',
    'if (capacity < 65536) this.pages.release(page - this.firstPage, capacity / PAGE_BYTES);',
    /^leak pages/,
  ),
  mutant(
    'a byte is delivered twice',
    'tcp/input/text.js',
    'const placed = place(tcp, tcb, tcb.rcvNxt, seg.data + skip, length, seg.skb);',
    'const placed = place(tcp, tcb, tcb.rcvNxt, seg.data + Math.max(0, skip - 1), length);',
    /^data/,
  ),
  mutant(
    'checksums are not looked at',
    'tcp/input/arrives.js',
    'skb.ipSummed === CHECKSUM_NONE && !checksumOk(skb)',
    'false',
    /^data|^invariant|^stuck|^error|^forged|^eof/,
  ),
  mutant(
    'a counter counts twice',
    'tcp/fastopen-client.js',
    'tcp.net.count(Mib.TcpActiveOpens);',
    'tcp.net.count(Mib.TcpActiveOpens, 2);',
    /^counter ActiveOpens/,
  ),
  mutant(
    'what is delivered is not counted',
    'tcp/input/arrives.js',
    'net.count(Mib.TcpInSegs);',
    '',
    /^counter InSegs/,
  ),
  mutant(
    'CurrEstab is not taken back',
    'tcp/set-state.js',
    'tcp.net.count(Mib.TcpCurrEstab, -1);',
    '{}',
    /^invariant CurrEstab/,
  ),
  mutant(
    'orphans are not forgotten',
    'tcp/set-state.js',
    'tcp.orphans--;',
    '',
    /^invariant orphans|^leak/,
  ),
  mutant(
    'a packet buffer is kept',
    'net/skb.js',
    'this.out--;',
    'if (skb.gsoSize !== 536) this.out--;',
    /^invariant skbs|^leak/,
  ),
  mutant(
    'the writer is not woken',
    'tcp/input/ack.js',
    'if (ringDue(ctl, tcb.sndRing, head)) {',
    'if (head === 0) {',
    /^stuck/,
  ),
  mutant(
    'SND.UNA goes one too far',
    'tcp/input/ack.js',
    'tcb.sndUna = (tcb.sndUna + acked) | 0;',
    'tcb.sndUna = (tcb.sndUna + acked + (acked > 999 ? 1 : 0)) | 0;',
    /^invariant|^throw|^data/,
  ),
  mutant(
    "the peer's window is not obeyed",
    'tcp/output/write-xmit.js',
    'const open = (tcb.sndUna + tcb.sndWnd - tcb.sndNxt) | 0;\n    const fin',
    'const open = 1e6;\n    const fin',
    /^invariant window/,
  ),
  mutant(
    'an offered window is taken back',
    'tcp/rcv-window.js',
    'window = keptWindow(tcp, tcb, open);',
    'window = Math.max(0, window);',
    /^invariant right edge/,
  ),
  mutant(
    'ranges out of order count wrong',
    'tcp/ranges.js',
    'this.bytes += merged;',
    'this.bytes += merged + (last > first ? 1 : 0);',
    /^invariant/,
  ),
  mutant(
    'what is lost is counted once too often',
    'tcp/output/retransmit.js',
    's.retransOut += pcount;',
    's.retransOut += pcount + 1;',
    /^invariant counters/,
  ),
  mutant(
    'a FIN past a hole ends the stream',
    'tcp/input/text.js',
    'if (!atEnd && tcb.ofoFin && !before(tcb.rcvNxt, tcb.ofoFinSeq)) {',
    'if (!atEnd && tcb.ofoFin) {',
    /^invariant|^eof|^data|^stuck/,
  ),
  mutant(
    'a port is kept',
    'reuseport/bhash.js',
    'export function inetPutPort(hashinfo, sk) {',
    'export function inetPutPort(hashinfo, sk) {\n    if (sk.num % 8 === 0) return;',
    /^leak bhash|^throw/,
  ),
  mutant(
    'timers are cancelled and stay',
    'net/timer.js',
    'entry.timerIndex = -1;',
    'if (this.size === 3) return;\n        entry.timerIndex = -1;',
    /^leak|^restless|^spin|^throw|^invariant/,
  ),
];

/** What the simulator of a directory exports. */
interface Simulator {
  runOnce(parameters: ReturnType<typeof parametersOf>): { ok: boolean; kind?: string };
}

/** The first of `seeds` seeds that fails in a stack with the mistake; null = none does. */
export async function firstFailure(
  { file, from, to }: Mutant,
  seeds: number,
): Promise<{ seed: number; kind: string } | null> {
  // Beside the original, so that links to its files can be made.
  const dir = mkdtempSync(join(ROOT, 'dist', 'mutant-'));
  try {
    for (const room of ROOMS) linkAll(join(SOURCES, room), join(dir, room));
    rmSync(join(dir, file));
    writeFileSync(join(dir, file), mutated(join(SOURCES, file), from, to));
    const url = pathToFileURL(join(dir, 'sim', 'shrink.js')).href;
    const { runOnce } = (await import(url)) as Simulator;
    for (let seed = 1; seed <= seeds; seed++) {
      const { ok, kind = '' } = runOnce(parametersOf(seed));
      if (!ok) return { seed, kind };
    }
    return null;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** The directory `to` with links to all programs below `from`. */
function linkAll(from: string, to: string): void {
  mkdirSync(to);
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const { name } = entry;
    if (entry.isDirectory()) linkAll(join(from, name), join(to, name));
    else if (name.endsWith('.js')) linkSync(join(from, name), join(to, name));
  }
}

/** Is the line that the mistake is in there once? */
export function applies({ file, from, to }: Mutant): boolean {
  return mutated(join(SOURCES, file), from, to) !== '';
}

/** The text of `path` with the mistake. Throws RangeError unless `from` is there once. */
function mutated(path: string, from: string, to: string): string {
  const parts = readFileSync(path, 'utf8').split(from);
  if (parts.length !== 2) throw new RangeError(`${path}: ${parts.length - 1} times ${from}`);
  return parts.join(to);
}
