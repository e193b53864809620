/**
 * What a script needs that this stack does not have, found before it runs: it is then skipped, and
 * does not fail for another reason on the way there.
 */
import { isKnownName } from './arguments.js';
import { type Expression, type Script, UnsupportedError } from './script.js';
import { isKnownCall } from './system-calls.js';

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

/** Throws UnsupportedError for the first call or name of a call that is not known. */
export function checkNeeds(script: Script): void {
  for (const { action, line } of script.events) {
    if (action.kind !== 'call') continue;
    if (!isKnownCall(action.name))
      throw new UnsupportedError(line, `the system call ${action.name}`);
    const name = firstUnknown([...action.arguments, action.result]);
    if (name !== null) throw new UnsupportedError(line, name);
  }
}
