/**
 * The stack of queue 0, when there are others: it has everything that has a name (tcp/queues.ts),
 * gives connections to the stack of their flow's queue, and sends packets after them that came in
 * here. A connection that was given away leaves its Tcb here, in the tables, until it ends there.
 */
import type { Skb } from '../net/skb.js';
import { BLOCK_QUEUE } from '../net/sockmem.js';
import { inetPutPort } from '../reuseport/bhash.js';
import { inetEhashRemove } from '../reuseport/ehash.js';
import { SK_FULL } from '../reuseport/sock-common.js';
import {
  G_DOWN_HEAD,
  G_DOWN_PAGE,
  G_DOWN_TAIL,
  G_STATE,
  G_UP_HEAD,
  G_UP_PAGE,
  G_UP_TAIL,
  globalAt,
  STACK_RUNNING,
} from '../socket/uapi/layout.js';
import { LAST_WORDS_COUNT } from '../tcp/hand-over.js';
import { timewaitReplace } from '../tcp/minisocks.js';
import { sockOf } from '../tcp/parking.js';
import { rememberPeer } from '../tcp/proven-peers.js';
import type { TcpQueues } from '../tcp/queues.js';
import type { Tcb } from '../tcp/tcb.js';
import { LINK_BYTES, LinkReader, LinkWriter } from './queue-link.js';
import {
  M_ABANDON,
  M_CHILD,
  M_EPOLL_CLOSED,
  M_FINAL,
  M_FREED,
  M_PACKET,
  M_TIMEWAIT,
  M_UNHASHED,
  type QueueParts,
  QueueStack,
} from './queue-stack.js';

export class FirstQueue extends QueueStack implements TcpQueues {
  constructor(parts: QueueParts) {
    super(parts);
    const { mem } = parts.shared;
    const { ctl, layout } = this;
    for (let queue = 1; queue < layout.queues; queue++) {
      const at = (word: number): number => globalAt(layout, word, queue);
      const [down, up] = [mem.allocRing(LINK_BYTES), mem.allocRing(LINK_BYTES)];
      if (down === 0 || up === 0) throw new RangeError('the arena is too small for the links');
      ctl[at(G_DOWN_PAGE)] = down;
      ctl[at(G_UP_PAGE)] = up;
      const to = { ctl, queue, page: down, tailAt: at(G_DOWN_TAIL), headAt: at(G_DOWN_HEAD) };
      const from = { ctl, queue, page: up, tailAt: at(G_UP_TAIL), headAt: at(G_UP_HEAD) };
      this.writers.push(new LinkWriter(mem, to));
      this.readers.push(new LinkReader(mem, from));
    }
    this.tcp.queues = this;
  }

  override input(skb: Skb): void {
    this.route(skb, 0);
  }

  /** @param hops links that the packet has come by */
  private route(skb: Skb, hops: number): void {
    if (this.flowOf(skb)) {
      skb.cpu = this.flowQueue();
      const sk = this.flowSock(skb.ifindex);
      if (sk !== null && sk.kind === SK_FULL && (sk as Tcb).away !== 0) {
        this.send(this.linkTo(sk as Tcb), M_PACKET, skb, hops + 1);
        return;
      }
    }
    this.stack.input(skb);
  }

  /** The link to the stack that has `tcb`, which is away. */
  private linkTo({ away }: Tcb): LinkWriter {
    return this.writers[away - 1]!;
  }

  give(child: Tcb): boolean {
    const queue = this.queueOf(child.daddr, child.dport, child.rcvSaddr, child.num);
    if (queue === 0 || !this.runs(queue) || this.net.isLocal(child.daddr)) return false;
    const { handOver } = this;
    if (!handOver.movable(child)) return false;
    const link = this.writers[queue - 1]!;
    const { size } = handOver;
    if (!link.tell(M_CHILD, child.fd, 0, size, (out, at) => handOver.write(child, out, at))) {
      return false;
    }
    this.net.timers.cancel(child);
    child.pending = 0;
    child.away = queue;
    Atomics.store(this.ctl, child.at + BLOCK_QUEUE, queue);
    return true;
  }

  private runs(queue: number): boolean {
    return Atomics.load(this.ctl, globalAt(this.layout, G_STATE, queue)) === STACK_RUNNING;
  }

  abandon(child: Tcb): void {
    this.linkTo(child).say(M_ABANDON, child.fd);
  }

  forward(tcb: Tcb, skb: Skb): void {
    this.send(this.linkTo(tcb), M_FINAL, skb, 0);
  }

  /** An epoll instance has ended: the others forget what is in it. */
  epollClosed(index: number): void {
    for (const link of this.writers) link.say(M_EPOLL_CLOSED, index);
  }

  leaveTimewait(): boolean {
    return false;
  }

  unhashed(): void {}

  freed(): boolean {
    return false;
  }

  /** While stacks of others run, there is something to wait for at the end. */
  override get orphans(): number {
    const { orphans } = this.stack;
    return this.writers.some((link) => this.runs(link.queue)) ? orphans + 1 : orphans;
  }

  protected override heard(link: LinkReader, kind: number): void {
    if (kind === M_PACKET) {
      this.route(this.take(link), link.argument(3));
      return;
    }
    const tcb = sockOf(this.tcp, link.argument(0));
    if (tcb === null || tcb.away !== link.queue) return;
    if (kind === M_UNHASHED) inetEhashRemove(this.tcp.hashinfo, tcb);
    else if (kind === M_TIMEWAIT) this.makeTimewait(link, tcb);
    if (kind === M_FREED) this.forget(tcb);
    else if (!tcb.bindPortLock) inetPutPort(this.tcp.hashinfo, tcb);
  }

  private makeTimewait(link: LinkReader, tcb: Tcb): void {
    const at = link.payload >>> 3;
    this.handOver.readLastWords(tcb, link.doubles, at);
    const timeoutUs = link.doubles[at + LAST_WORDS_COUNT]!;
    rememberPeer(this.tcp, tcb);
    if (tcb.ehashSlot >= 0) timewaitReplace(this.tcp, tcb, link.argument(1), timeoutUs);
    // Unless there was no room for it, it has taken the place.
    inetEhashRemove(this.tcp.hashinfo, tcb);
  }

  /** The connection is no more (the rest of set-state.ts: destroy). */
  private forget(tcb: Tcb): void {
    const { tcp } = this;
    inetEhashRemove(tcp.hashinfo, tcb);
    inetPutPort(tcp.hashinfo, tcb);
    if (tcb.parent !== null) tcb.parent.children--;
    tcp.socks[tcb.fd] = null;
    tcp.mem.freeFd(tcb.fd);
    tcp.parking.retire(tcb);
  }
}
