/**
 * A decision as text that can be followed with pencil and paper: each step of the lookup a line,
 * each hash with its words, the choice with its multiplication. Works on the plain form
 * (decision-json.ts), so that whoever got that over a socket can print it.
 */
import type {
  ExplainedCandidate,
  ExplainedGroup,
  ExplainedMember,
  ExplainedSocket,
  Explanation,
  HashInput,
  QueueFill,
} from './decision-json.js';

/** Members of a large group that are printed from either end; the chosen one always is. */
const MEMBERS_SHOWN = 16;

/** 0x and eight digits: the form in which /whoami shows a hash. */
function hex32(word: number): string {
  return `0x${(word >>> 0).toString(16).padStart(8, '0')}`;
}

function both(word: number): string {
  return `${word >>> 0} (${hex32(word)})`;
}

function end({ address, port }: { address: string; port: number }): string {
  return `${address}:${port}`;
}

/** `worker 2 fd 7`, `fd 7`, or what it is bound to. */
function socketText(socket: ExplainedSocket): string {
  const { fd, worker, local, device } = socket;
  const on = device === 0 ? '' : ` on interface ${device}`;
  const owner = worker === null ? '' : `worker ${worker}`;
  const file = fd === null ? '' : `fd ${fd}`;
  const name = [owner, file].filter((part) => part !== '').join(' ');
  return `${name === '' ? end(local) : name}${on}`;
}

function hashText({ words, plus }: HashInput, secret: number): string {
  const call = `jhash_3words(${[...words, secret].map(hex32).join(', ')})`;
  return plus === 0 ? call : `${plus} + ${call}`;
}

/** Which of the words is what: the kernels differ. */
function wordsText(explanation: Explanation): string {
  return explanation.profile === '5.0'
    ? 'jhash_3words(laddr, faddr, lport << 16 | fport, secret)'
    : 'lport + jhash_3words(laddr, faddr, fport, secret)';
}

function establishedLines(e: Explanation): string[] {
  if (e.hash === null || e.hashInput === null) return [];
  const { established, ofEstablished } = e.buckets;
  return [
    `established: hash = ${wordsText(e)}`,
    `  = ${hashText(e.hashInput, e.secret)} = ${both(e.hash)}`,
    `  bucket ${established} of ${ofEstablished}, ${e.visited} looked at: ${e.established}`,
  ];
}

function candidateLine(candidate: ExplainedCandidate): string {
  const name = socketText(candidate);
  if (candidate.mismatch !== null) return `  ${name}: no, ${candidate.mismatch}`;
  const { device, family, cpu } = candidate.terms;
  return `  ${name}: score ${candidate.score} = device ${device} + family ${family} + cpu ${cpu}`;
}

function scanLines(e: Explanation, stage: 'exact' | 'wildcard'): string[] {
  const bucket = e.buckets[stage];
  if (bucket === null) return [];
  const address = stage === 'exact' ? e.destination.address : '0.0.0.0';
  const where = `${address}:${e.destination.port}, bucket ${bucket} of ${e.buckets.ofListeners}`;
  const found = e.candidates.filter((candidate) => candidate.stage === stage);
  const count = found.length === 0 ? 'nobody listens' : `${found.length} looked at`;
  return [`listeners, ${stage}: ${where}: ${count}`, ...found.map(candidateLine)];
}

/** What the selector saw of a member. */
function factsText(member: ExplainedMember): string {
  const { queueLength, connections, utilisation, heartbeatAgeMs } = member;
  if (queueLength === undefined) return '';
  const beat =
    heartbeatAgeMs === Infinity || heartbeatAgeMs === null
      ? 'gone'
      : `heartbeat ${Math.round(heartbeatAgeMs!)} ms ago`;
  const busy = `utilisation ${Math.round(utilisation! * 100)} %`;
  return `: queue ${queueLength}, connections ${connections}, ${busy}, ${beat}`;
}

function memberLines(group: ExplainedGroup, index: number): string[] {
  const lines: string[] = [];
  let left = 0;
  group.sockets.forEach((member, i) => {
    const shown = i < MEMBERS_SHOWN || i >= group.members - MEMBERS_SHOWN || i === index;
    if (!shown) {
      left++;
      return;
    }
    if (left > 0) lines.push(`  … ${left} more`);
    left = 0;
    const chosen = i === index ? '  <==' : '';
    lines.push(`  [${i}] ${socketText(member)}${factsText(member)}${chosen}`);
  });
  left += group.members - group.sockets.length;
  if (left > 0) lines.push(`  … ${left} more`);
  return lines;
}

