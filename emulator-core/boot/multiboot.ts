/**
 * Multiboot version 1. Source: Multiboot Specification 0.6.96, "OS image format", "I386 machine state",
 * "Boot information format".
 */
import type { EntryState } from './boot';
import { ElfFile, isElf } from './elf';
import { flatProtectedEntry } from './entryState';
import { BITS_PER_PIXEL, COLOUR_BITS, COLOURS } from './framebuffer';
import { elfEntry, loadElf, loadSections } from './loadElf';
import { cmdlineBytes, commandString, placeModules, type BootContext } from './protocol';
import { cString, Writer } from '../writer';

export const HEADER_MAGIC = 0x1badb002;
const BOOTLOADER_MAGIC = 0x2badb002;
const SEARCH = 8192;
export const LOADER_NAME = 'Ringside';

/** Header flags. Bits 0 to 15 are requirements. */
const Flags = { pageAlign: 1 << 0, memoryInfo: 1 << 1, videoMode: 1 << 2, addresses: 1 << 16 };
const SUPPORTED = Flags.pageAlign | Flags.memoryInfo | Flags.videoMode;

/** Boot information flags: which fields are valid. */
const Info = {
  memory: 1 << 0,
  cmdline: 1 << 2,
  modules: 1 << 3,
  elfSections: 1 << 5,
  memoryMap: 1 << 6,
  loaderName: 1 << 9,
  framebuffer: 1 << 12,
};

/** File offset of the header: 4-byte aligned in the first 8192 bytes, with a checksum that holds; or undefined. */
export function findMultiboot(kernel: Uint8Array): number | undefined {
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  for (let at = 0; at + 12 <= Math.min(kernel.length, SEARCH); at += 4) {
    if (view.getUint32(at, true) !== HEADER_MAGIC) continue;
    if ((HEADER_MAGIC + view.getUint32(at + 4, true) + view.getUint32(at + 8, true)) % 2 ** 32 === 0) return at;
  }
  return undefined;
}

export interface AddressFields {
  headerAddress: number;
  /** Where loading starts in memory; 0xffffffff in Multiboot 2: at the file's begin. */
  loadAddress: number;
  /** End of the text and data; 0: everything up to the end of the file. */
  loadEnd: number;
  /** End of zero-filled memory; 0: none. */
  bssEnd: number;
}

const hex = (value: number): string => '0x' + value.toString(16);

/** Loads an image by the address fields of its header. @returns the physical range loaded. @throws BootError */
export function loadByAddress(
  { request, placement }: BootContext,
  headerOffset: number,
  fields: AddressFields,
): { start: number; end: number } {
  const { kernel } = request;
  const where = `multiboot header at offset ${hex(headerOffset)}`;
  const wholeFile = fields.loadAddress === 0xffffffff;
  const start = wholeFile ? fields.headerAddress - headerOffset : fields.loadAddress;
  const fileStart = headerOffset - (fields.headerAddress - start);
  if (start < 0 || fileStart < 0 || start > fields.headerAddress) {
    throw placement.error(
      `${where}: load address ${hex(fields.loadAddress)} with header address ${hex(fields.headerAddress)} ` +
        'lies before the start of the file',
    );
  }
  const dataEnd = fields.loadEnd === 0 ? start + kernel.length - fileStart : fields.loadEnd;
  if (dataEnd < start || fileStart + dataEnd - start > kernel.length) {
    throw placement.error(
      `${where}: load range ${hex(start)} to ${hex(dataEnd)} from offset ${hex(fileStart)} lies outside the file ` +
        `(${hex(kernel.length)} bytes)`,
    );
  }
  if (fields.bssEnd !== 0 && fields.bssEnd < dataEnd) {
    throw placement.error(`${where}: bss end ${hex(fields.bssEnd)} lies before the load end ${hex(dataEnd)}`);
  }
  const end = fields.bssEnd === 0 ? dataEnd : fields.bssEnd;
  placement.place('kernel', start, kernel.subarray(fileStart, fileStart + dataEnd - start), end - start);
  return { start, end };
}

