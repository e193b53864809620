/** Packets lost on a device of this network namespace, by nft. */
import { must } from './machine.js';

const rule = (key: string, device: string, percent: number): string =>
  `${key} "${device}" ${percent < 100 ? `numgen random mod 100 < ${percent}` : ''} counter drop`;

/**
 * Drops `percent` of 100 packets (as the kernel counts them) each way while `body` runs.
 * @returns how many were dropped, in and out
 */
export async function withLoss(
  device: string,
  percent: number,
  body: () => Promise<void>,
): Promise<number[]> {
  const chain = (hook: string, key: string): string =>
    `chain ${hook} {\ntype filter hook ${hook} priority 0;\n${rule(key, device, percent)}\n}`;
  const rules = `table inet loss {\n${chain('input', 'iifname')}\n${chain('output', 'oifname')}\n}`;
  await must(['nft', rules]);
  try {
    await body();
    const dropped = [...(await must(['nft', 'list', 'ruleset'])).matchAll(/packets (\d+)/g)];
    return dropped.map(([, packets]) => Number(packets));
  } finally {
    await must(['nft', 'delete table inet loss']);
  }
}
