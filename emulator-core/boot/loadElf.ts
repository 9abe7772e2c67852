/** Putting an ELF image into guest memory by its PT_LOAD segments' physical addresses. */
import { EM_386, EM_X86_64, PT_LOAD, SHF_ALLOC, SHT_STRTAB, SHT_SYMTAB, type ElfFile, type ElfSegment } from './elf';
import type { Placement } from './placement';

const hex = (value: number | bigint): string => '0x' + value.toString(16);

export interface LoadedElf {
  /** Physical range that the segments cover, after relocation. */
  start: number;
  end: number;
  /** What relocation added to every physical address. */
  delta: number;
  segments: ElfSegment[];
}

/** PT_LOAD segments that occupy memory. @throws BootError when there are none, or the machine is not x86 */
export function loadableSegments(placement: Placement, elf: ElfFile): ElfSegment[] {
  if (elf.header.machine !== EM_386 && elf.header.machine !== EM_X86_64) {
    throw placement.error(`ELF header: machine ${elf.header.machine}, expected 3 (386) or 62 (x86-64)`);
  }
  const segments = elf.segments().filter((s) => s.type === PT_LOAD && s.memorySize > 0n);
  if (segments.length === 0) throw placement.error('no PT_LOAD program headers: there is nothing to load');
  for (const s of segments) {
    if (s.physicalAddress + s.memorySize > 0x1_0000_0000n) {
      throw placement.error(
        `program header ${s.index}: physical range ${hex(s.physicalAddress)} + ${hex(s.memorySize)} ends above 4 GiB`,
      );
    }
  }
  return segments;
}

/**
 * Loads the segments, moved by `delta` bytes.
 * @throws BootError when one does not fit guest memory or overlaps something
 */
export function loadElf(placement: Placement, elf: ElfFile, delta = 0): LoadedElf {
  const segments = loadableSegments(placement, elf);
  let [start, end] = [Infinity, 0];
  for (const s of segments) {
    const gpa = Number(s.physicalAddress) + delta;
    const length = Number(s.memorySize);
    placement.place(`kernel (program header ${s.index})`, gpa, elf.segmentData(s), length);
    start = Math.min(start, gpa);
    end = Math.max(end, gpa + length);
  }
  return { start, end, delta, segments };
}

/**
 * Checks that a physical entry address lies in a loaded segment, and returns it moved like the image.
 * @throws BootError when it does not
 */
export function checkedEntry(placement: Placement, image: LoadedElf, what: string, physical: bigint): number {
  const inside = image.segments.some(
    (s) => physical >= s.physicalAddress && physical < s.physicalAddress + s.memorySize,
  );
  if (!inside) throw placement.error(`${what} ${hex(physical)} lies outside the loaded segments`);
  return Number(physical) + image.delta;
}

/**
 * The physical address of the ELF header's entry. The field holds a virtual address; images whose entry is already
 * physical (linked high, entry low) are taken as they are.
 * @throws BootError when it lies in no loaded segment
 */
export function elfEntry(placement: Placement, elf: ElfFile, image: LoadedElf): number {
  const { entry } = elf.header;
  return checkedEntry(placement, image, 'ELF header: entry', elf.physicalOf(entry) ?? entry);
}

export interface LoadedSections {
  count: number;
  entrySize: number;
  /** Index of the section name table. */
  names: number;
  /** The section header table with addresses filled in where a section is in memory. */
  headers: Uint8Array;
}

/**
 * The section header table as a guest wants it for its own symbols: sections of the running image with the linker's
 * addresses, symbol and string tables loaded beside it. Undefined when the file has no sections or they do not fit.
 */
export function loadSections(placement: Placement, elf: ElfFile, image: LoadedElf): LoadedSections | undefined {
  const sections = elf.sections();
  if (sections.length === 0 || sections.length > 0xffff) return undefined;
  const wide = elf.header.bits === 64;
  const view = new DataView(elf.bytes.buffer, elf.bytes.byteOffset, elf.bytes.byteLength);
  const offset = wide ? Number(view.getBigUint64(40, true)) : view.getUint32(32, true);
  const entrySize = view.getUint16(wide ? 58 : 46, true);
  const headers = elf.bytes.slice(offset, offset + entrySize * sections.length);
  const out = new DataView(headers.buffer);
  for (const s of sections) {
    // Sections of the running image keep the address that the linker gave them.
    if (s.flags & BigInt(SHF_ALLOC) || (s.type !== SHT_SYMTAB && s.type !== SHT_STRTAB)) continue;
    const data = elf.sectionData(s)!;
    if (data.length === 0) continue;
    const options = { alignment: 0x1000, floor: image.end, upward: true };
    if (placement.find(data.length, options) === undefined) return undefined;
    const address = placement.allocate(`kernel section ${s.name}`, data, options);
    const at = s.index * entrySize + (wide ? 16 : 12);
    if (wide) out.setBigUint64(at, BigInt(address), true);
    else out.setUint32(at, address, true);
  }
  return { count: sections.length, entrySize, names: view.getUint16(wide ? 62 : 50, true), headers };
}
