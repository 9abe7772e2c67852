/** Bytes of WebAssembly under construction, and its numbers. WebAssembly Core Specification, "Binary Format". */
import { doubled } from '../doubled';

const FIRST_BYTES = 64;

export class Bytes {
  private bytes: Uint8Array<ArrayBuffer>;
  private used = 0;

  /** @param room bytes that there is room for at first */
  constructor(room = FIRST_BYTES) {
    this.bytes = new Uint8Array(room);
  }

  get length(): number {
    return this.used;
  }

  push(byte: number, second?: number, third?: number, fourth?: number): void {
    this.add(byte);
    if (second !== undefined) this.add(second);
    if (third !== undefined) this.add(third);
    if (fourth !== undefined) this.add(fourth);
  }

  private add(byte: number): void {
    if (this.used === this.bytes.length) this.bytes = doubled(this.bytes);
    this.bytes[this.used++] = byte;
  }

  append(bytes: Uint8Array): void {
    if (this.used + bytes.length > this.bytes.length) this.bytes = doubled(this.bytes, bytes.length);
    this.bytes.set(bytes, this.used);
    this.used += bytes.length;
  }

  /** Takes back what is behind the first `length` bytes. */
  truncate(length: number): void {
    this.used = length;
  }

  /** What there is now; not to be kept. */
  get view(): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(0, this.used);
  }
}

/** Appends an unsigned LEB128 number (0 .. 2^32-1). */
export function uleb(out: Bytes, value: number): void {
  let n = value >>> 0;
  while (n >= 0x80) {
    out.push((n & 0x7f) | 0x80);
    n >>>= 7;
  }
  out.push(n);
}

/** Appends a signed LEB128 number of up to 64 bits. */
export function sleb(out: Bytes, value: bigint): void {
  let n = BigInt.asIntN(64, value);
  for (;;) {
    const low = Number(n & 127n);
    n >>= 7n;
    if ((n === 0n && !(low & 64)) || (n === -1n && low & 64)) {
      out.push(low);
      return;
    }
    out.push(low | 128);
  }
}

/** As sleb(), of 32 bits. */
export function slebNumber(out: Bytes, value: number): void {
  let n = value;
  for (;;) {
    const low = n & 0x7f;
    n >>= 7;
    if ((n === 0 && !(low & 0x40)) || (n === -1 && low & 0x40)) {
      out.push(low);
      return;
    }
    out.push(low | 0x80);
  }
}
