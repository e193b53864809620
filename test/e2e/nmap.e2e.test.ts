/**
 * What nmap sees of `serve` and of the kernel's own stack on the same machine: the state of each
 * port and the reason for it, by each kind of scan, and the fingerprint of -O (SEQ, OPS, WIN, ECN,
 * T1 to T7, U1, IE), field by field. Any difference fails.
 */
import { expect } from 'chai';
import { KERNEL_HOST, withKernelHost } from './kernel-host.js';
import { must, suiteWith } from './machine.js';
import { withServe } from './serve-process.js';

const SCANS = ['-sS', '-sT', '-sA', '-sW', '-sF', '-sX', '-sN', '-sM'];
/** Open, and closed on either side of it. */
const PORTS = '79-81';
const COMMON = ['nmap', '-n', '-Pn', '--send-ip', '--disable-arp-ping', '--max-retries', '2'];

/** `80/tcp open syn-ack ttl 64` and so on, one line a port. */
async function scan(address: string, kind: string, ports: string): Promise<string[]> {
  const xml = await must([...COMMON, kind, '-p', ports, '--reason', '-oX', '-', address]);
  const state = 'state state="([^"]+)" reason="([^"]+)" reason_ttl="(\\d+)"';
  const port = new RegExp(`<port protocol="(\\w+)" portid="(\\d+)"><${state}`, 'g');
  return [...xml.matchAll(port)].map(
    ([, protocol, number, state, reason, ttl]) =>
      `${number}/${protocol} ${state} ${reason} ttl ${ttl}`,
  );
}

/** The fingerprint as `T1.DF` → `Y`; a test that got no answer has `R` = `N` only. */
async function fingerprint(address: string): Promise<Map<string, string>> {
  const argv = [...COMMON, '-O', '-d', '-p', '80,81', address];
  const text = await must(argv);
  const lines = text.split('\n').filter((line) => line.startsWith('OS:'));
  const joined = lines.map((line) => line.slice(3).trimEnd()).join('');
  const fields = new Map<string, string>();
  for (const [, test, body] of joined.matchAll(/([A-Z]+\d?)\(([^)]*)\)/g)) {
    if (test === 'SCAN') continue;
    for (const field of body!.split('%')) {
      const [name, value] = field.split('=');
      fields.set(`${test}.${name}`, value ?? '');
    }
  }
  return fields;
}

/**
 * Measured values: how unpredictable ISNs are and how fast they grow, and the timestamps' rate,
 * which is nonsense where each connection has a clock of its own.
 */
const MEASURED = ['SEQ.SP', 'SEQ.ISR', 'SEQ.TS'];
/** SP and ISR are eight times a binary logarithm: so far apart they may be by chance. */
const CHANCE = 16;

type Prints = [Map<string, string>, Map<string, string>];

async function fingerprints(address: string): Promise<Prints> {
  return [await fingerprint(KERNEL_HOST), await fingerprint(address)];
}

/** What must be equal. */
function exact(print: Map<string, string>): Record<string, string> {
  return Object.fromEntries([...print].filter(([name]) => !MEASURED.includes(name)));
}

function distance(a: Map<string, string>, b: Map<string, string>, name: string): number {
  return Math.abs(Number.parseInt(a.get(name)!, 16) - Number.parseInt(b.get(name)!, 16));
}

function sameOf(kernel: Map<string, string>, ours: Map<string, string>): boolean {
  return JSON.stringify(exact(kernel)) === JSON.stringify(exact(ours));
}

suiteWith(['tun', 'root', 'ip', 'nmap'], 'end to end: nmap', () => {
  it(`${SCANS.join(' ')} -sU see the ports as they see the kernel's`, async () => {
    await withKernelHost(async () => {
      await withServe([], async ({ ready }) => {
        for (const kind of [...SCANS, '-sU']) {
          const ports = kind === '-sU' ? '9,53' : PORTS;
          const kernel = await scan(KERNEL_HOST, kind, ports);
          expect(kernel.length, `${kind}: ports of the kernel`).to.be.above(0);
          expect(await scan(ready.address, kind, ports), kind).to.deep.equal(kernel);
        }
      });
    });
  });

  it('-O sees the same fingerprint', async () => {
    await withKernelHost(async () => {
      await withServe([], async ({ ready }) => {
        // A difference that another look does not show was the machine's load.
        let [kernel, ours] = await fingerprints(ready.address);
        for (let again = 0; again < 2 && !sameOf(kernel, ours); again++) {
          [kernel, ours] = await fingerprints(ready.address);
        }
        expect(kernel.size, 'fields').to.be.above(60);
        for (const name of ['SEQ.SP', 'SEQ.ISR']) {
          expect(distance(kernel, ours, name), name).to.be.below(CHANCE);
        }
        expect(exact(ours)).to.deep.equal(exact(kernel));
      });
    });
  });
});
