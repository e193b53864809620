/**
 * What the standards beside RFC 9293 ask for, by section: they do not number their requirements, so
 * the tag is the section as our comments cite it (`RFC 5961 3.2`), or any mention of an RFC where
 * no section is named here. Each in our own few words, with the strongest level that the section
 * has for a host's TCP; '' where it describes and does not demand.
 */

export interface FamilyRow {
  readonly rfc: number;
  /** Empty: the RFC as a whole. */
  readonly section: string;
  readonly level: '' | 'MAY' | 'SHOULD' | 'MUST';
  readonly what: string;
  /** Where we do otherwise, as Linux does, or what is left out. */
  readonly remark: string;
  /** True: about something that is not here, so there is neither code nor test. */
  readonly absent: boolean;
}

type Entry = readonly [
  section: string,
  level: FamilyRow['level'],
  what: string,
  remark?: string,
  absent?: 'absent',
];

function rows(rfc: number, entries: readonly Entry[]): FamilyRow[] {
  return entries.map(([section, level, what, remark = '', absent]) => {
    return { rfc, section, level, what, remark, absent: absent !== undefined };
  });
}

const IP: readonly FamilyRow[] = [
  ...rows(1122, [
    ['3.2.1.1', 'MUST', 'datagrams of another IP version are dropped in silence'],
    ['3.2.1.2', 'MUST', 'the header checksum is verified'],
    ['3.2.1.3', 'MUST', 'addresses that no packet may come from or go to'],
    ['3.2.2', 'MUST', 'what no ICMP error is sent about'],
    ['3.2.2.5', 'SHOULD', 'a bad option is reported as a parameter problem'],
    ['3.3.2', 'MUST', 'fragments are put together'],
    ['3.3.4.2', 'MAY', 'an address of ours is ours on every interface (weak host model)'],
    ['4.2.3.2', 'MUST', 'ACKs are delayed, but not for every second full segment'],
    ['4.2.3.3', 'MUST', 'silly windows, receiver'],
    ['4.2.3.4', 'MUST', 'silly windows and Nagle, sender'],
    ['4.2.3.5', 'MUST', 'how long text is sent again (R2)'],
    ['4.2.3.6', 'MUST', 'keep-alive'],
    ['4.2.3.9', 'MUST', 'ICMP errors'],
  ]),
  ...rows(1191, [
    ['3', 'MUST', 'a path MTU is lowered by ICMP, never raised', 'not below 552, as Linux'],
    ['6.4', 'SHOULD', 'what was too large goes again at once, without a smaller window'],
  ]),
  ...rows(4821, [
    ['7.4', 'SHOULD', 'a probe only with enough text behind it, and while nothing is being lost'],
    ['7.6', 'MUST', 'a probe that arrives is the new size, one lost alone is no congestion'],
    [
      ...(['7.7', 'SHOULD', 'black holes: smaller segments when nothing comes through'] as const),
      'if tcp_mtu_probing says so',
    ],
  ]),
  ...rows(1981, [['', 'MUST', 'path MTU discovery of IPv6', 'IPv6 is not there', 'absent']]),
  ...rows(6633, [['', 'MUST', 'source quench is ignored']]),
];

