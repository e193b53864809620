/**
 * `/files/…`: a directory tree served read-only. What is opened is checked after it is open, by the
 * path that the kernel gives for the descriptor, so neither `..` nor a symbolic link nor a race
 * between look and open leads outside the root. Single byte ranges (RFC 9110 14) and
 * If-Modified-Since; no compression, no caching rules.
 */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs';
import { extname, join, sep } from 'node:path';
import { parseRange } from '../http/negotiate.js';
import { type Answer, type Endpoint, type Exchange, HTML, TEXT } from './answer.js';
import { FileSource } from './body-source.js';
import { DRAIN_MAX_BYTES } from './endpoints.js';
import { type ListingEntry, listingHtml } from './pages.js';

const PREFIX = '/files/';
const FILE_BUFFER_BYTES = 262144;
/** Rows of one listing. */
const LISTING_MAX = 10000;

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.csv': 'text/csv; charset=utf-8',
  '.gif': 'image/gif',
  '.htm': HTML,
  '.html': HTML,
  '.ico': 'image/x-icon',
  '.jpeg': 'image/jpeg',
  '.jpg': 'image/jpeg',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.md': 'text/markdown; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.mp4': 'video/mp4',
  '.pdf': 'application/pdf',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.txt': TEXT,
  '.wasm': 'application/wasm',
  '.webp': 'image/webp',
  '.xml': 'application/xml',
};

export function contentTypeOf(name: string): string {
  return CONTENT_TYPES[extname(name).toLowerCase()] ?? 'application/octet-stream';
}

export class FilesEndpoint implements Endpoint {
  readonly methods: readonly string[] = ['GET'];
  readonly bodyMaxBytes: number = DRAIN_MAX_BYTES;
  readonly hashesBody = false;
  readonly refuses = false;
  /** Real path of the root, or '' when none was given. */
  private readonly root: string;
  private readonly buffer: Uint8Array;

  /**
   * @param root directory to serve, null = none. Throws what realpath throws when it does not
   * exist.
   */
  constructor(root: string | null) {
    this.root = root === null ? '' : realpathSync(root);
    this.buffer = new Uint8Array(root === null ? 0 : FILE_BUFFER_BYTES);
  }

  answer(exchange: Exchange, answer: Answer): void {
    if (this.root === '') {
      answer.set(404, TEXT, 'No directory is served; start with --root DIR.\n');
      return;
    }
    const path = decodePath(exchange.path);
    const file = path === null ? -1 : this.open(path);
    if (path === null || file < 0) {
      answer.set(404, TEXT, 'No such file.\n');
      return;
    }
    const stats = fstatSync(file);
    if (stats.isFile()) {
      this.serveFile(file, stats, exchange, answer);
      return;
    }
    if (stats.isDirectory()) this.serveDirectory(file, path, answer);
    else answer.set(404, TEXT, 'No such file.\n');
    closeSync(file);
  }

  /**
   * Descriptor of `path` below the root, or -1. Non-blocking, so that a FIFO cannot hang the
   * worker.
   */
  private open(path: string): number {
    let file = -1;
    try {
      file = openSync(join(this.root, path), constants.O_RDONLY | constants.O_NONBLOCK);
      if (this.isInside(readlinkSync(`/proc/self/fd/${file}`))) return file;
      closeSync(file);
    } catch {
      if (file >= 0) closeSync(file);
    }
    return -1;
  }

  private isInside(real: string): boolean {
    const prefix = this.root.endsWith(sep) ? this.root : this.root + sep;
    return real === this.root || real.startsWith(prefix);
  }

  private serveFile(file: number, stats: Stats, exchange: Exchange, answer: Answer): void {
    const { head } = exchange;
    const modified = new Date(Math.floor(stats.mtimeMs / 1000) * 1000);
    answer.fields = `Last-Modified: ${modified.toUTCString()}\r\nAccept-Ranges: bytes\r\n`;
    if (head.ifModifiedSince !== '' && Date.parse(head.ifModifiedSince) >= modified.getTime()) {
      closeSync(file);
      answer.status = 304;
      answer.bodiless = true;
      return;
    }
    const range = head.method === 'GET' ? parseRange(head.range, stats.size) : null;
    if (range === 'unsatisfiable') {
      closeSync(file);
      answer.set(416, TEXT, 'The range lies behind the end of the file.\n');
      answer.fields += `Content-Range: bytes */${stats.size}\r\n`;
      return;
    }
    const from = range?.from ?? 0;
    const to = range?.to ?? stats.size;
    if (range !== null) {
      answer.status = 206;
      answer.fields += `Content-Range: bytes ${from}-${to - 1}/${stats.size}\r\n`;
    }
    answer.setSource(
      new FileSource(file, from, this.buffer),
      to - from,
      contentTypeOf(exchange.path),
    );
  }

  private serveDirectory(directory: number, path: string, answer: Answer): void {
    if (path !== '' && !path.endsWith('/')) {
      const location = PREFIX + path.split('/').map(encodeURIComponent).join('/');
      answer.set(301, TEXT, 'It is a directory.\n');
      answer.fields = `Location: ${location}/\r\n`;
      return;
    }
    answer.set(200, HTML, listingHtml(PREFIX + path, this.list(`/proc/self/fd/${directory}`)));
  }

  /** Entries by name, directories first; links that lead nowhere or outside are left out. */
  private list(directory: string): ListingEntry[] {
    const rows: ListingEntry[] = [];
    for (const name of readdirSync(directory).sort().slice(0, LISTING_MAX)) {
      try {
        const real = realpathSync(join(directory, name));
        if (!this.isInside(real)) continue;
        const stats = statSync(real);
        rows.push({ name, directory: stats.isDirectory(), bytes: stats.size });
      } catch {
        // A link that leads nowhere, or a name that has gone since: not listed.
      }
    }
    return rows.sort((a, b) => Number(b.directory) - Number(a.directory));
  }
}

/** Decoded path below /files/, or null when it is malformed or climbs out. */
function decodePath(path: string): string | null {
  let decoded: string;
  try {
    decoded = decodeURIComponent(path.slice(PREFIX.length));
  } catch {
    return null;
  }
  if (decoded.includes('\0')) return null;
  return decoded.split('/').includes('..') ? null : decoded;
}
