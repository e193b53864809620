/**
 * The one exception type of the device room: what failed, why, and what to type next, with the exit
 * code that a command should end with. Which failure gets which text is decided in permission.ts
 * and address.ts, not here.
 */

/** Exit codes of commands (0 is "fine"). */
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
export const EXIT_PRIVILEGE = 77;

/** A DeviceError as plain data: what survives `postMessage` from the stack thread. */
export interface DeviceErrorFields {
  /** Symbolic errno (`EPERM`, `EBUSY`, …), or `EADDRINUSE` for an address clash. */
  code: string;
  /** What failed and why, one or two sentences. */
  message: string;
  /** What to do about it; several ways are separated by newlines. */
  remedy: string;
  /** EXIT_FAILED, EXIT_USAGE or EXIT_PRIVILEGE. */
  exitCode: number;
}

/** A device that cannot be had. Never thrown because of a packet. */
export class DeviceError extends Error implements DeviceErrorFields {
  override readonly name = 'DeviceError';
  readonly code: string;
  readonly remedy: string;
  readonly exitCode: number;

  constructor(fields: DeviceErrorFields) {
    super(fields.message);
    this.code = fields.code;
    this.remedy = fields.remedy;
    this.exitCode = fields.exitCode;
  }

  /**
   * The error as a structured-cloneable object; `new DeviceError(fields)` makes it an error again.
   */
  toJSON(): DeviceErrorFields {
    return {
      code: this.code,
      message: this.message,
      remedy: this.remedy,
      exitCode: this.exitCode,
    };
  }
}

/** A wrong option: exit code 2. */
export function usageError(message: string, remedy: string): DeviceError {
  return new DeviceError({ code: 'EINVAL', message, remedy, exitCode: EXIT_USAGE });
}
