/**
 * What the shell text of a script means to a stack in memory: nothing is executed. Settings that
 * this stack has a knob for are set, the device's MTU and its queue too, counters are read as by
 * nstat(8); what only arranges a kernel (offloads, caches) is nothing to do. A script that needs
 * another program is skipped with that reason.
 */
import type { Sysctl } from '../net/sysctl.js';
import { ScriptError, type Shell, UnsupportedError } from './script.js';
import { pipelinesOf } from './shell-text.js';
import { applyBaseline, assignmentOf, assignSysctl, isKnownSysctl, readSysctl } from './sysctls.js';

/** What commands act on. */
export interface ShellWorld {
  readonly sysctl: Sysctl;
  /** Counters by the names of nstat(8), those of zero too. */
  counters(): Readonly<Record<string, number>>;
  /** The device's; throws UnsupportedError when it is too late. */
  setMtu(mtu: number, line: number): void;
  /** The device's queue takes nothing any more, or all again. */
  refuse(on: boolean): void;
  sleep(us: number): void;
}

interface Result {
  status: number;
  text: string;
}

const DONE: Result = { status: 0, text: '' };

/** Runs the shell text of one script. */
export class ShellRunner {
  private readonly world: ShellWorld;
  /** Counters when nstat(8) last took note of them. */
  private history: Readonly<Record<string, number>> = {};
  /** What set_sysctls.py has changed, to be put back. */
  private readonly before = new Map<string, string>();

  constructor(world: ShellWorld) {
    this.world = world;
  }

  /** Throws UnsupportedError for what is not known here, ScriptError when a command fails. */
  run(shell: Shell): void {
    let status = 0;
    for (const { commands, when } of pipelinesOf(shell)) {
      if (when === 'success' && status !== 0) continue;
      if (when === 'failure' && status === 0) continue;
      let result = DONE;
      for (const words of commands) result = this.command(words, result.text, shell.line);
      status = result.status;
    }
    if (status === 0) return;
    throw new ScriptError(shell.line, `the command failed with ${status}: ${shell.text.trim()}`);
  }

