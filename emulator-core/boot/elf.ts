/**
 * A reader of ELF32 and ELF64 little-endian files that trusts nothing in them: every offset and size is checked against
 * the file before it is used, and what is wrong is named in an ElfError.
 * Source: System V ABI, "Object Files"; gABI chapters "ELF Header", "Sections", "Symbol Table", "Program Header".
 */

import { ByteSource, memorySource, SourceView } from './byteSource';

/** A malformed ELF file. The message names the file, the header or section, and the offending value. */
export class ElfError extends Error {
  override name = 'ElfError';
}

export const PT_LOAD = 1;
export const PT_NOTE = 4;
export const SHT_SYMTAB = 2;
export const SHT_STRTAB = 3;
export const SHT_NOTE = 7;
export const SHT_NOBITS = 8;
export const SHT_DYNSYM = 11;
export const SHF_ALLOC = 2;
export const SHF_COMPRESSED = 0x800;
export const EM_386 = 3;
export const EM_X86_64 = 62;

const PN_XNUM = 0xffff;
const SHN_XINDEX = 0xffff;

export interface ElfHeader {
  /** 32 or 64: the file's class. */
  bits: 32 | 64;
  /** ET_REL 1, ET_EXEC 2, ET_DYN 3, ET_CORE 4. */
  type: number;
  machine: number;
  entry: bigint;
  flags: number;
}

export interface ElfSegment {
  index: number;
  type: number;
  /** PF_X 1, PF_W 2, PF_R 4. */
  flags: number;
  /** File range, checked to lie in the file. */
  offset: number;
  fileSize: number;
  virtualAddress: bigint;
  physicalAddress: bigint;
  memorySize: bigint;
  alignment: bigint;
}

export interface ElfSection {
  index: number;
  name: string;
  type: number;
  flags: bigint;
  address: bigint;
  /** File range, checked to lie in the file unless the type is SHT_NOBITS. */
  offset: number;
  size: bigint;
  link: number;
  info: number;
  alignment: bigint;
  entrySize: bigint;
}

export interface ElfSymbol {
  name: string;
  value: bigint;
  size: bigint;
  /** STT_NOTYPE 0, STT_OBJECT 1, STT_FUNC 2, STT_SECTION 3, STT_FILE 4 ... */
  type: number;
  /** STB_LOCAL 0, STB_GLOBAL 1, STB_WEAK 2. */
  binding: number;
  /** Index of its section; 0 undefined, 0xfff1 absolute, 0xfff2 common, 0xffff in an extended index table. */
  section: number;
}

/** A symbol table as it stands in the file. gABI, "Symbol Table". */
export interface RawSymbols {
  view: DataView;
  /** The section of the names. */
  strings: ElfSection;
  /** In bytes. */
  entrySize: number;
  /** Entries, the null symbol included. */
  count: number;
  /** Entries of 64-bit files. */
  wide: boolean;
  /** The table, for messages. */
  what: string;
}

export interface ElfNote {
  name: string;
  type: number;
  description: Uint8Array;
}

/** How a section with SHF_COMPRESSED is stored. `data` is the compressed stream after its header. */
export interface ElfCompression {
  /** ELFCOMPRESS_ZLIB 1, ELFCOMPRESS_ZSTD 2. */
  type: number;
  uncompressedSize: bigint;
  data: Uint8Array;
}

const hex = (value: number | bigint): string => '0x' + value.toString(16);

export class ElfFile {
  readonly header: ElfHeader;
  private readonly source: ByteSource;
  private readonly view: SourceView;
  private readonly wide: boolean;
  private readonly programHeaders: { offset: bigint; entrySize: number; count: number };
  private readonly sectionHeaders: { offset: bigint; entrySize: number; count: number; names: number };
  private segmentList?: ElfSegment[];
  private sectionList?: ElfSection[];
  private sectionNames?: Map<string, ElfSection>;
  private symbolLists = new Map<number, ElfSymbol[]>();

