/** What the stack knows of one connection, as pages and `/whoami` show it. */
export interface ConnectionInfo {
  remoteAddress: string;
  remotePort: number;
  localAddress: string;
  localPort: number;
  /** Flow hash that chose the listener, as int32. */
  hash: number;
  /** Index of the listener in its group when the SYN came, -1 = no group. */
  slot: number;
  /** Members of the group then, 0 = no group. */
  members: number;
}

/** The hash as 0x and eight digits, null where no group was asked. */
export function hashText(connection: ConnectionInfo): string | null {
  if (connection.members === 0) return null;
  return `0x${(connection.hash >>> 0).toString(16).padStart(8, '0')}`;
}
