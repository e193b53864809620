/**
 * Scripts with one wrong number: for each number that a script expects (in packets, times,
 * results, values that calls give back, assertions) a script that differs in that number alone.
 * What a script does by itself (packets in, sizes of writes) is no expectation and stays as it is.
 */
import type {
  Action,
  CallAction,
  Expression,
  PacketAction,
  Script,
  StructField,
  TcpBody,
  TcpOption,
  Time,
} from '../../src/packetdrill/script.js';

export interface Mutation {
  readonly index: number;
  readonly line: number;
  readonly what: string;
  /** One of these must make the script fail: a bound can be changed to where it says less. */
  readonly scripts: readonly Script[];
}

/** What takes the place of an event's time and action. */
interface Change {
  readonly what: string;
  readonly forms: readonly { time?: Time; action?: Action }[];
}

/** Far beyond any tolerance, µs. */
const FAR_US = 3_000_000;
const FAR = 1_000_000_000;
/** Calls whose result is a descriptor: any number may be its name. */
const MAKES_FD = new Set(['socket', 'accept', 'accept4', 'epoll_create', 'epoll_create1']);
/** The argument in which a call says what it must give back. */
const GIVES_BACK: Readonly<Record<string, number>> = {
  getsockopt: 3,
  ioctl: 2,
  poll: 0,
  epoll_wait: 1,
  recvmsg: 1,
};
/** Fields of structures that say what is given back; the others are what the script hands over. */
const GIVEN_BACK = new Set(['revents', 'msg_flags', 'cmsg_level', 'cmsg_type', 'cmsg_data']);
const SYN = 0x02;
const ACK = 0x10;

function actionChange(what: string, action: Action): Change {
  return { what, forms: [{ action }] };
}

/** `expression` once for each of its numbers and names, with that one changed. */
function changedNumbers(expression: Expression, all: boolean): Expression[] {
  switch (expression.kind) {
    case 'number':
      return all ? [{ kind: 'number', value: expression.value + 1 }] : [];
    case 'symbol':
      return all ? [{ kind: 'or', terms: [expression, { kind: 'number', value: 1 << 29 }] }] : [];
    case 'string':
      return all ? [{ kind: 'string', value: `${expression.value}x` }] : [];
    case 'or':
      return all ? [{ kind: 'or', terms: expression.terms.slice(1) }] : [];
    case 'list':
      return expression.items.flatMap((item, i) =>
        changedNumbers(item, all).map((changed): Expression => {
          return { kind: 'list', items: expression.items.with(i, changed) };
        }),
      );
    case 'struct':
      return expression.fields.flatMap((field, i) =>
        changedNumbers(field.value, isGivenBack(field, expression.fields)).map(
          (value): Expression => ({
            kind: 'struct',
            fields: expression.fields.with(i, { ...field, value }),
          }),
        ),
      );
  }
  return [];
}

function isGivenBack(field: StructField, fields: readonly StructField[]): boolean {
  if (field.name === null || field.name === 'fd') return false;
  if (GIVEN_BACK.has(field.name) || field.name === 'msg_control') return true;
  // Of epoll_wait and of getsockopt everything is; of poll the events are what is asked for.
  const names = fields.map(({ name }) => name);
  return !names.includes('revents') && !names.includes('msg_iov');
}

function callChanges(action: CallAction): Change[] {
  const made: Change[] = [];
  const { result, returnsUs } = action;
  if (!MAKES_FD.has(action.name) || (result.kind === 'number' && result.value < 0)) {
    for (const changed of changedNumbers(result, true)) {
      made.push(actionChange('result', { ...action, result: changed }));
    }
  }
  if (action.errno !== null) {
    const errno = action.errno === 'EDOM' ? 'EPERM' : 'EDOM';
    made.push(actionChange('errno', { ...action, errno }));
  }
  if (returnsUs !== null) {
    // Beyond 12.5 % of the wait, too.
    made.push(actionChange('return', { ...action, returnsUs: FAR_US + 2 * returnsUs }));
  }
  const at = GIVES_BACK[action.name];
  const failed = result.kind === 'number' && result.value < 0;
  const nothingThere = action.name === 'epoll_wait' && result.kind === 'number' && !result.value;
  if (at === undefined || failed || nothingThere) return made;
  const argument = action.arguments[at]!;
  for (const changed of changedNumbers(argument, argument.kind !== 'struct')) {
    const args = action.arguments.with(at, changed);
    made.push(actionChange('value', { ...action, arguments: args }));
  }
  return made;
}