  /**
   * Reads the ELF header; tables are read when first asked for.
   * @param contents the whole file, or a source that it is read from by ranges
   * @param name its name, for messages
   * @throws ElfError when this is not a little-endian ELF32 or ELF64 file
   */
  constructor(
    contents: Uint8Array | ByteSource,
    readonly name: string,
  ) {
    this.source = contents instanceof Uint8Array ? memorySource(contents) : contents;
    this.view = new SourceView(this.source);
    const { size: length } = this.source;
    const bytes = this.source.read(0, Math.min(64, length));
    if (!isElf(bytes)) this.fail('not an ELF file: expected the bytes 7f 45 4c 46 at offset 0x0');
    if (length < 20) this.fail(`ELF header: the file ends at ${hex(length)}, inside the header`);
    if (bytes[4] !== 1 && bytes[4] !== 2) {
      this.fail(`ELF header: class ${bytes[4]} at offset 0x4, expected 1 (32-bit) or 2 (64-bit)`);
    }
    if (bytes[5] !== 1) this.fail(`ELF header: data encoding ${bytes[5]} at offset 0x5, expected 1 (little-endian)`);
    if (bytes[6] !== 1) this.fail(`ELF header: version ${bytes[6]} at offset 0x6, expected 1`);
    this.wide = bytes[4] === 2;
    const size = this.wide ? 64 : 52;
    if (length < size) {
      this.fail(`ELF header: the file has ${hex(length)} bytes, expected at least ${hex(size)} for the header`);
    }
    const at = 24;
    const word = this.wide ? 8 : 4;
    const counts = at + 3 * word;
    this.header = {
      bits: this.wide ? 64 : 32,
      type: this.u16(16),
      machine: this.u16(18),
      entry: this.address(at),
      flags: this.u32(counts),
    };
    this.programHeaders = {
      offset: this.address(at + word),
      entrySize: this.u16(counts + 6),
      count: this.u16(counts + 8),
    };
    this.sectionHeaders = {
      offset: this.address(at + 2 * word),
      entrySize: this.u16(counts + 10),
      count: this.u16(counts + 12),
      names: this.u16(counts + 14),
    };
  }

  /** The whole file. */
  get bytes(): Uint8Array {
    return this.source.read(0, this.source.size);
  }

  /** Program headers in file order. @throws ElfError naming the header whose values do not fit the file */
  segments(): readonly ElfSegment[] {
    return (this.segmentList ??= this.readSegments());
  }

  /** Section headers in file order, the null section included; empty when the file has none. @throws ElfError */
  sections(): readonly ElfSection[] {
    return (this.sectionList ??= this.readSections());
  }

  /** The first section of that name. @throws ElfError when the section table is malformed */
  section(name: string): ElfSection | undefined {
    if (!this.sectionNames) {
      this.sectionNames = new Map();
      for (const s of this.sections()) if (!this.sectionNames.has(s.name)) this.sectionNames.set(s.name, s);
    }
    return this.sectionNames.get(name);
  }

  /** A section's bytes as stored (see `compression`); undefined when absent, empty for SHT_NOBITS. @throws ElfError */
  sectionData(section: string | ElfSection): Uint8Array | undefined {
    const found = typeof section === 'string' ? this.section(section) : section;
    if (!found) return undefined;
    if (found.type === SHT_NOBITS) return new Uint8Array(0);
    return this.source.read(found.offset, Number(found.size));
  }

  /** A part of a section's bytes as stored, which must lie in it. @throws ElfError */
  sectionPart(section: ElfSection, offset: number, length: number): Uint8Array {
    if (!(offset >= 0 && length >= 0 && BigInt(offset) + BigInt(length) <= section.size)) {
      this.fail(`${this.label(section)}: no ${length} bytes at ${hex(offset)}, the section has ${hex(section.size)}`);
    }
    return this.source.read(section.offset + offset, length);
  }

  /** A segment's bytes in the file. */
  segmentData(segment: ElfSegment): Uint8Array {
    return this.source.read(segment.offset, segment.fileSize);
  }

  /**
   * How a section is compressed, or undefined when it is not. gABI, "Section Compression".
   * @throws ElfError when the compression header does not fit the section
   */
  compression(section: string | ElfSection): ElfCompression | undefined {
    const found = typeof section === 'string' ? this.section(section) : section;
    if (!found || !(found.flags & BigInt(SHF_COMPRESSED)) || found.type === SHT_NOBITS) return undefined;
    const size = this.wide ? 24 : 12;
    if (found.size < size) {
      this.fail(
        `${this.label(found)}: compression header needs ${hex(size)} bytes, the section has ${hex(found.size)}`,
      );
    }
    return {
      type: this.u32(found.offset),
      uncompressedSize: this.wide ? this.u64(found.offset + 8) : BigInt(this.u32(found.offset + 4)),
      data: this.source.read(found.offset + size, Number(found.size) - size),
    };
  }

