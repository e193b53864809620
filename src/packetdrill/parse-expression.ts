/** Arguments, results and structures of the system calls in a script. */
import type { Expression, StructField } from './script.js';
import type { TokenReader } from './token-reader.js';

/** One expression, with `|` between its terms. */
export function parseExpression(reader: TokenReader): Expression {
  const first = parseTerm(reader);
  if (!reader.sees('|')) return first;
  const terms = [first];
  while (reader.accept('|')) terms.push(parseTerm(reader));
  return { kind: 'or', terms };
}

/** Expressions with commas between them up to `close`, which is taken. */
export function parseList(reader: TokenReader, close: string): Expression[] {
  const items: Expression[] = [];
  if (reader.accept(close)) return items;
  do items.push(parseExpression(reader));
  while (reader.accept(','));
  reader.expect(close);
  return items;
}

function parseTerm(reader: TokenReader): Expression {
  const token = reader.peek();
  switch (token.kind) {
    case 'ellipsis':
      reader.next();
      return { kind: 'ellipsis' };
    case 'integer':
    case 'hex':
    case 'float':
      reader.next();
      return { kind: 'number', value: Number(token.text) };
    case 'string':
      return parseStrings(reader);
    case 'ipv4':
    case 'ipv6':
      reader.next();
      return { kind: 'string', value: token.text };
    case 'word':
      reader.next();
      if (!reader.accept('(')) return { kind: 'symbol', name: token.text };
      return { kind: 'apply', name: token.text, arguments: parseList(reader, ')') };
  }
  if (reader.accept('[')) return { kind: 'list', items: parseList(reader, ']') };
  if (reader.accept('{')) return { kind: 'struct', fields: parseFields(reader) };
  reader.fail('an argument');
}

/** Adjacent strings are one. */
function parseStrings(reader: TokenReader): Expression {
  let value = '';
  while (reader.is('string')) value += reader.next().text;
  return { kind: 'string', value };
}

/** What stands between the braces of a structure. */
function parseFields(reader: TokenReader): StructField[] {
  const fields: StructField[] = [];
  while (!reader.accept('}')) {
    fields.push(parseField(reader));
    if (!reader.sees('}')) reader.expect(',');
  }
  return fields;
}

function parseField(reader: TokenReader): StructField {
  if (reader.is('word') && reader.sees('=', 1)) {
    const name = reader.next().text;
    reader.next();
    return { name, parameter: null, value: parseExpression(reader) };
  }
  const value = parseExpression(reader);
  if (value.kind !== 'apply' || !reader.accept('=')) return { name: null, parameter: null, value };
  const parameter = value.arguments[0] ?? null;
  return { name: value.name, parameter, value: parseExpression(reader) };
}
