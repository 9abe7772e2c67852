/**
 * Multiboot version 2, i386 entry. Source: Multiboot2 Specification 2.0, "OS image format", "I386 machine state",
 * "Boot information". Where the specification and its header file disagree (ELF sections tag), the header file counts.
 */
import type { EntryState } from './boot';
import { ElfFile, isElf } from './elf';
import { flatProtectedEntry } from './entryState';
import { checkedEntry, elfEntry, loadableSegments, loadElf, loadSections } from './loadElf';
import type { LoadedElf, LoadedSections } from './loadElf';
import { framebufferFields, loadByAddress, LOADER_NAME, type AddressFields } from './multiboot';
import { cmdlineBytes, commandString, placeModules, type BootContext } from './protocol';
import { cString, Writer } from '../writer';

export const HEADER_MAGIC_2 = 0xe85250d6;
const BOOTLOADER_MAGIC_2 = 0x36d76289;
const SEARCH = 32768;
const ARCHITECTURE_I386 = 0;

/** Header tags. */
const Tag = {
  end: 0,
  informationRequest: 1,
  address: 2,
  entry: 3,
  console: 4,
  framebuffer: 5,
  moduleAlign: 6,
  efiBootServices: 7,
  efiEntry32: 8,
  efiEntry64: 9,
  relocatable: 10,
};
/** Information tags up to here exist; a request for a later one can't be met. */
const LAST_INFORMATION_TAG = 21;

interface Relocatable {
  min: number;
  max: number;
  alignment: number;
  /** 0 none, 1 lowest, 2 highest address. */
  preference: number;
}

interface Header {
  offset: number;
  address?: AddressFields;
  entry?: number;
  relocatable?: Relocatable;
}

const hex = (value: number): string => '0x' + value.toString(16);

/** File offset of the header: 8-byte aligned in the first 32768 bytes, with a checksum that holds; or undefined. */
export function findMultiboot2(kernel: Uint8Array): number | undefined {
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  for (let at = 0; at + 16 <= Math.min(kernel.length, SEARCH); at += 8) {
    if (view.getUint32(at, true) !== HEADER_MAGIC_2) continue;
    const sum = [0, 4, 8, 12].reduce((total, o) => total + view.getUint32(at + o, true), 0);
    if (sum % 2 ** 32 === 0) return at;
  }
  return undefined;
}

function readHeader({ request, placement }: BootContext): Header {
  const { kernel } = request;
  const offset = findMultiboot2(kernel);
  if (offset === undefined) throw placement.error(`no multiboot2 header (0xe85250d6) in the first ${SEARCH} bytes`);
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  const where = `multiboot2 header at offset ${hex(offset)}`;
  const architecture = view.getUint32(offset + 4, true);
  if (architecture !== ARCHITECTURE_I386)
    throw placement.error(`${where}: architecture ${architecture}, expected 0 (i386)`);
  const end = offset + view.getUint32(offset + 8, true);
  if (end > kernel.length) throw placement.error(`${where}: its length ends at ${hex(end)}, outside the file`);

  const header: Header = { offset };
  let at = offset + 16;
  for (;;) {
    const tagAt = `multiboot2 header tag at offset ${hex(at)}`;
    if (at + 8 > end) throw placement.error(`${where}: no end tag (type 0, size 8) before its end at ${hex(end)}`);
    const type = view.getUint16(at, true);
    const optional = (view.getUint16(at + 2, true) & 1) !== 0;
    const size = view.getUint32(at + 4, true);
    if (size < 8 || size > end - at) throw placement.error(`${tagAt}: size ${hex(size)} does not fit the header`);
    const needs = (bytes: number): void => {
      if (size < bytes) throw placement.error(`${tagAt}: size ${hex(size)} of type ${type}, expected ${hex(bytes)}`);
    };
    const word = (index: number): number => view.getUint32(at + 8 + index * 4, true);
    if (type === Tag.end) break;
    switch (type) {
      case Tag.informationRequest:
        for (let i = 0; i < (size - 8) >> 2 && !optional; i++) {
          if (word(i) > LAST_INFORMATION_TAG)
            throw placement.error(`${tagAt}: requires unknown information ${word(i)}`);
        }
        break;
      case Tag.address:
        needs(24);
        header.address = { headerAddress: word(0), loadAddress: word(1), loadEnd: word(2), bssEnd: word(3) };
        break;
      case Tag.entry:
        needs(12);
        header.entry = word(0);
        break;
      case Tag.console:
        needs(12);
        if ((word(0) & 3) === 1)
          throw placement.error(`${tagAt}: requires a console other than EGA text, the only one here`);
        break;
      case Tag.relocatable: {
        needs(24);
        const alignment = word(2);
        if (alignment === 0 || (alignment & (alignment - 1)) !== 0) {
          throw placement.error(`${tagAt}: alignment ${hex(alignment)}, expected a power of two`);
        }
        header.relocatable = { min: word(0), max: word(1), alignment, preference: word(3) };
        break;
      }
      case Tag.framebuffer: // a preference: the information tag says what there is
      case Tag.moduleAlign: // modules always begin on a page
      case Tag.efiBootServices: // the EFI tags do not concern a machine without EFI
      case Tag.efiEntry32:
      case Tag.efiEntry64:
        break;
      default:
        if (!optional) throw placement.error(`${tagAt}: type ${type} is required, but unknown`);
    }
    at += Math.ceil(size / 8) * 8;
  }
  return header;
}