  /** All notes of PT_NOTE segments or, in a file without segments, of SHT_NOTE sections. @throws ElfError */
  notes(): ElfNote[] {
    const notes: ElfNote[] = [];
    const segments = this.segments().filter((s) => s.type === PT_NOTE);
    for (const s of segments) {
      this.readNotes(`program header ${s.index}`, s.offset, s.fileSize, s.alignment === 8n ? 8 : 4, notes);
    }
    if (segments.length === 0) {
      for (const s of this.sections()) {
        if (s.type !== SHT_NOTE) continue;
        this.readNotes(this.label(s), s.offset, Number(s.size), s.alignment === 8n ? 8 : 4, notes);
      }
    }
    return notes;
  }

  /** Symbols of `.symtab` or, where that is absent, of `.dynsym`; without the null symbol. @throws ElfError */
  symbols(): readonly ElfSymbol[] {
    const sections = this.sections();
    const table = sections.find((s) => s.type === SHT_SYMTAB) ?? sections.find((s) => s.type === SHT_DYNSYM);
    return table ? this.symbolsOf(table) : [];
  }

  /** Symbols of one symbol table section. @throws ElfError */
  symbolsOf(table: ElfSection): readonly ElfSymbol[] {
    let list = this.symbolLists.get(table.index);
    if (!list) this.symbolLists.set(table.index, (list = this.readSymbols(table)));
    return list;
  }

  /** The build ID in lower-case hex (note GNU, type NT_GNU_BUILD_ID 3), or undefined. @throws ElfError */
  buildId(): string | undefined {
    const note = this.notes().find((n) => n.name === 'GNU' && n.type === 3);
    return note && Array.from(note.description, (b) => b.toString(16).padStart(2, '0')).join('');
  }

  /** File name and CRC-32 of `.gnu_debuglink`, or undefined. GDB manual, "Separate Debug Files". @throws ElfError */
  debugLink(): { file: string; crc: number } | undefined {
    const section = this.section('.gnu_debuglink');
    const data = section && this.sectionData(section);
    if (!section || !data) return undefined;
    const end = data.indexOf(0);
    const at = (end + 4) & ~3;
    if (end < 0 || at + 4 > data.length) {
      this.fail(`${this.label(section)}: expected a NUL-terminated file name and a 4-byte CRC`);
    }
    return { file: decode(data.subarray(0, end)), crc: this.u32(section.offset + at) };
  }

  /** The physical address at which an image linked at `virtualAddress` lies, by its PT_LOAD segments; or undefined. */
  physicalOf(virtualAddress: bigint): bigint | undefined {
    const s = this.segments().find(
      (p) =>
        p.type === PT_LOAD && virtualAddress >= p.virtualAddress && virtualAddress - p.virtualAddress < p.memorySize,
    );
    return s && virtualAddress - s.virtualAddress + s.physicalAddress;
  }

  private readSegments(): ElfSegment[] {
    const { offset, entrySize } = this.programHeaders;
    let { count } = this.programHeaders;
    if (count === PN_XNUM) count = this.firstSection()?.info ?? count;
    if (count === 0) return [];
    const size = this.wide ? 56 : 32;
    if (entrySize < size) {
      this.fail(`ELF header: program header entry size ${hex(entrySize)}, expected at least ${hex(size)}`);
    }
    const start = this.fileRange('program header table', offset, BigInt(count) * BigInt(entrySize));
    const list: ElfSegment[] = [];
    for (let index = 0; index < count; index++) {
      const at = start + index * entrySize;
      const [fileOffset, virtualAddress, physicalAddress, fileSize, memorySize] = this.wide
        ? [8, 16, 24, 32, 40].map((o) => this.u64(at + o))
        : [4, 8, 12, 16, 20].map((o) => BigInt(this.u32(at + o)));
      const what = `program header ${index}`;
      const checked = this.fileRange(what, fileOffset, fileSize);
      const type = this.u32(at);
      if (type === PT_LOAD) {
        if (fileSize > memorySize) {
          this.fail(`${what}: file size ${hex(fileSize)} is larger than memory size ${hex(memorySize)}`);
        }
        const top = 1n << BigInt(this.header.bits);
        if (virtualAddress + memorySize > top || physicalAddress + memorySize > top) {
          this.fail(
            `${what}: memory range ${hex(virtualAddress)} (physical ${hex(physicalAddress)}) + ${hex(memorySize)} ` +
              `wraps around the ${this.header.bits}-bit address space`,
          );
        }
      }
      list.push({
        index,
        type,
        flags: this.u32(at + (this.wide ? 4 : 24)),
        offset: checked,
        fileSize: Number(fileSize),
        virtualAddress,
        physicalAddress,
        memorySize,
        alignment: this.wide ? this.u64(at + 48) : BigInt(this.u32(at + 28)),
      });
    }
    return list;
  }

