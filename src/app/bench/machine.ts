/** What a figure depends on beside the code: the machine, its kernel, Node, and how busy it was. */
import { cpus, loadavg, release } from 'node:os';
import type { Sizes } from './measure.js';

/** Goes with every row of `--json`. */
export interface Machine {
  readonly cores: number;
  readonly model: string;
  readonly kernel: string;
  readonly node: string;
  readonly congestion: string;
  readonly workers: number;
  /** Ours: workers ran in stack threads. */
  readonly inline: boolean;
  readonly seconds: number;
  /** Of the last minute before the measure began: what others did, and the measure before. */
  readonly loadAverage: number;
}

export function machineFacts({ congestion, workers, inline, seconds }: Sizes): Machine {
  const all = cpus();
  return {
    cores: all.length,
    model: all[0]?.model.trim() ?? 'unknown',
    kernel: release(),
    node: process.versions.node,
    congestion,
    workers,
    inline,
    seconds,
    loadAverage: Number(loadavg()[0]!.toFixed(2)),
  };
}

export function machineLine(machine: Machine): string {
  const { cores, model, kernel, node, congestion, workers, inline, seconds } = machine;
  const threads = workers === 1 ? 'thread' : 'threads';
  const crew = inline
    ? `${workers} stack ${threads} with a worker inside (--inline)`
    : `${workers} worker ${threads}`;
  return (
    `${cores} x ${model}, Linux ${kernel}, Node ${node}, load average ${machine.loadAverage}; ` +
    `${congestion} on both sides; ours: ${crew}; samples of ${seconds} s`
  );
}
