/**
 * A file that is read by ranges, so that one of hundreds of megabytes need not be in memory. `read` gives exactly `length`
 * bytes, which the caller must not write to, and throws an Error when the range does not lie in the file or can't be read.
 */
export interface ByteSource {
  /** In bytes. */
  readonly size: number;
  read(offset: number, length: number): Uint8Array;
  /** The file is not needed any more. */
  close?(): void;
}

/** Bytes that are in memory already; reads are views of them. */
export function memorySource(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.length,
    read(offset, length) {
      if (!(offset >= 0 && length >= 0 && offset + length <= bytes.length)) {
        throw new RangeError(`expected ${length} bytes at offset ${offset}, the file has ${bytes.length}`);
      }
      return bytes.subarray(offset, offset + length);
    },
  };
}

/** Bytes read ahead of what is asked for: tables are read entry by entry. */
const WINDOW = 1 << 16;

/** Little-endian numbers of a source, read through a window. Every access must lie in the file. */
export class SourceView {
  private bytes: Uint8Array = new Uint8Array(0);
  private view = new DataView(this.bytes.buffer);
  private start = 0;

  constructor(private readonly source: ByteSource) {}

  /** Offset in `view` of `length` bytes at `at` of the file. */
  private seek(at: number, length: number): number {
    const inside = at - this.start;
    if (inside >= 0 && inside + length <= this.bytes.length) return inside;
    this.bytes = this.source.read(at, Math.max(length, Math.min(WINDOW, this.source.size - at)));
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    this.start = at;
    return 0;
  }

  u8(at: number): number {
    return this.bytes[this.seek(at, 1)]!;
  }
  u16(at: number): number {
    const inside = this.seek(at, 2);
    return this.view.getUint16(inside, true);
  }
  u32(at: number): number {
    const inside = this.seek(at, 4);
    return this.view.getUint32(inside, true);
  }
  u64(at: number): bigint {
    const inside = this.seek(at, 8);
    return this.view.getBigUint64(inside, true);
  }
}