function pickLines(group: ExplainedGroup, index: number, cpu: number): string[] {
  const lines: string[] = [];
  if (group.selectorError !== null) {
    lines.push(`its selector was detached: ${group.selectorError}`);
  }
  if (group.pickedBy === 'selector') {
    lines.push(`the selector ${group.selector} chose ${index}`);
  } else if (group.selector !== null) {
    lines.push(`the selector ${group.selector} named no member: the hash chooses`);
  }
  if (group.pickedBy === 'cpu') {
    lines.push(`first member from ${group.byHash} on of cpu ${cpu}: ${index}`);
  }
  return lines;
}

function groupLines(e: Explanation): string[] {
  const { group, phash, index } = e;
  if (group === null || phash === null || index === null) return [];
  const n = group.members;
  const quotient = ((phash * n) / 2 ** 32).toFixed(3);
  return [
    `reuseport group: ${n} ${n === 1 ? 'member' : 'members'}, in listen() order`,
    ...memberLines(group, index),
    `flow hash of ${end(e.source)} -> ${group.address}:${e.destination.port} = ${wordsText(e)}`,
    `  = ${hashText(group, e.secret)} = ${both(phash)}`,
    `hash * ${n} / 2^32 = ${phash} * ${n} / 4294967296 = ${quotient}, so ${group.byHash}`,
    ...pickLines(group, index, e.cpu),
  ];
}

function queueText(name: string, queue: QueueFill, then: string): string {
  return `${name} ${queue.length} of ${queue.backlog}${queue.full ? `: full, ${then}` : ''}`;
}

/** What a SYN would meet at the winner. */
function queueLines({ winner, verdict }: Explanation): string[] {
  if (verdict !== 'listener' && verdict !== 'reuseport') return [];
  const lines: string[] = [];
  const { acceptQueue, synQueue } = winner!;
  if (acceptQueue !== undefined) {
    lines.push(queueText('accept queue', acceptQueue, 'the SYN is dropped (ListenOverflows)'));
  }
  if (synQueue !== undefined) {
    lines.push(queueText('SYN queue', synQueue, 'a SYN cookie is sent, or the SYN dropped'));
  }
  return lines;
}

function verdictLine({ verdict, winner }: Explanation): string {
  return winner === null ? `verdict: ${verdict}` : `verdict: ${verdict}, ${socketText(winner)}`;
}

/** The whole story, a line a step. */
export function explanationLines(explanation: Explanation): string[] {
  const e = explanation;
  return [
    `${end(e.source)} -> ${end(e.destination)}, interface ${e.interface}, cpu ${e.cpu}, ` +
      `rules of Linux ${e.profile}, secret ${e.secret}`,
    ...establishedLines(e),
    ...scanLines(e, 'exact'),
    ...scanLines(e, 'wildcard'),
    ...groupLines(e),
    verdictLine(e),
    ...queueLines(e),
  ];
}

function groupBrief(group: ExplainedGroup, phash: number, index: number, cpu: number): string {
  const hash = `hash ${hex32(phash)}`;
  const of = `group of ${group.members}`;
  if (group.pickedBy === 'hash') return `${of}, ${hash} → index ${index}`;
  if (group.pickedBy === 'cpu') {
    return `${of}, ${hash} → ${group.byHash}, from there on cpu ${cpu} → index ${index}`;
  }
  return `${of}, selector ${group.selector} → index ${index} (${hash} → ${group.byHash})`;
}

/** The decision in one line, for a list of packets. */
export function explanationBrief(explanation: Explanation): string {
  const { winner, verdict, group, phash, index, destination, cpu } = explanation;
  if (winner === null) return `nobody listens on ${end(destination)}`;
  const name = winner.worker === null ? socketText(winner) : `worker ${winner.worker}`;
  switch (verdict) {
    case 'reuseport':
      return `${name}: ${groupBrief(group!, phash!, index!, cpu)}`;
    case 'listener':
      return `${name}: the one listener, no group asked`;
    case 'request':
      return `${name}: half open already, no group asked`;
    case 'time-wait':
      return 'a connection in TIME-WAIT, no group asked';
    default:
      return `${name}: an open connection, no group asked`;
  }
}
