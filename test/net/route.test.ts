/**
 * src/net/route.ts: interfaces, addresses, and which way a packet goes. The tables were measured on
 * Linux 6.18 with two devices of these addresses.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import {
  netmask,
  RouteTable,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MULTICAST,
  RTN_UNICAST,
} from '../../src/net/route.js';
import { address, CaptureDevice } from './fixtures.js';

const LO = 1;
const D0 = 2;
const D1 = 3;

/** d0: 10.1.0.1/24, 10.1.0.2/24, 10.9.0.7/16; d1: 10.2.0.1/24, 192.168.0.1/31. */
function makeTable(lowestIsBroadcast = false): RouteTable {
  const table = new RouteTable(lowestIsBroadcast);
  const d0 = table.addDevice('d0', new CaptureDevice());
  const d1 = table.addDevice('d1', new CaptureDevice({ mtu: 9000, gsoMaxBytes: 65_535 }));
  table.addAddress(d0, address('10.1.0.1'), 24);
  table.addAddress(d0, address('10.1.0.2'), 24);
  table.addAddress(d0, address('10.9.0.7'), 16);
  table.addAddress(d1, address('10.2.0.1'), 24);
  table.addAddress(d1, address('192.168.0.1'), 31);
  return table;
}

function dotted(word: number): string {
  return [24, 16, 8, 0].map((shift) => (word >>> shift) & 255).join('.');
}

const NAMES = ['', 'lo', 'd0', 'd1'];

/** '10.1.0.1 by lo, back in by d0', or what else the destination is. */
function way(table: RouteTable, daddr: string, oif = 0): string {
  const { type, dev, iif, saddr } = table.output(address(daddr), oif);
  if (type === RTN_UNICAST) return `${dotted(saddr)} by ${dev.name}`;
  if (type === RTN_LOCAL) return `${dotted(saddr)} by ${dev.name}, back in by ${NAMES[iif]}`;
  return { [RTN_BROADCAST]: 'broadcast', [RTN_MULTICAST]: 'multicast' }[type] ?? 'unreachable';
}

describe('net/route: interfaces', () => {
  it('lo is first and large, the others follow in the order of adding', () => {
    const table = makeTable();
    expect(table.lo).to.include({ ifindex: LO, name: 'lo', mtu: 65_536, link: null });
    expect(table.lo.addresses).to.deep.equal([{ address: address('127.0.0.1'), prefix: 8 }]);
    expect(table.deviceByName('d1')).to.include({ ifindex: D1, mtu: 9000 });
    expect(table.deviceByName('d1')).to.equal(table.device(D1));
    expect(table.deviceByName('d2')).to.equal(null);
    expect([table.device(0), table.device(4)]).to.deep.equal([null, null]);
  });

  it('an address is added once', () => {
    const table = makeTable();
    table.addAddress(table.device(D1)!, address('10.1.0.1') >>> 0, 24);
    expect(table.device(D1)!.addresses.map((own) => dotted(own.address))).to.deep.equal([
      '10.2.0.1',
      '192.168.0.1',
    ]);
  });
});

