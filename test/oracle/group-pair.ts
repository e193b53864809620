/**
 * One SO_REUSEPORT group on the kernel and the same on a stack of ours: members are opened, closed
 * and shut down on both, and connections asked which member they get. The kernel tells the flow
 * hash of each connection; ours is asked for its choice with that hash, so that no secret needs to
 * be known.
 */
import { reuseportAttachSelector } from '../../src/reuseport/group.js';
import { reuseportSelectSock } from '../../src/reuseport/select.js';
import type { Selector } from '../../src/reuseport/selector-request.js';
import type { HashReporter } from './bpf.js';
import {
  ipv4,
  SHUT_RD,
  SO_ATTACH_REUSEPORT_CBPF,
  SO_ATTACH_REUSEPORT_EBPF,
  SO_INCOMING_CPU,
  SO_REUSEPORT,
  SOL_SOCKET,
} from './socket-calls.js';
import type { Worlds } from './worlds.js';

const CLIENT = ipv4('127.0.0.9');
const LOCALHOST = ipv4('127.0.0.1');
const BACKLOG = 16;
const FIRST_CLIENT_PORT = 10_000;

/** A connection that was made: its client's port, the kernel's hash of it and member. */
export interface Choice {
  readonly fport: number;
  readonly hash: number;
  readonly member: number;
}

interface Member {
  readonly linux: number;
  readonly ours: number;
  listening: boolean;
}

export class GroupPair {
  readonly port: number;
  readonly members: Member[] = [];
  private readonly worlds: Worlds;
  private readonly reporter: HashReporter | null;
  private readonly address: number;
  private fport = FIRST_CLIENT_PORT;

  /**
   * @param address of the members, 0 = any
   * @param reporter tells the hashes; null: another program will be attached
   */
  constructor(worlds: Worlds, reporter: HashReporter | null, port: number, address: number) {
    this.worlds = worlds;
    this.reporter = reporter;
    this.port = port;
    this.address = address;
  }

  /** A bound socket of each that does not listen yet; its number. `cpu` is its SO_INCOMING_CPU. */
  open(cpu: number | null = null): number {
    const { kernel, ours } = this.worlds;
    const open = (calls: typeof kernel | typeof ours): number => {
      const fd = calls.socket();
      calls.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1);
      if (cpu !== null) calls.setsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, cpu);
      must(calls.bind(fd, this.address, this.port));
      return fd;
    };
    this.members.push({ linux: open(kernel), ours: open(ours), listening: false });
    return this.members.length - 1;
  }

  listen(number: number): void {
    const { kernel, ours } = this.worlds;
    const member = this.members[number]!;
    must(kernel.listen(member.linux, BACKLOG));
    must(ours.listen(member.ours, BACKLOG));
    member.listening = true;
    // A group that is made anew has no program.
    if (this.reporter === null) return;
    const { program } = this.reporter;
    must(kernel.setsockopt(member.linux, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, program));
  }

  /** Stops listening, and can listen again. */
  shutdown(number: number): void {
    const { kernel, ours } = this.worlds;
    const member = this.members[number]!;
    must(kernel.shutdown(member.linux, SHUT_RD));
    must(ours.shutdown(member.ours, SHUT_RD));
    member.listening = false;
  }

  /** Is gone. The numbers of the others stay. */
  close(number: number): void {
    const { kernel, ours } = this.worlds;
    const member = this.members[number]!;
    must(kernel.close(member.linux));
    must(ours.close(member.ours));
    // Descriptors are used again.
    this.members[number] = { linux: -1, ours: -1, listening: false };
  }

  /** Gives both groups a program: a classic one, and a selector that means the same. */
  attach(number: number, program: Uint8Array, selector: Selector): void {
    const { kernel, ours } = this.worlds;
    const { linux, ours: own } = this.members[number]!;
    must(kernel.setsockoptBytes(linux, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program));
    const { stack } = ours;
    must(reuseportAttachSelector(stack.tcp.hashinfo, stack.sock(own)!, selector));
  }

  get listening(): number {
    return this.members.filter((member) => member.listening).length;
  }

  /** One connection to the kernel's group, from a port of its own unless told one. */
  connect(laddr: number = this.local, fport: number = this.fport++): Choice {
    const { kernel } = this.worlds;
    const client = kernel.socket();
    must(kernel.bind(client, CLIENT, fport));
    kernel.connect(client, laddr, this.port);
    const hash = this.reporter === null ? 0 : this.reporter.read().hash;
    let child = -1;
    const member = this.members.findIndex(({ linux, listening }) => {
      if (listening && child < 0) child = kernel.accept(linux);
      return child >= 0;
    });
    if (child >= 0) kernel.abort(child);
    kernel.abort(client);
    return { fport, hash, member };
  }

  /** Whom our group chooses for a connection with that hash; its number, -1 = nobody. */
  ours({ hash, fport }: Choice, cpu = 0, laddr: number = this.local): number {
    const { stack } = this.worlds.ours;
    const some = this.members.find(({ listening }) => listening)!;
    const skb = stack.net.inputSkbs.alloc()!;
    skb.cpu = cpu;
    const listener = stack.sock(some.ours)!;
    const { hashinfo } = stack.tcp;
    const chosen = reuseportSelectSock(
      hashinfo,
      listener,
      hash,
      CLIENT,
      fport,
      laddr,
      this.port,
      skb,
    );
    stack.net.inputSkbs.release(skb);
    return this.members.findIndex(({ ours }) => stack.sock(ours) === chosen && chosen !== null);
  }

  /** Whom a real connection to our group gets: for when the hash secrets are the same. */
  connectOurs(fport: number, laddr: number = this.local): number {
    const { ours } = this.worlds;
    const client = ours.socket();
    must(ours.bind(client, CLIENT, fport));
    ours.connect(client, laddr, this.port);
    let child = -1;
    const member = this.members.findIndex((each) => {
      if (each.listening && child < 0) child = ours.accept(each.ours);
      return child >= 0;
    });
    if (child >= 0) ours.abort(child);
    ours.abort(client);
    return member;
  }

  private get local(): number {
    return this.address === 0 ? LOCALHOST : this.address;
  }

  /** For what the flow hash is computed of. */
  sampleOf({ fport, hash }: Choice): {
    laddr: number;
    lport: number;
    faddr: number;
    fport: number;
    hash: number;
  } {
    return { laddr: this.address, lport: this.port, faddr: CLIENT, fport, hash };
  }
}

function must(result: number): void {
  if (result < 0) throw new Error(`errno ${-result}`);
}
