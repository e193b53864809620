/** The life of the stack thread: what it posts when it cannot start. */
import { expect } from 'chai';
import { G_STATE, STACK_STARTING } from '../../src/socket/uapi/layout.js';
import { createCtl } from '../../src/socket/uapi/shared.js';
import {
  type PumpMessage,
  type PumpOptions,
  runStackThread,
} from '../../src/stack/stack-thread.js';

/** What the stack thread posts when it cannot begin. Needs no device and no privilege. */
function failed(more: Partial<PumpOptions>): Extract<PumpMessage, { event: 'failed' }>['error'] {
  const ctl = createCtl(64);
  const options: PumpOptions = {
    ctl,
    arenaBytes: 32 << 20,
    tun: {},
    profile: '6.18',
    sysctl: {},
    ...more,
  };
  const messages: PumpMessage[] = [];
  runStackThread(options, (message) => messages.push(message));
  expect(messages).to.have.length(1);
  const message = messages[0]!;
  expect(new Int32Array(ctl)[G_STATE]).to.equal(STACK_STARTING);
  if (message.event !== 'failed') throw new Error(`posted ${message.event}`);
  return message.error;
}

describe('stack/stack-thread: what it refuses before it touches the machine', () => {
  it('a sysctl that does not exist, or a value out of range', () => {
    const unknown = failed({ sysctl: { 'net.ipv4.nonsense': 1 } });
    expect(unknown.exitCode).to.equal(2);
    expect(unknown.message).to.contain('--sysctl net.ipv4.nonsense=1');
    const range = failed({ sysctl: { 'net.ipv4.tcp_syncookies': 9 } });
    expect(range.message).to.contain('tcp_syncookies');
    expect(range.remedy).to.contain('sysctl(8)');
  });

  it('a name that no interface can have', () => {
    const error = failed({ tun: { name: 'a name' } });
    expect(error).to.include({ code: 'EINVAL', exitCode: 2 });
  });
});
