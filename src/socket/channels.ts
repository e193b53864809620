/**
 * The diagnostics channels on which Node's own `net` announces sockets, published to under the same
 * names.
 */
import { type Channel, channel } from 'node:diagnostics_channel';

/** `{ socket }` of every connection made by connect(). */
export const clientSocketChannel: Channel = channel('net.client.socket');
/** `{ socket }` of every connection accepted by a server. */
export const serverSocketChannel: Channel = channel('net.server.socket');
