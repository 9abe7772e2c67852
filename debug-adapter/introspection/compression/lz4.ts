/** LZ4's legacy frame, as `lz4 -l` writes it. LZ4 Frame Format Description, "Legacy frame"; LZ4 Block Format Description. */
import { CompressionError } from './error';

const MAGIC = 0x184c2102;
/** Sequences between two yields, and bytes copied: one sequence may be of megabytes, into memory that nobody has touched yet. */
const BURST = 512;
const LONGEST_COPY = 64 << 10;

/**
 * Expands a legacy frame to exactly `size` bytes. What follows the last block (the length that Linux appends) is left alone.
 * @throws CompressionError
 */
export function* expandLz4(data: Uint8Array, size: number): Generator<void, Uint8Array> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (data.length < 8 || view.getUint32(0, true) !== MAGIC)
    throw new CompressionError('LZ4', 'expected the magic number of a legacy frame, 0x184c2102');
  const out = new Uint8Array(size);
  let written = 0;
  let at = 4;
  while (written < size) {
    if (at + 4 > data.length) throw new CompressionError('LZ4', 'expected another block, found the end of the data');
    const length = view.getUint32(at, true);
    at += 4;
    if (length === 0 || at + length > data.length)
      throw new CompressionError('LZ4', `a block of ${length} bytes at 0x${at.toString(16)} does not fit the data`);
    written = yield* expandBlock(data, at, at + length, out, written);
    at += length;
  }
  return out;
}

/** One block of sequences: literals, then a copy of what was written before. Returns the new end of the output. */
function* expandBlock(
  data: Uint8Array,
  start: number,
  end: number,
  out: Uint8Array,
  written: number,
): Generator<void, number> {
  const blockStart = written;
  let at = start;
  let left = BURST;
  const length = (nibble: number): number => {
    let sum = nibble;
    if (nibble === 15) {
      let byte: number;
      do {
        if (at >= end) throw new CompressionError('LZ4', 'a length runs past its block');
        byte = data[at++];
        sum += byte;
      } while (byte === 255);
    }
    return sum;
  };
  while (at < end) {
    if (--left === 0) {
      left = BURST;
      yield;
    }
    const token = data[at++];
    const literals = length(token >> 4);
    if (at + literals > end || written + literals > out.length)
      throw new CompressionError('LZ4', `${literals} literals at 0x${at.toString(16)} do not fit`);
    if (literals < 32) for (let i = 0; i < literals; i++) out[written++] = data[at++];
    else {
      out.set(data.subarray(at, at + literals), written);
      at += literals;
      written += literals;
    }
    // The last sequence of a block has literals only.
    if (at === end) break;
    if (at + 2 > end) throw new CompressionError('LZ4', 'a sequence ends inside its offset');
    const distance = data[at] | (data[at + 1] << 8);
    at += 2;
    const count = length(token & 15) + 4;
    if (distance === 0 || distance > written - blockStart)
      throw new CompressionError('LZ4', `an offset of ${distance} at 0x${at.toString(16)} leads before the block`);
    if (written + count > out.length) throw new CompressionError('LZ4', 'more data than expected');
    if (count > 32) {
      // What has been copied repeats itself: each round copies twice as much as the one before, whole periods but for the last.
      const from = written - distance;
      const longest = LONGEST_COPY - (LONGEST_COPY % distance);
      for (const stop = written + count; written < stop;) {
        const part = Math.min(written - from, stop - written, longest);
        out.copyWithin(written, from, from + part);
        written += part;
        if (part === longest) yield;
      }
    } else for (let i = 0; i < count; i++, written++) out[written] = out[written - distance];
  }
  return written;
}
