/**
 * Which connection a packet of the script is about: the one under test, made by connect() or by the
 * first packet to a listener, or (our own) one with a name.
 */
import { Connection } from './connection.js';
import type { LiveTcp } from './live-packet.js';
import { type PacketAction, ScriptError } from './script.js';

/** First port of peers that the script gives none. */
const FIRST_REMOTE_PORT = 40_000;

export class Connections {
  /** The connection of the socket under test; null = the next inbound segment makes one. */
  underTest: Connection | null = null;
  private readonly named = new Map<string, Connection>();
  private readonly all: Connection[] = [];
  private nextPort = FIRST_REMOTE_PORT;
  private readonly local: { address: number; port: number };
  private readonly remoteAddress: number;

  /** @param local the stack's address, and the port that listeners are bound to */
  constructor(local: { address: number; port: number }, remoteAddress: number) {
    this.local = local;
    this.remoteAddress = remoteAddress;
  }

  /** connect(): both ends of the connection that begins. */
  connecting(
    local: { address: number; port: number },
    remote: { address: number; port: number },
  ): void {
    this.underTest = this.add(new Connection('connecting', local, remote));
  }

  private add(connection: Connection): Connection {
    this.all.push(connection);
    return connection;
  }

  /** Of an inbound segment: the connection, made if it is the first. */
  ofInbound(action: PacketAction, addressOf: (text: string) => number): Connection {
    const { connection: name, addresses, body } = action;
    const found = name === null ? this.underTest : this.named.get(name);
    if (found != null) return found;
    const [sport, dport] = body.protocol === 'tcp' ? [body.sport, body.dport] : [null, null];
    const remote = {
      address: addresses === null ? this.remoteAddress : addressOf(addresses.source),
      port: sport ?? this.nextPort++,
    };
    const local = {
      address: addresses === null ? this.local.address : addressOf(addresses.target),
      port: dport ?? this.local.port,
    };
    const made = this.add(new Connection('packet-received', local, remote));
    if (name === null) this.underTest = made;
    else this.named.set(name, made);
    return made;
  }

  /** Of an expected packet or a result; null = no connection has been seen. */
  find(name: string | null, line: number): Connection | null {
    if (name === null) return this.underTest;
    const found = this.named.get(name);
    if (found === undefined) throw new ScriptError(line, `no packet of @${name} has come yet`);
    return found;
  }

  /** May a packet that the stack sent be what `wanted` expects? One that is nobody's may. */
  belongs(wanted: Connection | null, daddr: number, tcp: LiveTcp | null): boolean {
    if (tcp === null) return true;
    const owner = this.owner(daddr, tcp);
    return owner === null || owner === wanted;
  }

  owner(daddr: number, tcp: LiveTcp): Connection | null {
    // The newest first: an old connection of the same ports is over.
    return this.all.findLast((connection) => connection.owns(daddr, tcp)) ?? null;
  }
}
