/** What guest RAM holds when power comes on, for resets: the blocks of it that are not zero. */

import { isZero } from '../zeros';

const BLOCK = 1 << 16;

export class PowerOnImage {
  private readonly blocks: { at: number; bytes: Uint8Array }[] = [];

  /** @param ram guest RAM as the boot protocol left it, its length and place multiples of 4 bytes */
  constructor(ram: Uint8Array) {
    const words = new Int32Array(ram.buffer, ram.byteOffset, ram.length >>> 2);
    for (let at = 0; at < ram.length; at += BLOCK) {
      const end = Math.min(at + BLOCK, ram.length);
      if (!isZero(words, at >>> 2, end >>> 2)) this.blocks.push({ at, bytes: ram.slice(at, at + BLOCK) });
    }
  }

  /** Bytes kept. */
  get size(): number {
    return this.blocks.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  restore(ram: Uint8Array): void {
    ram.fill(0);
    for (const { at, bytes } of this.blocks) ram.set(bytes, at);
  }
}
