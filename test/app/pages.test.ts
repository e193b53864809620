/** What `GET /` tells a person about the choice that was made for his connection. */
import { expect } from 'chai';
import type { ConnectionInfo } from '../../src/app/demo-server/connection-info.js';
import { indexHtml, indexText } from '../../src/app/demo-server/pages.js';

/** 0x5fcf67ad * 4 / 2^32 = 1.497. */
const CHOSEN: ConnectionInfo = {
  remoteAddress: '198.18.0.254',
  remotePort: 44_800,
  localAddress: '198.18.0.1',
  localPort: 80,
  hash: 0x5fcf67ad,
  slot: 1,
  members: 4,
};

const slotLine = (connection: ConnectionInfo): string =>
  indexText(1, connection)
    .split('\n')
    .find((line) => /^(slot|group) .*(floor|none)/.test(line))!;

describe('app/demo-server/pages', () => {
  it('the slot is that of the hash', () => {
    expect(slotLine(CHOSEN)).to.equal('slot    1 = floor(hash x 4 / 2^32)');
    const high = { ...CHOSEN, hash: 0xf946109e | 0, slot: 3 };
    expect(slotLine(high)).to.equal('slot    3 = floor(hash x 4 / 2^32)');
  });

  it('or it says that the hash did not choose', () => {
    const line = 'slot    2, by a selector or SO_INCOMING_CPU; floor(hash x 4 / 2^32) is 1';
    expect(slotLine({ ...CHOSEN, slot: 2 })).to.equal(line);
    expect(indexHtml(2, { ...CHOSEN, slot: 2 })).to.contain('<td>2, by a selector');
  });

  it('or there was no group', () => {
    expect(slotLine({ ...CHOSEN, slot: -1, members: 0 })).to.equal(
      'group   none: this connection came through a single listener',
    );
  });
});
