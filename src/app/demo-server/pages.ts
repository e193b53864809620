/**
 * The pages that people read: `GET /` as text and as HTML, directory listings. Pure text from
 * values; no I/O.
 */
import { reciprocalScale } from '../../net/hash.js';
import { type ConnectionInfo, hashText } from './connection-info.js';

const HTML_ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => HTML_ESCAPES[char]!);
}

/** Where the slot comes from: the hash, unless somebody else chose. */
function slotText({ hash, slot, members }: ConnectionInfo): string {
  const formula = `floor(hash x ${members} / 2^32)`;
  const byHash = reciprocalScale(hash, members);
  if (slot === byHash) return `${slot} = ${formula}`;
  return `${slot}, by a selector or SO_INCOMING_CPU; ${formula} is ${byHash}`;
}

/** Label and value of everything that `GET /` tells. */
function facts(worker: number, connection: ConnectionInfo): [string, string][] {
  const { members } = connection;
  const rows: [string, string][] = [
    ['worker', String(worker)],
    ['you', `${connection.remoteAddress}:${connection.remotePort}`],
    ['server', `${connection.localAddress}:${connection.localPort}`],
  ];
  if (members === 0) {
    rows.push(['group', 'none: this connection came through a single listener']);
  } else {
    rows.push(
      ['hash', `${hashText(connection)} of your address and port and this one`],
      ['group', `${members} listener${members === 1 ? '' : 's'}`],
      ['slot', slotText(connection)],
    );
  }
  return rows;
}

const THINGS: readonly [string, string][] = [
  ['/whoami', 'the same as JSON'],
  ['/ok', 'two bytes'],
  ['/bytes/1000000', 'a million bytes; byte i is i % 251'],
  ['/sink', 'POST a body, get its length and SHA-256'],
  ['/stats', 'counters of all workers, listeners and the stack'],
  ['/work/50', 'burns 50 ms of this worker'],
];

export function indexText(worker: number, connection: ConnectionInfo): string {
  const lines = facts(worker, connection).map(([label, value]) => `${label.padEnd(8)}${value}`);
  const things = THINGS.map(([path, text]) => `  ${path.padEnd(16)}${text}`);
  return `tunstack: worker ${worker} answers\n\n${lines.join('\n')}\n\nTry\n${things.join('\n')}\n`;
}

export function indexHtml(worker: number, connection: ConnectionInfo): string {
  const rows = facts(worker, connection)
    .map(([label, value]) => `<tr><th>${escapeHtml(label)}<td>${escapeHtml(value)}`)
    .join('\n');
  const things = THINGS.map(([path, text]) => {
    const link = `<a href="${escapeHtml(path)}">${escapeHtml(path)}</a>`;
    return `<li>${link} ${escapeHtml(text)}`;
  }).join('\n');
  const title = `<h1>tunstack: worker ${worker} answers</h1>`;
  const body = `${title}\n<table>\n${rows}\n</table>\n<ul>\n${things}\n</ul>`;
  return page(`tunstack: worker ${worker}`, body);
}

/** One row of a directory listing. */
export interface ListingEntry {
  name: string;
  directory: boolean;
  bytes: number;
}

/** @param path decoded path of the directory as the client sees it, ending in '/' */
export function listingHtml(path: string, entries: readonly ListingEntry[]): string {
  const rows = entries.map((entry) => {
    const suffix = entry.directory ? '/' : '';
    const href = `./${encodeURIComponent(entry.name)}${suffix}`;
    const size = entry.directory ? '' : String(entry.bytes);
    const link = `<a href="${escapeHtml(href)}">${escapeHtml(entry.name + suffix)}</a>`;
    return `<tr><td>${link}<td>${size}`;
  });
  const title = `Index of ${escapeHtml(path)}`;
  const up = path === '/files/' ? '' : '<tr><td><a href="../">../</a><td>\n';
  return page(title, `<h1>${title}</h1>\n<table>\n${up}${rows.join('\n')}\n</table>`);
}

function page(title: string, body: string): string {
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<title>${title}</title>`,
    '<style>',
    'body{font:1rem/1.5 system-ui,sans-serif;margin:2rem auto;max-width:44rem;padding:0 1rem}',
    'th{text-align:left;padding-right:1rem}',
    'td:nth-child(2){text-align:right;padding-left:2rem}',
    '</style>',
    `<body>\n${body}\n</body>`,
    '</html>\n',
  ].join('\n');
}
