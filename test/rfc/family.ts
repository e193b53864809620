/**
 * What the standards beside RFC 9293 ask for, by section: they do not number their requirements, so
 * the tag is the section as our comments cite it (`RFC 5961 3.2`), or any mention of an RFC where
 * no section is named here. Each in our own few words.
 */

export interface FamilyRow {
  readonly rfc: number;
  /** Empty: the RFC as a whole. */
  readonly section: string;
  readonly what: string;
}

const row = (rfc: number, section: string, what: string): FamilyRow => ({ rfc, section, what });

export const FAMILY: readonly FamilyRow[] = [
  row(1122, '3.2.1.3', 'addresses that no packet may come from or go to'),
  row(1122, '3.2.2', 'what no ICMP error is sent about'),
  row(1122, '4.2.3.4', 'silly windows and Nagle, sender'),
  row(1122, '4.2.3.6', 'keep-alive'),
  row(1122, '4.2.3.9', 'ICMP errors'),
  row(1191, '', 'path MTU discovery'),
  row(1337, '', 'a RST does not end TIME-WAIT, if wanted'),
  row(2018, '2', 'SACK-permitted'),
  row(2018, '4', 'blocks of the receiver: the newest first'),
  row(2018, '5', 'blocks at the sender: only those within the window'),
  row(2018, '8', 'a receiver may forget what it reported'),
  row(2883, '4', 'D-SACK: duplicates are the first block'),
  row(3168, '', 'explicit congestion notification'),
  row(4987, '', 'SYN cookies'),
  row(5681, '3.1', 'slow start and congestion avoidance'),
  row(5681, '3.2', 'fast retransmit and fast recovery'),
  row(5681, '4.1', 'restart after idle'),
  row(5681, '4.2', 'when an ACK is sent'),
  row(5927, '', 'ICMP errors must quote what is under way'),
  row(5961, '3.2', 'blind RST: only the exact number resets'),
  row(5961, '4.2', 'blind SYN: challenged'),
  row(5961, '5.2', 'blind data: the ACK field must be plausible'),
  row(5961, '7', 'challenge ACKs are limited'),
  row(6069, '', 'the RTO after an unreachable path'),
  row(6191, '', 'TIME-WAIT and timestamps'),
  row(6298, '2', 'the RTO from round-trip times'),
  row(6298, '3', 'the rule of Karn'),
  row(6298, '5', 'managing the timer, back-off'),
  row(6528, '', 'initial sequence numbers'),
  row(6582, '3.2', 'NewReno: partial ACKs'),
  row(6582, '4.1', 'NewReno: duplicate ACKs of what was repeated needlessly'),
  row(6633, '', 'source quench is ignored'),
  row(6675, '', 'recovery with SACK'),
  row(6928, '', 'ten segments to begin with'),
  row(7323, '2.2', 'window scale: the option'),
  row(7323, '2.3', 'window scale: the shift is at most 14'),
  row(7323, '2.4', 'window scale and windows that shrink'),
  row(7323, '3.2', 'timestamps: the option'),
  row(7323, '4.3', 'timestamps: which one is echoed'),
  row(7323, '5.3', 'PAWS'),
  row(7323, '5.5', 'PAWS: an old timestamp proves nothing'),
  row(7413, '', 'Fast Open'),
  row(7661, '', 'the window grows only while it is the limit'),
  row(9438, '', 'CUBIC'),
];
