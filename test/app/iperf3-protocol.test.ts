/** Parameters, results, numbers in words, and the command line of iperf3. */
import { expect } from 'chai';
import { UsageError } from '../../src/app/command.js';
import { parseIperf3Options } from '../../src/app/iperf3-options.js';
import {
  IEAFFINITY,
  IEAUTHTEST,
  IEBLOCKSIZE,
  IEBUFSIZE,
  IEDURATION,
  IEMSS,
  IEOMIT,
  IERECVPARAMS,
  IESETFLOW,
  isRefusal,
  type Parameters,
  parseParameters,
  parseResults,
  type Refusal,
  streamId,
} from '../../src/app/iperf3-protocol.js';
import { bytesText, rateText } from '../../src/app/iperf3-report.js';

const parse = (fields: object): Parameters | Refusal =>
  parseParameters(JSON.stringify({ tcp: true, ...fields }));

function accepted(fields: object): Parameters {
  const answer = parse(fields);
  if (isRefusal(answer)) throw new Error(answer.why);
  return answer;
}

describe('app/iperf3-protocol', () => {
  it('knows who sends', () => {
    const counts = (fields: object): number[] => {
      const { receiving, sending } = accepted(fields);
      return [receiving, sending];
    };
    expect(counts({})).to.deep.equal([1, 0]);
    expect(counts({ parallel: 4 })).to.deep.equal([4, 0]);
    expect(counts({ parallel: 4, reverse: true })).to.deep.equal([0, 4]);
    expect(counts({ parallel: 3, bidirectional: true })).to.deep.equal([3, 3]);
  });

  it('refuses what does not exist here', () => {
    for (const [fields, error] of [
      [{ authtoken: 'x' }, IEAUTHTEST],
      [{ flowlabel: 5 }, IESETFLOW],
      [{ server_affinity: 0 }, IEAFFINITY],
      [{ time: 86_401 }, IEDURATION],
      [{ omit: 601 }, IEOMIT],
      [{ len: 0 }, IEBLOCKSIZE],
      [{ len: 2 ** 21 }, IEBLOCKSIZE],
      [{ window: 2 ** 30 }, IEBUFSIZE],
      [{ MSS: 87 }, IEMSS],
      [{ MSS: 10_000 }, IEMSS],
      [{ num: -1 }, IERECVPARAMS],
      [{ TOS: 256 }, IERECVPARAMS],
      [{ time: '10' }, IEDURATION],
      [{ time: null }, IEDURATION],
      [{ time: 1.5 }, IEDURATION],
    ] as const) {
      const answer = parse(fields);
      expect(isRefusal(answer) && answer.error, JSON.stringify(fields)).to.equal(error);
    }
  });

  it('takes the lower of two rates', () => {
    expect(accepted({}).bitsPerSecond).to.equal(0);
    expect(accepted({ bandwidth: 5000 }).bitsPerSecond).to.equal(5000);
    expect(accepted({ bandwidth: 5000, fqrate: 300 }).bitsPerSecond).to.equal(300);
  });

  it('numbers streams without a 2', () => {
    expect([0, 1, 2, 3].map(streamId)).to.deep.equal([1, 3, 4, 5]);
  });

  it("reads iperf3's -1 of 64 bits", () => {
    const text = '{"streams":[{"id":1,"bytes":7,"retransmits":18446744073709551615}]}';
    expect(parseResults(text)!.streams[0]).to.include({ id: 1, bytes: 7, retransmits: -1 });
    expect(parseResults('nonsense')).to.equal(null);
  });
});

describe('app/iperf3-report', () => {
  it('writes amounts with three figures', () => {
    expect(bytesText(0)).to.equal('0.00 Bytes');
    expect(bytesText(64 << 20)).to.equal('64.0 MBytes');
    expect(bytesText(999 * 1024)).to.equal(' 999 KBytes');
    expect(bytesText(9.996 * 2 ** 30)).to.equal('10.0 GBytes');
    expect(rateText(1_234_000_000)).to.equal('1.23 Gbits/sec');
    expect(rateText(5e15)).to.equal('5000000 Gbits/sec');
  });
});

describe('app/iperf3-options', () => {
  it('has the defaults of the contract', () => {
    expect(parseIperf3Options(['-s'])).to.deep.equal({
      port: 5201,
      oneOff: false,
      intervalMs: 1000,
      json: false,
      tun: 'tunstack0',
      address: '198.18.0.1/24',
      peer: '198.18.0.254',
      mtu: 1500,
      offload: true,
      help: false,
    });
    const line = '-s -p 7 -1 -J -i 0.5 --mtu 9000 --no-offload'.split(' ');
    const wanted = { port: 7, oneOff: true, json: true, intervalMs: 500, mtu: 9000 };
    expect(parseIperf3Options(line)).to.include({ ...wanted, offload: false });
  });

  it('refuses what is wrong, and says what', () => {
    for (const [line, why] of [
      ['', /only the server/],
      ['-c 1.2.3.4', /-c/],
      ['-s -p 0', /--port 0: must be a whole number from 1 to 65535/],
      ['-s -p 1.5', /--port 1.5/],
      ['-s -i 0', /--interval 0: must be a number/],
      ['-s -i x', /--interval x/],
      ['-s --mtu 20', /--mtu 20/],
      ['-s more', /more/],
    ] as const) {
      const argv = line.split(' ').filter(Boolean);
      expect(() => parseIperf3Options(argv), line).to.throw(UsageError, why);
    }
    expect(() => parseIperf3Options(['-s', '--peer', '10.0.0.1'])).to.throw(/10\.0\.0\.1/);
  });
});
