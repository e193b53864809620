/** The rows of `ss`: those without a descriptor, and what -e and -i add. */
import { expect } from 'chai';
import { type ListedSocket, listSockets } from '../../src/app/socket-table.js';
import { ssLines } from '../../src/app/ss.js';
import type { StackHandle } from '../../src/socket/open.js';
import type { SocketRow } from '../../src/socket/socket-rows.js';
import type { MinisockRow, SocketDetail, TcpInfo } from '../../src/socket/uapi/answers.js';

const ESTAB: SocketRow = {
  state: 'ESTAB',
  recvQ: 0,
  sendQ: 0,
  local: { address: '198.18.0.1', port: 80 },
  peer: { address: '198.18.0.254', port: 51702 },
  fd: 11,
  thread: 3,
  worker: 2,
  group: 4,
  slot: 2,
  hash: 1,
  listener: 5,
};
const LISTEN: SocketRow = {
  ...ESTAB,
  state: 'LISTEN',
  sendQ: 511,
  peer: { address: '0.0.0.0', port: 0 },
  fd: 5,
  hash: 0,
  listener: null,
};
const MINIS: MinisockRow[] = (['SYN-RECV', 'TIME-WAIT'] as const).map((state) => ({
  state,
  local: ESTAB.local,
  peer: { address: '198.18.0.254', port: state === 'SYN-RECV' ? 1 : 2 },
  listener: state === 'SYN-RECV' ? 5 : null,
  thread: state === 'SYN-RECV' ? 3 : null,
  group: state === 'SYN-RECV' ? 4 : 0,
  slot: state === 'SYN-RECV' ? 2 : null,
  hash: 9,
  retransmits: 1,
  expiresMs: 500,
  uid: 0,
}));
const INFO: TcpInfo = {
  congestion: 'cubic',
  timestamps: true,
  sack: true,
  sndWscale: 7,
  rcvWscale: 10,
  rtoMs: 200.5,
  rttMs: 0.3336,
  rttvarMs: 0.1,
  mss: 1448,
  pmtu: 1500,
  rcvMss: 536,
  advMss: 1460,
  cwnd: 10,
  ssthresh: 7,
  unacked: 3,
  lost: 1,
  retrans: 1,
  retransTotal: 2,
  lastSentMs: 4,
  lastReceivedMs: 5,
  lastAckMs: 6,
  rcvSpace: 65536,
};
const DETAILS: SocketDetail[] = [
  { fd: 5, uid: 1000, selector: 'least', synQueue: 3, info: null },
  { fd: 11, uid: 1000, selector: null, synQueue: null, info: INFO },
  { fd: 99, uid: 0, selector: null, synQueue: null, info: null },
];

const HANDLE = {
  sockets: () => [LISTEN, ESTAB, { ...ESTAB, fd: 12, thread: null }],
  questions: {
    details: () => Promise.resolve(DETAILS),
    minisocks: () => Promise.resolve(MINIS),
  },
} as unknown as StackHandle;
const ROSTER = { workerOf: (thread: number) => thread + 4 };

const list = (fields: Record<string, unknown>): Promise<ListedSocket[]> =>
  listSockets(HANDLE, ROSTER, fields);

describe('app/socket-table', () => {
  it('lists descriptors alone unless asked for more', async () => {
    const rows = await list({});
    expect(rows.map((row) => [row.fd, row.worker])).to.deep.equal([
      [5, 7],
      [11, 7],
      [12, null],
    ]);
    expect(rows[0]).not.to.have.any.keys('uid', 'info', 'selector');
  });

  it('lists half-open and TIME-WAIT connections without a descriptor', async () => {
    const rows = (await list({ minisocks: true })).slice(3);
    expect(rows.map(({ state, fd, worker, recvQ }) => [state, fd, worker, recvQ])).to.deep.equal([
      ['SYN-RECV', null, 7, 0],
      ['TIME-WAIT', null, null, 0],
    ]);
    expect(rows[0]).to.include({ listener: 5, slot: 2, group: 4, expiresMs: 500 });
  });

  it('adds details, and the inside only when that is asked for', async () => {
    const [listener, open, unknown] = await list({ details: true });
    expect(listener).to.include({ uid: 1000, selector: 'least', synQueue: 3 });
    expect(open).not.to.have.property('info');
    expect(unknown).not.to.have.property('uid');
    expect((await list({ info: true }))[1]!.info).to.deep.equal(INFO);
  });

  it('prints them as ss does', async () => {
    const rows = await list({ minisocks: true, details: true, info: true });
    const lines = ssLines(rows, { processes: true, extended: true, info: true });
    const [, listener, open, inside, , request, wait] = lines;
    expect(listener).to.match(/ users:\(\("worker 7",fd=5\)\) uid:1000 ino:5 group:2\/4 sel/);
    expect(listener).to.match(/ selector:least synq:3$/);
    expect(open).to.match(/ uid:1000 ino:11 group:2\/4$/);
    expect(inside).to.equal(
      '\t ts sack cubic wscale:7,10 rto:200.5 rtt:0.334/0.1 mss:1448 pmtu:1500 rcvmss:536 ' +
        'advmss:1460 cwnd:10 ssthresh:7 lastsnd:4 lastrcv:5 lastack:6 unacked:3 retrans:1/2 ' +
        'lost:1 rcv_space:65536',
    );
    expect(request).to.match(/^SYN-RECV +0 +0 +198\.18\.0\.1:80 +198\.18\.0\.254:1 uid:0 group:2/);
    expect(wait).to.match(/^TIME-WAIT .*:2 uid:0$/);
    const bare = { ...INFO, sndWscale: null, ssthresh: null, rttMs: 0, unacked: 0 };
    const few = { ...bare, retransTotal: 0, lost: 0, timestamps: false, sack: false };
    const text = ssLines([{ ...ESTAB, info: few }], { processes: false, info: true })[2];
    expect(text).to.match(/^\t cubic rto:200\.5 mss:1448 .* cwnd:10 lastsnd:4 .*rcv_space:65536$/);
  });
});