  /** Section 0 holds counts that do not fit the ELF header's 16-bit fields. */
  private firstSection(): { size: bigint; link: number; info: number } | undefined {
    const { offset, entrySize } = this.sectionHeaders;
    const size = this.wide ? 64 : 40;
    if (offset === 0n || entrySize < size) return undefined;
    const at = this.fileRange('section header 0', offset, BigInt(size));
    return this.wide
      ? { size: this.u64(at + 32), link: this.u32(at + 40), info: this.u32(at + 44) }
      : { size: BigInt(this.u32(at + 20)), link: this.u32(at + 24), info: this.u32(at + 28) };
  }

  private readSections(): ElfSection[] {
    const { offset, entrySize } = this.sectionHeaders;
    if (offset === 0n) return [];
    const size = this.wide ? 64 : 40;
    if (entrySize < size) {
      this.fail(`ELF header: section header entry size ${hex(entrySize)}, expected at least ${hex(size)}`);
    }
    const first = this.firstSection()!;
    const count = this.sectionHeaders.count === 0 ? first.size : BigInt(this.sectionHeaders.count);
    const names = this.sectionHeaders.names === SHN_XINDEX ? first.link : this.sectionHeaders.names;
    const start = this.fileRange('section header table', offset, count * BigInt(entrySize));
    const list: ElfSection[] = [];
    const nameOffsets: number[] = [];
    for (let index = 0; index < Number(count); index++) {
      const at = start + index * entrySize;
      nameOffsets.push(this.u32(at));
      const [flags, address, fileOffset, length, alignment, perEntry] = this.wide
        ? [8, 16, 24, 32, 48, 56].map((o) => this.u64(at + o))
        : [8, 12, 16, 20, 32, 36].map((o) => BigInt(this.u32(at + o)));
      const type = this.u32(at + 4);
      const empty = type === SHT_NOBITS || type === 0;
      list.push({
        index,
        name: '',
        type,
        flags,
        address,
        offset: empty ? 0 : this.fileRange(`section header ${index}`, fileOffset, length),
        size: type === 0 ? 0n : length,
        link: this.u32(at + (this.wide ? 40 : 24)),
        info: this.u32(at + (this.wide ? 44 : 28)),
        alignment,
        entrySize: perEntry,
      });
    }
    if (names !== 0) {
      const table = list[names];
      if (!table) this.fail(`ELF header: section name table index ${names}, expected less than ${list.length}`);
      const strings = new StringTable(this, table, `section header ${names} (section names)`);
      list.forEach((s, i) => (s.name = strings.at(nameOffsets[i], `section header ${i}`)));
    }
    return list;
  }

  private readSymbols(table: ElfSection): ElfSymbol[] {
    const { view, strings: linked, entrySize, count, wide, what } = this.rawSymbolsOf(table);
    if (count === 0) return [];
    const strings = new StringTable(this, linked, this.label(linked));
    const list: ElfSymbol[] = [];
    for (let i = 1; i < count; i++) {
      const at = i * entrySize;
      const info = view.getUint8(at + (wide ? 4 : 12));
      list.push({
        name: strings.at(view.getUint32(at, true), `${what}: symbol ${i}`),
        value: wide ? view.getBigUint64(at + 8, true) : BigInt(view.getUint32(at + 4, true)),
        size: wide ? view.getBigUint64(at + 16, true) : BigInt(view.getUint32(at + 8, true)),
        type: info & 0xf,
        binding: info >> 4,
        section: view.getUint16(at + (wide ? 6 : 14), true),
      });
    }
    return list;
  }

