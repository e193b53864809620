/**
 * Bytes both ways through the real device, compared by hash: with superpackets, packet by packet,
 * and with packets lost; then many clients at once, ping, and a look at every packet by another
 * program.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { patternSha256, randomFile, whoamis } from './clients.js';
import { ended, must, scratchDirectory, suiteWith } from './machine.js';
import { withLoss } from './nft-loss.js';
import { RUN, type ServeProcess, withServe } from './serve-process.js';

/** TUNSTACK_E2E=full is the long run by hand: 1 GiB and 10 seconds. */
const FULL = process.env['TUNSTACK_E2E'] === 'full';
const BULK_BYTES = FULL ? 2 ** 30 : 2 ** 28;
const LOSSY_BYTES = 2 ** 24;
const LOAD_SECONDS = FULL ? 10 : 3;

/** A file to upload and what its bytes hash to. */
interface Upload {
  path: string;
  bytes: number;
  sha256: string;
}

async function makeUpload(bytes: number): Promise<Upload> {
  const path = join(scratchDirectory(), 'upload');
  return { path, bytes, sha256: await randomFile(path, bytes) };
}

async function download(serve: ServeProcess, bytes: number): Promise<void> {
  const fetchIt = `curl -sS --fail --max-time 100 '${serve.at(`/bytes/${bytes}`)}' | sha256sum`;
  const text = await must(['bash', '-o', 'pipefail', '-c', fetchIt]);
  expect(text.split(' ')[0], `${bytes} bytes down`).to.equal(patternSha256(bytes));
}

async function upload(serve: ServeProcess, { path, bytes, sha256 }: Upload): Promise<void> {
  const curl = ['curl', '-sS', '--fail', '--max-time', '100', '-H', 'Expect:'];
  const text = await must([...curl, '-T', path, serve.at('/sink')]);
  expect(JSON.parse(text), `${bytes} bytes up`).to.deep.equal({ bytes, sha256 });
}

const MODES = [
  { name: 'superpackets', args: [] },
  { name: 'packet by packet', args: ['--no-offload'] },
];

suiteWith(['tun', 'ip', 'curl'], 'end to end: bulk', () => {
  let file: Upload;
  before(async () => {
    file = await makeUpload(BULK_BYTES);
  });
  after(() => rmSync(file.path, { force: true }));

  for (const { name, args } of MODES) {
    it(`carries ${BULK_BYTES / 2 ** 20} MiB each way intact, ${name}`, async () => {
      const summary = await withServe(args, async (serve) => {
        await download(serve, BULK_BYTES);
        await upload(serve, file);
      });
      expect(summary.bytes.in).to.be.at.least(BULK_BYTES);
      expect(summary.bytes.out).to.be.at.least(BULK_BYTES);
    });

    it(`carries both directions at once, ${name}`, async () => {
      await withServe(args, async (serve) => {
        await Promise.all([download(serve, BULK_BYTES), upload(serve, file)]);
      });
    });
  }
});

suiteWith(['tun', 'ip', 'curl', 'nft'], 'end to end: loss', () => {
  let file: Upload;
  before(async () => {
    file = await makeUpload(LOSSY_BYTES);
  });

  for (const { name, args } of MODES) {
    it(`carries 16 MiB each way over 2 % loss, ${name}`, async () => {
      const summary = await withServe(args, async (serve) => {
        const dropped = await withLoss(serve.ready.tun, 2, async () => {
          await download(serve, LOSSY_BYTES);
          await upload(serve, file);
        });
        expect(dropped.every((packets) => packets > 0)).to.equal(true);
      });
      expect(summary.retransmits).to.be.above(0);
    });
  }
});

