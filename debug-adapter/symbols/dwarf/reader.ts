/** Malformed debug information. The message names the section, the offset and what was expected. */
export class DwarfError extends Error {
  override name = 'DwarfError';
}

/** The data ends where more was expected. */
export class DwarfEndError extends DwarfError {}

/** Longest string read, in bytes; a longer one is cut (names of tens of kilobytes only occur in broken files). */
const MAX_STRING = 16384;

const utf8 = new TextDecoder();

/**
 * Bounds-checked little-endian cursor over one section. Every read past `end` throws a DwarfError.
 * Numbers are safe integers; what may need all 64 bits comes as bigint.
 */
export class Cursor {
  private readonly view: DataView;

  constructor(
    readonly data: Uint8Array,
    public position: number,
    readonly end: number,
    /** Section name, for messages. */
    readonly section: string,
    /** Offset of `data` in the section, for messages. */
    private readonly origin = 0,
  ) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    if (!(position >= 0 && position <= end && end <= data.length)) {
      const at = hexOffset(origin + position);
      throw new DwarfError(`${section}: offset ${at} is outside the section (${origin + data.length} bytes)`);
    }
  }

  get remaining(): number {
    return this.end - this.position;
  }

  fail(expected: string): never {
    throw new DwarfError(this.expected(expected));
  }

  private ends(expected: string): never {
    throw new DwarfEndError(this.expected(expected));
  }

  private expected(what: string): string {
    return `${this.section}: expected ${what} at offset ${hexOffset(this.origin + this.position)}`;
  }

  /** Checks that `count` more bytes exist and steps over them; returns their offset. */
  private take(count: number): number {
    const at = this.position;
    if (!(count >= 0 && count <= this.end - at)) this.ends(`${count} more bytes, found ${this.end - at},`);
    this.position = at + count;
    return at;
  }

  skip(count: number): void {
    this.take(count);
  }

  u8(): number {
    return this.data[this.take(1)]!;
  }
  i8(): number {
    return this.view.getInt8(this.take(1));
  }
  u16(): number {
    return this.view.getUint16(this.take(2), true);
  }
  u24(): number {
    const at = this.take(3);
    return this.view.getUint16(at, true) | (this.data[at + 2]! << 16);
  }
  u32(): number {
    return this.view.getUint32(this.take(4), true);
  }
  i32(): number {
    return this.view.getInt32(this.take(4), true);
  }
  u64(): bigint {
    return this.view.getBigUint64(this.take(8), true);
  }
  i64(): bigint {
    return this.view.getBigInt64(this.take(8), true);
  }

  /** Unsigned value of `size` bytes: 1, 2, 3, 4 or 8. */
  unsigned(size: number): bigint {
    switch (size) {
      case 1:
        return BigInt(this.u8());
      case 2:
        return BigInt(this.u16());
      case 3:
        return BigInt(this.u24());
      case 4:
        return BigInt(this.u32());
      case 8:
        return this.u64();
      default:
        return this.fail(`a value of 1, 2, 3, 4 or 8 bytes, not ${size},`);
    }
  }

  /** Section offset: 4 bytes, or 8 in the 64-bit DWARF format. DWARF 5, 7.4 "32-Bit and 64-Bit DWARF Formats". */
  offset(is64: boolean): number {
    if (!is64) return this.u32();
    const value = this.u64();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) this.fail('a section offset below 2^53');
    return Number(value);
  }

  /** Initial length of a unit; 0xffffffff announces the 64-bit format. The unit must fit into the section. */
  initialLength(): { end: number; is64: boolean } {
    const { length, is64 } = this.lengthField();
    return { end: this.unitEnd(length), is64 };
  }

  /** The field that `initialLength` reads, without a check whether so many bytes follow. */
  lengthField(): { length: number; is64: boolean } {
    const first = this.u32();
    if (first < 0xfffffff0) return { length: first, is64: false };
    if (first !== 0xffffffff) this.fail('a unit length, not a reserved value,');
    return { length: this.offset(true), is64: true };
  }

  private unitEnd(length: number): number {
    if (length > this.remaining) this.fail(`a unit of at most ${this.remaining} bytes, not ${length},`);
    return this.position + length;
  }

  /** Unsigned LEB128 that must be a safe integer. */
  uleb(): number {
    let byte = this.u8();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    let scale = 128;
    do {
      byte = this.u8();
      if (byte & 0x7f) {
        value += (byte & 0x7f) * scale;
        if (value > Number.MAX_SAFE_INTEGER) this.fail('an unsigned LEB128 below 2^53');
      }
      scale *= 128;
    } while (byte >= 0x80);
    return value;
  }

  /** Unsigned LEB128, cut to 64 bits. */
  ulebBig(): bigint {
    const start = this.position;
    let byte = this.u8();
    if (byte < 0x80) return BigInt(byte);
    let value = BigInt(byte & 0x7f);
    let shift = 7n;
    do {
      byte = this.u8();
      if (shift < 64n) value |= BigInt(byte & 0x7f) << shift;
      shift += 7n;
      if (this.position - start > 64) this.fail('the end of a LEB128 value');
    } while (byte >= 0x80);
    return BigInt.asUintN(64, value);
  }

  /** Signed LEB128, cut to 64 bits. */
  slebBig(): bigint {
    const start = this.position;
    let value = 0n;
    let shift = 0n;
    let byte: number;
    do {
      byte = this.u8();
      if (shift < 64n) value |= BigInt(byte & 0x7f) << shift;
      shift += 7n;
      if (this.position - start > 64) this.fail('the end of a LEB128 value');
    } while (byte >= 0x80);
    if (shift < 64n && byte & 0x40) value |= -1n << shift;
    return BigInt.asIntN(64, value);
  }

  /** Signed LEB128 that must be a safe integer. */
  sleb(): number {
    const first = this.position < this.end ? this.data[this.position]! : 0x80;
    if (first < 0x80) {
      this.position++;
      return first & 0x40 ? first - 128 : first;
    }
    const value = Number(this.slebBig());
    if (!Number.isSafeInteger(value)) this.fail('a signed LEB128 of at most 53 bits');
    return value;
  }

  skipLeb(): void {
    while (this.u8() >= 0x80);
  }

  /** A view of the next `count` bytes (not a copy). */
  bytes(count: number): Uint8Array {
    const at = this.take(count);
    return this.data.subarray(at, at + count);
  }

  /** NUL-terminated UTF-8 string. */
  string(): string {
    const start = this.position;
    this.skipString();
    const end = Math.min(this.position - 1, start + MAX_STRING);
    let text = '';
    for (let i = start; i < end; i++) {
      const byte = this.data[i]!;
      if (byte >= 0x80) return utf8.decode(this.data.subarray(start, end));
      text += String.fromCharCode(byte);
    }
    return text;
  }

  skipString(): void {
    const end = this.data.indexOf(0, this.position);
    if (end < 0 || end >= this.end) this.ends('a NUL-terminated string');
    this.position = end + 1;
  }
}

export function hexOffset(offset: number): string {
  return offset < 0 ? String(offset) : '0x' + offset.toString(16);
}