export function loadMultiboot(context: BootContext): EntryState {
  const { request, placement } = context;
  const { kernel } = request;
  const at = findMultiboot(kernel);
  if (at === undefined) {
    throw placement.error(`no multiboot header (0x1badb002, flags, checksum) in the first ${SEARCH} bytes`);
  }
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  const flags = view.getUint32(at + 4, true);
  const unknown = flags & 0xffff & ~SUPPORTED;
  if (unknown) {
    throw placement.error(
      `multiboot header at offset ${hex(at)}: flags ${hex(flags)} require ${hex(unknown)}, which is unknown`,
    );
  }

  const info = new Writer().zeros(116);
  let valid = Info.memory | Info.cmdline | Info.modules | Info.memoryMap | Info.loaderName | Info.framebuffer;
  let rip: number;
  let end: number;
  if (flags & Flags.addresses) {
    if (at + 32 > kernel.length)
      throw placement.error(`multiboot header at offset ${hex(at)}: the file ends inside it`);
    const [headerAddress, loadAddress, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map((o) =>
      view.getUint32(at + o, true),
    );
    const image = loadByAddress(context, at, { headerAddress, loadAddress, loadEnd, bssEnd });
    if (entry < image.start || entry >= image.end) {
      throw placement.error(`multiboot header at offset ${hex(at)}: entry ${hex(entry)} lies outside the loaded image`);
    }
    rip = entry;
    end = image.end;
  } else if (isElf(kernel)) {
    const elf = new ElfFile(kernel, request.name);
    const image = loadElf(placement, elf);
    rip = elfEntry(placement, elf, image);
    end = image.end;
    const sections = loadSections(placement, elf, image);
    if (sections) {
      valid |= Info.elfSections;
      const table = placement.allocate('ELF section headers', sections.headers, { floor: end, upward: true });
      info.setU32(28, sections.count).setU32(32, sections.entrySize).setU32(36, table).setU32(40, sections.names);
    }
  } else {
    throw placement.error(
      `multiboot header at offset ${hex(at)}: the file is not ELF, so the header must have address fields (flag 16)`,
    );
  }

  const modules = placeModules(context, end);
  const list = new Writer();
  for (const m of modules) {
    const text = placement.allocateLow('module string', cmdlineBytes(context, m.text));
    list.u32(m.start).u32(m.end).u32(text).u32(0);
  }
  const map = new Writer();
  for (const range of placement.map) map.u32(20).u64(range.base).u64(range.length).u32(range.type);

  const cmdline = cmdlineBytes(context, commandString(request.name, request.cmdline));
  info.setU32(0, valid);
  info.setU32(4, 639).setU32(8, (placement.ramEnd - 0x100000) / 1024);
  info.setU32(16, placement.allocateLow('command line', cmdline));
  info.setU32(20, modules.length);
  info.setU32(24, modules.length ? placement.allocateLow('multiboot modules', list.done()) : 0);
  info.setU32(44, map.length).setU32(48, placement.allocateLow('multiboot memory map', map.done()));
  info.setU32(64, placement.allocateLow('boot loader name', cString(LOADER_NAME)));
  framebufferFields(context).forEach((byte, i) => info.setU8(88 + i, byte));
  const address = placement.allocateLow('multiboot information', info.done());
  return flatProtectedEntry(placement, rip, { rax: BOOTLOADER_MAGIC, rbx: address });
}

/**
 * Address, pitch, width, height, depth, type, and for RGB the colours' positions and sizes: what Multiboot 1 ("Boot information format",
 * offset 88) and the framebuffer tag of Multiboot 2 have in common but for the padding before the colours. EGA text, 80x25 at B8000h,
 * unless there is a framebuffer: whatever video mode the header asked for.
 * @param padding bytes between type and colours
 */
export function framebufferFields({ placement }: BootContext, padding = 0): Uint8Array {
  const mode = placement.framebuffer;
  const writer = new Writer();
  if (!mode) {
    return writer.u64(0xb8000).u32(160).u32(80).u32(25).u8(16).u8(2).zeros(padding).done();
  }
  writer.u64(mode.gpa).u32(mode.pitch).u32(mode.width).u32(mode.height).u8(BITS_PER_PIXEL).u8(1).zeros(padding);
  for (const colour of ['red', 'green', 'blue'] as const) writer.u8(COLOURS[colour]).u8(COLOUR_BITS);
  return writer.done();
}