suiteWith(['tun', 'ip', 'wrk'], 'end to end: load', () => {
  it(`answers 200 clients for ${LOAD_SECONDS} seconds without an error`, async () => {
    await withServe([], async (serve) => {
      const wrk = ['wrk', '-t', '1', '-c', '200', '-d', `${LOAD_SECONDS}s`, serve.at('/ok')];
      const text = await must(wrk);
      expect(text).to.not.match(/Socket errors|Non-2xx/);
      expect(Number(/(\d+) requests in/.exec(text)?.[1])).to.be.above(1000);
    });
  });

  it('answers 200 clients that open a connection for each request', async () => {
    await withServe([], async (serve) => {
      const close = ['-H', 'Connection: close'];
      const text = await must([
        'wrk',
        '-t',
        '1',
        '-c',
        '200',
        '-d',
        '2s',
        ...close,
        serve.at('/ok'),
      ]);
      expect(text).to.not.match(/connect [1-9]|timeout [1-9]|Non-2xx/);
      expect(Number(/(\d+) requests in/.exec(text)?.[1])).to.be.above(500);
    });
  });
});

suiteWith(['tun', 'ip', 'ping'], 'end to end: ping', () => {
  for (const { name, args } of MODES) {
    it(`answers small and fragmented echo requests, ${name}`, async () => {
      await withServe(args, async ({ ready }) => {
        for (const bytes of ['56', '1473', '60000']) {
          const options = ['-c', '5', '-i', '0.2', '-W', '2', '-s', bytes];
          const text = await must(['ping', ...options, ready.address]);
          expect(text).to.match(/5 received, 0% packet loss/);
          expect(text).to.not.match(/wrong data|DUP!/);
        }
      });
    });
  }
});

suiteWith(['tun', 'ip', 'curl', 'ping', 'tshark'], 'end to end: every packet, by tshark', () => {
  const CHECKS = ['-o', 'tcp.check_checksum:TRUE', '-o', 'ip.check_checksum:TRUE'];

  /** Lines that `tshark -r FILE -Y FILTER -T fields -e FIELDS` prints. */
  async function packets(file: string, filter: string, ...fields: string[]): Promise<string[]> {
    const print = ['-T', 'fields', ...fields.flatMap((field) => ['-e', field])];
    const text = await must(['tshark', '-r', file, ...CHECKS, '-Y', filter, ...print]);
    return text.split('\n').filter((line) => line !== '');
  }

  it('finds nothing malformed, no bad checksum, and a comment on each SYN', async () => {
    const file = join(scratchDirectory(), 'all.pcapng');
    const sent = await makeUpload(2 ** 20);
    await withServe(['--no-offload', '--pcap', file], async (serve) => {
      await whoamis(serve.ready.address, serve.ready.port, 20, 4);
      await download(serve, 2 ** 20);
      await upload(serve, sent);
      await must(['ping', '-c', '2', '-i', '0.2', '-s', '60000', serve.ready.address]);
    });
    expect(statSync(file).size).to.be.above(2 ** 21);
    const bad =
      '_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || ' +
      'icmp.checksum.status == 0';
    expect(await packets(file, bad, 'frame.number', '_ws.col.Info')).to.deep.equal([]);
    const good = 'ip.checksum.status == 1 && tcp.checksum.status == 1';
    expect((await packets(file, good, 'frame.number')).length).to.be.above(1000);
    expect((await packets(file, 'icmp.type == 0', 'frame.number')).length).to.equal(2);
    const syns = await packets(file, 'tcp.flags.syn == 1 && tcp.flags.ack == 0', 'frame.comment');
    expect(syns).to.have.lengthOf(22);
  });

  it('gets the same from --pcap -', async () => {
    const file = join(scratchDirectory(), 'stdout.pcapng');
    const control = join(scratchDirectory(), 'control.sock');
    const [node, ...args] = [...RUN, 'serve', '--pcap', '-', '--control', control];
    const fd = openSync(file, 'w');
    const child = spawn(node!, args, { stdio: ['ignore', fd, 'pipe'] });
    closeSync(fd);
    const done = ended(child);
    let text = '';
    for await (const chunk of child.stderr!.iterator({ destroyOnReturn: false })) {
      text += chunk as string;
      if (text.includes('is up')) break;
    }
    child.stderr!.resume();
    await whoamis('198.18.0.1', 80, 4, 1);
    child.kill('SIGTERM');
    expect((await done).code, text).to.equal(0);
    const syns = await packets(file, 'tcp.flags.syn == 1 && tcp.flags.ack == 0', 'tcp.dstport');
    expect(syns).to.deep.equal(['80', '80', '80', '80']);
  });
});
