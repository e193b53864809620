/**
 * The stack of a queue that is not 0: it has connections that queue 0 has given it, and nothing
 * else. Packets of others go to queue 0, which knows whose they are. When a connection ends, queue
 * 0 is told, and takes what must outlive it: the time-wait socket, the descriptor, the port.
 */
import type { Skb } from '../net/skb.js';
import { inetEhashRemove } from '../reuseport/ehash.js';
import {
  G_DOWN_HEAD,
  G_DOWN_PAGE,
  G_DOWN_TAIL,
  G_UP_HEAD,
  G_UP_PAGE,
  G_UP_TAIL,
  globalAt,
} from '../socket/uapi/layout.js';
import { LAST_WORDS_COUNT } from '../tcp/hand-over.js';
import { resetQueuedChild } from '../tcp/input/request.js';
import { sockOf } from '../tcp/parking.js';
import type { TcpQueues } from '../tcp/queues.js';
import type { Tcb } from '../tcp/tcb.js';
import type { Interests } from './interests.js';
import { LinkReader, LinkWriter } from './queue-link.js';
import {
  HOPS_MOST,
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

export class OtherQueue extends QueueStack implements TcpQueues {
  private readonly queue: number;
  private readonly interests: Interests;
  private readonly up: LinkWriter;

  constructor(parts: QueueParts, interests: Interests) {
    super(parts);
    const { mem, queue } = parts.shared;
    const { ctl, layout, tcp } = this;
    this.queue = queue;
    this.interests = interests;
    const at = (word: number): number => globalAt(layout, word, queue);
    const [page, upPage] = [ctl[at(G_DOWN_PAGE)]!, ctl[at(G_UP_PAGE)]!];
    const from = { ctl, queue: 0, page, tailAt: at(G_DOWN_TAIL), headAt: at(G_DOWN_HEAD) };
    const to = { ctl, queue: 0, page: upPage, tailAt: at(G_UP_TAIL), headAt: at(G_UP_HEAD) };
    this.up = new LinkWriter(mem, to);
    this.readers.push(new LinkReader(mem, from));
    this.writers.push(this.up);
    tcp.queues = this;
    tcp.queue = queue;
    // Cookies of sockets that queue 0 does not give.
    tcp.cookies = queue * 2 ** 40;
  }

  override input(skb: Skb): void {
    if (!this.mine(skb) && this.pending()) this.drain();
    this.route(skb, 0);
  }

  private mine(skb: Skb): boolean {
    return this.flowOf(skb) && this.flowSock(skb.ifindex) !== null;
  }

  /** @param hops links that the packet has come by */
  private route(skb: Skb, hops: number): void {
    if (hops < HOPS_MOST && !this.mine(skb)) {
      this.send(this.up, M_PACKET, skb, hops + 1);
      return;
    }
    skb.cpu = this.queue;
    this.stack.input(skb);
  }

  give(): boolean {
    return false;
  }

  abandon(): void {}

  forward(): void {}

  leaveTimewait(tcb: Tcb, substate: number, timeoutUs: number): boolean {
    inetEhashRemove(this.tcp.hashinfo, tcb);
    this.up.say(M_TIMEWAIT, tcb.fd, substate, LAST_WORDS_COUNT + 1, (out, at) => {
      this.handOver.writeLastWords(tcb, out, at);
      out[at + LAST_WORDS_COUNT] = timeoutUs;
    });
    return true;
  }

  unhashed(tcb: Tcb): void {
    this.up.say(M_UNHASHED, tcb.fd);
  }

  freed(tcb: Tcb): boolean {
    this.up.say(M_FREED, tcb.fd);
    return true;
  }

  protected override heard(link: LinkReader, kind: number): void {
    const fd = link.argument(0);
    switch (kind) {
      case M_CHILD:
        this.handOver.adopt(fd, link.doubles, link.payload >>> 3);
        return;
      case M_ABANDON: {
        const tcb = sockOf(this.tcp, fd);
        if (tcb !== null && !tcb.orphan) resetQueuedChild(this.tcp, tcb);
        return;
      }
      case M_EPOLL_CLOSED:
        this.interests.dropEpoll(fd);
        return;
      case M_PACKET:
        this.route(this.take(link), link.argument(3));
        return;
      case M_FINAL:
        this.route(this.take(link), HOPS_MOST);
    }
  }
}
