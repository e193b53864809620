/**
 * A script that cannot fail says nothing: one number of what each script expects is changed, and
 * the script must fail, and for that reason.
 */
import { expect } from 'chai';
import { parseScript } from '../../src/packetdrill/parser.js';
import { runParsed } from '../../src/packetdrill/run.js';
import type { Action, Script } from '../../src/packetdrill/script.js';
import { scriptFiles } from './scripts.js';

/** A wrong expectation in the place of a right one. */
interface Mutation {
  readonly what: string;
  readonly action: Action;
}

/** Calls whose result is a descriptor: any number may be its name. */
const MAKES_FD = new Set(['socket', 'accept', 'accept4', 'epoll_create', 'epoll_create1']);

function mutationsOf(action: Action): Mutation[] {
  if (action.kind === 'call') {
    if (MAKES_FD.has(action.name) || action.result.kind !== 'number') return [];
    const result = { kind: 'number' as const, value: action.result.value + 1 };
    return [{ what: `${action.name} = ${result.value}`, action: { ...action, result } }];
  }
  if (action.kind !== 'packet' || action.direction !== 'out') return [];
  const { body } = action;
  if (body.protocol !== 'tcp') {
    return [{ what: 'type', action: { ...action, body: { ...body, type: body.type ^ 1 } } }];
  }
  const made: Mutation[] = [];
  const change = (what: string, fields: Partial<typeof body>): void => {
    made.push({ what, action: { ...action, body: { ...body, ...fields } } });
  };
  // A SYN's number is a name that the script gives.
  const named = (body.flags & 2) !== 0;
  if (!named && !body.seq.unchecked) {
    change('seq', { seq: { ...body.seq, start: body.seq.start + 1 } });
  }
  change('length', { seq: { ...body.seq, length: body.seq.length + 1 } });
  change('flags', { flags: body.flags ^ 8 });
  if (body.ack !== null) change('ack', { ack: body.ack + 1 });
  if (body.win !== null) change('win', { win: body.win ^ 1 });
  if (body.options !== null && body.options.length > 0) change('options', { options: [] });
  return made;
}

function mutated(script: Script, index: number, action: Action): Script {
  const events = script.events.map((event, i) => (i === index ? { ...event, action } : event));
  return { ...script, events };
}

/** At most this many of each script, spread over it. */
const MUTATIONS_MOST = 3;

describe('packet scripts with one wrong number', () => {
  for (const { name, source } of scriptFiles()) {
    it(`${name} fails`, () => {
      const script = parseScript(name, source);
      const all = script.events.flatMap((event, index) =>
        mutationsOf(event.action).map((mutation) => ({ index, line: event.line, ...mutation })),
      );
      expect(all, 'the script expects nothing').to.have.length.above(0);
      const step = Math.max(1, Math.floor(all.length / MUTATIONS_MOST));
      for (let i = 0; i < all.length; i += step) {
        const { index, line, what, action } = all[i]!;
        const outcome = runParsed(mutated(script, index, action));
        expect(outcome.verdict, `${name}:${line}: another ${what}`).to.equal('failed');
      }
    });
  }
});
