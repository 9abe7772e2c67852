/** Builds little-endian tables and messages byte by byte; the buffer grows as needed. */
export class Writer {
  private buffer = new Uint8Array(256);
  private view = new DataView(this.buffer.buffer);
  length = 0;

  private room(count: number): number {
    const at = this.length;
    if (at + count > this.buffer.length) {
      const grown = new Uint8Array(Math.max(this.buffer.length * 2, at + count));
      grown.set(this.buffer);
      this.buffer = grown;
      this.view = new DataView(grown.buffer);
    }
    this.length = at + count;
    return at;
  }

  u8(value: number): this {
    const at = this.room(1);
    this.view.setUint8(at, value);
    return this;
  }
  u16(value: number): this {
    const at = this.room(2);
    this.view.setUint16(at, value, true);
    return this;
  }
  u32(value: number): this {
    const at = this.room(4);
    this.view.setUint32(at, value, true);
    return this;
  }
  i32(value: number): this {
    const at = this.room(4);
    this.view.setInt32(at, value, true);
    return this;
  }
  f64(value: number): this {
    const at = this.room(8);
    this.view.setFloat64(at, value, true);
    return this;
  }
  u64(value: number | bigint): this {
    const at = this.room(8);
    this.view.setBigUint64(at, BigInt(value), true);
    return this;
  }
  bytes(data: ArrayLike<number>): this {
    const at = this.room(data.length);
    this.buffer.set(data, at);
    return this;
  }
  /** ASCII text padded with `pad` (or cut) to `length` bytes. */
  text(value: string, length = value.length, pad = 0): this {
    for (let i = 0; i < length; i++) this.u8(i < value.length ? value.charCodeAt(i) & 0xff : pad);
    return this;
  }
  zeros(count: number): this {
    this.room(count);
    return this;
  }
  /** Zero bytes up to the next multiple of `alignment` (a power of two). */
  align(alignment: number): this {
    return this.zeros(-this.length & (alignment - 1));
  }
  setU8(at: number, value: number): this {
    this.view.setUint8(at, value);
    return this;
  }
  setU16(at: number, value: number): this {
    this.view.setUint16(at, value, true);
    return this;
  }
  setU32(at: number, value: number): this {
    this.view.setUint32(at, value, true);
    return this;
  }
  /** Makes all bytes of [start, end) sum to zero modulo 256 by setting the byte `at`. */
  checksum(at: number, start = 0, end = this.length): this {
    this.buffer[at] = 0;
    let sum = 0;
    for (let i = start; i < end; i++) sum += this.buffer[i];
    this.buffer[at] = -sum & 0xff;
    return this;
  }
  /** A copy of what has been written. */
  done(): Uint8Array {
    return this.buffer.slice(0, this.length);
  }
}

/** `text` as UTF-8 with a terminating NUL. */
export function cString(text: string): Uint8Array {
  const encoded = new TextEncoder().encode(text);
  const bytes = new Uint8Array(encoded.length + 1);
  bytes.set(encoded);
  return bytes;
}