const CONNECTIONS: readonly FamilyRow[] = [
  ...rows(1337, [['', '', 'a RST does not end TIME-WAIT, if wanted']]),
  ...rows(4987, [['', '', 'SYN cookies']]),
  ...rows(5461, [['', '', 'soft errors end attempts to connect, and nothing else']]),
  ...rows(5482, [
    ['3.1', '', 'a time-out of the user replaces R2'],
    [
      '4',
      'MAY',
      'the option that tells the peer',
      'neither sent nor understood, as Linux',
      'absent',
    ],
  ]),
  ...rows(5927, [['4.1', 'SHOULD', 'an ICMP error must quote what is under way']]),
  ...rows(5961, [
    ['3.2', 'MUST', 'blind RST: only the exact number resets'],
    ['4.2', 'MUST', 'blind SYN: challenged, whatever its number'],
    ['5.2', 'MUST', 'blind data: the ACK field must be plausible'],
    [
      '7',
      'SHOULD',
      'challenge ACKs are limited',
      'per connection; for all only if the knob says so',
    ],
  ]),
  ...rows(6056, [['3.3.4', '', 'local ports by a double hash', 'even half of the range first']]),
  ...rows(6093, [['', 'SHOULD', 'urgent data as BSD has it: one byte, one past it']]),
  ...rows(6191, [['', 'SHOULD', 'timestamps let a new SYN end TIME-WAIT early']]),
  ...rows(6528, [['3', 'SHOULD', 'initial sequence numbers: a clock and a keyed hash']]),
  ...rows(7413, [
    ['4.1.1', '', 'the option: a request, a cookie of 4 to 16 bytes'],
    ['4.1.2', 'MUST', 'a cookie that only we can make, and that we check'],
    ['4.1.3', '', 'a client remembers cookies, and its peer’s MSS', 'of at most 1024 peers'],
    ['4.2.1', 'MUST', 'client: text in the SYN only with a cookie, sent again if not taken'],
    ['4.2.2', 'MUST', 'server: text of a SYN is taken only with a good cookie'],
    ['5.1', 'MUST', 'a limit for connections that wait for their third ACK'],
  ]),
];

const LOSS: readonly FamilyRow[] = [
  ...rows(2018, [
    ['2', '', 'SACK-permitted is in SYNs only'],
    ['4', 'MUST', 'blocks of the receiver: the newest first'],
    ['5', 'SHOULD', 'blocks at the sender: only those within the window, old ACKs too'],
    ['8', 'MUST', 'a receiver may forget what it reported'],
  ]),
  ...rows(2883, [['4', 'SHOULD', 'D-SACK: duplicates are the first block, once']]),
  ...rows(3042, [['2', 'SHOULD', 'limited transmit: new text for the first two duplicate ACKs']]),
  ...rows(3522, [['', '', 'Eifel: an echo from before the retransmission shows it needless']]),
  ...rows(3708, [['', '', 'D-SACKs for all that was repeated show it needless']]),
  ...rows(4015, [['', '', 'what a needless reduction was is taken back']]),
  ...rows(5682, [['3.1', '', 'F-RTO with SACK: was the time-out needless?']]),
  ...rows(6069, [['', '', 'an unreachable path takes a doubling of the RTO back']]),
  ...rows(6298, [
    ['2.1', 'SHOULD', 'a second before the first sample'],
    ['2.2', 'MUST', 'the first sample R gives R and R / 2', '4 × R / 2, at least 200 ms, as Linux'],
    ['2.3', 'MUST', 'gains of 1/8 and 1/4', '1/32 while the RTT shrinks, as Linux'],
    ['2.4', 'SHOULD', 'a floor of a second', '200 ms (tcp_rto_min_us), as Linux'],
    ['2.5', 'MAY', 'a ceiling of a minute or more', '120 s'],
    ['3', 'MUST', 'the rule of Karn, lifted by timestamps'],
    ['5.1', '', 'the timer starts with the first segment'],
    ['5.2', '', 'it stops when everything is acknowledged'],
    ['5.3', '', 'it begins anew with each advance'],
    ['5.4', '', 'the earliest segment goes again'],
    ['5.5', 'MUST', 'the wait doubles'],
    ['5.6', '', 'and the timer starts again'],
  ]),
  ...rows(6582, [
    ['3.2', '', 'NewReno: a partial ACK tells of the next hole'],
    ['4.1', '', 'duplicate ACKs of what was repeated needlessly start nothing'],
  ]),
  ...rows(6675, [
    ['4', '', 'the pipe: what is thought to be in the network'],
    ['5', 'MUST', 'recovery: holes first, oldest first, as the pipe allows'],
    ['5.1', 'SHOULD', 'after a time-out what was SACKed is not sent again'],
  ]),
  ...rows(8985, [
    ['6.2', 'MUST', 'RACK: lost is what was sent before something that has arrived'],
    ['6.3', 'SHOULD', 'a time-out does not mark what was sent a moment ago'],
    ['7.2', 'MUST', 'TLP: when a probe is due'],
    ['7.3', 'MUST', 'TLP: new text first, else the last segment, once'],
    ['7.4.2', 'MUST', 'TLP: a loss that only the probe has mended is answered'],
  ]),
];

