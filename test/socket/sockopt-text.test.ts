/** Socket options whose value is a text, from a thread to the stack and back. */
import { expect } from 'chai';
import { EBADF, EINVAL, ENOPROTOOPT, ENOTSOCK } from '../../src/net/errno.js';
import { straced } from '../../src/socket/strace.js';
import type { Sys } from '../../src/socket/sys.js';
import {
  AF_INET,
  SO_ATTACH_REUSEPORT_SELECTOR,
  SO_BINDTODEVICE,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../../src/socket/uapi/constants.js';
import { T_TEXT_MAX_BYTES } from '../../src/socket/uapi/layout.js';
import { type InlineStack, inlineStack } from '../stack/inline-stack.js';

describe('socket/sys: options that are texts', () => {
  let inline: InlineStack;
  let sys: Sys;
  let fd: number;

  beforeEach(() => {
    inline = inlineStack();
    sys = inline.thread().sys;
    fd = sys.socket(AF_INET, SOCK_STREAM, 0);
  });

  const set = (text: string, name = SO_ATTACH_REUSEPORT_SELECTOR): number =>
    sys.setsockopt(fd, SOL_SOCKET, name, text);
  const arrived = (): string | undefined =>
    inline.stack.texts.get(`${fd}:${SO_ATTACH_REUSEPORT_SELECTOR}`);

  it('cross as they are, up to 4096 bytes of UTF-8', () => {
    const texts = ['p2c', '', '/srv/wähle.js', '𝄞 \0 ö', 'x'.repeat(T_TEXT_MAX_BYTES)];
    for (const text of [...texts, 'ö'.repeat(T_TEXT_MAX_BYTES / 2), 'short again']) {
      expect(set(text)).to.equal(0);
      expect(arrived()).to.equal(text);
    }
  });

  it('longer ones are -EINVAL and do not arrive', () => {
    for (const text of ['x'.repeat(T_TEXT_MAX_BYTES + 1), 'ö'.repeat(T_TEXT_MAX_BYTES / 2 + 1)]) {
      expect(set(text)).to.equal(-EINVAL);
      expect(arrived()).to.equal(undefined);
    }
  });

  it('come back as bytes, cut to the buffer', () => {
    set('tün0', SO_BINDTODEVICE);
    const out = new Uint8Array(16);
    const get = (into: Uint8Array): number => sys.getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, into);
    expect(get(out)).to.equal(5);
    expect(Buffer.from(out.subarray(0, 5)).toString()).to.equal('tün0');
    expect(get(new Uint8Array(2))).to.equal(2);
    expect(get(new Uint8Array(0))).to.equal(0);
    expect(sys.getsockopt(fd, 9, SO_BINDTODEVICE, out)).to.equal(-ENOPROTOOPT);
  });

  it('need a TCP socket', () => {
    expect(sys.setsockopt(99, SOL_SOCKET, SO_BINDTODEVICE, 'x')).to.equal(-EBADF);
    const eventfd = sys.eventfd(0, 0);
    expect(sys.setsockopt(eventfd, SOL_SOCKET, SO_BINDTODEVICE, 'x')).to.equal(-ENOTSOCK);
    expect(sys.getsockopt(eventfd, SOL_SOCKET, SO_BINDTODEVICE, new Uint8Array(4))).to.equal(
      -ENOTSOCK,
    );
  });

  it('show in a trace as strace shows them', () => {
    const lines: string[] = [];
    const traced = straced(sys, (line) => lines.push(line), { pid: 'worker 0' });
    traced.setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_SELECTOR, 'p2c');
    traced.setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_SELECTOR, `/${'a'.repeat(40)}`);
    traced.setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, 'tun0');
    traced.getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, new Uint8Array(16));
    traced.getsockopt(fd, 9, SO_BINDTODEVICE, new Uint8Array(16));
    const attach = `[worker 0] setsockopt(${fd}, SOL_SOCKET, SO_ATTACH_REUSEPORT_SELECTOR, `;
    expect(lines).to.deep.equal([
      `${attach}"p2c", 3) = 0`,
      `${attach}"/${'a'.repeat(31)}"..., 41) = 0`,
      `[worker 0] setsockopt(${fd}, SOL_SOCKET, SO_BINDTODEVICE, "tun0", 4) = 0`,
      `[worker 0] getsockopt(${fd}, SOL_SOCKET, SO_BINDTODEVICE, "tun0", [4]) = 0`,
      `[worker 0] getsockopt(${fd}, 0x9 /* SOL_??? */, 0x19, NULL, NULL) = ` +
        '-1 ENOPROTOOPT (Protocol not available)',
    ]);
  });
});
