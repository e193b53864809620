/** Whose socket it is: SO_REUSEPORT shares a port among one user's sockets only. */
import { expect } from 'chai';
import * as c from '../../src/socket/uapi/constants.js';
import { inlineStack } from '../stack/inline-stack.js';

describe('socket/sys: the owner of a socket', () => {
  it('is the effective user at its making, as that of an inode', () => {
    const { stack, ...inline } = inlineStack();
    const { sys } = inline.thread();
    const { geteuid } = process;
    try {
      process.geteuid = () => 4711;
      sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
    } finally {
      process.geteuid = geteuid!;
    }
    expect(stack.lastUid).to.equal(4711);
    sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
    expect(stack.lastUid).to.equal(process.geteuid!());
  });
});