  private command(words: readonly string[], input: string, line: number): Result {
    const [path = '', ...args] = words;
    const program = path.replace(/^.*\//, '');
    if (program === 'defaults.sh') {
      // The kernel's scripts stand beside it, those of the original have it in another folder.
      applyBaseline(this.world.sysctl, path === './defaults.sh' ? 'kernel' : 'google');
      return DONE;
    }
    if (/^sysctl_restore_\w*\.sh$/.test(program)) return this.restore(line);
    switch (program) {
      case 'true':
      case ':':
      case 'set':
      // Offloads of the device change nothing: it has none.
      case 'ethtool':
        return DONE;
      case 'false':
        return { status: 1, text: '' };
      case 'echo':
        return { status: 0, text: `${args.join(' ')}\n` };
      case 'sleep':
        return this.sleep(args, line);
      case 'sysctl':
        return this.sysctl(args, line);
      case 'set_sysctls.py':
        return this.setSysctls(args, line);
      case 'ip':
        return this.ip(args, line);
      case 'tc':
        return this.tc(args, line);
      case 'nstat':
        return this.nstat(args);
      case 'grep':
        return grep(args, input, line);
    }
    throw new UnsupportedError(line, `the command \`${program}\``);
  }

  private sleep(args: readonly string[], line: number): Result {
    const seconds = Number(args[0]);
    if (!(seconds >= 0))
      throw new UnsupportedError(line, `the command \`sleep ${args.join(' ')}\``);
    this.world.sleep(seconds * 1e6);
    return DONE;
  }

  /** sysctl(8): `-e` passes over names that are not known. */
  private sysctl(args: readonly string[], line: number): Result {
    const flags = args.filter((word) => word.startsWith('-')).join('');
    let text = '';
    for (const word of args.filter((one) => !one.startsWith('-'))) {
      if (!word.includes('=')) {
        const value = readSysctl(this.world.sysctl, word.replaceAll('/', '.'));
        if (value === null) throw new UnsupportedError(line, `the sysctl ${word}`);
        text += flags.includes('n') ? `${value}\n` : `${word} = ${value}\n`;
        continue;
      }
      const { name, value } = assignmentOf(word, line);
      if (flags.includes('e') && !isKnownSysctl(name)) continue;
      assignSysctl(this.world.sysctl, name, value, line);
    }
    return { status: 0, text };
  }

  /** The suites' own program: it also notes what was before. */
  private setSysctls(args: readonly string[], line: number): Result {
    for (const word of args) {
      const { name, value } = assignmentOf(word, line);
      const was = readSysctl(this.world.sysctl, name);
      if (was !== null && !this.before.has(name)) this.before.set(name, was);
      assignSysctl(this.world.sysctl, name, value, line);
    }
    return DONE;
  }

  private restore(line: number): Result {
    for (const [name, value] of this.before) assignSysctl(this.world.sysctl, name, value, line);
    this.before.clear();
    return DONE;
  }

  private ip(args: readonly string[], line: number): Result {
    const words = args.filter((word) => word !== 'dev' && !word.startsWith('-'));
    const mtu = /^link set \S+ mtu (\d+)$/.exec(words.join(' '));
    if (mtu !== null) this.world.setMtu(Number(mtu[1]), line);
    else if (!/^(?:tcp_metrics flush\b.*|link set \S+ up)$/.test(words.join(' '))) {
      throw new UnsupportedError(line, `the command \`ip ${args.join(' ')}\``);
    }
    return DONE;
  }

  /** The device's queue: one that takes everything, or, with the limit 0, nothing. */
  private tc(args: readonly string[], line: number): Result {
    const text = args.join(' ');
    if (/^qdisc del(?:ete)? dev \S+ root$/.test(text)) {
      this.world.refuse(false);
      return DONE;
    }
    const made = /^qdisc (?:add|replace|change) dev \S+ root (?:p|b)fifo(?: limit (\d+))?$/.exec(
      text,
    );
    if (made === null) throw new UnsupportedError(line, `the command \`tc ${text}\``);
    this.world.refuse(made[1] === '0');
    return DONE;
  }

  /**
   * nstat(8): what has changed since it last took note; `-a` all counts, `-s` without taking note,
   * `-n` only taking note, `-z` zeros too, `-r` forgetting what was noted.
   */
  private nstat(args: readonly string[]): Result {
    const flags = args.filter((word) => /^-[a-z]+$/.test(word)).join('');
    const wanted = args.filter((word) => !word.startsWith('-'));
    const now = this.world.counters();
    if (flags.includes('r')) this.history = {};
    const since = flags.includes('a') ? {} : this.history;
    if (!flags.includes('s')) this.history = now;
    if (flags.includes('n')) return DONE;
    const lines = ['#kernel'];
    for (const [name, value] of Object.entries(now)) {
      const change = value - (since[name] ?? 0);
      if (wanted.length > 0 && !wanted.includes(name)) continue;
      if (change === 0 && !flags.includes('z')) continue;
      lines.push(`${name.padEnd(32)}${String(change).padEnd(18)} 0.0`);
    }
    return { status: 0, text: `${lines.join('\n')}\n` };
  }
}

/** grep(1) on what comes through the pipe: `-q -v -c -i -E -w -F`, one pattern. */
function grep(args: readonly string[], input: string, line: number): Result {
  const flags = args.filter((word) => word.startsWith('-')).join('');
  const [pattern, ...files] = args.filter((word) => !word.startsWith('-'));
  if (pattern === undefined || files.length > 0 || /[^-qvciEwF]/.test(flags)) {
    throw new UnsupportedError(line, `the command \`grep ${args.join(' ')}\``);
  }
  const text = flags.includes('F') ? pattern.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&') : pattern;
  const whole = flags.includes('w') ? `\\b(?:${text})\\b` : text;
  const expression = new RegExp(whole, flags.includes('i') ? 'i' : '');
  const lines = input.split('\n').slice(0, -1);
  const found = lines.filter((one) => expression.test(one) !== flags.includes('v'));
  const status = found.length > 0 ? 0 : 1;
  if (flags.includes('q')) return { status, text: '' };
  if (flags.includes('c')) return { status, text: `${found.length}\n` };
  return { status, text: found.map((one) => `${one}\n`).join('') };
}