/** How far to move a relocatable image: not at all where the place it is linked for will do. */
function relocation({ placement }: BootContext, elf: ElfFile, tag: Relocatable): number {
  const segments = loadableSegments(placement, elf);
  const start = Math.min(...segments.map((s) => Number(s.physicalAddress)));
  const length = Math.max(...segments.map((s) => Number(s.physicalAddress + s.memorySize))) - start;
  const options = { alignment: tag.alignment, floor: Math.max(tag.min, 0x1000), limit: tag.max };
  const linkedFits =
    start >= tag.min &&
    start + length <= Math.min(tag.max, placement.ramEnd) &&
    start % tag.alignment === 0 &&
    !placement.conflict(start, length);
  if (linkedFits && tag.preference === 0) return 0;
  const found = placement.find(length, { ...options, upward: tag.preference !== 2 });
  if (found === undefined) {
    throw placement.error(
      `no room for the relocatable image (${hex(length)} bytes) from ${hex(tag.min)} to ${hex(tag.max)}`,
    );
  }
  return found - start;
}

export function loadMultiboot2(context: BootContext): EntryState {
  const { request, placement } = context;
  const header = readHeader(context);
  let image: { start: number; end: number };
  let rip: number;
  let sections: LoadedSections | undefined;
  if (header.address) {
    image = loadByAddress(context, header.offset, header.address);
    if (header.entry === undefined)
      throw placement.error('multiboot2 header: an address tag needs an entry address tag (type 3)');
    rip = header.entry;
    if (rip < image.start || rip >= image.end) {
      throw placement.error(`multiboot2 header: entry ${hex(rip)} lies outside the loaded image`);
    }
  } else if (isElf(request.kernel)) {
    const elf = new ElfFile(request.kernel, request.name);
    const delta = header.relocatable ? relocation(context, elf, header.relocatable) : 0;
    const loaded: LoadedElf = loadElf(placement, elf, delta);
    image = loaded;
    rip =
      header.entry === undefined
        ? elfEntry(placement, elf, loaded)
        : checkedEntry(placement, loaded, 'multiboot2 header: entry', BigInt(header.entry));
    sections = loadSections(placement, elf, loaded);
  } else {
    throw placement.error('multiboot2 header: the file is not ELF, so the header needs an address tag (type 2)');
  }
  const address = placement.allocateLow('multiboot2 information', information(context, header, image, sections), 8);
  return flatProtectedEntry(placement, rip, { rax: BOOTLOADER_MAGIC_2, rbx: address });
}

/** The boot information: total size, then tags, each on an 8-byte boundary. */
function information(
  context: BootContext,
  header: Header,
  image: { start: number; end: number },
  sections: LoadedSections | undefined,
): Uint8Array {
  const { request, placement, rsdp } = context;
  const info = new Writer().u32(0).u32(0);
  const tag = (type: number, body: Uint8Array): void => {
    info
      .align(8)
      .u32(type)
      .u32(8 + body.length)
      .bytes(body);
  };
  tag(1, cmdlineBytes(context, commandString(request.name, request.cmdline)));
  tag(2, cString(LOADER_NAME));
  for (const m of placeModules(context, image.end)) {
    tag(3, new Writer().u32(m.start).u32(m.end).bytes(cmdlineBytes(context, m.text)).done());
  }
  tag(
    4,
    new Writer()
      .u32(639)
      .u32((placement.ramEnd - 0x100000) / 1024)
      .done(),
  );
  const map = new Writer().u32(24).u32(0);
  for (const range of placement.map) map.u64(range.base).u64(range.length).u32(range.type).u32(0);
  tag(6, map.done());
  tag(8, framebufferFields(context, 2));
  if (sections) {
    const { count, entrySize, names, headers } = sections;
    tag(9, new Writer().u32(count).u32(entrySize).u32(names).bytes(headers).done());
  }
  tag(14, rsdp.subarray(0, 20));
  tag(15, rsdp);
  if (header.relocatable) tag(21, new Writer().u32(image.start).done());
  tag(0, new Uint8Array(0));
  return info.setU32(0, info.length).done();
}
