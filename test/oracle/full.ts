/** How much the tests against the kernel do: a good part of it by default, all when asked. */

/** TUNSTACK_E2E=full in the environment: minutes instead of seconds. */
export const FULL: boolean = process.env['TUNSTACK_E2E'] === 'full';

/** Says how much was compared, in the full form. */
export function told(line: string): void {
  if (FULL) process.stdout.write(`    ${line}\n`);
}
