/** connect() on a socket that has tried before: what it says of the first attempt, and then. */
import { expect } from 'chai';
import { EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../../src/net/epoll-bits.js';
import { ECONNRESET, EINPROGRESS, EINVAL, EISCONN, ENOTCONN, EPIPE } from '../../src/net/errno.js';
import { BLOCK_LADDR, BLOCK_LPORT, BLOCK_RADDR, BLOCK_RPORT } from '../../src/net/sockmem.js';
import type { MemoryStack } from '../../src/testing/index.js';
import { conversation, synSent } from './state-table.js';

/** What getsockname and getpeername show. */
function names(host: MemoryStack, fd: number): number[] {
  const at = host.mem.blockAt(fd);
  return [BLOCK_LADDR, BLOCK_LPORT, BLOCK_RADDR, BLOCK_RPORT].map(
    (word) => host.mem.ctl[at + word]!,
  );
}

describe('tcp: connect again', () => {
  it('a connection that has been connects no more, if connect() had told of it', () => {
    for (const told of [false, true]) {
      const c = conversation();
      synSent(c);
      const { host, peer, fd } = c;
      peer.in('S. 0:0(0) ack 1 <mss 1460>');
      peer.out('. 1:1(0) ack 1');
      if (told) expect(host.stack.connect(fd, peer.address, peer.port)).to.equal(0);
      peer.in('R 1:1(0)');
      expect(host.stack.listen(fd, 1)).to.equal(-EINVAL);
      const result = told ? EISCONN : ECONNRESET;
      expect(host.stack.connect(fd, peer.address, peer.port)).to.equal(-result);
    }
  });

  it('given up by shutdown() after it failed: neither connects nor listens any more', () => {
    const c = conversation();
    synSent(c);
    const { host, peer, fd } = c;
    peer.in('R. 0:0(0) ack 1');
    expect(host.stack.shutdown(fd, 1)).to.equal(-ENOTCONN);
    expect(host.stack.connect(fd, peer.address, peer.port)).to.equal(-EINVAL);
    expect(host.stack.listen(fd, 1)).to.equal(-EINVAL);
  });

  it('shut down before it connects stays shut down', () => {
    const c = conversation();
    const { host, peer } = c;
    const fd = host.stack.socket(0);
    expect(host.stack.shutdown(fd, 2)).to.equal(-ENOTCONN);
    expect(host.ready(fd)).to.equal(EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLRDHUP);
    expect(host.stack.connect(fd, peer.address, peer.port)).to.equal(-EINPROGRESS);
    host.poll();
    peer.localPort = names(host, fd)[1]!;
    peer.out('S 0:0(0) <...>');
    peer.in('S. 0:0(0) ack 1 <mss 1460>');
    peer.out('. 1:1(0) ack 1');
    expect(host.write(fd, 'x')).to.equal(-EPIPE);
    expect(host.read(fd)).to.have.lengthOf(0);
  });

  it('a port that was given back is still what getsockname shows', () => {
    const { host, peer } = conversation();
    const fd = host.stack.socket(0);
    host.stack.connect(fd, peer.address, peer.port);
    const port = names(host, fd)[1]!;
    host.poll();
    peer.localPort = port;
    peer.out('S 0:0(0) <...>');
    peer.in('R. 0:0(0) ack 1');
    host.stack.connect(fd, peer.address, peer.port);
    expect(names(host, fd)).to.deep.equal([0, port, 0, 0]);
    expect(host.stack.bind(fd, 0, port)).to.equal(0);
  });

  it('in TIME-WAIT: a port of our choice is given back, one asked for is kept', () => {
    for (const port of [0, 7000]) {
      const { host, peer } = conversation();
      const fd = host.stack.socket(0);
      host.stack.bind(fd, host.address, port);
      host.stack.connect(fd, peer.address, peer.port);
      host.poll();
      const used = names(host, fd)[1]!;
      peer.localPort = used;
      peer.out('S 0:0(0) <...>');
      peer.in('S. 0:0(0) ack 1 <mss 1460>');
      peer.out('. 1:1(0) ack 1');
      host.shutdown(fd, 1);
      peer.out('F. 1:1(0) ack 1');
      peer.in('F. 1:1(0) ack 2');
      peer.out('. 2:2(0) ack 2');
      const owners = host.stack.tcp.hashinfo.bhash.find(used, host.address)!.owners;
      expect(owners).to.have.lengthOf(port === 0 ? 1 : 2);
      expect(host.stack.bind(fd, 0, 7001)).to.equal(port === 0 ? 0 : -EINVAL);
    }
  });
});