describe('net/route: what an address is', () => {
  const kinds = (table: RouteTable, texts: string[]): string[] =>
    texts.map((text) => {
      const word = address(text);
      return table.isLocal(word) ? 'local' : table.isBroadcast(word) ? 'broadcast' : 'other';
    });

  it('own, broadcast of a subnet with more than two hosts, or somebody’s', () => {
    const table = makeTable();
    expect(kinds(table, ['10.1.0.1', '10.9.0.7', '127.0.0.1', '127.3.4.5', '192.168.0.1']))
      .to //
      .deep.equal(new Array(5).fill('local'));
    expect(kinds(table, ['10.1.0.255', '10.9.255.255', '127.255.255.255', '255.255.255.255']))
      .to //
      .deep.equal(new Array(4).fill('broadcast'));
    expect(kinds(table, ['10.1.0.77', '10.1.255.255', '192.168.0.0', '8.8.8.8']))
      .to //
      .deep.equal(new Array(4).fill('other'));
    expect(table.isLocal(address('10.9.0.7') >>> 0), 'unsigned').to.equal(true);
  });

  it('the lowest address of a subnet is a host today and was a broadcast address in 5.0', () => {
    const lowest = ['10.1.0.0', '10.9.0.0', '127.0.0.0', '192.168.0.0'];
    expect(kinds(makeTable(), lowest)).to.deep.equal(['other', 'other', 'local', 'other']);
    expect(kinds(makeTable(true), lowest)).to.deep.equal([
      'broadcast',
      'broadcast',
      'broadcast',
      'other',
    ]);
    expect(way(makeTable(), '10.1.0.0')).to.equal('10.1.0.1 by d0');
    expect(way(makeTable(true), '10.1.0.0')).to.equal('broadcast');
  });

  it('sockets bind to own and to group addresses', () => {
    const table = makeTable();
    const may = (text: string): boolean => table.mayBind(address(text));
    for (const text of ['10.1.0.2', '127.0.0.9', '10.1.0.255', '255.255.255.255', '224.0.0.1']) {
      expect(may(text), text).to.equal(true);
    }
    for (const text of ['10.1.0.0', '240.0.0.1', '8.8.8.8'])
      expect(may(text), text).to.equal(false);
  });
});

