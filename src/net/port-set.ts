/**
 * A set of port numbers and its text form, a list of ports and ranges: "8080,9148-9150" (Linux
 * kernel/sysctl.c: proc_do_large_bitmap, for net.ipv4.ip_local_reserved_ports).
 */

const PORTS = 65_536;

export class PortSet {
  private readonly words: Uint32Array = new Uint32Array(PORTS / 32);

  has(port: number): boolean {
    return ((this.words[port >>> 5]! >>> (port & 31)) & 1) !== 0;
  }

  /** Adds the ports first..last. */
  addRange(first: number, last: number): void {
    for (let port = first; port <= last; port++) {
      this.words[port >>> 5] = this.words[port >>> 5]! | (1 << (port & 31));
    }
  }

  /** Has the ports of `other` from now on, and no more. */
  replace(other: PortSet): void {
    this.words.set(other.words);
  }

  /** "8080,9148-9150"; '' for none. */
  toString(): string {
    const parts: string[] = [];
    for (let port = 0; port < PORTS; port++) {
      if (!this.has(port)) continue;
      const first = port;
      while (port + 1 < PORTS && this.has(port + 1)) port++;
      parts.push(first === port ? String(first) : `${first}-${port}`);
    }
    return parts.join(',');
  }
}

/** The set that `text` lists, or what is wrong with it: the part that is no port and no range. */
export function parsePortSet(text: string): PortSet | string {
  const set = new PortSet();
  if (text === '') return set;
  for (const part of text.split(',')) {
    const match = /^([0-9]+)(?:-([0-9]+))?$/.exec(part);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? first);
    if (!(first <= last && last < PORTS)) return part;
    set.addRange(first, last);
  }
  return set;
}