const CONGESTION: readonly FamilyRow[] = [
  ...rows(3168, [
    ['5', '', 'code points of the IP header'],
    ['5.3', 'MUST', 'a mark on one fragment is a mark on the datagram'],
    ['6.1.1', 'MUST', 'both SYNs agree; half an answer is none'],
    ['6.1.1.1', 'SHOULD', 'a SYN that is repeated asks no more'],
    ['6.1.2', 'MUST', 'an echo reduces the window once per window, and CWR says so'],
    ['6.1.3', 'MUST', 'a mark is echoed until CWR comes'],
    ['6.1.4', 'MUST', 'pure ACKs and RSTs are not marked ECN-capable'],
    ['6.1.5', 'MUST', 'nor are retransmissions'],
  ]),
  ...rows(3465, [['', '', 'slow start counts bytes', 'without a limit per ACK, as Linux']]),
  ...rows(5681, [
    ['3.1', 'MUST', 'slow start and congestion avoidance'],
    ['3.2', 'SHOULD', 'fast retransmit and fast recovery'],
    ['4.1', 'SHOULD', 'restart after idle'],
    ['4.2', 'MUST', 'when an ACK is sent'],
    ['4.3', 'SHOULD', 'after a time-out slow start, through all that was lost'],
  ]),
  ...rows(6928, [['2', 'MAY', 'ten segments to begin with']]),
  ...rows(6937, [['', '', 'proportional rate reduction, ECN and all']]),
  ...rows(7661, [
    ['', '', 'the window grows only while it is the limit', 'Linux’s rule, not that of the RFC'],
  ]),
  ...rows(9438, [
    ['4.2', 'MUST', 'CUBIC: the curve'],
    ['4.3', 'MUST', 'not slower than Reno'],
    ['4.4', '', 'below the old maximum'],
    ['4.5', '', 'and above it'],
    ['4.6', 'SHOULD', 'the window falls to 717/1024'],
    ['4.7', 'SHOULD', 'fast convergence'],
    ['4.8', 'MUST', 'after a time-out the curve begins anew'],
    ['4.10', 'MUST', 'slow start as ever', 'with HyStart’s delay and train, as Linux'],
  ]),
  ...rows(9937, [['6', '', 'PRR with its slow-start bound']]),
];

const EXTENSIONS: readonly FamilyRow[] = [
  ...rows(7323, [
    ['2.2', 'MUST', 'window scale: in SYNs only, and only if both offer it'],
    ['2.3', 'MUST', 'the shift is at most 14; windows in SYNs are not scaled'],
    ['2.4', 'MUST', 'what was offered before the field rounds down is still taken'],
    [
      ...(['3.2', 'MUST', 'timestamps: on every segment once agreed on'] as const),
      'a segment without them is taken all the same, as Linux does',
    ],
    ['4.1', 'MUST', 'an echo is a sample only when it acknowledges something new'],
    ['4.3', 'MUST', 'which timestamp is echoed'],
    ['5.3', 'MUST', 'PAWS'],
    ['5.4', 'MUST', 'the clock: a tick of 1 ms, with an offset that nobody knows'],
    ['5.5', 'MUST', 'after 24 days an old timestamp proves nothing'],
  ]),
];

/** In the order of their numbers. */
export const FAMILY: readonly FamilyRow[] = [
  ...IP,
  ...CONNECTIONS,
  ...LOSS,
  ...CONGESTION,
  ...EXTENSIONS,
].sort((a, b) => a.rfc - b.rfc);