/** Numbers of an option that are compared. */
function optionChanges(option: TcpOption): TcpOption[] {
  switch (option.kind) {
    case 'mss':
    case 'wscale':
      return [{ ...option, value: option.value + 1 }];
    case 'sack':
      return option.blocks.flatMap(([left, right], i): TcpOption[] => [
        { ...option, blocks: option.blocks.with(i, [left + 1, right]) },
        { ...option, blocks: option.blocks.with(i, [left, right + 1]) },
      ]);
    case 'TS':
      return [{ ...option, ecr: option.ecr + 1 }];
    case 'FO':
    case 'FOEXP':
      return option.cookie === '' ? [] : [{ ...option, cookie: `ff${option.cookie.slice(2)}` }];
  }
  return [];
}

function segmentChanges(action: PacketAction, body: TcpBody): Change[] {
  const made: Change[] = [];
  const change = (what: string, fields: Partial<TcpBody>): void => {
    made.push(actionChange(what, { ...action, body: { ...body, ...fields } }));
  };
  // A SYN's number is a name that the script gives.
  const named = (body.flags & SYN) !== 0 && !body.seq.absolute;
  if (!named && !body.seq.unchecked) {
    change('seq', { seq: { ...body.seq, start: body.seq.start + 1 } });
  }
  change('length', { seq: { ...body.seq, length: body.seq.length + 1 } });
  change('flags', { flags: body.flags ^ 8 });
  if (body.ace !== null) change('ace', { ace: body.ace ^ 1 });
  if (body.ack !== null && (body.flags & ACK) !== 0) change('ack', { ack: body.ack + 1 });
  if (body.win !== null) change('win', { win: body.win ^ 1 });
  change('urg', { urg: (body.urg ?? 0) + 1 });
  if (body.sport !== null) change('sport', { sport: body.sport + 1 });
  if (body.dport !== null) change('dport', { dport: body.dport + 1 });
  const { options } = body;
  if (options === null) return made;
  change('options', { options: [...options, { kind: 'nop' }] });
  if (options.length > 0) change('options', { options: options.slice(1) });
  options.forEach((option, i) => {
    for (const changed of optionChanges(option)) {
      change(option.kind, { options: options.with(i, changed) });
    }
  });
  return made;
}

function packetChanges(action: PacketAction): Change[] {
  if (action.direction !== 'out') return [];
  const { body, ip } = action;
  const made: Change[] = [];
  const header = (what: string, fields: Partial<PacketAction['ip']>): void => {
    made.push(actionChange(what, { ...action, ip: { ...ip, ...fields } }));
  };
  if (typeof ip.ecn === 'number') header('ecn', { ecn: ip.ecn ^ 3 });
  if (ip.tos !== null) header('tos', { tos: ip.tos ^ 4 });
  if (ip.ttl !== null) header('ttl', { ttl: ip.ttl + 1 });
  if (body.protocol === 'tcp') return [...made, ...segmentChanges(action, body)];
  const changed = { ...action, body: { ...body, type: body.type ^ 1 } };
  return [...made, actionChange('type', changed)];
}

/** Each number of an assertion, so large and so small that one of both cannot hold. */
function codeChanges(text: string): Change[] {
  const numbers = [...text.matchAll(/(?<![\w.'"%])\d+(?![\w.])/g)];
  return numbers.map((match): Change => {
    const put = (value: number): Action => ({
      kind: 'code',
      text: `${text.slice(0, match.index)}${value}${text.slice(match.index + match[0].length)}`,
    });
    const number = Number(match[0]);
    return {
      what: 'number',
      forms: [{ action: put(number + FAR) }, { action: put(number - FAR) }],
    };
  });
}

/** The time of an expected packet, far later. */
function timeChanges(time: Time, action: Action): Change[] {
  if (action.kind !== 'packet' || action.direction !== 'out' || time.kind === 'any') return [];
  // Beyond 12.5 % of the wait, too.
  const far = FAR_US + time.us;
  const later = { ...time, us: time.us + far };
  if ('endUs' in later) later.endUs += far;
  return [{ what: 'time', forms: [{ time: later }] }];
}

function changesOf(time: Time, action: Action): Change[] {
  const times = timeChanges(time, action);
  if (action.kind === 'call') return callChanges(action);
  if (action.kind === 'packet') return [...times, ...packetChanges(action)];
  return action.kind === 'code' ? codeChanges(action.text) : [];
}

/** Every mutation of a script, in its order. */
export function mutationsOf(script: Script): Mutation[] {
  return script.events.flatMap((event, index) =>
    changesOf(event.time, event.action).map(({ what, forms }) => ({
      index,
      line: event.line,
      what,
      scripts: forms.map((form) => ({
        ...script,
        events: script.events.with(index, { ...event, ...form }),
      })),
    })),
  );
}
