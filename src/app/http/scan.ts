/**
 * Bytes of HTTP/1.1 messages, classified once: the token, target and field-value alphabets of RFC
 * 9110 5.5-5.6 and RFC 9112 3, and the few comparisons a parser makes over raw bytes. Owns no
 * state; decodes no character set.
 */

export const CR = 13;
export const LF = 10;
export const SP = 32;
export const HTAB = 9;
export const COLON = 58;
export const SEMICOLON = 59;

const TOKEN = 1;
const TARGET = 2;
const VALUE = 4;
const DOMAIN = 8;

/**
 * Alphabets by byte: bit 0 tchar (RFC 9110 5.6.2), bit 1 request-target, bit 2 field-value, bit 3
 * what domain names and dotted addresses are made of.
 */
const CLASS: Uint8Array = buildClasses();

function buildClasses(): Uint8Array {
  const classes = new Uint8Array(256);
  for (let byte = 0x21; byte <= 0x7e; byte++) classes[byte] = TARGET | VALUE;
  classes[0x23]! &= ~TARGET; // '#': a fragment is never sent (RFC 9112 3.2)
  classes[SP] = VALUE;
  classes[HTAB] = VALUE;
  for (let byte = 0x80; byte <= 0xff; byte++) classes[byte] = VALUE; // obs-text
  const tchars = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  for (const char of tchars) classes[char.charCodeAt(0)]! |= TOKEN;
  const domain = '.-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
  for (const char of domain) classes[char.charCodeAt(0)]! |= DOMAIN;
  return classes;
}

/** End of the run of tchars that starts at `at`. */
export function skipToken(bytes: Uint8Array, at: number, end: number): number {
  while (at < end && (CLASS[bytes[at]!]! & TOKEN) !== 0) at++;
  return at;
}

/** End of the run of request-target bytes that starts at `at`. */
export function skipTarget(bytes: Uint8Array, at: number, end: number): number {
  while (at < end && (CLASS[bytes[at]!]! & TARGET) !== 0) at++;
  return at;
}

/**
 * End of the run of field-value bytes that starts at `at`: stops at CR, LF, NUL and every other
 * control but HTAB.
 */
export function skipValue(bytes: Uint8Array, at: number, end: number): number {
  while (at < end && (CLASS[bytes[at]!]! & VALUE) !== 0) at++;
  return at;
}

/** End of the run of letters, digits, dots and hyphens that starts at `at`. */
export function skipDomain(bytes: Uint8Array, at: number, end: number): number {
  while (at < end && (CLASS[bytes[at]!]! & DOMAIN) !== 0) at++;
  return at;
}

export function isFieldByte(byte: number): boolean {
  return (CLASS[byte]! & VALUE) !== 0;
}

export function isTokenByte(byte: number): boolean {
  return (CLASS[byte]! & TOKEN) !== 0;
}

/** Value of a hexadecimal digit, or -1. */
export function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 0x20;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

/** Bytes [at, end) equal `text` (ASCII). */
export function equals(bytes: Uint8Array, at: number, end: number, text: string): boolean {
  if (end - at !== text.length) return false;
  for (let i = 0; i < text.length; i++) {
    if (bytes[at + i] !== text.charCodeAt(i)) return false;
  }
  return true;
}

/** Bytes [at, end) equal `lower`, letters compared without case; `lower` is lower-case ASCII. */
export function equalsIgnoreCase(
  bytes: Uint8Array,
  at: number,
  end: number,
  lower: string,
): boolean {
  if (end - at !== lower.length) return false;
  for (let i = 0; i < lower.length; i++) {
    const byte = bytes[at + i]!;
    const folded = byte >= 65 && byte <= 90 ? byte | 0x20 : byte;
    if (folded !== lower.charCodeAt(i)) return false;
  }
  return true;
}
