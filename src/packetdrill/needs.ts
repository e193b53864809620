/**
 * What a script needs that this stack does not have, found before it runs: it is then skipped, and
 * does not fail for another reason on the way there.
 */
import {
  AF_INET,
  IPPROTO_TCP,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from '../socket/uapi/constants.js';
import { isKnownName, numberOf } from './arguments.js';
import {
  type CallAction,
  type Expression,
  type Script,
  ScriptError,
  UnsupportedError,
} from './script.js';
import { isKnownCall } from './system-calls.js';

/** Calls of the language that need a kernel, or the FreeBSD dialect's own. */
const ELSEWHERE = new Set([
  ...['pipe', 'pipe2', 'splice', 'tee', 'vmsplice', 'sendfile', 'open', 'cap_set', 'mmap'],
  ...['madvise', 'sendmmsg', 'recvmmsg', 'select', 'pselect', 'ppoll', 'epoll_pwait', 'fork'],
  ...['dup', 'dup2', 'kqueue', 'kevent', 'recvv', 'sendv', 'getsockname', 'getpeername'],
]);
const ELSEWHERE_FAMILIES = /^(?:psp|sctp)_/;

/** The first name in `expression` that means nothing here, or null. */
function unknownName(expression: Expression): string | null {
  switch (expression.kind) {
    case 'symbol':
      return isKnownName(expression.name) ? null : expression.name;
    case 'or':
      return firstUnknown(expression.terms);
    case 'list':
      return firstUnknown(expression.items);
    case 'struct':
      return firstUnknown(expression.fields.map(({ value }) => value));
    case 'apply':
      return firstUnknown(expression.arguments);
  }
  return null;
}

function firstUnknown(expressions: readonly Expression[]): string | null {
  for (const expression of expressions) {
    const name = unknownName(expression);
    if (name !== null) return name;
  }
  return null;
}

/** Throws UnsupportedError for a socket that a script wants and that the stack does not have. */
function checkSocket(action: CallAction, line: number): void {
  const [domain, type, protocol] = action.arguments;
  if (action.name !== 'socket' || protocol === undefined) return;
  // Who wants no descriptor wants to see the errno.
  if (numberOf(action.result, line) < 0) return;
  const family = domain!.kind === 'ellipsis' ? AF_INET : numberOf(domain!, line);
  const kind = numberOf(type!, line) & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
  const number = numberOf(protocol, line);
  if (family === AF_INET && kind === SOCK_STREAM && (number === 0 || number === IPPROTO_TCP))
    return;
  throw new UnsupportedError(line, 'sockets other than TCP over IPv4');
}

/**
 * Throws UnsupportedError for the first call or name of a call that is another system's, and
 * ScriptError for a call that is nobody's.
 */
export function checkNeeds(script: Script): void {
  for (const { action, line, actionLine, actionColumn } of script.events) {
    if (action.kind !== 'call') continue;
    if (ELSEWHERE.has(action.name) || ELSEWHERE_FAMILIES.test(action.name)) {
      throw new UnsupportedError(line, `the system call ${action.name}`);
    }
    if (!isKnownCall(action.name)) {
      const message = `${action.name} is no system call`;
      throw new ScriptError(actionLine, message, { column: actionColumn });
    }
    const name = firstUnknown([...action.arguments, action.result]);
    if (name !== null) throw new UnsupportedError(line, name);
    checkSocket(action, line);
  }
}