  /** The table that `symbols` reads, as it stands in the file; undefined when there is none. @throws ElfError */
  rawSymbols(): RawSymbols | undefined {
    const sections = this.sections();
    const table = sections.find((s) => s.type === SHT_SYMTAB) ?? sections.find((s) => s.type === SHT_DYNSYM);
    return table && this.rawSymbolsOf(table);
  }

  private rawSymbolsOf(table: ElfSection): RawSymbols {
    const entrySize = this.wide ? 24 : 16;
    const what = this.label(table);
    const stripped = table.type === SHT_NOBITS; // into a separate debug file
    if (!stripped && table.entrySize !== BigInt(entrySize)) {
      this.fail(`${what}: symbol entry size ${hex(table.entrySize)}, expected ${hex(entrySize)}`);
    }
    const strings = this.sections()[table.link];
    if (!strings || strings.type !== SHT_STRTAB) {
      this.fail(`${what}: linked section ${table.link}, expected the index of a string table`);
    }
    const bytes = this.sectionData(table)!;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return { view, strings, entrySize, count: Math.floor(bytes.length / entrySize), wide: this.wide, what };
  }

  private readNotes(what: string, offset: number, size: number, alignment: number, into: ElfNote[]): void {
    const end = offset + size;
    const up = (value: number): number => Math.ceil(value / alignment) * alignment;
    let at = offset;
    while (end - at >= 12) {
      const nameSize = this.u32(at);
      const descriptionSize = this.u32(at + 4);
      const descriptionAt = at + 12 + nameSize + (up(12 + nameSize) - (12 + nameSize));
      if (at + 12 + nameSize > end || descriptionAt + descriptionSize > end) {
        this.fail(
          `${what}: note at offset ${hex(at)} with name size ${hex(nameSize)} and description size ` +
            `${hex(descriptionSize)} lies outside its notes, which end at ${hex(end)}`,
        );
      }
      into.push({
        name: decode(this.source.read(at + 12, Math.max(0, nameSize - 1))),
        type: this.u32(at + 8),
        description: this.source.read(descriptionAt, descriptionSize),
      });
      at = descriptionAt + up(descriptionSize);
    }
  }

  /** Checks [offset, offset + size) against the file and returns offset as a number. */
  private fileRange(what: string, offset: bigint, size: bigint): number {
    if (size === 0n) return 0;
    const length = BigInt(this.source.size);
    if (offset > length || size > length - offset) {
      this.fail(`${what}: file range ${hex(offset)} + ${hex(size)} lies outside the file (${hex(length)} bytes)`);
    }
    return Number(offset);
  }

  private label(section: ElfSection): string {
    return `section header ${section.index}${section.name ? ` (${section.name})` : ''}`;
  }

  /** @throws ElfError always, naming this file */
  fail(text: string): never {
    throw new ElfError(`${this.name}: ${text}`);
  }

  private u16(at: number): number {
    return this.view.u16(at);
  }
  private u32(at: number): number {
    return this.view.u32(at);
  }
  private u64(at: number): bigint {
    return this.view.u64(at);
  }
  private address(at: number): bigint {
    return this.wide ? this.u64(at) : BigInt(this.u32(at));
  }
}

/**
 * A string table. The names read from one may add up to a few times its size (names share tails); far more than that
 * means a file built to make its reader work without end.
 */
class StringTable {
  private readonly data: Uint8Array;
  private budget: number;

  constructor(
    private readonly file: ElfFile,
    table: ElfSection,
    private readonly what: string,
  ) {
    if (table.type !== SHT_STRTAB) file.fail(`${what}: section type ${table.type}, expected 3 (string table)`);
    this.data = file.sectionData(table)!;
    this.budget = this.data.length * 32 + (1 << 20);
  }

  at(offset: number, user: string): string {
    if (offset === 0 && this.data.length === 0) return '';
    if (offset >= this.data.length) {
      this.file.fail(`${user}: name offset ${hex(offset)} lies outside ${this.what} (${hex(this.data.length)} bytes)`);
    }
    const end = this.data.indexOf(0, offset);
    if (end < 0) this.file.fail(`${user}: the name at offset ${hex(offset)} of ${this.what} has no terminating NUL`);
    this.budget -= end - offset;
    if (this.budget < 0) this.file.fail(`${this.what}: its names overlap too much to be those of a real file`);
    return decode(this.data.subarray(offset, end));
  }
}

const decoder = new TextDecoder();

function decode(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** Whether a file begins with the ELF magic. */
export function isElf(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}
