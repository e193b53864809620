/**
 * What keeps a packet script from being held to the running kernel: those on which Linux is
 * otherwise, each with its reason and a row of docs/DIFFERENCES.md, and those about what no two
 * machines have alike. What a script needs that only our stack or only a whole machine has is found
 * in the script itself (script-run.ts).
 */

const WINDOW = 'the window pays for the memory of packets there, for bytes of text here';
const WRITTEN = 'a write takes what fits a buffer of the kernel there, bytes of text here';

/** The kernel must not do what these say: a reason that has gone shows. */
export const DIFFERENT: Readonly<Record<string, string>> = {
  'autotuning/not-when-told.pkt': WINDOW,
  'autotuning/not-with-rcvbuf.pkt': WINDOW,
  'autotuning/space-follows-the-reader.pkt': WINDOW,
  'ecn/active-reflected.pkt': 'a reflected SYN is taken for accurate ECN there',
  'fastopen/client-unspecified.pkt': 'a read into nowhere finds out when there is text there',
  'options/notsent-lowat.pkt': WRITTEN,
  'options/notsent-lowat-wakes.pkt': WRITTEN,
  'options/sndtimeo.pkt': WRITTEN,
  'options/window-clamp.pkt': 'the first text lifts TCP_WINDOW_CLAMP there',
  'pmtu/next-connection-knows.pkt': 'the MSS option is that of the path there',
  'resets/rst-outside-window.pkt': 'the window is larger than what was offered there',
  'rfc9293/rst-at-closed-window.pkt': WINDOW,
  'rfc9293/urgent-at-closed-window.pkt': WINDOW,
  'urgent/after-the-fin.pkt': 'urgent data behind a FIN counts there',
};

const MOMENTS = 'packets within a millisecond: no process is that punctual';

const TIMERS = 'bounds are tighter than the steps of a kernel timer';

/** What they say hangs on a virtual clock or on our dice. */
export const NOT_COMPARABLE: Readonly<Record<string, string>> = {
  'hystart/delay.pkt': MOMENTS,
  'hystart/train.pkt': MOMENTS,
  'push/large-bursts-near-by.pkt': MOMENTS,
  'reuseport/hash-keeps-to-its-listener.pkt': 'the hash that picks a listener has a secret',
  'rfc9293/rst-of-passive-open.pkt': 'an initial sequence number is that of its very microsecond',
  'rfc9293/time-wait-lasts.pkt': TIMERS,
  'rto/sent-a-moment-ago.pkt': MOMENTS,
  'user-timeout/data.pkt': TIMERS,
  'user-timeout/zero-window.pkt': TIMERS,
};
