/** Congestion states (tcpi_ca_state) and what ssthresh is before there was any congestion. */

/** With Linux's numbers: enum tcp_ca_state. */
export const CA_OPEN = 0;
export const CA_DISORDER = 1;
export const CA_CWR = 2;
export const CA_RECOVERY = 3;
export const CA_LOSS = 4;

/** Slow start has no end yet (Linux: TCP_INFINITE_SSTHRESH). */
export const INFINITE_SSTHRESH = 0x7fffffff;
