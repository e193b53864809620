/**
 * What openStack refuses before it touches the machine, joining a stack in memory, and the table of
 * sockets.
 */

import { once } from 'node:events';
import { expect } from 'chai';
import { attach, type OpenOptions, openStack, type StackError } from '../../src/index.js';
import { toStackError } from '../../src/socket/errors.js';
import { checkOpenOptions } from '../../src/socket/open-options.js';
import { G_STATE, STACK_RUNNING } from '../../src/socket/uapi/layout.js';
import {
  createCtl,
  declareDead,
  layoutOf,
  openShared,
  reserveThread,
} from '../../src/socket/uapi/shared.js';
import { inlineStack } from '../stack/inline-stack.js';

async function refusal(options: object): Promise<StackError> {
  return await openStack(options as OpenOptions).then(
    () => expect.fail('it was accepted'),
    (error: StackError) => error,
  );
}

describe('openStack: options', () => {
  const wrong: [object, RegExp][] = [
    [{ tun: '' }, /option 'tun' must be an interface name/],
    [{ tun: 'a/b' }, /option 'tun'/],
    [{ tun: 'sixteen-bytes-xx' }, /option 'tun'/],
    [{ tun: '..' }, /option 'tun'/],
    [{ address: '198.18.0.1/33' }, /option 'address' must be an IPv4 address/],
    [{ address: '198.18.0.1/24/1' }, /option 'address'/],
    [{ address: 5 }, /option 'address'.*not 5/],
    [{ peer: '::1' }, /option 'peer'/],
    [{ mtu: 67 }, /option 'mtu' must be a whole number in 68\.\.65535, not 67/],
    [{ mtu: 65536 }, /option 'mtu'/],
    [{ mtu: 1500.5 }, /option 'mtu'/],
    [{ offload: 'no' }, /option 'offload' must be true or false/],
    [{ txqueuelen: 0 }, /option 'txqueuelen'/],
    [{ pcap: '' }, /option 'pcap'/],
    [{ profile: '4.9' }, /option 'profile' must be '5.0' or '6.18'/],
    [{ sysctl: ['a'] }, /option 'sysctl' must be an object/],
    [{ sysctl: { 'net.ipv4.no_such_knob': 1 } }, /net\.ipv4\.no_such_knob = 1/],
    [{ sysctl: { 'net.ipv4.tcp_syncookies': 'x' } }, /tcp_syncookies = x/],
    [{ sysctl: { 'net.ipv4.tcp_migrate_req': 2 } }, /"2" is not 0\.\.1/],
    [{ seed: true }, /option 'seed'/],
    [{ spinUs: -1 }, /option 'spinUs'/],
    [{ queues: 17 }, /option 'queues' must be a whole number in 1\.\.16/],
    [{ arenaBytes: 4097 }, /option 'arenaBytes' must be a multiple of 4096/],
    [{ arenaBytes: 32 << 20, queues: 2 }, /'arenaBytes' must be 67108864 or more with 2 queues/],
    [{ colour: 'red' }, /no option 'colour'/],
    [{ device: {} }, /no option 'device'/],
  ];
  for (const [options, message] of wrong) {
    it(`refuses ${JSON.stringify(options)}`, async () => {
      const error = await refusal(options);
      expect(error.message).to.match(message);
      expect(error).to.include({ name: 'StackError', code: 'EINVAL', exitCode: 2 });
    });
  }

  it('refuses what is no object', async () => {
    expect((await refusal(null as unknown as object)).message).to.match(/takes an object/);
    expect((await refusal({ device: 1 })).remedy).to.equal(
      "a stack in memory is made by 'tunstack/testing'",
    );
  });

  it('fills in defaults and hands on only what was given', () => {
    expect(checkOpenOptions({ mtu: 68, address: '10.0.0.1', tun: undefined })).to.deep.equal({
      arenaBytes: 2 ** 30,
      tun: { mtu: 68, address: '10.0.0.1' },
      profile: '6.18',
      sysctl: {},
      seed: undefined,
      pcap: undefined,
      spinUs: 50,
      queues: 1,
    });
    const full = { mtu: 65535, address: '10.0.0.1/32', arenaBytes: 32 << 20, seed: 'x' };
    expect(checkOpenOptions(full)).to.include({ arenaBytes: 32 << 20, seed: 'x' });
  });
});

describe('attach', () => {
  function sharedStack() {
    const ctl = createCtl(256);
    const words = new Int32Array(ctl);
    Atomics.store(words, G_STATE, STACK_RUNNING);
    const arena = new SharedArrayBuffer(1 << 20);
    const thread = reserveThread(words, layoutOf(words));
    return { ctl, arena, thread, address: '198.18.0.1' };
  }

  it('gives sys, net, number and the tables', () => {
    const shared = sharedStack();
    const attached = attach(shared);
    const { mib } = openShared(shared.ctl, new Uint8Array(shared.arena));
    mib[0] = 7;
    expect([attached.threadNumber, attached.address]).to.deep.equal([0, '198.18.0.1']);
    expect(attached.sockets()).to.deep.equal([]);
    expect(Object.values(attached.counters())[0]).to.equal(7);
    expect(attached.sys.close(99)).to.equal(-9);
  });

  it('refuses a stack that is gone, and says why', () => {
    const shared = sharedStack();
    const words = new Int32Array(shared.ctl);
    declareDead(words, layoutOf(words), 'of a test');
    expect(() => attach(shared)).to.throw('the stack thread died: of a test');
  });
});

describe('socketRows', () => {
  it('lists listeners with their backlog and whose they are', async () => {
    const { socketRows } = await import('../../src/socket/socket-rows.js');
    const stack = inlineStack();
    const first = stack.thread();
    const second = stack.thread();
    const open = (sys: typeof first.sys) => {
      const fd = sys.socket(2, 1, 0);
      sys.bind(fd, { address: '198.18.0.1', port: 80 });
      return fd;
    };
    const fds = [open(first.sys), open(second.sys)];
    const rows = socketRows(stack.shared.mem);
    expect(rows.map((row) => row.fd)).to.deep.equal(fds);
    expect(rows.map((row) => [row.thread, row.worker])).to.deep.equal([
      [0, null],
      [1, 0],
    ]);
    first.sys.close(fds[0]!);
    expect(socketRows(stack.shared.mem).map((row) => row.fd)).to.deep.equal([fds[1]]);
  });
});

describe('errors of the stack', () => {
  it('keep code, remedy and exit code across threads', () => {
    const plain = { code: 'EPERM', message: 'no', remedy: 'sudo', exitCode: 77 };
    const error = toStackError(plain);
    expect(error.toPlain()).to.deep.equal(plain);
    expect(toStackError(error)).to.equal(error);
    const cause = new TypeError('broken');
    expect(toStackError(cause)).to.include({ message: 'broken', exitCode: 1, cause });
    expect(toStackError('text')).to.include({ message: 'text', code: 'ERR_STACK_FAILED' });
    expect(toStackError({}).message).to.equal('{}');
  });

  it('once() works on them as on any', async () => {
    const { EventEmitter } = await import('node:events');
    const emitter = new EventEmitter();
    setImmediate(() => emitter.emit('error', toStackError('x')));
    expect((await once(emitter, 'error'))[0]).to.have.property('name', 'StackError');
  });
});
