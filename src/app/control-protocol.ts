/**
 * What goes over the control socket: one JSON object a line each way. A client asks
 * `{"cmd":"sockets"}` and gets an answer or `{"error":"…"}`, the latter with `"usage"` (what to
 * type) when the question was wrong. Shared by the serving end (control-server.ts) and the asking
 * end (control-client.ts).
 */
import { accessSync, constants } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type ControlCommand =
  | 'stats'
  | 'sockets'
  | 'counters'
  | 'drain'
  | 'drain-status'
  | 'explain'
  | 'trace';

/** What a request carries beside its command; whoever answers checks it. */
export type ControlFields = Readonly<Record<string, unknown>>;

export interface ControlRequest extends ControlFields {
  cmd: ControlCommand;
}

const NAME = 'tunstack.sock';
/** sun_path less its final NUL. */
export const PATH_MAX_BYTES = 107;

/**
 * Where the socket is when nobody says: /run if it may be written, else the user's runtime
 * directory, else /tmp.
 */
export function defaultControlPath(env: NodeJS.ProcessEnv, name: string = NAME): string {
  const runtime = env['XDG_RUNTIME_DIR'];
  if (mayWrite('/run')) return join('/run', name);
  if (runtime !== undefined && mayWrite(runtime)) return join(runtime, name);
  return join(tmpdir(), `${process.getuid?.() ?? 0}-${name}`);
}

function mayWrite(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
