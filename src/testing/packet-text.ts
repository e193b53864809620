/**
 * TCP segments as text, in packetdrill's form (`S. 0:0(0) ack 1 win 65160 <mss 1460,sackOK>`), both
 * ways, for tests and tools. Sequence numbers in the text are relative to what the caller says they
 * are.
 */

/** One TCP segment as its text says it; absent fields were not written. */
export interface SegmentText {
  /** FSRPUEW letters, '.' for ACK; '-' = none. */
  flags: string;
  seq: number;
  length: number;
  ack?: number;
  win?: number;
  urg?: number;
  /** null: `<...>`, anything goes. */
  options?: OptionText[] | null;
}

export type OptionText =
  | { kind: 'nop' | 'eol' | 'sackOK' }
  | { kind: 'mss' | 'wscale'; value: number }
  | { kind: 'TS'; val: number; ecr: number }
  | { kind: 'sack'; blocks: [number, number][] };

const SHAPE = new RegExp(
  [
    /^(-|[FSRPUEW]*\.?)\s+(\d+):(\d+)\((\d+)\)/,
    /(?:\s+ack\s+(\d+))?(?:\s+win\s+(\d+))?(?:\s+urg\s+(\d+))?(?:\s+<(.*)>)?$/,
  ]
    .map((part) => part.source)
    .join(''),
);

/** Reads one segment. Throws SyntaxError with the text when it is not of the form. */
export function parseSegment(text: string): SegmentText {
  const match = SHAPE.exec(text.trim());
  if (match === null) throw new SyntaxError(`not a segment: ${text}`);
  const [, flags, first, last, size, ack, win, urg, options] = match;
  const seq = Number(first);
  const length = Number(size);
  if (Number(last) !== seq + length) throw new SyntaxError(`${last} is not ${seq}+${length}`);
  const segment: SegmentText = { flags: flags === '-' ? '' : flags!, seq, length };
  if (ack !== undefined) segment.ack = Number(ack);
  if (win !== undefined) segment.win = Number(win);
  if (urg !== undefined) segment.urg = Number(urg);
  if (options !== undefined) segment.options = options === '...' ? null : parseOptions(options);
  return segment;
}

function parseOptions(text: string): OptionText[] {
  if (text.trim() === '') return [];
  return text.split(',').map((part) => parseOption(part.trim()));
}

function parseOption(text: string): OptionText {
  const [name, ...rest] = text.split(/\s+/);
  switch (name) {
    case 'nop':
    case 'eol':
    case 'sackOK':
      return { kind: name };
    case 'mss':
    case 'wscale':
      return { kind: name, value: Number(rest[0]) };
    case 'TS':
      return { kind: 'TS', val: Number(rest[1]), ecr: Number(rest[3]) };
    case 'sack':
      return {
        kind: 'sack',
        blocks: rest.map((block) => {
          const [left, right] = block.split(':').map(Number);
          return [left!, right!];
        }),
      };
  }
  throw new SyntaxError(`not a TCP option: ${text}`);
}

/** The text of a segment. */
export function formatSegment(segment: SegmentText): string {
  const { seq, length, ack, win, urg, options } = segment;
  let text = `${segment.flags === '' ? '-' : segment.flags} ${seq}:${seq + length}(${length})`;
  if (ack !== undefined) text += ` ack ${ack}`;
  if (win !== undefined) text += ` win ${win}`;
  if (urg !== undefined && urg !== 0) text += ` urg ${urg}`;
  if (options === null) text += ' <...>';
  else if (options !== undefined && options.length > 0) {
    text += ` <${options.map(formatOption).join(',')}>`;
  }
  return text;
}

function formatOption(option: OptionText): string {
  switch (option.kind) {
    case 'mss':
    case 'wscale':
      return `${option.kind} ${option.value}`;
    case 'TS':
      return `TS val ${option.val} ecr ${option.ecr}`;
    case 'sack':
      return `sack ${option.blocks.map(([left, right]) => `${left}:${right}`).join(' ')}`;
  }
  return option.kind;
}
