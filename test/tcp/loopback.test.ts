/**
 * Packets to ourselves on a stack with several devices: the device that owns the address is where
 * they come in, as measured on Linux 6.18; and lo as a link.
 */
import { expect } from 'chai';
import { EINPROGRESS } from '../../src/net/errno.js';
import { BLOCK_ERROR, BLOCK_LADDR } from '../../src/net/sockmem.js';
import { ipv4 } from '../../src/testing/index.js';
import { bindTo, boundTo, listenOn, twoLinks } from './two-links.js';

describe('tcp: several devices, packets to ourselves', () => {
  /** What Linux 6.18 does with a connect() to an own address: the listener's child, or why not. */
  function attempt(listener: string, client: string, to: string): string {
    const host = twoLinks();
    const server = listenOn(host, 80, { dev: listener });
    const { stack } = host;
    const fd = stack.socket(0);
    bindTo(host, fd, client);
    expect(stack.connect(fd, ipv4(to), 80)).to.equal(-EINPROGRESS);
    host.advance(100);
    const child = host.accept(server);
    const error = host.mem.ctl[host.mem.blockAt(fd) + BLOCK_ERROR]!;
    if (child < 0) return error === 0 ? 'timeout' : error === 111 ? 'refused' : `errno ${error}`;
    const from = host.mem.ctl[host.mem.blockAt(fd) + BLOCK_LADDR]!;
    const name = `${from >>> 24}.${(from >>> 16) & 255}.${(from >>> 8) & 255}.${from & 255}`;
    return `${name}, child ${boundTo(host, child) || 'unbound'}`;
  }

  const measured: [listener: string, client: string, to: string, result: string][] = [
    ['d0', '', '10.1.0.1', '10.1.0.1, child d0'],
    ['d0', '', '10.2.0.1', 'refused'],
    ['d0', '', '127.0.0.1', 'refused'],
    ['d0', 'd0', '10.2.0.1', 'timeout'],
    ['lo', '', '10.1.0.1', 'refused'],
    ['lo', 'lo', '10.1.0.1', '10.1.0.1, child lo'],
    ['lo', 'd0', '10.1.0.1', 'refused'],
    ['lo', '', '127.0.0.1', '127.0.0.1, child lo'],
    ['lo', 'lo', '127.3.4.5', '127.0.0.1, child lo'],
    ['lo', 'd0', '127.0.0.1', 'timeout'],
    ['lo', '', '0.0.0.0', '127.0.0.1, child lo'],
    ['lo', 'd0', '0.0.0.0', 'refused'],
    ['', '', '10.9.0.7', '10.9.0.7, child unbound'],
    ['', 'd0', '10.1.0.1', '10.1.0.1, child unbound'],
    ['', 'd0', '0.0.0.0', '10.1.0.1, child unbound'],
    ['', '', '127.3.4.5', '127.0.0.1, child unbound'],
    // The answer of an unbound child comes back by d0, which the client does not hear.
    ['', 'lo', '10.1.0.1', 'timeout'],
  ];
  for (const [listener, client, to, result] of measured) {
    const on = (dev: string): string => (dev === '' ? 'unbound' : `bound to ${dev}`);
    it(`listener ${on(listener)}, client ${on(client)}, to ${to}: ${result}`, () => {
      expect(attempt(listener, client, to)).to.equal(result);
    });
  }

  it('lo carries segments of 64 KiB, and a large transfer arrives', () => {
    const host = twoLinks({ arenaBytes: 64 << 20 });
    const { stack } = host;
    const server = host.listen(80);
    const fd = stack.socket(0);
    stack.connect(fd, ipv4('127.0.0.1'), 80);
    host.advance(1);
    const child = host.accept(server);
    expect(stack.sock(child)!.sndMss).to.equal(65_495 - 12);
    const bytes = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 7) % 251);
    let written = 0;
    const parts: Uint8Array[] = [];
    for (let turn = 0; turn < 2000 && parts.reduce((n, p) => n + p.length, 0) < 3e6; turn++) {
      if (written < bytes.length) {
        const taken = host.write(fd, bytes.subarray(written));
        if (taken > 0) written += taken;
      }
      host.advance(1);
      const got = host.read(child);
      if (typeof got !== 'number') parts.push(got.slice());
    }
    expect(Buffer.concat(parts).equals(bytes)).to.equal(true);
    for (const link of host.links) expect(link.sent).to.deep.equal([]);
  });
});
