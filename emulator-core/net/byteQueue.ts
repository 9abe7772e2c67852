/** Bytes that wait, as the chunks they came in: plain data. */

import { concat } from './bytes';

export interface ByteQueue {
  chunks: Uint8Array[];
  length: number;
}

export function byteQueue(): ByteQueue {
  return { chunks: [], length: 0 };
}

/** Chunks smaller than this are joined, so that their number stays in proportion to what they hold. */
const SMALL = 2048;

/** Adds bytes, which the queue may keep as they are. */
export function append(queue: ByteQueue, data: Uint8Array): void {
  if (data.length === 0) return;
  const { chunks } = queue;
  const last = chunks.at(-1);
  if (last && last.length + data.length <= SMALL) chunks[chunks.length - 1] = concat(last, data);
  else chunks.push(data);
  queue.length += data.length;
}

/** A copy of `length` bytes from `offset` on, which are there. */
export function peek(queue: ByteQueue, offset: number, length: number): Uint8Array {
  const out = new Uint8Array(length);
  let skip = offset;
  let at = 0;
  for (const chunk of queue.chunks) {
    if (at === length) break;
    if (skip >= chunk.length) {
      skip -= chunk.length;
      continue;
    }
    const part = chunk.subarray(skip, skip + length - at);
    out.set(part, at);
    at += part.length;
    skip = 0;
  }
  return out;
}

/** Forgets the first `length` bytes. */
export function drop(queue: ByteQueue, length: number): void {
  queue.length -= length;
  let left = length;
  let whole = 0;
  while (left > 0 && queue.chunks[whole].length <= left) left -= queue.chunks[whole++].length;
  queue.chunks.splice(0, whole);
  if (left > 0) queue.chunks[0] = queue.chunks[0].subarray(left);
}
