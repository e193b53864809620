/** iperf3's server against a scripted client that does what it should. */
import { expect } from 'chai';
import {
  CREATE_STREAMS,
  DISPLAY_RESULTS,
  EXCHANGE_RESULTS,
  encodeJson,
  IPERF_DONE,
  PARAM_EXCHANGE,
  type Results,
  TEST_END,
  TEST_RUNNING,
  TEST_START,
} from '../../src/app/iperf3-protocol.js';
import { RESULTS_MS, TRAILING_MS } from '../../src/app/iperf3-test.js';
import {
  IP_TOS,
  SO_RCVBUF,
  SO_SNDBUF,
  TCP_CONGESTION,
  TCP_MAXSEG,
  TCP_NODELAY,
} from '../../src/socket/uapi/constants.js';
import { COOKIE, clientResults, Iperf3World, messageOf, servesAnother } from './iperf3-world.js';

describe('app/iperf3: a test', () => {
  it('receives, counts, and tells its results', () => {
    const world = new Iperf3World();
    const control = world.connect();
    expect(world.heard(control)).to.deep.equal([PARAM_EXCHANGE]);
    world.sends(control, encodeJson({ tcp: true, parallel: 2, time: 2, title: 'two\u001b[2J' }));
    expect(world.heard(control)).to.deep.equal([CREATE_STREAMS]);
    const streams = [world.connect(), world.connect()];
    expect(world.heard(control)).to.deep.equal([TEST_START, TEST_RUNNING]);
    world.sends(streams[0]!, 'x'.repeat(3000));
    world.sends(streams[1]!, 'x'.repeat(1000));
    world.pass(2000);
    // What is still unread at the end counts, too.
    world.sys.peerSends(streams[1]!, 'x'.repeat(500));
    world.state(control, TEST_END);
    expect(world.heard(control)).to.deep.equal([EXCHANGE_RESULTS]);
    for (const fd of streams) expect(world.sys.isOpen(fd)).to.equal(false);
    world.sends(control, clientResults([1, 3], 3000));
    const { json, rest } = messageOf<Results>(world.sys.peerReads(control));
    expect(rest).to.deep.equal([DISPLAY_RESULTS]);
    expect(json.streams.map(({ id, bytes }) => [id, bytes])).to.deep.equal([
      [1, 3000],
      [3, 1500],
    ]);
    expect(json).to.include({ sender_has_retransmits: -1, congestion_used: 'cubic' });
    expect(json.cpu_util_total).to.be.closeTo(50, 0.01);
    expect(json.streams[0]!.end_time).to.equal(2);
    expect(json).not.to.have.property('server_output_text');
    world.state(control, IPERF_DONE);
    expect(world.sys.isOpen(control)).to.equal(false);
    expect(world.outcomes[0]).to.include({ error: null, bytesIn: 4500, bytesOut: 0 });
    expect(world.warned).to.deep.equal([]);
    const text = world.said.join('\n');
    expect(text).to.contain('Server listening on 5201 (test #2)');
    expect(text).to.contain('Title: two[2J');
    expect(text).to.match(/\[SUM\] {3}0\.00-1\.00 +sec {2}3\.91 KBytes {2}32\.0 Kbits\/sec/);
    expect(text).to.match(/\[SUM\] {3}0\.00-2\.00 .*receiver/);
  });

  it('sends with -R and in both directions with --bidir', () => {
    for (const [parameters, roles] of [
      [{ reverse: true, parallel: 2 }, [true, true]],
      [{ bidirectional: true }, [false, true]],
    ] as const) {
      const world = new Iperf3World();
      world.sys.retransmits = 5;
      const control = world.agree({ time: 1, get_server_output: 1, ...parameters });
      const streams = [world.connect(), world.connect()];
      for (const fd of streams) world.sys.file(fd).room = 2500;
      world.turn(4);
      const got = streams.map((fd) => world.sys.peerReads(fd).length);
      expect(got).to.deep.equal(roles.map((sends) => (sends ? 2500 : 0)));
      world.sys.retransmits = 7;
      world.pass(1000);
      world.heard(control);
      world.state(control, TEST_END);
      world.heard(control);
      world.sends(control, clientResults([1, 3], 2000, -1));
      const { json } = messageOf<Results>(world.sys.peerReads(control));
      expect(json.sender_has_retransmits).to.equal(1);
      // Those before the test do not count.
      const resent = json.streams.map((stream) => stream.retransmits);
      expect(resent).to.deep.equal(roles.map((sends) => (sends ? 2 : -1)));
      expect(json.server_output_text).to.contain('sender').and.to.contain('Retr');
      if (!roles[0]) expect(json.server_output_text).to.contain('[RX-S]').and.contain('[TX-S]');
    }
  });

  it('gives the sockets what was asked for', () => {
    const world = new Iperf3World();
    const wanted = { window: 65_536, MSS: 1000, nodelay: true, TOS: 16, congestion: 'reno' };
    const control = world.agree(wanted);
    const isOf = (fd: number): [number, number | string][] =>
      world.sys.options.filter((row) => row[0] === fd).map(([, name, value]) => [name, value]);
    expect(isOf(world.listenFd)).to.deep.equal([[TCP_MAXSEG, 1000]]);
    const stream = world.connect();
    expect(isOf(world.listenFd)).to.deep.equal([
      [TCP_MAXSEG, 1000],
      [TCP_MAXSEG, 0],
    ]);
    expect(isOf(stream)).to.deep.equal([
      [TCP_NODELAY, 1],
      [SO_RCVBUF, 65_536],
      [SO_SNDBUF, 65_536],
      [IP_TOS, 16],
      [TCP_CONGESTION, 0],
    ]);
    expect(world.heard(control)).to.contain(TEST_RUNNING);
  });

  it('waits for the rest of a test of a given size, but not for ever', () => {
    for (const size of [{ num: 3000 }, { blockcount: 3 }]) {
      const world = new Iperf3World();
      const control = world.agree(size);
      const stream = world.connect();
      world.heard(control);
      world.sends(stream, 'x'.repeat(1000));
      world.state(control, TEST_END);
      for (let i = 0; i < 3; i++) {
        world.pass(TRAILING_MS - 100);
        expect(world.heard(control)).to.deep.equal([]);
        world.sends(stream, 'x'.repeat(i < 2 ? 500 : 1000));
      }
      expect(world.heard(control)).to.deep.equal([EXCHANGE_RESULTS]);
      world.sends(control, clientResults([1], 3000));
      world.state(control, IPERF_DONE);
      expect(world.outcomes[0]).to.include({ error: null, bytesIn: 3000 });
      const lossy = world.agree(size);
      world.connect();
      world.state(lossy, TEST_END);
      world.heard(lossy);
      world.pass(TRAILING_MS);
      expect(world.heard(lossy)).to.deep.equal([EXCHANGE_RESULTS]);
      world.sys.peerEnds(lossy);
      world.turn();
      expect(world.outcomes[1]!.error).to.contain('unexpectedly');
    }
  });

  it('gives the rest of a test up when it only trickles, and when its client is gone', () => {
    const world = new Iperf3World();
    const control = world.agree({ num: 1e6 });
    const stream = world.connect();
    world.state(control, TEST_END);
    world.heard(control);
    for (let i = 0; i < RESULTS_MS / 400; i++) {
      expect(world.heard(control)).to.deep.equal([]);
      world.sends(stream, 'x');
      world.pass(400);
    }
    expect(world.heard(control)).to.deep.equal([EXCHANGE_RESULTS]);
    const other = new Iperf3World();
    const next = other.agree({ num: 1e6 });
    other.sends(other.connect(), 'xyz');
    other.state(next, TEST_END);
    other.sys.peerResets(next);
    other.turn();
    expect(other.outcomes[0]).to.include({ bytesIn: 3 });
    servesAnother(other);
  });

  it('leaves an omitted beginning out of its results', () => {
    const world = new Iperf3World();
    const control = world.agree({ time: 1, omit: 1 });
    const stream = world.connect();
    world.sends(stream, 'x'.repeat(9000));
    world.pass(1000);
    world.sends(stream, 'x'.repeat(100));
    world.pass(1000);
    world.state(control, TEST_END);
    world.heard(control);
    world.sends(control, clientResults([1], 100));
    const { json } = messageOf<Results>(world.sys.peerReads(control));
    expect(json.streams[0]).to.include({ bytes: 100, start_time: 0, end_time: 1 });
    expect(world.said.filter((line) => line.includes('(omitted)'))).to.have.length(1);
  });

  it('keeps to the rate that the client wants of a sender', () => {
    const world = new Iperf3World();
    world.agree({ reverse: true, bandwidth: 80_000, repeating_payload: 1 });
    const stream = world.connect();
    world.pass(2000, 10);
    const sent = world.sys.peerReads(stream);
    expect(sent.length).to.be.within(19_000, 21_000);
    expect(sent.subarray(0, 12).toString()).to.equal('012345678901');
  });

  it('shows both sides in one JSON object', () => {
    const world = new Iperf3World({ json: true });
    const control = world.agree({ time: 1, get_server_output: 1, client_version: '3.12' });
    const stream = world.connect();
    world.sends(stream, 'x'.repeat(1000));
    world.pass(1000);
    world.heard(control);
    world.state(control, TEST_END);
    world.heard(control);
    world.sends(control, clientResults([1], 1234, 9));
    const { json: results } = messageOf<Results>(world.sys.peerReads(control));
    expect(results.server_output_json).to.have.property('start');
    world.sys.peerEnds(control);
    world.turn();
    const { json, error } = world.outcomes[0]!;
    expect(error).to.equal(null);
    expect(json).to.have.nested.property('start.cookie', COOKIE.slice(0, 36));
    expect(json).to.have.nested.property('start.test_start.client_version', '3.12');
    expect(json).to.have.nested.property('intervals[0].sum.bits_per_second', 8000);
    expect(json).to.have.nested.property('end.streams[0].receiver.bytes', 1000);
    expect(json).to.have.nested.property('end.streams[0].sender.bytes', 1234);
    expect(json).to.have.nested.property('end.streams[0].sender.retransmits', 9);
    expect(json).to.have.nested.property('end.cpu_utilization_percent.remote_total', 5);
    expect(JSON.parse(JSON.stringify(json))).to.deep.equal(json);
    expect(world.said).to.deep.equal([]);
  });

  it('takes its control messages in pieces, and its answers wait for room', () => {
    const world = new Iperf3World();
    const control = world.connect(COOKIE.slice(0, 10));
    expect(world.heard(control)).to.deep.equal([]);
    world.sys.file(control).room = 1;
    world.sends(control, COOKIE.slice(10));
    for (const byte of encodeJson({ tcp: true })) world.sends(control, Uint8Array.of(byte));
    expect(world.heard(control)).to.deep.equal([PARAM_EXCHANGE]);
    world.sys.file(control).room = 100;
    world.turn();
    expect(world.heard(control)).to.deep.equal([CREATE_STREAMS]);
    world.connect();
    expect(world.heard(control)).to.deep.equal([TEST_START, TEST_RUNNING]);
  });

  it('numbers streams as they were accepted, whichever cookie comes first', () => {
    const world = new Iperf3World({ json: true });
    const control = world.agree({ parallel: 2, bidirectional: false });
    const first = world.connect(COOKIE.slice(0, 5));
    const second = world.connect();
    world.sends(first, COOKIE.slice(5));
    world.sends(first, 'xx');
    world.sends(second, 'y');
    world.state(control, TEST_END);
    world.heard(control);
    world.sends(control, clientResults([1, 3], 1));
    const { json } = messageOf<Results>(world.sys.peerReads(control));
    expect(json.streams.map(({ bytes }) => bytes)).to.deep.equal([2, 1]);
  });

  it('ends after one test with --one-off, and serves nobody after it', () => {
    const world = new Iperf3World({ oneOff: true });
    const control = world.agree({});
    world.sys.peerResets(control);
    world.turn();
    expect(world.lastAsked).to.equal(true);
    expect(world.outcomes).to.have.length(1);
    const late = world.connect();
    expect(world.sys.isOpen(late)).to.equal(false);
  });
});
