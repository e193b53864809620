/**
 * tunstack: a TCP/IP stack on a TUN device. `openStack` starts one, `attach` joins it from another
 * thread; both give `sys` (POSIX calls, value or negated errno) and `net` (the shape of node:net).
 * Adapters for http are in `tunstack/http`, stacks in memory in `tunstack/testing`.
 */
export type { MemberState, Selector, SelectorRequest } from './reuseport/selector-request.js';
export type { ConnectOptions, ListenOptions, Net, NetConnectOptions } from './socket/net.js';
export { Server, Socket, SocketError } from './socket/net.js';
export type {
  Attached,
  InlineOptions,
  InlineProgram,
  OpenOptions,
  SharedStack,
  SocketRow,
} from './socket/open.js';
export { attach, openStack, StackError, StackHandle } from './socket/open.js';
export type { Sys } from './socket/sys-table.js';
