/**
 * A packet on its way from the stack thread to whoever traces: a row of a batch, written by
 * packet-tap.ts and read by the tracer's process. Little-endian, no alignment.
 *
 *     captured u32 | length u32 | direction u8, 7 bytes free | timestamp f64, µs | bytes
 */

const CAPTURED = 0;
const LENGTH = 4;
const DIRECTION = 8;
const TIMESTAMP = 16;
export const RECORD_HEAD_BYTES = 24;

/** One packet of a batch. */
export interface TapRecord {
  direction: 'in' | 'out';
  /** µs since 1970. */
  timestampUs: number;
  /** Length of the packet; `data` may be less. */
  length: number;
  /** Begins at the IP header. A view of the batch. */
  data: Uint8Array;
}

/** Writes the head of a record at `at`; the packet's bytes go behind it. */
export function writeRecordHead(
  view: DataView,
  at: number,
  direction: 'in' | 'out',
  timestampUs: number,
  length: number,
  captured: number,
): void {
  view.setUint32(at + CAPTURED, captured, true);
  view.setUint32(at + LENGTH, length, true);
  view.setUint8(at + DIRECTION, direction === 'in' ? 0 : 1);
  view.setFloat64(at + TIMESTAMP, timestampUs, true);
}

/** The records of a batch. Throws RangeError when it is cut short. */
export function readRecords(batch: Uint8Array): TapRecord[] {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
  const records: TapRecord[] = [];
  let at = 0;
  while (at < batch.length) {
    const captured = view.getUint32(at + CAPTURED, true);
    const from = at + RECORD_HEAD_BYTES;
    if (from + captured > batch.length) throw new RangeError('a batch of packets is cut short');
    records.push({
      direction: view.getUint8(at + DIRECTION) === 0 ? 'in' : 'out',
      timestampUs: view.getFloat64(at + TIMESTAMP, true),
      length: view.getUint32(at + LENGTH, true),
      data: batch.subarray(from, from + captured),
    });
    at = from + captured;
  }
  return records;
}
