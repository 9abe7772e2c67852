/** Snapshots between their sections and the bytes of a file: compression by the platform's own zlib streams, off the event loop. */
import type { PlatformZlib } from '../platformZlib';
import { checkEnds, preamble, PREAMBLE_BYTES, SectionReader, trailer, TRAILER_BYTES, type Section } from './format';
import { SnapshotError } from './snapshotError';

/** A snapshot's file, all of it in memory: what has been checked is what is restored, whatever becomes of the file. */
export interface SnapshotFile {
  /** As messages give it. */
  name: string;
  /** The file's bytes in order, in pieces of any size. */
  pieces: readonly Uint8Array[];
  /** Absent: DecompressionStream and this core's CRC-32. */
  zlib?: PlatformZlib;
}

/** Gives whoever waits a turn. */
export type Turn = () => Promise<void>;

/**
 * The bytes of a snapshot's file.
 * @param sections whole sections; undefined between them: a good moment for a turn of the event loop
 */
export async function* compressed(
  sections: Iterable<Uint8Array | undefined>,
  turn: Turn,
): AsyncGenerator<Uint8Array, void> {
  const stream = new CompressionStream('deflate');
  const writer = stream.writable.getWriter();
  const feeding = feed(writer, sections, turn);
  feeding.catch(() => undefined);
  const begin = preamble();
  let size = begin.length;
  yield begin;
  const reader = stream.readable.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      yield value;
    }
    await feeding;
  } finally {
    await reader.cancel().catch(() => undefined);
    await feeding.catch(() => undefined);
  }
  yield trailer(size);
}

async function feed(
  writer: WritableStreamDefaultWriter<BufferSource>,
  pieces: Iterable<Uint8Array | undefined>,
  turn?: Turn,
): Promise<void> {
  try {
    for (const piece of pieces) {
      if (piece) await writer.write(piece as BufferSource);
      else await turn?.();
    }
    await writer.close();
  } catch (error) {
    await writer.abort(error).catch(() => undefined);
    throw error;
  }
}

/** As PlatformZlib's expand(), by what browsers and Node both have. */
async function* expand(pieces: Iterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  const stream = new DecompressionStream('deflate');
  const feeding = feed(stream.writable.getWriter(), pieces);
  feeding.catch(() => undefined);
  const reader = stream.readable.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      yield value;
    }
    await feeding;
  } finally {
    await reader.cancel().catch(() => undefined);
    await feeding.catch(() => undefined);
  }
}

/**
 * A file's sections, each checked before it is given.
 * @param progress 0 to 1
 * @throws SnapshotError at the first thing that is wrong with it
 */
export async function* sectionsOf(
  { name, pieces, zlib = { expand } }: SnapshotFile,
  turn: Turn,
  progress: (done: number) => void = () => undefined,
): AsyncGenerator<Section, void> {
  const size = pieces.reduce((sum, { length }) => sum + length, 0);
  checkEnds(name, slice(pieces, 0, PREAMBLE_BYTES), slice(pieces, Math.max(0, size - TRAILER_BYTES), size), size);
  function* body(): Generator<Uint8Array, void> {
    let at = 0;
    for (const piece of pieces) {
      const inside = piece.subarray(
        Math.max(0, PREAMBLE_BYTES - at),
        Math.max(0, Math.min(piece.length, size - TRAILER_BYTES - at)),
      );
      at += piece.length;
      if (inside.length) yield inside;
      progress(at / size);
    }
  }
  const sections = new SectionReader(name, zlib.crc32);
  const expanded = zlib.expand(body())[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await expanded.next().catch((error: Error) => {
        throw new SnapshotError(`'${name}': its compressed contents are damaged: ${error.message}`);
      });
      if (done) break;
      yield* sections.push(value);
      await turn();
    }
    sections.end();
  } finally {
    await expanded.return?.();
  }
}

function slice(pieces: readonly Uint8Array[], from: number, to: number): Uint8Array {
  const out = new Uint8Array(Math.max(0, to - from));
  let at = 0;
  for (const piece of pieces) {
    const part = piece.subarray(Math.max(0, from - at), Math.max(0, to - at));
    if (part.length) out.set(part, Math.max(0, at - from));
    at += piece.length;
  }
  return out;
}
