/**
 * Three hundred addresses, eighty listeners each, on one port of a whole stack: what binding,
 * listening, looking up and closing cost, counted in rows that were looked at.
 */
import { expect } from 'chai';
import { ipv4, MemoryStack, Peer } from '../../src/testing/index.js';

const ADDRESSES = 300;
const LISTENERS = 80;
const PORT = 8888;
const SOL_SOCKET = 1;
const SO_REUSEPORT = 15;

function makeHost(): MemoryStack {
  const addresses = Array.from({ length: ADDRESSES }, (_, i) => `10.0.${i >> 8}.${i & 255}/16`).map(
    (text) => text.replace('10.0.0.0/', '10.0.3.0/'),
  );
  return new MemoryStack({
    links: [{ addresses }],
    fds: ADDRESSES * LISTENERS + 64,
    arenaBytes: 128 << 20,
  });
}

describe('tcp: 300 addresses, 80 listeners each', function () {
  this.timeout(20_000);

  it('bind, listen and close cost what the owners of one address cost', () => {
    const host = makeHost();
    const { stack } = host;
    const { bhash, lhash2 } = stack.tcp.hashinfo;
    const fds: number[] = [];
    let mostVisited = 0;
    for (const { address } of stack.net.routes.device(2)!.addresses) {
      for (let i = 0; i < LISTENERS; i++) {
        const fd = stack.socket(0);
        stack.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1, 0);
        const before = bhash.visited;
        expect(stack.bind(fd, address, PORT) || stack.listen(fd, 0)).to.equal(0);
        mostVisited = Math.max(mostVisited, bhash.visited - before);
        fds.push(fd);
      }
    }
    expect(fds).to.have.lengthOf(ADDRESSES * LISTENERS);
    expect([lhash2.size, bhash.ports]).to.deep.equal([fds.length, 1]);
    // Once by bind() and once by listen(), among the owners of its own address.
    expect(mostVisited).to.be.at.most(2 * LISTENERS);

    // A SYN looks at one listener, whichever of the 24,000 is meant.
    for (const last of ['10.0.0.1', '10.0.0.255', '10.0.1.43']) {
      const peer = new Peer(host, { localAddress: last, localPort: PORT, address: '10.0.9.9' });
      peer.in('S 0:0(0) win 65535 <mss 1460>');
      peer.out('S. 0:0(0) ack 1 <...>');
      const { visited, members } = stack.tcp.hashinfo;
      expect([visited, members]).to.deep.equal([1, LISTENERS]);
    }

    for (const fd of fds) expect(stack.close(fd)).to.equal(0);
    host.poll();
    expect([lhash2.size, bhash.ports]).to.deep.equal([0, 0]);
    // Requests of closed listeners end with their timers.
    host.advance(200_000);
    expect(host.mem.fdsInUse).to.equal(0);
  });

  it('one more plain socket at another address asks nobody', () => {
    const host = makeHost();
    const { stack } = host;
    for (const { address } of stack.net.routes.device(2)!.addresses.slice(1)) {
      expect(stack.bind(stack.socket(0), address, PORT)).to.equal(0);
    }
    const { bhash } = stack.tcp.hashinfo;
    const before = bhash.visited;
    expect(stack.bind(stack.socket(0), ipv4('10.0.3.0'), PORT)).to.equal(0);
    expect(bhash.visited - before).to.equal(0);
  });
});
