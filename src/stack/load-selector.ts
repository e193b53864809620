/**
 * Reads a user's selector: a module whose default export (ES) or module.exports (CommonJS) is the
 * function. Done with require(), because the stack thread never returns to its event loop: ES
 * modules work as long as they have no top-level await. A module is read once per stack.
 */
import { createRequire } from 'node:module';
import type { Selector } from '../reuseport/selector-request.js';

const require = createRequire(import.meta.url);

/**
 * The selector that the module at the absolute `path` gives. Throws an Error whose message is the
 * reason, in one line; `code` is ENOENT when the file itself is not there.
 */
export function loadSelector(path: string): Selector {
  const exported = required(path);
  const selector = isNamespace(exported) ? exported.default : exported;
  if (typeof selector === 'function') return selector as Selector;
  throw new TypeError('neither its default export nor its module.exports is a function');
}

/** What `require` gives of an ES module, and what compilers make of one. */
function isNamespace(exported: unknown): exported is { default: unknown } {
  return typeof exported === 'object' && exported !== null && 'default' in exported;
}

function required(path: string): unknown {
  const restore = withoutModuleWarning();
  try {
    return require(path);
  } catch (error) {
    throw refusal(error, path);
  } finally {
    restore();
  }
}

/** In one line why `path` was not read. */
function refusal(error: unknown, path: string): Error {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  const text = typeof message === 'string' ? message : String(error);
  const reason = new Error(`${nameOf(error)}${text.split('\n')[0]}${whereIn(path, error)}`);
  if (code === 'ERR_REQUIRE_ASYNC_MODULE') {
    reason.message = 'it has a top-level await, and a selector cannot wait for anything';
  }
  // MODULE_NOT_FOUND may also be about something that the module itself requires.
  const itself = text.startsWith(`Cannot find module '${path}'`);
  if (code === 'MODULE_NOT_FOUND' && itself) {
    reason.message = 'there is no such file';
    return Object.assign(reason, { code: 'ENOENT' });
  }
  return reason;
}

/** Where in the module it went wrong, when the error says so. */
function whereIn(path: string, error: unknown): string {
  if (error instanceof SyntaxError) return `; \`node --check ${path}\` shows where`;
  const stack = error instanceof Error ? String(error.stack) : '';
  const at = stack.indexOf(`${path}:`);
  const place = at < 0 ? null : /^:(\d+)/.exec(stack.slice(at + path.length));
  return place === null ? '' : `, in line ${place[1]}`;
}

function nameOf(error: unknown): string {
  return error instanceof Error && error.name !== 'Error' ? `${error.name}: ` : '';
}

/**
 * Node says on stderr that require() of an ES module is an experiment; our users have not asked for
 * one. Every other warning of the module goes its way.
 */
function withoutModuleWarning(): () => void {
  const { emitWarning } = process;
  process.emitWarning = ((warning: unknown, ...more: unknown[]): void => {
    const [type] = more as [string | { type?: string }];
    const kind = typeof type === 'object' ? type?.type : type;
    const text = warning instanceof Error ? warning.message : String(warning);
    if (kind === 'ExperimentalWarning' && /require\(\)|ES Module/.test(text)) return;
    (emitWarning as (...args: unknown[]) => void).call(process, warning, ...more);
  }) as typeof process.emitWarning;
  return () => {
    process.emitWarning = emitWarning;
  };
}
