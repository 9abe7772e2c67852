/**
 * The file of a snapshot: a preamble, one zlib stream (RFC 1950) of sections, and a trailer. Everything is little-endian.
 *
 *   preamble   8 bytes MAGIC, u32 version of the format, u32 0
 *   sections   each: 4 letters that say which, u32 bytes of contents, the contents, u32 CRC-32 of all of that
 *   trailer    8 bytes TRAILER_MAGIC, u64 bytes of the whole file
 *
 * Sections, in this order:
 *   HEAD   the machine: a SnapshotHeader as plain data (plainData.ts)
 *   STAT   its state but for RAM and disks, as plain data
 *   DISK   any number: u32 disk, u32 bytes of a block, u64 first block, u64 blocks, then their bytes; or no bytes: they are zeros
 *   RAM_   any number: u64 first page, then the contents of pages of 4 KiB; pages that are nowhere are zeros
 *   END_   u32 sections before this one
 * Pages and, within a disk, blocks rise from section to section.
 */
import { crc32 } from './crc32';
import { SnapshotError } from './snapshotError';

export const FORMAT_VERSION = 1;
const MAGIC = 'RINGSNAP';
const TRAILER_MAGIC = 'RINGDONE';
export const PREAMBLE_BYTES = 16;
export const TRAILER_BYTES = 16;

/** The largest contents of each section, in bytes. */
const LIMITS = { HEAD: 1 << 20, STAT: 32 << 20, DISK: 1 << 20, RAM_: 1 << 20, END_: 4 } as const;
export type SectionName = keyof typeof LIMITS;
const NAMES = Object.keys(LIMITS) as SectionName[];

export interface Section {
  name: SectionName;
  contents: Uint8Array;
  /** Where its contents begin, in the expanded stream. */
  offset: number;
}

const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export function preamble(): Uint8Array {
  const bytes = new Uint8Array(PREAMBLE_BYTES);
  bytes.set(latin1(MAGIC));
  viewOf(bytes).setUint32(8, FORMAT_VERSION, true);
  return bytes;
}

/** @param size bytes of the file before the trailer */
export function trailer(size: number): Uint8Array {
  const bytes = new Uint8Array(TRAILER_BYTES);
  bytes.set(latin1(TRAILER_MAGIC));
  viewOf(bytes).setBigUint64(8, BigInt(size + TRAILER_BYTES), true);
  return bytes;
}

/**
 * Checks a file's first and last bytes.
 * @param name as messages give it: 'linux.snapshot'
 * @throws SnapshotError
 */
export function checkEnds(name: string, first: Uint8Array, last: Uint8Array, size: number): void {
  const at = (offset: number, text: string): SnapshotError =>
    new SnapshotError(`'${name}', offset 0x${offset.toString(16)}: ${text}`);
  const starts = (bytes: Uint8Array, text: string): boolean => latin1(text).every((byte, i) => bytes[i] === byte);
  if (first.length < PREAMBLE_BYTES || !starts(first, MAGIC)) {
    throw at(0, `expected '${MAGIC}', which begins a snapshot of Ringside`);
  }
  const version = viewOf(first).getUint32(8, true);
  if (version !== FORMAT_VERSION) {
    const advice = version > FORMAT_VERSION ? 'a newer Ringside has written it' : 'an older Ringside has written it';
    throw at(8, `expected version ${FORMAT_VERSION} of the format, got ${version}: ${advice}`);
  }
  if (last.length < TRAILER_BYTES || !starts(last, TRAILER_MAGIC)) {
    throw at(
      Math.max(0, size - TRAILER_BYTES),
      `expected '${TRAILER_MAGIC}' at the end: the file is cut off or damaged`,
    );
  }
  const length = viewOf(last).getBigUint64(8, true);
  if (length !== BigInt(size)) throw at(size - 8, `expected a file of ${length} bytes, it has ${size}`);
}

/** A whole section of contents in one or more pieces. */
export function section(name: SectionName, ...contents: Uint8Array[]): Uint8Array {
  const length = contents.reduce((sum, { length }) => sum + length, 0);
  if (length > LIMITS[name]) throw new SnapshotError(`a section ${name} of ${length} bytes; ${LIMITS[name]} at most`);
  const bytes = new Uint8Array(12 + length);
  bytes.set(latin1(name));
  viewOf(bytes).setUint32(4, length, true);
  let at = 8;
  for (const each of contents) {
    bytes.set(each, at);
    at += each.length;
  }
  viewOf(bytes).setUint32(at, crc32(bytes.subarray(0, at)), true);
  return bytes;
}

