/**
 * What a packet leaves behind for the garbage collector: counted in bytes of heap over a fixed
 * number of requests in memory, never timed. At 100,000 requests a second ten bytes a request are
 * a megabyte a second.
 */
import { getHeapStatistics } from 'node:v8';
import { expect } from 'chai';
import { MemoryLoad } from './memory-load.js';

/** Until the compiler has seen enough: what is not optimised yet allocates its numbers. */
const WARM_REQUESTS = 60_000;
const REQUESTS = 20_000;
/** Most bytes of garbage a request (two packets) on the stack thread. */
const STACK_BYTES_MOST = 10;
/** A heap that has shrunk by more has been collected; by less, asking cost less this time. */
const COLLECTED_BYTES = 4096;

function heapBytes(): number {
  return getHeapStatistics().used_heap_size;
}

/** Bytes that asking twice costs. */
function askingBytes(): number {
  const costs = Array.from({ length: 99 }, () => {
    const before = heapBytes();
    return heapBytes() - before;
  });
  return costs.sort((a, b) => a - b)[49]!;
}

/** Bytes a request that the stack thread's turns allocate; a turn with a collection is left out. */
function stackBytesPerRequest(load: MemoryLoad): number {
  const asking = askingBytes();
  let bytes = 0;
  let requests = 0;
  while (requests < REQUESTS) {
    const answered = load.requests;
    const before = heapBytes();
    load.stackTurn();
    const grown = heapBytes() - before - asking;
    load.workerTurn();
    if (grown < -COLLECTED_BYTES) continue;
    bytes += grown;
    requests += load.requests - answered;
  }
  return bytes / requests;
}

describe('garbage', () => {
  it('is next to nothing on the stack thread while requests come and go', function () {
    this.timeout(120_000);
    const request = 'GET /ok HTTP/1.1\r\nHost: 198.18.0.1\r\n\r\n';
    const load = new MemoryLoad({ connections: 64, request });
    while (load.requests < WARM_REQUESTS) load.turn();
    expect(stackBytesPerRequest(load)).to.be.below(STACK_BYTES_MOST);
  });
});
