/**
 * A disk of the machine: an image that stays as it is, and over it what the guest has written, in memory. The same for the BIOS's
 * services and for virtio-blk. A checkpoint shares the written blocks with the disk: it costs a list of references.
 */
import type { Field } from '../fields';
import type { DiskContents } from './image';

export const SECTOR = 512;
/** Unit of what is kept. */
export const BLOCK = 4096;
/** Blocks in a table. */
export const TABLE = 512;

/** Written blocks by block number / TABLE and remainder; plain data. Tables and blocks in it are never changed again. */
export type DiskState = (readonly (Uint8Array | undefined)[] | undefined)[];

/** snapshot: writes are forgotten at the end. readonly: they fail. write: they go into the image file at the end. */
export type DiskAccess = 'snapshot' | 'readonly' | 'write';

/** The block of every block that was zeroed as a whole. */
export const ZEROS = new Uint8Array(BLOCK);

export class Disk {
  private tables: ((Uint8Array | undefined)[] | undefined)[] = [];
  /** Tables and blocks that no saved state shares. */
  private own = new WeakSet<object>();

  constructor(
    readonly contents: DiskContents,
    readonly access: DiskAccess,
  ) {}

  /** Bytes. */
  get size(): number {
    return this.contents.size;
  }

  /** A copy of `length` bytes at `offset`, both within `size`. @throws ImageError when the image can't be read */
  readBytes(offset: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    const blocks = this.blocksIn(offset, length);
    // Where all of it has been written the image is not asked.
    if (blocks.some(({ data }) => !data)) out.set(this.contents.readBytes(offset, length));
    for (const { data, inBlock, at, count } of blocks) if (data) out.set(data.subarray(inBlock, inBlock + count), at);
    return out;
  }

  /** False when the disk can't be written. The range lies within `size`. @throws ImageError when the image can't be read */
  writeBytes(offset: number, data: Uint8Array): boolean {
    if (this.access === 'readonly') return false;
    for (const { block, inBlock, at, count } of this.blocksIn(offset, data.length)) {
      this.ownBlock(block, count === BLOCK).set(data.subarray(at, at + count), inBlock);
    }
    return true;
  }

  /** Makes a range zeros; whole blocks of them take no memory. False when the disk can't be written. */
  zero(offset: number, length: number): boolean {
    if (this.access === 'readonly') return false;
    for (const { block, inBlock, count } of this.blocksIn(offset, length)) {
      if (count === BLOCK) this.ownTable(block)[block % TABLE] = ZEROS;
      else this.ownBlock(block, false).fill(0, inBlock, inBlock + count);
    }
    return true;
  }

  /** Every block that was written, by address, as far as the disk goes: to store them in the image file. */
  *written(): Generator<{ offset: number; data: Uint8Array }> {
    for (const [index, table] of this.tables.entries()) {
      for (const [i, data] of (table ?? []).entries()) {
        const offset = (index * TABLE + i) * BLOCK;
        if (data) yield { offset, data: data.subarray(0, Math.min(BLOCK, this.size - offset)) };
      }
    }
  }

  /** Power cycle from the debugger: what would be forgotten at the end is forgotten now. */
  reset(): void {
    if (this.access === 'write') return;
    this.tables = [];
  }

  save(): DiskState {
    this.own = new WeakSet();
    return [...this.tables];
  }

  restore(state: DiskState): void {
    this.own = new WeakSet();
    this.tables = [...state] as typeof this.tables;
  }

  describe(): Field[] {
    let blocks = 0;
    for (const table of this.tables) for (const data of table ?? []) if (data) blocks++;
    return [
      { name: 'size', value: String(this.size), text: `bytes, ${this.contents.format} image` },
      { name: 'access', value: this.access },
      { name: 'written', value: String(blocks * BLOCK), text: 'bytes that differ from the image' },
    ];
  }

  private blocksIn(offset: number, length: number) {
    const found: { block: number; data?: Uint8Array; inBlock: number; at: number; count: number }[] = [];
    for (let at = 0; at < length;) {
      const inBlock = (offset + at) % BLOCK;
      const block = (offset + at - inBlock) / BLOCK;
      const count = Math.min(BLOCK - inBlock, length - at);
      found.push({ block, data: this.tables[Math.floor(block / TABLE)]?.[block % TABLE], inBlock, at, count });
      at += count;
    }
    return found;
  }

  private ownTable(block: number): (Uint8Array | undefined)[] {
    const index = Math.floor(block / TABLE);
    let table = this.tables[index];
    if (!table || !this.own.has(table)) {
      table = table ? [...table] : new Array<Uint8Array | undefined>(TABLE).fill(undefined);
      // Without holes: a saved state is a plain list.
      while (this.tables.length < index) this.tables.push(undefined);
      this.tables[index] = table;
      this.own.add(table);
    }
    return table;
  }

  /** The block to write into. @param whole all of it will be written: its contents do not matter */
  private ownBlock(block: number, whole: boolean): Uint8Array {
    const table = this.ownTable(block);
    const before = table[block % TABLE];
    if (before && this.own.has(before)) return before;
    const data = new Uint8Array(BLOCK);
    const offset = block * BLOCK;
    if (before) data.set(before);
    else if (!whole) data.set(this.contents.readBytes(offset, Math.min(BLOCK, this.size - offset)));
    table[block % TABLE] = data;
    this.own.add(data);
    return data;
  }
}