describe('net/route: which way', () => {
  const measured: [daddr: string, unbound: string, d0: string, lo: string][] = [
    [
      '10.1.0.1',
      '10.1.0.1 by lo, back in by d0',
      '10.1.0.1 by lo, back in by d0',
      '10.1.0.1 by lo',
    ],
    [
      '10.1.0.2',
      '10.1.0.1 by lo, back in by d0',
      '10.1.0.1 by lo, back in by d0',
      '10.1.0.1 by lo',
    ],
    [
      '10.9.0.7',
      '10.9.0.7 by lo, back in by d0',
      '10.9.0.7 by lo, back in by d0',
      '10.1.0.1 by lo',
    ],
    ['10.2.0.1', '10.2.0.1 by lo, back in by d1', '10.1.0.1 by d0', '10.1.0.1 by lo'],
    [
      '127.0.0.1',
      '127.0.0.1 by lo, back in by lo',
      '10.1.0.1 by d0',
      '127.0.0.1 by lo, back in by lo',
    ],
    [
      '127.3.4.5',
      '127.0.0.1 by lo, back in by lo',
      '10.1.0.1 by d0',
      '127.0.0.1 by lo, back in by lo',
    ],
    ['10.1.0.77', '10.1.0.1 by d0', '10.1.0.1 by d0', '10.1.0.1 by lo'],
    ['10.9.4.4', '10.9.0.7 by d0', '10.9.0.7 by d0', '10.1.0.1 by lo'],
    ['10.2.0.9', '10.2.0.1 by d1', '10.1.0.1 by d0', '10.1.0.1 by lo'],
    ['192.168.0.0', '192.168.0.1 by d1', '10.1.0.1 by d0', '10.1.0.1 by lo'],
    // No route in the measured namespace; here the first device is the way.
    ['8.8.8.8', '10.1.0.1 by d0', '10.1.0.1 by d0', '10.1.0.1 by lo'],
    ['240.0.0.1', '10.1.0.1 by d0', '10.1.0.1 by d0', '10.1.0.1 by lo'],
    ['10.1.0.255', 'broadcast', 'broadcast', '10.1.0.1 by lo'],
    ['10.2.0.255', 'broadcast', '10.1.0.1 by d0', '10.1.0.1 by lo'],
    ['127.255.255.255', 'broadcast', '10.1.0.1 by d0', 'broadcast'],
    ['255.255.255.255', 'broadcast', 'broadcast', 'broadcast'],
    ['224.0.0.1', 'multicast', 'multicast', 'multicast'],
    ['0.1.2.3', 'unreachable', 'unreachable', 'unreachable'],
  ];
  for (const [daddr, unbound, d0, lo] of measured) {
    it(`${daddr}: ${unbound}; bound to d0: ${d0}; bound to lo: ${lo}`, () => {
      const table = makeTable();
      expect(way(table, daddr)).to.equal(unbound);
      expect(way(table, daddr, D0)).to.equal(d0);
      expect(way(table, daddr, LO)).to.equal(lo);
    });
  }

  it('0.0.0.0 is 127.0.0.1, or the address of the device bound to', () => {
    const table = makeTable();
    expect([0, LO, D0, D1].map((oif) => dotted(table.self(oif)))).to.deep.equal([
      '127.0.0.1',
      '127.0.0.1',
      '10.1.0.1',
      '10.2.0.1',
    ]);
  });

  it('a device without an address borrows one; without any address there is no way', () => {
    const table = makeTable();
    const bare = table.addDevice('d2', new CaptureDevice());
    expect(way(table, '8.8.8.8', bare.ifindex)).to.equal('10.1.0.1 by d2');
    const none = new RouteTable(false);
    expect(way(none, '8.8.8.8')).to.equal('unreachable');
    none.addDevice('d0', new CaptureDevice());
    expect(way(none, '8.8.8.8')).to.equal('unreachable');
    expect(way(none, '8.8.8.8', 7), 'no such device').to.equal('unreachable');
    expect(way(none, '127.0.0.1')).to.equal('127.0.0.1 by lo, back in by lo');
  });

  it('of nested subnets the longest prefix wins, in any order of adding', () => {
    const subnet = fc.record({ word: fc.integer(), prefix: fc.integer({ min: 0, max: 30 }) });
    fc.assert(
      fc.property(fc.array(subnet, { minLength: 1, maxLength: 6 }), fc.integer(), (nets, low) => {
        const table = new RouteTable(false);
        table.addDevice('first', new CaptureDevice());
        const devs = nets.map((net, i) => {
          const dev = table.addDevice(`d${i}`, new CaptureDevice());
          // Unicast, and host 1 of its subnet.
          const own = (((net.word & 0x3fffffff) | 0x40000000) & netmask(net.prefix)) | 1;
          table.addAddress(dev, own, net.prefix);
          return dev;
        });
        const daddr = (low & 0x3fffffff) | 0x40000000;
        const { type, dev } = table.output(daddr, 0);
        if (type !== RTN_UNICAST) return;
        const length = (d: (typeof devs)[0]): number => {
          const own = d.addresses[0];
          if (own === undefined || ((own.address ^ daddr) & netmask(own.prefix)) !== 0) return -1;
          return own.prefix;
        };
        expect(Math.max(...devs.map(length))).to.equal(dev.name === 'first' ? -1 : length(dev));
      }),
      { numRuns: 200 },
    );
  });

  it('keeps its answers, and forgets them when there is a new address or device', () => {
    const table = makeTable();
    const kept = table.output(address('10.1.0.77'), 0);
    expect(table.output(address('10.1.0.77'), 0)).to.equal(kept);
    expect(table.output(address('10.1.0.77'), D1)).to.equal(table.output(address('8.8.8.8'), D1));
    expect(way(table, '10.3.0.7')).to.equal('10.1.0.1 by d0');
    table.addAddress(table.device(D1)!, address('10.3.0.1'), 24);
    expect(way(table, '10.3.0.7')).to.equal('10.3.0.1 by d1');
    const bare = new RouteTable(false);
    expect(way(bare, '8.8.8.8')).to.equal('unreachable');
    const dev = bare.addDevice('d0', new CaptureDevice());
    bare.addAddress(dev, address('10.1.0.1'), 24);
    expect(way(bare, '8.8.8.8')).to.equal('10.1.0.1 by d0');
  });

  it('answers as a table that was never asked before, whatever was asked in between', () => {
    const asked = fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 1, maxLength: 2000 });
    fc.assert(
      fc.property(asked, (hosts) => {
        const table = makeTable();
        for (const host of hosts) {
          const daddr = (address('10.1.0.0') + Math.imul(host, 97)) | 0;
          const fresh = { ...makeTable().output(daddr, 0) };
          const { type, dev, iif, saddr } = table.output(daddr, 0);
          expect([type, dev.name, iif, saddr]).to.deep.equal([
            fresh.type,
            fresh.dev.name,
            fresh.iif,
            fresh.saddr,
          ]);
        }
      }),
      { numRuns: 5 },
    );
  });
});
