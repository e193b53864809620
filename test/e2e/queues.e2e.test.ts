/**
 * `serve --queues N`: one stack thread a queue, seen from outside as one stack. With
 * TUNSTACK_QUEUES=N every other suite runs its serves so.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { expect } from 'chai';
import type { ShownSocket } from '../../src/app/socket-table.js';
import { readPcapng } from '../../src/device/pcapng.js';
import { connected, shares, whoamis } from './clients.js';
import { must, run, scratchDirectory, suiteWith } from './machine.js';
import { type Ready, type ServeProcess, withServe } from './serve-process.js';

async function counters(serve: ServeProcess): Promise<Record<string, number>> {
  return (await serve.get<{ mib: Record<string, number> }>('/stats')).mib;
}

async function answered(socket: Socket): Promise<string> {
  socket.write('GET /ok HTTP/1.1\r\nHost: x\r\n\r\n');
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  return chunk.toString('latin1').split('\r\n\r\n')[1]!;
}

function expectQueues(serve: ServeProcess, queues: number): void {
  const ready = serve.ready as Ready & { queues: number; steering: string };
  expect(ready.queues).to.equal(queues);
  expect(['ebpf', 'kernel']).to.include(ready.steering);
}

suiteWith(['tun', 'ip'], 'end to end: several queues', () => {
  for (const queues of [2, 4]) {
    it(`${queues} queues serve as one stack`, async () => {
      await withServe(['--queues', String(queues)], async (serve) => {
        expectQueues(serve, queues);
        const { address, port } = serve.ready;
        const answers = await whoamis(address, port, 200);
        expect(Math.min(...shares(answers, 4))).to.be.above(20);
        for (const { hash, slot, members } of answers) {
          expect(slot).to.equal(Math.floor((Number(hash) * members) / 2 ** 32));
        }
        const open = await Promise.all(Array.from({ length: 40 }, () => connected(address, port)));
        for (const socket of open) expect(await answered(socket)).to.equal('OK');
        const rows = await serve.json<(ShownSocket & { info?: object })[]>('ss', '-tni');
        const ours = rows.filter(({ peer }) => open.some((s) => s.localPort === peer.port));
        expect(ours).to.have.lengthOf(40);
        for (const { state, info } of ours) {
          expect(state).to.equal('ESTAB');
          expect(info, 'ss -i asks the stack that has it').to.be.an('object');
        }
        for (const socket of open) socket.destroy();
        const mib = await counters(serve);
        expect(mib['TunQueueDropped']).to.equal(0);
        expect(mib['TcpPassiveOpens']).to.be.at.least(240);
      });
    });
  }

  it('hardly a packet has to be sent on', async () => {
    await withServe(['--queues', '2'], async (serve) => {
      const { address, port } = serve.ready;
      const open = await Promise.all(Array.from({ length: 16 }, () => connected(address, port)));
      const before = await counters(serve);
      for (let i = 0; i < 50; i++) {
        for (const socket of open) expect(await answered(socket)).to.equal('OK');
      }
      const after = await counters(serve);
      const came = after['TunRxPackets']! - before['TunRxPackets']!;
      const sentOn = after['TunQueueForwarded']! - before['TunQueueForwarded']!;
      expect(came).to.be.above(800);
      // Those of the two connections that asked for the counters.
      expect(sentOn).to.be.at.most(8);
      for (const socket of open) socket.destroy();
    });
  });

  it('--pcap has the packets of all queues in one file, each SYN with its decision', async () => {
    const path = join(scratchDirectory(), 'several.pcapng');
    await withServe(['--queues', '3', '--pcap', path], async ({ ready }) => {
      await whoamis(ready.address, ready.port, 60);
    });
    const { packets } = readPcapng(readFileSync(path));
    const tcp = packets.filter(({ data }) => data[9] === 6);
    const withFlags = (wanted: number): number =>
      tcp.filter(({ data }) => (data[33]! & 0x12) === wanted).length;
    expect(withFlags(0x02), 'SYN').to.equal(60);
    expect(withFlags(0x12), 'SYN-ACK').to.equal(60);
    expect(tcp.filter(({ comments }) => comments.length > 0)).to.have.lengthOf(60);
    const answers = tcp.filter(({ data }) => Buffer.from(data).includes('HTTP/1.1 200 OK'));
    expect(answers).to.have.lengthOf(60);
  });

  it('a device that has one queue is refused', async () => {
    await must(['ip', 'tuntap', 'add', 'dev', 'one0', 'mode', 'tun']);
    try {
      const start = withServe(['--queues', '2', '--tun', 'one0'], async () => {});
      const error = await start.then(
        () => null,
        (reason: Error) => reason,
      );
      expect(error?.message).to.match(
        /ended with 77[\s\S]*one0 exists and is no TUN device with sev/,
      );
    } finally {
      await run(['ip', 'link', 'del', 'one0']);
    }
  });
});
