/**
 * The demo's HTTP parser beside Node's own (llhttp): whatever ours accepts, Node's accepts, too, as
 * the same requests with the same bodies. Ours may refuse more: it is strict on purpose.
 */
import { createRequire } from 'node:module';
import { expect } from 'chai';
import { Dice, FOR_CALL } from '../../src/sim/dice.js';
import { stream, transcriptOf } from '../../src/sim/fuzz/http.js';

/** What of Node's parser is used here; the module has no types. */
interface NodeParser {
  initialize(type: number, resource: object): void;
  execute(bytes: Buffer): number | Error;
  [event: number]: (...values: never[]) => number | undefined;
}
interface NodeHttp {
  readonly methods: readonly string[];
  readonly HTTPParser: {
    new (): NodeParser;
    readonly REQUEST: number;
    readonly kOnHeadersComplete: number;
    readonly kOnBody: number;
    readonly kOnMessageComplete: number;
  };
}
const { HTTPParser, methods } = createRequire(import.meta.url)('_http_common') as NodeHttp;

/** Requests as 'METHOD target', each followed by the bytes of its body when that is whole. */
function nodes(bytes: Buffer): string[] {
  const seen: string[] = [];
  let count = 0;
  const parser = new HTTPParser();
  parser.initialize(HTTPParser.REQUEST, {});
  parser[HTTPParser.kOnHeadersComplete] = (
    _major: number,
    _minor: number,
    _headers: string[],
    method: number,
    url: string,
  ) => {
    // The absolute form means the same (RFC 9112 3.2.2).
    seen.push(`${methods[method]} ${url.replace(/^http:\/\/[^/]*/, '') || '/'}`);
    count = 0;
    return 0;
  };
  parser[HTTPParser.kOnBody] = (piece: Buffer) => {
    count += piece.length;
    return 0;
  };
  parser[HTTPParser.kOnMessageComplete] = () => {
    seen.push(`${count}`);
    return 0;
  };
  parser.execute(bytes);
  return seen;
}

function ours(bytes: Buffer): string[] {
  const lines = transcriptOf(bytes, []).split('\n');
  return lines.flatMap((line) => {
    if (line.startsWith('[')) return [(JSON.parse(line) as string[]).slice(0, 2).join(' ')];
    return line.startsWith('body') ? [line.split(' ')[1]!] : [];
  });
}

/** What Node refuses and we need not. */
const OTHERWISE =
  /HTTP\/1\.[2-9]|\r\n0+\r\n(?:[^\r\n]+\r\n)*(?:Transfer-Encoding|Content-Length|Connection)/i;

describe('fuzz: HTTP beside Node', function () {
  this.timeout(60_000);

  it('what we accept, Node accepts as the same', () => {
    let same = 0;
    for (let seed = 1; seed <= 20_000; seed++) {
      const bytes = stream(new Dice(FOR_CALL, seed));
      // Node refuses minor versions to come (RFC 9110 2.5 lets a server take them as 1.1).
      // It looks at the trailer, which ours throws away, and may refuse framing that is in it.
      if (OTHERWISE.test(bytes.toString('latin1'))) continue;
      const wanted = ours(bytes);
      const got = nodes(bytes).slice(0, wanted.length);
      // A method that Node has never heard of is none of its business.
      const foreign = wanted.findIndex((line) => /^\D/.test(line) && !knows(line));
      const most = foreign < 0 ? wanted.length : foreign;
      const text = `seed ${seed}: ${JSON.stringify(bytes.toString('latin1'))}`;
      expect(got.slice(0, most), text).to.deep.equal(wanted.slice(0, most));
      same += most;
    }
    expect(same).to.be.greaterThan(20_000);
  });
});

function knows(line: string): boolean {
  return methods.includes(line.split(' ')[0]!);
}
