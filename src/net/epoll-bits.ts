/**
 * Readiness bits with the values of Linux's <sys/epoll.h> (poll(2) has the same ones below 0x1000).
 */
export const EPOLLIN = 0x1;
export const EPOLLPRI = 0x2;
export const EPOLLOUT = 0x4;
export const EPOLLERR = 0x8;
export const EPOLLHUP = 0x10;
export const EPOLLRDHUP = 0x2000;
