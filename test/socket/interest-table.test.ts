/** Columns of epoll interests: an item is its owner's until nothing refers to it. */
import { expect } from 'chai';
import fc from 'fast-check';
import { DELETED, InterestTable, LISTED } from '../../src/socket/interest-table.js';

interface Owner {
  item: number;
  fd: number;
  events: number;
  data: number;
}

/** What the table should hold, by descriptor, and what is still listed. */
class Model {
  readonly table = new InterestTable();
  readonly byFd = new Map<number, Owner>();
  readonly listed: Owner[] = [];

  add(fd: number, events: number, data: number): void {
    const item = this.table.add(fd, fd + 1, events, data);
    for (const other of [...this.byFd.values(), ...this.listed]) {
      expect(other.item, 'an item that is in use').not.to.equal(item);
    }
    this.byFd.set(fd, { item, fd, events, data });
  }

  list(owner: Owner): void {
    if (this.listed.includes(owner)) return;
    this.table.flags[owner.item]! |= LISTED;
    this.listed.push(owner);
  }

  drop(owner: Owner): void {
    this.table.drop(owner.item);
    this.byFd.delete(owner.fd);
  }

  unlist(): void {
    const owner = this.listed.shift();
    if (owner === undefined) return;
    const { table } = this;
    const isDeleted = (table.flags[owner.item]! & DELETED) !== 0;
    expect(isDeleted).to.equal(this.byFd.get(owner.fd) !== owner);
    table.flags[owner.item]! &= ~LISTED;
    if (isDeleted) table.release(owner.item);
  }

  expectSame(): void {
    for (let fd = -1; fd < 400; fd++) {
      expect(this.table.find(fd)).to.equal(this.byFd.get(fd)?.item ?? 0);
    }
    for (const { item, fd, events, data } of [...this.byFd.values(), ...this.listed]) {
      const { table } = this;
      expect([table.fd[item], table.gen[item]]).to.deep.equal([fd, fd + 1]);
      expect([table.events[item], table.data[item]]).to.deep.equal([events, data]);
    }
  }
}

describe('socket/interest-table', () => {
  it('behaves as a Map of objects, some of which outlive their place in it', () => {
    const step = fc.record({
      op: fc.constantFrom('add', 'add', 'add', 'list', 'drop', 'unlist'),
      fd: fc.oneof(fc.nat(7), fc.nat(390)),
      data: fc.double({ noNaN: true }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300, size: 'max' }), (steps) => {
        const model = new Model();
        for (const [i, { op, fd, data }] of steps.entries()) {
          const owner = model.byFd.get(fd);
          if (op === 'unlist') model.unlist();
          else if (owner === undefined) {
            if (op === 'add') model.add(fd, i, data);
          } else if (op === 'list') model.list(owner);
          else if (op === 'drop') model.drop(owner);
        }
        model.expectSame();
      }),
      { numRuns: 60 },
    );
  });

  it('finds nobody for numbers that are no descriptors', () => {
    const table = new InterestTable();
    table.add(3, 1, 1, 3);
    for (const fd of [-1, 1.5, 1e9, Number.NaN, 0]) expect(table.find(fd)).to.equal(0);
  });
});
