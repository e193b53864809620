/** Looking before sleeping: when it begins and ends, and that a thread that looks is not rung. */
import { expect } from 'chai';
import { AF_INET, EPOLL_CTL_ADD, EPOLLOUT, SOCK_STREAM } from '../../src/socket/uapi/constants.js';
import { G_SPIN_US, T_SLEEPING, threadAt } from '../../src/socket/uapi/layout.js';
import { Spin } from '../../src/socket/uapi/spin.js';
import { inlineStack } from '../stack/inline-stack.js';

describe('socket/uapi/spin', () => {
  it('pays after eight short waits, until long ones or an interruption', () => {
    const spin = new Spin(100);
    for (let i = 0; i < 8; i++) {
      expect(spin.pays).to.equal(false);
      spin.waited(100);
    }
    expect(spin.pays).to.equal(true);
    spin.waited(101);
    expect(spin.pays).to.equal(false);
    for (let i = 0; i < 30; i++) spin.waited(0);
    spin.waited(1e6);
    expect(spin.pays).to.equal(true);
    spin.waited(1e6);
    expect(spin.pays).to.equal(false);
    for (let i = 0; i < 8; i++) spin.waited(0);
    spin.interrupted();
    expect(spin.pays).to.equal(false);
  });

  it('takes a wait for short that looking would have seen the end of', () => {
    const spin = new Spin(1000);
    for (let i = 0; i < 8; i++) spin.waited(1001);
    expect(spin.pays).to.equal(false);
    for (let i = 0; i < 8; i++) spin.waited(1000);
    expect(spin.pays).to.equal(true);
  });

  /** Short waits until looking pays again. */
  function sitsOut(spin: Spin): number {
    let waits = 0;
    for (; !spin.pays; waits++) spin.waited(0);
    return waits;
  }

  it('sits out twice as many short waits after each interruption, at most 8,192 of them', () => {
    const spin = new Spin(100);
    const waits: number[] = [];
    for (let i = 0; i < 13; i++) {
      waits.push(sitsOut(spin));
      spin.interrupted();
    }
    expect(waits.slice(0, 5)).to.deep.equal([8, 16, 24, 40, 72]);
    expect(waits[12]).to.equal(8192 + 8);
  });

  it('sits out less again when its looks find something', () => {
    const spin = new Spin(100);
    for (let i = 0; i < 6; i++) spin.interrupted();
    sitsOut(spin);
    for (let i = 0; i < 1000; i++) spin.waited(0);
    spin.interrupted();
    expect(sitsOut(spin)).to.equal(16);
  });

  it('never pays when it is switched off', () => {
    const spin = new Spin(0);
    for (let i = 0; i < 8; i++) spin.waited(0);
    expect(spin.pays).to.equal(false);
  });

  it('finds news without a sleep, and sleeps when there is none', () => {
    const inline = inlineStack();
    const { ctl, layout } = inline.shared;
    ctl[G_SPIN_US] = 50;
    const { port, sys } = inline.thread();
    const epfd = sys.epoll_create1(0);
    // A ready ring that is not empty ends a sleep at once: such waits are short.
    const fd = sys.socket(AF_INET, SOCK_STREAM, 0);
    sys.epoll_ctl(epfd, EPOLL_CTL_ADD, fd, { events: EPOLLOUT, data: 0 });
    inline.syscalls.ready(fd, EPOLLOUT);
    for (let i = 0; i < 8; i++) port.sleep(0, 0);
    const sleeping = threadAt(layout, port.number) + T_SLEEPING;
    Atomics.store(ctl, sleeping, 77);
    port.sleep(0, 1000);
    // It has not said that it sleeps, so nobody would ring it.
    expect(ctl[sleeping]).to.equal(77);
    const fds = new Int32Array(4);
    expect([port.takeReady(0, fds), fds[0]]).to.deep.equal([1, fd]);
    Atomics.store(ctl, sleeping, 0);
    const startMs = performance.now();
    expect(port.sleep(0, 1)).to.be.greaterThan(startMs);
  });
});
