/**
 * Counters of the kernel's stack in the namespace of a process, under nstat(8)'s names:
 * /proc/PID/net/snmp and netstat, each group a line of names and a line of values.
 */
import { readFileSync } from 'node:fs';

/**
 * One of the two files as name → value; the group is part of the name, but for Tcp, Ip and so on.
 */
export function parseCounters(text: string): Record<string, number> {
  const lines = text.trim().split('\n');
  const counters: Record<string, number> = {};
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const [group, ...names] = lines[i]!.split(/\s+/);
    const values = lines[i + 1]!.split(/\s+/).slice(1);
    names.forEach((name, k) => {
      counters[`${group!.slice(0, -1)}${name}`] = Number(values[k]);
    });
  }
  return counters;
}

export function nstatOf(pid: number): Record<string, number> {
  const read = (name: string): Record<string, number> =>
    parseCounters(readFileSync(`/proc/${pid}/net/${name}`, 'utf8'));
  return { ...read('snmp'), ...read('netstat') };
}
