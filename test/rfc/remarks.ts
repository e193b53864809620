/**
 * What is to be said about requirements of RFC 9293: why one is not met, or met in another way, or
 * how. A remark that is neither `note` nor `partly` excuses from having code and test.
 */

/**
 * - `note`: met, and this is worth knowing.
 * - `partly`: met but for one part.
 * - `linux`: done otherwise, as Linux does it.
 * - `absent`: about something that this stack does not have.
 * - `application`: asked of applications.
 * - `declined`: a liberty that is not taken.
 * - `unmet`: not done yet.
 */
export type RemarkKind =
  | 'note'
  | 'partly'
  | 'linux'
  | 'absent'
  | 'application'
  | 'declined'
  | 'unmet';

export interface Remark {
  readonly kind: RemarkKind;
  readonly why: string;
}

const note = (why: string): Remark => ({ kind: 'note', why });
const partly = (why: string): Remark => ({ kind: 'partly', why });
const linux = (why: string): Remark => ({ kind: 'linux', why });
const absent = (why: string): Remark => ({ kind: 'absent', why });
const application = (why: string): Remark => ({ kind: 'application', why });
const declined = (why: string): Remark => ({ kind: 'declined', why });

const NO_SOURCE_ROUTES =
  'packets with a source route are dropped, as Linux does by default (accept_source_route = 0); ' +
  'RFC 7126 recommends it';
/** By the number of the requirement. */
export const REMARKS: Readonly<Record<string, Remark>> = {
  'MUST-13': note(
    'the lifetime of a segment is taken as 30 s, as in Linux; above tcp_max_tw_buckets the ' +
      'state is left out',
  ),
  'MUST-15': note('IPv4 only'),
  'MUST-20': note(
    'after R1 (tcp_retries1) the way is doubted: its path MTU is looked up again and, if ' +
      'tcp_mtu_probing says so, searched; there is no second gateway to turn to',
  ),
  'MUST-21': note('TCP_USER_TIMEOUT; TCP_SYNCNT for a SYN; tcp_retries2 for all'),
  'MUST-23': linux(
    'a SYN is given up after 131 s (127 s in 5.0), for tcp_syn_retries is 6, as Linux has it so ' +
      'that connect() does not wait longer; 7, or TCP_SYNCNT 7, makes it 259 s (255 s)',
  ),
  'MUST-31': note('the last byte is what MSG_OOB reads; the others are in line, as in Linux'),
  'MUST-32': partly(
    'EPOLLPRI, when the byte at the mark has come, as in Linux. A pointer that is ahead of its ' +
      'byte is told by SIGURG alone there, to whom F_SETOWN names; threads of one process get no ' +
      'signals here, so that nobody is told of it before the byte comes; reads stop at the mark',
  ),
  'MUST-62': note('one past the urgent byte, as RFC 6093 has it (tcp_stdurg = 0)'),
  'MUST-47': note('SO_ERROR; a time-out reports the last one, too'),
  'MUST-51': absent('no IP options are sent'),
  'MUST-52': absent(NO_SOURCE_ROUTES),
  'MUST-53': absent(NO_SOURCE_ROUTES),
  'MUST-56': linux(
    'none aborts a synchronized connection; in SYN-SENT, in a SYN-RECEIVED that nobody has ' +
      'accepted and in a half-open request they end the attempt, so that the next address can be ' +
      'tried without waiting for R2 (RFC 5461 4)',
  ),
  'MUST-66': linux(
    'a RST and the urgent pointer of an empty segment count always; of text beyond a closed ' +
      'window the pointer counts in profile 5.0, and in 6.18 only when nothing waits to be read: ' +
      'else the segment is refused before anybody looks at its pointer, as Linux does since 6.16',
  ),
  'MUST-69': note('the list is filled up by no-operations in front of options and has no end mark'),
  'SHLD-4': note('the new SYN is taken; TIME-WAIT is not returned to if it was an old duplicate'),
  'SHLD-6': absent('the MTU of a TUN does not change from packet to packet'),
  'SHLD-9': linux('nobody is told; TCP_INFO counts the retransmissions for who asks'),
  'SHLD-10': note('counted as the time that tcp_retries1 doublings of 200 ms take, as in Linux'),
  'SHLD-13': application('the demo server and the socket layer do not use it'),
  'SHLD-14': note(
    'with a window scale the field rounds down, so that the edge may seem to move back by less ' +
      'than its unit; what was offered is still taken (RFC 7323 2.4)',
  ),
  'SHLD-20': note('nothing is reported that was not asked for'),
  'SHLD-22': note('its two lowest bits are those of ECN, which IP_TOS does not touch'),
  'SHLD-23': application('the demo server sets no Diffserv field'),
  'SHLD-24': absent(NO_SOURCE_ROUTES),
  'SHLD-25': note('SO_ERROR'),
  'SHLD-26': linux(
    'only during the handshake; a synchronized connection keeps the error for SO_ERROR ' +
      '(RFC 5461, RFC 5927)',
  ),
  'MAY-2': note('TIME-WAIT is not returned to if the SYN was an old duplicate, as in Linux'),
  'MAY-4': declined('each packet has the next identification'),
  'MAY-6': declined('the stacks that needed it are gone'),
  'MAY-9': declined('IP_RECVTOS is for datagrams'),
  'MAY-10': declined('IP options are passed over'),
  'MAY-11': declined('IP options are passed over'),
  'MAY-14': declined('Linux has none'),
  'MAY-15': declined('Linux has none; see MUST-60 and MUST-61'),
  'MAY-17': declined('a stream has no marks in it'),
};
