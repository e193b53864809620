/**
 * Every pair of sockets on one port that a user can set up with addresses, SO_REUSEADDR,
 * SO_REUSEPORT, users, and the times at which options change: the cases, and how one is played on
 * any sockets. Which cases agree with the kernel is bind-matrix.e2e.test.ts.
 */
import type { Random } from '../../src/net/env.js';
import { ADDRESSES } from './our-sockets.js';
import {
  outcome,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOL_SOCKET,
  type SocketCalls,
} from './socket-calls.js';
import { setRange, type World } from './worlds.js';

/** When the options that a socket has are set, and whether they last until its listen(). */
export type When = 'before bind' | 'after bind' | 'cleared after bind';

/** One socket of a case. `address` 0 = any. */
export interface Side {
  readonly address: number;
  readonly reuse: boolean;
  readonly reuseport: boolean;
  readonly uid: number;
  readonly when: When;
}

/** What owns the port when the second socket comes. */
export type First = 'bound' | 'listening' | 'child' | 'time-wait';
/** How the second socket asks for the port; the range of ephemeral ports has only this one. */
export type Second = 'bind' | 'bind(0)' | 'listen';

export interface Case {
  readonly first: Side;
  readonly state: First;
  readonly second: Side;
  readonly how: Second;
}

const [LOCALHOST = 0, OTHER = 0, , CLIENT = 0] = ADDRESSES;
const USERS = [0, 1000];
const TIMES: readonly When[] = ['before bind', 'after bind', 'cleared after bind'];
const STATES: readonly First[] = ['bound', 'listening', 'child', 'time-wait'];
const WAYS: readonly Second[] = ['bind', 'bind(0)', 'listen'];

function sides(addresses: readonly number[]): Side[] {
  const found: Side[] = [];
  for (const address of addresses) {
    for (const uid of USERS) {
      found.push({ address, reuse: false, reuseport: false, uid, when: 'before bind' });
      for (const when of TIMES) {
        found.push({ address, reuse: true, reuseport: false, uid, when });
        found.push({ address, reuse: false, reuseport: true, uid, when });
        found.push({ address, reuse: true, reuseport: true, uid, when });
      }
    }
  }
  return found;
}

/** All cases; a socket that listens without bind() has no address. */
export function cases(): Case[] {
  const all = sides([0, LOCALHOST, OTHER]);
  const unbound = sides([0]);
  const found: Case[] = [];
  for (const state of STATES) {
    for (const how of WAYS) {
      for (const first of all) {
        for (const second of how === 'listen' ? unbound : all) {
          found.push({ first, state, second, how });
        }
      }
    }
  }
  return found;
}

/** `count` cases of `all`, drawn with `dice`. */
export function sample<T>(all: readonly T[], count: number, dice: Random): T[] {
  const deck = [...all];
  const chosen = Math.min(count, deck.length);
  for (let i = 0; i < chosen; i++) {
    const j = i + (dice.u32() % (deck.length - i));
    [deck[i], deck[j]] = [deck[j]!, deck[i]!];
  }
  return deck.slice(0, chosen);
}

function sideText(side: Side): string {
  const options = [side.reuse ? 'RA' : '', side.reuseport ? 'RP' : ''].filter(Boolean).join('+');
  const when = options === '' ? '' : ` ${side.when}`;
  return `${side.address === 0 ? '*' : `.${side.address & 0xff}`} ${options}${when} u${side.uid}`;
}

export function caseText({ first, state, second, how }: Case): string {
  return `${sideText(first)} ${state}, then ${sideText(second)} by ${how}`;
}

function setOptions(
  calls: SocketCalls,
  fd: number,
  { reuse, reuseport }: Side,
  value: 0 | 1,
): void {
  if (reuse) calls.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, value);
  if (reuseport) calls.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, value);
}

/** A socket, bound as `side` says when `port` is not null; what bind said goes to `said`. */
function open(calls: SocketCalls, side: Side, port: number | null, said: string[]): number {
  const fd = calls.socket(side.uid);
  if (side.when !== 'after bind') setOptions(calls, fd, side, 1);
  if (port !== null) said.push(`bind ${outcome(calls.bind(fd, side.address, port))}`);
  if (side.when === 'after bind') setOptions(calls, fd, side, 1);
  if (side.when === 'cleared after bind') setOptions(calls, fd, side, 0);
  return fd;
}

/** Leaves only a connection that came through `listener`, or its TIME-WAIT, on the port. */
function leaveChild(
  calls: SocketCalls,
  listener: number,
  side: Side,
  port: number,
  state: First,
  said: string[],
): void {
  const client = calls.socket();
  calls.bind(client, CLIENT, 0);
  calls.connect(client, side.address === 0 ? LOCALHOST : side.address, port);
  const child = calls.accept(listener);
  said.push(`accept ${outcome(child)}`);
  calls.close(listener);
  if (state !== 'time-wait') return;
  calls.close(child);
  calls.close(client);
}

/** Plays a case on port `port`; what the calls answered, in order. */
export function play(world: World, test: Case, port: number): string[] {
  const { calls } = world;
  const said: string[] = [];
  const first = open(calls, test.first, port, said);
  if (test.state !== 'bound') {
    said.push(`listen ${outcome(calls.listen(first, 5))}`);
    if (test.state !== 'listening') leaveChild(calls, first, test.first, port, test.state, said);
  }
  if (test.how !== 'bind') setRange(world, port);
  const asked = { bind: port, 'bind(0)': 0, listen: null }[test.how];
  const second = open(calls, test.second, asked, said);
  if (test.state === 'bound') said.push(`listen ${outcome(calls.listen(first, 5))}`);
  said.push(`listen ${outcome(calls.listen(second, 5))}`);
  const name = calls.getsockname(second);
  said.push(typeof name === 'number' ? outcome(name) : `name ${name.port === port}`);
  return said;
}
