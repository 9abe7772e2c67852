import { ElfFile, ElfSection, SHF_ALLOC, SHF_COMPRESSED, SHT_NOBITS } from '../../emulator-core/boot/elf';
import { DebugSections, Warnings } from './dwarf/sections';
import { messageOf } from './dwarf/unit';
import { inflateSection } from './inflate';

const SHF_EXECINSTR = 4n;
/** Parts of sections that are kept, in bytes. */
const KEPT_BYTES = 12 << 20;
/** A section that is no larger is read whole when a part is asked for. */
const SMALL_SECTION = 1 << 20;

const none = new Uint8Array(0);

/** The sections of an object file for the reader of debug information: read when asked for, large ones in parts. */
export class SectionData implements DebugSections {
  readonly codeAtZero: boolean;
  private readonly whole = new Map<string, Uint8Array>();
  /** Parts by section and offset, the longest unused first. */
  private readonly parts = new Map<string, Uint8Array>();
  private partBytes = 0;
  /** What was asked for last: readers ask for the same part again and again. */
  private last: { name: string; offset: number; part: Uint8Array } = { name: '', offset: -1, part: none };

  constructor(
    private readonly elf: ElfFile | undefined,
    readonly is64: boolean,
    readonly warnings: Warnings,
  ) {
    this.codeAtZero = (elf?.sections() ?? []).some(
      ({ flags, address }) => (flags & SHF_EXECINSTR) !== 0n && (flags & BigInt(SHF_ALLOC)) !== 0n && address === 0n,
    );
  }

  address(name: string): bigint {
    return this.elf?.section(name)?.address ?? 0n;
  }

  data(name: string): Uint8Array {
    let bytes = this.whole.get(name);
    if (!bytes) {
      try {
        bytes = this.elf && inflateSection(this.elf, name, this.warnings);
      } catch (error) {
        this.warnings.add(messageOf(error));
      }
      this.whole.set(name, (bytes ??= none));
    }
    return bytes;
  }

  /** The section whose contents stand in the file as they are, when they have not been read yet. */
  private unread(name: string): ElfSection | undefined {
    const section = this.whole.has(name) ? undefined : this.elf?.section(name);
    return section && (section.flags & BigInt(SHF_COMPRESSED)) === 0n ? section : undefined;
  }

  size(name: string): number {
    const section = this.unread(name);
    if (!section) return this.data(name).length;
    return section.type === SHT_NOBITS ? 0 : Number(section.size);
  }

  range(name: string, offset: number, length: number): Uint8Array {
    const { last } = this;
    if (last.offset === offset && last.name === name && last.part.length === length) return last.part;
    const section = this.unread(name);
    if (!section || section.size <= SMALL_SECTION) return this.data(name).subarray(offset, offset + length);
    const key = `${offset} ${name}`;
    let part = this.parts.get(key);
    if (part && part.length >= length) {
      this.parts.delete(key);
    } else {
      this.partBytes -= part?.length ?? 0;
      part = this.elf!.sectionPart(section, offset, length);
      this.partBytes += part.length;
    }
    this.parts.set(key, part);
    for (const [oldest, { length: size }] of this.parts) {
      if (this.partBytes <= KEPT_BYTES || oldest === key) break;
      this.parts.delete(oldest);
      this.partBytes -= size;
    }
    if (part.length > length) return part.subarray(0, length);
    this.last = { name, offset, part };
    return part;
  }
}
