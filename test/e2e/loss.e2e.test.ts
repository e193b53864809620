/**
 * Transfers over the real device with packets lost both ways, with kernel peers that use reno,
 * cubic and bbr, compared by hash. The short form loses 1 and 5 of 100; TUNSTACK_E2E=full also 20,
 * each way of ours to control congestion, and more bytes.
 */
import { createHash } from 'node:crypto';
import { expect } from 'chai';
import { patternSha256 } from './clients.js';
import { suiteWith } from './machine.js';
import { withLoss } from './nft-loss.js';
import { withServe } from './serve-process.js';
import { available, download, noise, upload } from './transfer.js';

const FULL = process.env['TUNSTACK_E2E'] === 'full';
const WANTED = ['reno', 'cubic', 'bbr'];
/** Percent lost → bytes each way. */
const SIZES: readonly (readonly [number, number])[] = FULL
  ? [
      [1, 2 ** 25],
      [5, 2 ** 23],
      [20, 2 ** 16],
    ]
  : [
      [1, 2 ** 21],
      [5, 2 ** 19],
    ];
const LOSSES = SIZES.map(([percent]) => `${percent} %`).join(', ');
/** Packet by packet, so that a loss is one segment; superpackets, so that it is many at once. */
const MODES: readonly (readonly [string, readonly string[]])[] = [
  ['packet by packet', ['--no-offload']],
  ['superpackets', []],
];
const OURS = FULL ? ['cubic', 'reno'] : ['cubic'];

suiteWith(['tun', 'root', 'ip', 'nft'], 'end to end: loss with kernel peers', () => {
  const peers = available(WANTED);
  const lacking = WANTED.filter((name) => !peers.includes(name));
  if (lacking.length > 0) console.log(`      this kernel has no ${lacking.join(', no ')}`);

  for (const [mode, args] of MODES) {
    for (const ours of OURS) {
      const knob = ['--sysctl', `net.ipv4.tcp_congestion_control=${ours}`];
      it(`${mode}, ours ${ours}: intact at ${LOSSES}`, async () => {
        const lost = [0, 0];
        const summary = await withServe([...args, ...knob], async ({ ready }) => {
          for (const [percent, bytes] of SIZES) {
            const body = noise(bytes);
            const sha256 = createHash('sha256').update(body).digest('hex');
            for (const peer of peers) {
              const what = `${peer} at ${percent} %`;
              const dropped = await withLoss(ready.tun, percent, async () => {
                const down = await download(ready.url, bytes, peer);
                expect(down.bytes, `${what}: bytes down`).to.equal(bytes);
                expect(down.sha256, `${what}: down`).to.equal(patternSha256(bytes));
                const up = await upload(ready.url, body, peer);
                expect(up.bytes, `${what}: bytes up`).to.equal(bytes);
                expect(up.sha256, `${what}: up`).to.equal(sha256);
              });
              for (const way of [0, 1]) lost[way]! += dropped[way]!;
            }
          }
        });
        expect(Math.min(...lost), 'packets lost each way').to.be.above(0);
        expect(summary.retransmits).to.be.above(0);
      }).timeout(600_000);
    }
  }
});
