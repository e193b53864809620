/** The ring between two stack threads: order, its end, no room. */
import { expect } from 'chai';
import fc from 'fast-check';
import { SocketMemory } from '../../src/net/sockmem.js';
import { LINK_BYTES, LinkReader, LinkWriter } from '../../src/stack/queue-link.js';

const TAIL = 4;
const HEAD = 9;
const SAID = 1;
const PACKET = 2;

interface Link {
  mem: SocketMemory;
  writer: LinkWriter;
  reader: LinkReader;
}

/** @param start of both cursors */
function link(start = 0): Link {
  const ctl = new Int32Array(4096);
  ctl[TAIL] = ctl[HEAD] = start;
  const mem = new SocketMemory(ctl, new Uint8Array(4 * LINK_BYTES), 64, 8);
  const page = mem.allocRing(LINK_BYTES);
  const words = { ctl, queue: 3, page, tailAt: TAIL, headAt: HEAD };
  return { mem, writer: new LinkWriter(mem, words), reader: new LinkReader(mem, words) };
}

/** A message or packet as one text. */
function taken({ mem, reader }: Link): string[] {
  const all: string[] = [];
  reader.begin();
  for (let kind = reader.next(); kind !== 0; kind = reader.next()) {
    const arguments_ = [0, 1, 2, 3].map((index) => reader.argument(index));
    if (kind === PACKET) {
      const bytes = mem.bytes.subarray(reader.payload, reader.payload + arguments_[0]!);
      const right = bytes.every((byte, i) => byte === (arguments_[1]! + i) % 251);
      all.push(`packet ${arguments_.join(' ')} ${right}`);
    } else {
      all.push(`said ${arguments_.slice(0, 2).join(' ')} ${reader.doubles[reader.payload >>> 3]}`);
    }
    reader.done();
  }
  return all;
}

/** A packet whose bytes begin with `first`. */
function sendPacket({ mem, writer }: Link, bytes: number, first: number): boolean {
  const from = 2 * LINK_BYTES;
  for (let i = 0; i < bytes; i++) mem.bytes[from + i] = (first + i) % 251;
  return writer.packet(PACKET, from, bytes, first, 7, 8);
}

describe('stack: the link between queues', () => {
  it('brings messages and packets in order', () => {
    const one = link();
    expect(one.reader.empty).to.equal(true);
    one.writer.say(SAID, 5, 6, 1, (out, at) => {
      out[at] = 0.5;
    });
    expect(sendPacket(one, 100, 3)).to.equal(true);
    expect(one.writer.dirty).to.equal(true);
    expect(one.reader.empty).to.equal(false);
    expect(taken(one)).to.deep.equal(['said 5 6 0.5', 'packet 100 3 7 8 true']);
    expect(one.reader.empty).to.equal(true);
    expect([one.writer.queue, one.reader.queue]).to.deep.equal([3, 3]);
  });

  it('what comes while it is emptied is for the next time', () => {
    const one = link();
    sendPacket(one, 10, 1);
    one.reader.begin();
    sendPacket(one, 20, 2);
    expect(one.reader.next()).to.equal(PACKET);
    one.reader.done();
    expect(one.reader.next()).to.equal(0);
    expect(one.reader.empty).to.equal(false);
    expect(taken(one)).to.deep.equal(['packet 20 2 7 8 true']);
  });

  it('loses packets without room, and no message', () => {
    const one = link();
    let packets = 0;
    while (sendPacket(one, 60_000, packets)) packets++;
    expect(packets).to.equal(17);
    const say = (fd: number): void =>
      one.writer.say(SAID, fd, 0, 9000, (out, at) => {
        out[at] = fd / 4;
      });
    say(1);
    say(2);
    expect(one.writer.backlog).to.equal(2);
    expect(one.writer.tell(SAID, 3, 0, 0, null), 'what need not be said').to.equal(false);
    expect(sendPacket(one, 10, 9), 'no packet overtakes a message').to.equal(false);
    expect(taken(one)).to.have.lengthOf(17);
    expect(sendPacket(one, 10, 9)).to.equal(true);
    expect(one.writer.backlog).to.equal(0);
    expect(taken(one)).to.deep.equal(['said 1 0 0.25', 'said 2 0 0.5', 'packet 10 9 7 8 true']);
  });

  it('any sizes, any number of rounds, across the wrap of the cursors', () => {
    const step = fc.oneof(
      fc.record({ packet: fc.integer({ min: 0, max: 65_535 }) }),
      fc.record({ said: fc.integer({ min: 0, max: 2000 }) }),
      fc.constant('take' as const),
    );
    const cursors = fc.constantFrom(0, -(1 << 16), 0x7fffff00, LINK_BYTES - 8);
    const steps = fc.array(step, { minLength: 20, maxLength: 120 });
    fc.assert(
      fc.property(cursors, steps, (start, program) => {
        const one = link(start);
        const expected: string[] = [];
        const got: string[] = [];
        for (const [i, what] of program.entries()) {
          if (what === 'take') {
            got.push(...taken(one));
          } else if ('packet' in what) {
            if (sendPacket(one, what.packet, i)) {
              expected.push(`packet ${what.packet} ${i} 7 8 true`);
            }
          } else {
            one.writer.say(SAID, i, 1, what.said + 1, (out, at) => {
              out[at] = i / 2;
            });
            expected.push(`said ${i} 1 ${i / 2}`);
          }
        }
        for (let last = 0; last < 3 || one.writer.backlog > 0; last++) {
          got.push(...taken(one));
          one.writer.flushWaiting();
        }
        expect(got.toSorted()).to.deep.equal(expected.toSorted());
        const said = (texts: string[]): string[] => texts.filter((text) => text.startsWith('s'));
        expect(said(got)).to.deep.equal(said(expected));
      }),
      { numRuns: 60 },
    );
  });
});
