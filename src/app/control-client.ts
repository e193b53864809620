/** Asks a running `serve` one question over its control socket. */
import { connect } from 'node:net';
import { FailedError, UsageError } from './command.js';
import {
  type ControlCommand,
  type ControlFields,
  type ControlRequest,
  defaultControlPath,
} from './control-protocol.js';
import type { Flag } from './flags.js';

export const CONTROL_FLAG: Flag = {
  name: 'control',
  value: 'PATH',
  text: 'control socket of the running stack (/run/tunstack.sock)',
};

/**
 * @param path null = the default place
 * @param fields what goes with the command
 * @returns what the stack answers. Throws FailedError when nobody does
 */
export function ask(
  cmd: ControlCommand,
  path: string | null,
  env: NodeJS.ProcessEnv,
  fields: ControlFields = {},
): Promise<unknown> {
  const where = path ?? defaultControlPath(env);
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(where);
    socket.setEncoding('utf8');
    socket.on('connect', () => {
      const request: ControlRequest = { ...fields, cmd };
      socket.write(`${JSON.stringify(request)}\n`);
    });
    socket.on('data', (more: string) => {
      text += more;
      if (!text.endsWith('\n')) return;
      socket.destroy();
      settle(text, resolve, reject);
    });
    socket.on('error', (error) => {
      reject(
        new FailedError(
          `no running stack at ${where}: ${error.message}`,
          'start one (npm start), or say where it is: --control PATH',
        ),
      );
    });
    socket.on('close', () => reject(new FailedError(`${where} hung up without an answer`, '')));
  });
}

function settle(
  text: string,
  resolve: (value: unknown) => void,
  reject: (error: Error) => void,
): void {
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null || !('error' in value)) {
    resolve(value);
    return;
  }
  const { error, usage, remedy } = value as Record<string, unknown>;
  if (typeof usage === 'string') reject(new UsageError(String(error), usage));
  else {
    const why = `the running stack says: ${String(error)}`;
    reject(new FailedError(why, typeof remedy === 'string' ? remedy : ''));
  }
}
