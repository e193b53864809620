/**
 * Blanks out what is not code, for rules that look for words in a source: comments, and on request
 * the insides of strings. Line ends and columns stay where they were. A scanner, not a parser: it
 * tells a regular expression from a division by the character before it, which suffices for
 * formatted code.
 */

/** After one of these a slash starts a regular expression. */
const BEFORE_REGEXP = /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\breturn|\btypeof|\bcase|=>)\s*$/;

class Blanker {
  readonly source: string;
  readonly keepStrings: boolean;
  at = 0;
  out = '';

  constructor(source: string, keepStrings: boolean) {
    this.source = source;
    this.keepStrings = keepStrings;
  }

  /** Copies `length` characters, or blanks them. */
  take(length: number, keep: boolean): void {
    const text = this.source.slice(this.at, this.at + length);
    this.out += keep ? text : text.replace(/[^\n]/g, ' ');
    this.at += length;
  }

  /** Code up to the end of the source, or up to the brace that closes a template's substitution. */
  code(insideTemplate: boolean): void {
    let depth = 0;
    while (this.at < this.source.length) {
      const character = this.source[this.at]!;
      if (character === '{') depth++;
      if (character === '}' && depth-- === 0 && insideTemplate) return;
      this.token(character);
    }
  }

  private token(character: string): void {
    const next = this.source[this.at + 1];
    if (character === '/' && next === '/') this.take(this.lengthTo('\n', 0), false);
    else if (character === '/' && next === '*') this.take(this.lengthTo('*/', 2), false);
    else if (character === "'" || character === '"') this.quoted(character, this.keepStrings);
    else if (character === '`') this.template();
    else if (character === '/' && BEFORE_REGEXP.test(this.out.slice(-40))) this.regexp();
    else this.take(1, true);
  }

  private lengthTo(end: string, extra: number): number {
    const found = this.source.indexOf(end, this.at + extra);
    return (found < 0 ? this.source.length : found + extra) - this.at;
  }

  private quoted(quote: string, keep: boolean): void {
    this.take(1, true);
    while (this.at < this.source.length && this.source[this.at] !== quote) {
      this.take(this.source[this.at] === '\\' ? 2 : 1, keep);
    }
    this.take(1, true);
  }

  private template(): void {
    this.take(1, true);
    while (this.at < this.source.length && this.source[this.at] !== '`') {
      if (this.source.startsWith('${', this.at)) {
        this.take(2, true);
        this.code(true);
        this.take(1, true);
      } else {
        this.take(this.source[this.at] === '\\' ? 2 : 1, this.keepStrings);
      }
    }
    this.take(1, true);
  }

  private regexp(): void {
    this.take(1, true);
    let inClass = false;
    while (this.at < this.source.length && (inClass || this.source[this.at] !== '/')) {
      const character = this.source[this.at];
      if (character === '[') inClass = true;
      if (character === ']') inClass = false;
      this.take(character === '\\' ? 2 : 1, false);
    }
    this.take(1, true);
  }
}

/** `source` with comments blanked, and with the insides of strings blanked unless `keepStrings`. */
export function blank(source: string, keepStrings = false): string {
  const blanker = new Blanker(source, keepStrings);
  blanker.code(false);
  return blanker.out;
}
