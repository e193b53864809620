/** iperf3's server against clients that vanish, lie, or say nothing. */
import { expect } from 'chai';
import * as fc from 'fast-check';
import {
  ACCESS_DENIED,
  CLIENT_TERMINATE,
  CREATE_STREAMS,
  EXCHANGE_RESULTS,
  encodeJson,
  IEMESSAGE,
  IENUMSTREAMS,
  IERECVPARAMS,
  IERECVRESULTS,
  IESETCONGESTION,
  IESTREAMCLOSE,
  IEUNIMP,
  IPERF_DONE,
  PARAMETERS_BYTES_MAX,
  type Results,
  SERVER_ERROR,
  SERVER_TERMINATE,
  TEST_END,
  TEST_RUNNING,
  TEST_START,
} from '../../src/app/iperf3-protocol.js';
import { COOKIE_MS, FAREWELL_MS, STRANGERS_MAX } from '../../src/app/iperf3-service.js';
import { GRACE_MS, IDLE_MS, RESULTS_MS, SETUP_MS } from '../../src/app/iperf3-test.js';
import {
  clientResults,
  Iperf3World,
  messageOf,
  OTHER_COOKIE,
  refusal,
  servesAnother,
} from './iperf3-world.js';

describe('app/iperf3: clients that misbehave', () => {
  it('tells a second client that it is busy, and goes on with the first', () => {
    const world = new Iperf3World();
    const control = world.agree({ parallel: 1 });
    world.connect();
    world.heard(control);
    const second = world.connect(OTHER_COOKIE);
    expect(world.heard(second)).to.deep.equal([ACCESS_DENIED]);
    world.sends(second, 'more');
    world.sys.peerEnds(second);
    world.turn();
    expect(world.sys.isOpen(second)).to.equal(false);
    world.state(control, TEST_END);
    expect(world.heard(control)).to.deep.equal([EXCHANGE_RESULTS]);
  });

  it('denies a stream with a wrong cookie, and takes the right one', () => {
    const world = new Iperf3World();
    const control = world.agree({ parallel: 1 });
    world.heard(control);
    const wrong = world.connect(OTHER_COOKIE);
    expect(world.heard(wrong)).to.deep.equal([ACCESS_DENIED]);
    expect(world.heard(control)).to.deep.equal([]);
    world.connect();
    expect(world.heard(control)).to.deep.equal([TEST_START, TEST_RUNNING]);
    world.nowMs += FAREWELL_MS;
    world.turn();
    expect(world.sys.isOpen(wrong)).to.equal(false);
  });

  it('refuses what it cannot do so that the client can say it', () => {
    for (const [parameters, error, why] of [
      [{ udp: true, tcp: undefined }, IEUNIMP, /UDP/],
      [{ sctp: true }, IEUNIMP, /SCTP/],
      [{ congestion: 'bbr', reverse: true }, IESETCONGESTION, /bbr/],
      [{ parallel: 129 }, IENUMSTREAMS, /parallel 129.*128/],
    ] as const) {
      const world = new Iperf3World();
      const control = world.agree(parameters);
      expect(refusal(world, control)).to.deep.equal({ state: SERVER_ERROR, error });
      expect(world.warned[0]).to.match(why).and.to.contain('198.18.0.254');
      expect(world.outcomes[0]!.error).to.match(/refused/);
      world.sys.peerEnds(control);
      world.turn();
      expect(world.sys.isOpen(control)).to.equal(false);
      servesAnother(world);
    }
  });

  it('tells of a congestion control that only the client has, and goes on', () => {
    const world = new Iperf3World();
    const control = world.agree({ congestion: 'bbr' });
    expect(world.heard(control)).to.deep.equal([CREATE_STREAMS]);
    expect(world.warned[0]).to.contain('bbr');
  });

  it('refuses garbage and oversize messages', () => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(PARAMETERS_BYTES_MAX + 1);
    for (const bytes of [
      encodeJson('text'),
      encodeJson([1]),
      length,
      Buffer.from('\0\0\0\x02{x'),
    ]) {
      const world = new Iperf3World();
      const control = world.connect();
      world.heard(control);
      world.sends(control, bytes);
      expect(refusal(world, control).error).to.equal(IERECVPARAMS);
      servesAnother(world);
    }
  });

  it('refuses an unknown state, and results that are none', () => {
    const world = new Iperf3World();
    const control = world.agree({});
    world.heard(control);
    world.state(control, 77);
    expect(refusal(world, control).error).to.equal(IEMESSAGE);
    for (const results of [{}, { streams: [1] }, { streams: [{}] }, { streams: [null] }]) {
      const next = world.agree({});
      world.connect();
      world.state(next, TEST_END);
      world.heard(next);
      world.sends(next, encodeJson(results));
      expect(refusal(world, next).error).to.equal(IERECVRESULTS);
    }
    servesAnother(world);
  });

  it('survives whatever comes after a cookie', () => {
    const property = fc.property(fc.array(fc.uint8Array({ maxLength: 60 })), (pieces) => {
      const world = new Iperf3World();
      const control = world.connect();
      for (const piece of pieces) if (world.sys.isOpen(control)) world.sends(control, piece);
      if (world.sys.isOpen(control)) world.sys.peerEnds(control);
      world.turn(20);
      expect(world.sys.isOpen(control)).to.equal(false);
      servesAnother(world);
    });
    fc.assert(property, { numRuns: 100, seed: 7 });
  });

  it('drops a test whose client vanishes, at every point', () => {
    for (const vanish of ['peerEnds', 'peerResets'] as const) {
      for (const count of [-1, 0, 1, 2]) {
        const world = new Iperf3World();
        const control = count < 0 ? world.connect() : world.agree({ parallel: 2 });
        const streams = Array.from({ length: Math.max(0, count) }, () => world.connect());
        world.sys[vanish](control);
        world.turn();
        expect(world.outcomes[0]!.error).to.contain('unexpectedly closed');
        expect(world.sys.closed.map(({ fd }) => fd)).to.have.members([control, ...streams]);
        if (count === 2) expect(world.sys.closed[0]).to.include({ fd: streams[0], reset: true });
        servesAnother(world);
      }
    }
  });

  it('waits no longer than it must for a silent client', () => {
    const world = new Iperf3World();
    world.connect();
    world.pass(SETUP_MS);
    expect(world.outcomes[0]!.error).to.contain('silent');
    const control = world.agree({ parallel: 1 });
    world.connect();
    world.state(control, TEST_END);
    world.pass(RESULTS_MS);
    expect(world.outcomes[1]!.error).to.contain('silent');
    world.pass(FAREWELL_MS);
    servesAnother(world);
  });

  it('ends a test that goes on too long, or in which nothing flows', () => {
    const world = new Iperf3World();
    const control = world.agree({ time: 1 });
    const stream = world.connect();
    for (let i = 0; i < 11; i++) {
      expect(world.outcomes).to.have.length(0);
      world.sends(stream, 'x');
      world.pass((1000 + GRACE_MS) / 11);
    }
    expect(world.outcomes[0]!.error).to.contain('in time');
    expect(world.sys.isOpen(stream)).to.equal(false);
    world.sys.peerEnds(control);
    const endless = new Iperf3World();
    endless.agree({ num: 1e12, time: 0 });
    const slow = endless.connect();
    endless.pass(IDLE_MS - 1000);
    endless.sends(slow, 'x');
    endless.pass(IDLE_MS - 1000);
    expect(endless.outcomes).to.have.length(0);
    endless.pass(2000);
    expect(endless.outcomes[0]!.error).to.contain('nothing has come or gone for 120 s');
  });

  it('is content with a client that has its results and says no more', () => {
    const world = new Iperf3World();
    const control = world.agree({});
    world.connect();
    world.state(control, TEST_END);
    world.sends(control, clientResults([1], 0));
    world.pass(SETUP_MS);
    expect(world.outcomes[0]!.error).to.equal(null);
  });

  it('hears a client that gives up', () => {
    for (const [state, error] of [
      [CLIENT_TERMINATE, 'the client has terminated'],
      [IPERF_DONE, 'the client ended before the test did'],
    ] as const) {
      const world = new Iperf3World();
      const control = world.agree({});
      world.connect();
      world.state(control, state);
      expect(world.outcomes[0]!.error).to.equal(error);
      servesAnother(world);
    }
  });

  it('refuses to go on without a stream that was closed too early', () => {
    const world = new Iperf3World();
    const control = world.agree({ parallel: 2 });
    world.heard(control);
    const stream = world.connect();
    world.sys.peerEnds(stream);
    world.turn();
    expect(refusal(world, control).error).to.equal(IESTREAMCLOSE);
    expect(world.sys.isOpen(stream)).to.equal(false);
  });

  it('counts what a stream carried before it was lost', () => {
    for (const reverse of [false, true]) {
      const world = new Iperf3World();
      const control = world.agree({ parallel: 2, ...(reverse ? { reverse } : {}) });
      const lost = world.connect();
      world.connect();
      if (reverse) for (const fd of [lost, lost + 1]) world.sys.file(fd).room = 100;
      else world.sends(lost, 'x'.repeat(100));
      world.turn();
      world.sys.peerResets(lost);
      world.turn();
      expect(world.sys.isOpen(lost)).to.equal(false);
      world.state(control, TEST_END);
      world.heard(control);
      world.sends(control, clientResults([1, 3], 0));
      const { json } = messageOf<Results>(world.sys.peerReads(control));
      expect(json.streams[0]!.bytes).to.equal(100);
    }
  });

  it('keeps nobody out because of connections that say nothing', () => {
    const world = new Iperf3World();
    const silent = Array.from({ length: STRANGERS_MAX - 2 }, () => world.connect(''));
    servesAnother(world);
    const gone = world.connect('');
    world.sys.peerEnds(gone);
    world.turn();
    expect(world.sys.isOpen(gone)).to.equal(false);
    const more = [world.connect(''), world.connect(''), world.connect('')];
    expect(more.map((fd) => world.sys.isOpen(fd))).to.deep.equal([true, true, false]);
    world.pass(COOKIE_MS);
    expect(silent.filter((fd) => world.sys.isOpen(fd))).to.deep.equal([]);
  });

  it('tells its client when it leaves, and leaves nothing behind', () => {
    const world = new Iperf3World();
    const waiting = world.connect('');
    const control = world.agree({ time: 10 });
    const stream = world.connect();
    world.sends(stream, 'x'.repeat(100));
    world.heard(control);
    world.stop();
    expect(world.heard(control)).to.deep.equal([SERVER_TERMINATE]);
    expect(world.outcomes[0]).to.include({ error: 'the server has terminated', bytesIn: 100 });
    expect(world.sys.isOpen(waiting)).to.equal(false);
    expect(world.sys.isOpen(stream)).to.equal(false);
    world.sys.peerEnds(control);
    world.turn();
    expect(world.loop.left()).to.equal(true);
  });
});
