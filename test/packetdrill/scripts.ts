/** The packet scripts of this folder, for the tests that run them and those that doubt them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../repository.js';

export interface ScriptFile {
  /** Relative to this folder: `area/name.pkt`. */
  readonly name: string;
  readonly source: string;
}

const FOLDER = join(ROOT, 'test', 'packetdrill');

/** Every script, in the order of their names. */
export function scriptFiles(): ScriptFile[] {
  const names = readdirSync(FOLDER, { recursive: true, encoding: 'utf8' });
  return names
    .filter((name) => name.endsWith('.pkt'))
    .sort()
    .map((name) => ({ name, source: readFileSync(join(FOLDER, name), 'utf8') }));
}
