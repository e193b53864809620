/** What a selector is told of the threads behind the listeners. */
import { expect } from 'chai';
import type { NetNs } from '../../src/net/netns.js';
import { BLOCK_OWNER } from '../../src/net/sockmem.js';
import type { SockCommon } from '../../src/reuseport/sock-common.js';
import {
  MAX_THREADS,
  T_BEAT,
  T_BUSY,
  T_SLEEPING,
  T_STATE,
  THREAD_FREE,
  THREAD_LIVE,
  threadAt,
} from '../../src/socket/uapi/layout.js';
import { createCtl, openShared } from '../../src/socket/uapi/shared.js';
import { LiveMembers } from '../../src/stack/live-members.js';
import { SocketMembers } from '../../src/stack/socket-members.js';
import { MemoryStack } from '../../src/testing/index.js';

const OFFSET_MS = 1e9;

function rig() {
  const shared = openShared(createCtl(64), new Uint8Array(new SharedArrayBuffer(1 << 16)));
  const net = { nowUs: 0 } as NetNs;
  const members = new LiveMembers(shared, net, OFFSET_MS);
  const at = threadAt(shared.layout, 5);
  const sk = { at: shared.layout.blocksAt } as unknown as SockCommon;
  const { ctl } = shared;
  ctl[shared.layout.blocksAt + BLOCK_OWNER] = 6;
  ctl[at + T_STATE] = THREAD_LIVE;
  const setNow = (ms: number): void => {
    net.nowUs = (ms - OFFSET_MS) * 1000;
  };
  return { ctl, members, at, sk, setNow, owner: shared.layout.blocksAt + BLOCK_OWNER };
}

describe('stack/live-members', () => {
  it('a thread that works is as old as its last sign, one that waits is not', () => {
    const { ctl, members, at, sk, setNow } = rig();
    ctl[at + T_BEAT] = 1_000_000_000;
    setNow(1_000_001_500);
    expect(members.heartbeatAgeMs(sk)).to.equal(1500);
    ctl[at + T_SLEEPING] = 2;
    expect(members.heartbeatAgeMs(sk)).to.equal(0);
    ctl[at + T_SLEEPING] = -1;
    expect(members.heartbeatAgeMs(sk)).to.equal(0);
    ctl[at + T_SLEEPING] = 0;
    setNow(999_999_990);
    expect(members.heartbeatAgeMs(sk)).to.equal(0);
  });

  it('a thread that is gone, or never was, is older than everything', () => {
    const { ctl, members, at, sk, owner } = rig();
    ctl[at + T_STATE] = THREAD_FREE;
    expect(members.heartbeatAgeMs(sk)).to.equal(Number.POSITIVE_INFINITY);
    ctl[at + T_STATE] = THREAD_LIVE;
    for (const nobody of [0, -1, MAX_THREADS + 1, 0x7fffffff]) {
      ctl[owner] = nobody;
      expect(members.heartbeatAgeMs(sk)).to.equal(Number.POSITIVE_INFINITY);
      expect(members.utilisation(sk)).to.equal(0);
    }
  });

  it('how busy it was follows what it does now', () => {
    const { ctl, members, at, sk, setNow } = rig();
    ctl[at + T_BEAT] = 1_000_000_000;
    ctl[at + T_BUSY] = 200;
    setNow(1_000_000_000);
    expect(members.utilisation(sk)).to.equal(0.2);
    setNow(1_000_003_000);
    expect(members.utilisation(sk)).to.be.closeTo(0.8, 1e-9);
    ctl[at + T_SLEEPING] = 1;
    expect(members.utilisation(sk)).to.be.closeTo(0.05, 1e-9);
  });

  it('without threads everybody lives and rests; queues are those of the sockets', () => {
    const host = new MemoryStack({ arenaBytes: 4 << 20 });
    const sk = host.stack.sock(host.listen(80))!;
    const members = new SocketMembers();
    expect([
      members.queueLength(sk),
      members.connections(sk),
      members.utilisation(sk),
      members.heartbeatAgeMs(sk),
    ]).to.deep.equal([0, 0, 0, 0]);
    expect(members.connections(host.stack.sock(host.stack.socket(0))!)).to.equal(0);
  });
});