const ORDER: Record<SectionName, readonly SectionName[]> = {
  HEAD: ['STAT'],
  STAT: ['DISK', 'RAM_', 'END_'],
  DISK: ['DISK', 'RAM_', 'END_'],
  RAM_: ['RAM_', 'END_'],
  END_: [],
};

const BEGINNING_BYTES = 8;
const CRC_BYTES = 4;

/** Takes the expanded stream apart: push() what comes, as it comes; end() when nothing does any more. */
export class SectionReader {
  /** Of a section that comes in parts: what has come, first its name and size, then all of it. */
  private current: Uint8Array | undefined;
  private have = 0;
  /** Where the section that is being read begins. */
  private start = 0;
  private sections = 0;
  private allowed: readonly SectionName[] = ['HEAD'];

  constructor(
    private readonly fileName: string,
    private readonly crc: typeof crc32 = crc32,
  ) {}

  /**
   * The sections that are complete with `bytes`. Contents may be a view of them: they must not change any more.
   * @throws SnapshotError at the first thing that is wrong
   */
  *push(bytes: Uint8Array): Generator<Section, void> {
    for (let at = 0; at < bytes.length;) {
      if (!this.current) {
        const rest = bytes.subarray(at);
        const size = rest.length < BEGINNING_BYTES ? Infinity : this.sizeOf(rest);
        if (rest.length >= size) {
          yield this.complete(rest.subarray(0, size));
          at += size;
          continue;
        }
        this.current = new Uint8Array(size === Infinity ? BEGINNING_BYTES : size);
      }
      const { current } = this;
      const count = Math.min(bytes.length - at, current.length - this.have);
      current.set(bytes.subarray(at, at + count), this.have);
      this.have += count;
      at += count;
      if (this.have < current.length) return;
      if (current.length === BEGINNING_BYTES) {
        this.current = new Uint8Array(this.sizeOf(current));
        this.current.set(current);
      } else {
        this.current = undefined;
        this.have = 0;
        yield this.complete(current);
      }
    }
  }

  /** @throws SnapshotError unless the last section is complete */
  end(): void {
    if (this.allowed.length > 0 || this.have > 0) {
      throw this.error(this.start + this.have, `expected ${this.allowed.join(' or ') || 'nothing'}, the contents end`);
    }
  }

  /** Bytes of the section that begins so, with its name, size and CRC. */
  private sizeOf(beginning: Uint8Array): number {
    const letters = String.fromCharCode(...beginning.subarray(0, 4));
    const name = NAMES.find((each) => each === letters);
    if (!name || !this.allowed.includes(name)) {
      const expected = this.allowed.length > 0 ? `a section ${this.allowed.join(' or ')}` : 'the end';
      throw this.error(this.start, `expected ${expected}, got '${letters.replace(/[^ -~]/g, '?')}'`);
    }
    const length = viewOf(beginning).getUint32(4, true);
    if (length > LIMITS[name]) {
      throw this.error(this.start + 4, `expected at most ${LIMITS[name]} bytes in a section ${name}, got ${length}`);
    }
    return BEGINNING_BYTES + length + CRC_BYTES;
  }

  private complete(whole: Uint8Array): Section {
    const end = whole.length - CRC_BYTES;
    const name = String.fromCharCode(...whole.subarray(0, 4)) as SectionName;
    const expected = viewOf(whole).getUint32(end, true);
    const got = this.crc(whole.subarray(0, end), 0);
    if (got !== expected) {
      const text = `the checksum of section ${name} is 0x${got.toString(16)}, expected 0x${expected.toString(16)}`;
      throw this.error(this.start, text);
    }
    // A plain view, whatever view the platform gives: Node's Buffer has another slice().
    const contents = new Uint8Array(whole.buffer, whole.byteOffset + BEGINNING_BYTES, end - BEGINNING_BYTES);
    const section: Section = { name, contents, offset: this.start + BEGINNING_BYTES };
    if (name === 'END_') this.checkCount(section);
    this.sections++;
    this.allowed = ORDER[name];
    this.start += whole.length;
    return section;
  }

  private checkCount({ contents, offset }: Section): void {
    const count = contents.length === 4 ? viewOf(contents).getUint32(0, true) : -1;
    if (count !== this.sections) throw this.error(offset, `expected ${this.sections}, the number of sections`);
  }

  private error(offset: number, text: string): SnapshotError {
    return new SnapshotError(`'${this.fileName}', offset 0x${offset.toString(16)} of what it expands to: ${text}`);
  }
}
