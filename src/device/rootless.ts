/**
 * Running without privilege: the argv that starts this program again inside `unshare -Urn`, where
 * it is root of a user and a network namespace of its own, and whether the machine allows that. The
 * device file must still be one that the user may open (mode 0666): a namespace gives no rights on
 * files. It starts nothing but the probe.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { DeviceError, EXIT_PRIVILEGE } from './errors.js';

export interface Command {
  command: string;
  args: string[];
}

/** What is known about user namespaces here. */
export interface UserNamespaceFacts {
  /** Exit status of `unshare -Urn true`; null = could not be started. */
  status: number | null;
  /** What it printed on stderr. */
  stderr: string;
  /** `unshare` is not installed. */
  missing: boolean;
  /** Values of the sysctls that forbid user namespaces; null = this kernel has no such knob. */
  maxUserNamespaces: number | null;
  unprivilegedClone: number | null;
  apparmorRestrict: number | null;
  container: boolean;
}

/** Allowed, or why not and what to do. */
export interface UserNamespaceVerdict {
  ok: boolean;
  detail: string;
  remedy: string | null;
}

/**
 * The command that runs the program `argv` (node's arguments: script and its own, without
 * `--rootless`) as root of a fresh user and network namespace.
 */
export function rootlessCommand(
  argv: readonly string[],
  execPath: string = process.execPath,
  execArgv: readonly string[] = process.execArgv,
): Command {
  const args = argv.filter((argument) => argument !== '--rootless');
  return { command: 'unshare', args: ['-Urn', '--', execPath, ...execArgv, ...args] };
}

/** The command with which another shell enters that namespace: curl and ping work only there. */
export function enterCommand(pid: number): string {
  return `nsenter --preserve-credentials -U -n -t ${pid}`;
}

/** Tries `unshare -Urn true` and reads the knobs. */
export function probeUserNamespaces(): UserNamespaceFacts {
  const run = spawnSync('unshare', ['-Urn', 'true'], { encoding: 'utf8', timeout: 10_000 });
  const missing = (run.error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
  return {
    status: run.status,
    stderr: (run.stderr ?? '').trim(),
    missing,
    maxUserNamespaces: readKnob('/proc/sys/user/max_user_namespaces'),
    unprivilegedClone: readKnob('/proc/sys/kernel/unprivileged_userns_clone'),
    apparmorRestrict: readKnob('/proc/sys/kernel/apparmor_restrict_unprivileged_userns'),
    container: existsSync('/.dockerenv') || existsSync('/run/.containerenv'),
  };
}

function readKnob(path: string): number | null {
  try {
    const value = Number.parseInt(readFileSync(path, 'latin1'), 10);
    return Number.isNaN(value) ? null : value;
  } catch {
    return null;
  }
}

/** Names the rule that usually forbids it. */
export function judgeUserNamespaces(facts: UserNamespaceFacts): UserNamespaceVerdict {
  if (facts.status === 0) return { ok: true, detail: 'unshare -Urn works', remedy: null };
  if (facts.missing) {
    return refusal('unshare is not installed', 'install util-linux');
  }
  const said = facts.stderr === '' ? `unshare -Urn failed (${facts.status})` : facts.stderr;
  if (facts.maxUserNamespaces === 0) {
    return refusal(
      `${said}: user.max_user_namespaces is 0`,
      'sudo sysctl user.max_user_namespaces=15000',
    );
  }
  if (facts.unprivilegedClone === 0) {
    return refusal(
      `${said}: kernel.unprivileged_userns_clone is 0`,
      'sudo sysctl kernel.unprivileged_userns_clone=1',
    );
  }
  if (facts.apparmorRestrict === 1) {
    return refusal(
      `${said}: AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is 1)`,
      'sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for ' +
        'unshare with the rule "userns,"',
    );
  }
  if (facts.container) {
    return refusal(
      `${said}: the seccomp profile of this container forbids it`,
      'run it outside of the container, or with --cap-add NET_ADMIN --device /dev/net/tun',
    );
  }
  return refusal(
    said,
    'usually a sysctl (user.max_user_namespaces, kernel.unprivileged_userns_clone) or AppArmor ' +
      '(kernel.apparmor_restrict_unprivileged_userns): ask whoever runs this machine, or use sudo',
  );
}

function refusal(detail: string, remedy: string): UserNamespaceVerdict {
  return { ok: false, detail, remedy };
}

/** The error of `--rootless` where user namespaces are forbidden: exit code 77. */
export function rootlessError(verdict: UserNamespaceVerdict): DeviceError {
  return new DeviceError({
    code: 'EPERM',
    message: `--rootless needs user namespaces, which this machine refuses: ${verdict.detail}`,
    remedy: verdict.remedy ?? 'sudo',
    exitCode: EXIT_PRIVILEGE,
  });
}
