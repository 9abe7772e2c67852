/**
 * Binary messages, described by the layouts of their fields: little-endian integers, strings with a length in front. For 9P (intro(5),
 * "Messages") and for the messages between a share's device and its folder. Whatever does not fit is malformed; nothing is guessed.
 */

import type { Writer } from '../writer';

/** A message that its layout does not fit. */
export class Malformed extends Error {
  override name = 'Malformed';
}

export class Reader {
  private readonly view: DataView;
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Offset of the next `count` bytes, which are taken. */
  private skip(count: number): number {
    const { at } = this;
    if (count > this.bytes.length - at) throw new Malformed(`${count} bytes expected at ${at} of ${this.bytes.length}`);
    this.at += count;
    return at;
  }
  u8(): number {
    return this.view.getUint8(this.skip(1));
  }
  u16(): number {
    return this.view.getUint16(this.skip(2), true);
  }
  u32(): number {
    return this.view.getUint32(this.skip(4), true);
  }
  u64(): bigint {
    return this.view.getBigUint64(this.skip(8), true);
  }
  /** Not a copy. */
  take(count: number): Uint8Array {
    const at = this.skip(count);
    return this.bytes.subarray(at, at + count);
  }
  /** Nothing may follow. */
  end(): void {
    if (this.at !== this.bytes.length) throw new Malformed(`${this.bytes.length - this.at} bytes too many`);
  }
}

/** How a field is read and written. */
export interface Codec<T> {
  read(from: Reader): T;
  write(to: Writer, value: T): void;
}

export type Layout = Readonly<Record<string, Codec<unknown>>>;
export type Values<L extends Layout> = { -readonly [K in keyof L]: L[K] extends Codec<infer T> ? T : never };

export const u8: Codec<number> = { read: (r) => r.u8(), write: (w, value) => void w.u8(value) };
export const u16: Codec<number> = { read: (r) => r.u16(), write: (w, value) => void w.u16(value) };
export const u32: Codec<number> = { read: (r) => r.u32(), write: (w, value) => void w.u32(value) };
export const u64: Codec<bigint> = { read: (r) => r.u64(), write: (w, value) => void w.u64(value) };

/** Bytes, which need not be text in any encoding, as a string of one character a byte: file names. */
export function byteString(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
/** The bytes of a byte string. */
export function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** s: two bytes of length, then as many bytes. */
export const str: Codec<string> = {
  read: (r) => byteString(r.take(r.u16())),
  write(w, value) {
    w.u16(value.length).bytes(bytesOf(value));
  },
};

/** Four bytes of length, then as many bytes. Reading copies nothing. */
export const data: Codec<Uint8Array> = {
  read: (r) => r.take(r.u32()),
  write(w, value) {
    w.u32(value.length).bytes(value);
  },
};

/** Two bytes with the number of items, then the items. */
export function list<T>(item: Codec<T>): Codec<T[]> {
  return {
    read(r) {
      const items: T[] = [];
      for (let left = r.u16(); left > 0; left--) items.push(item.read(r));
      return items;
    },
    write(w, items) {
      w.u16(items.length);
      for (const each of items) item.write(w, each);
    },
  };
}

/** Fields one after the other. */
export function struct<L extends Layout>(layout: L): Codec<Values<L>> {
  const fields = Object.entries(layout);
  return {
    read: (r) => Object.fromEntries(fields.map(([name, codec]) => [name, codec.read(r)])) as Values<L>,
    write(w, values) {
      for (const [name, codec] of fields) codec.write(w, values[name]);
    },
  };
}
