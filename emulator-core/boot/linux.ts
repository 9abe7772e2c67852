/**
 * The Linux/x86 boot protocol: a bzImage's 64-bit entry, or its 32-bit one where it has no other.
 * Source: Linux kernel documentation, "The Linux/x86 Boot Protocol" (sections "The Real-Mode Kernel Header",
 * "32-bit Boot Protocol", "64-bit Boot Protocol") and "Zero Page".
 */
import type { EntryState } from './boot';
import { flatProtectedEntry, longModeEntry } from './entryState';
import { BITS_PER_PIXEL, COLOUR_BITS, COLOURS, framebufferBytes, type Framebuffer } from './framebuffer';
import { cmdlineBytes, refuseExtras, type BootContext } from './protocol';
import { RSDP_ADDRESS } from './acpi';

/** Offsets in the image's first sectors and, from setup_sects on, in the zero page alike. */
const Setup = {
  setupSects: 0x1f1,
  syssize: 0x1f4,
  vidMode: 0x1fa,
  bootFlag: 0x1fe,
  jump: 0x200,
  header: 0x202,
  version: 0x206,
  typeOfLoader: 0x210,
  loadflags: 0x211,
  code32Start: 0x214,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  cmdLinePtr: 0x228,
  initrdAddrMax: 0x22c,
  kernelAlignment: 0x230,
  relocatableKernel: 0x234,
  xloadflags: 0x236,
  cmdlineSize: 0x238,
  prefAddress: 0x258,
  initSize: 0x260,
} as const;

/** Offsets in the zero page (struct boot_params) outside the setup header. */
const ZeroPage = {
  extMemK: 0x002,
  videoMode: 0x006,
  videoColumns: 0x007,
  videoLines: 0x00e,
  isVga: 0x00f,
  videoPoints: 0x010,
  lfbWidth: 0x012,
  lfbHeight: 0x014,
  lfbDepth: 0x016,
  lfbBase: 0x018,
  lfbSize: 0x01c,
  lfbLineLength: 0x024,
  redSize: 0x026,
  redPosition: 0x027,
  greenSize: 0x028,
  greenPosition: 0x029,
  blueSize: 0x02a,
  bluePosition: 0x02b,
  acpiRsdp: 0x070,
  altMemK: 0x1e0,
  e820Entries: 0x1e8,
  setupHeader: 0x1f1,
  setupHeaderEnd: 0x290,
  e820Table: 0x2d0,
} as const;

/** screen_info.orig_video_isVGA: VIDEO_TYPE_VGAC, VIDEO_TYPE_VLFB. */
const VIDEO_TYPE_VGA = 1;
const VIDEO_TYPE_VESA = 0x23;
const LOADED_HIGH = 1;
const XLF_KERNEL_64 = 1;
const HDRS = 0x53726448;
const ENTRY_64 = 0x200;
const MIN_VERSION = 0x202;
const NO_LOADER_ID = 0xff;

const hex = (value: number): string => '0x' + value.toString(16);

/** Whether an image carries the setup header's signature: 'HdrS' at offset 202h after the boot flag AA55h. */
export function isLinux(kernel: Uint8Array): boolean {
  if (kernel.length < Setup.typeOfLoader) return false;
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  return view.getUint16(Setup.bootFlag, true) === 0xaa55 && view.getUint32(Setup.header, true) === HDRS;
}

interface SetupHeader {
  version: number;
  /** Protected-mode part of the file. */
  payload: Uint8Array;
  headerEnd: number;
  codeStart: number;
  alignment: number;
  relocatable: boolean;
  /** Memory the kernel needs from its load address until it has a memory map of its own. */
  initSize: number;
  preferred: number;
  cmdlineSize: number;
  initrdMax: number;
  has64: boolean;
}

/** Reads and checks the setup header. Fields that the image's protocol version lacks get their documented default. */
function readSetup({ request, placement }: BootContext): SetupHeader {
  const { kernel } = request;
  if (!isLinux(kernel))
    throw placement.error('no Linux setup header: expected aa55 at offset 0x1fe and "HdrS" at offset 0x202');
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  const version = view.getUint16(Setup.version, true);
  if (version < MIN_VERSION) {
    throw placement.error(
      `setup header: protocol version ${hex(version)} at offset 0x206, expected at least ${hex(MIN_VERSION)}`,
    );
  }
  const headerEnd = Setup.header + kernel[Setup.jump + 1];
  const setupSize = ((kernel[Setup.setupSects] || 4) + 1) * 512;
  if (kernel.length <= setupSize) {
    throw placement.error(`truncated: ${hex(kernel.length)} bytes, but the setup sectors alone have ${hex(setupSize)}`);
  }
  if (!(kernel[Setup.loadflags] & LOADED_HIGH)) {
    throw placement.error('setup header: loadflags at offset 0x211 lack LOADED_HIGH: a zImage, expected a bzImage');
  }
  const syssize = version >= 0x204 ? view.getUint32(Setup.syssize, true) : view.getUint16(Setup.syssize, true);
  // syssize is rounded up to 16 bytes; the file may end before the last of them.
  if (kernel.length <= setupSize + (syssize - 1) * 16) {
    throw placement.error(
      `truncated: the setup header promises ${hex(setupSize + syssize * 16)} bytes (syssize at offset 0x1f4), ` +
        `the file has ${hex(kernel.length)}`,
    );
  }
  const has = (since: number, offset: number, size: number): boolean =>
    version >= since && offset + size <= headerEnd && offset + size <= setupSize;
  const u32 = (since: number, offset: number, missing: number): number =>
    has(since, offset, 4) ? view.getUint32(offset, true) : missing;
  const payload = kernel.subarray(setupSize);
  const codeStart = view.getUint32(Setup.code32Start, true) || 0x100000;
  const preferred = has(0x20a, Setup.prefAddress, 8) ? view.getBigUint64(Setup.prefAddress, true) : BigInt(codeStart);
  if (preferred >= 0x1_0000_0000n)
    throw placement.error(`setup header: pref_address 0x${preferred.toString(16)} is above 4 GiB`);
  const relocatable = has(0x205, Setup.relocatableKernel, 1) && kernel[Setup.relocatableKernel] !== 0;
  const alignment = u32(0x205, Setup.kernelAlignment, 0x1000) || 0x1000;
  if (relocatable && (alignment & (alignment - 1)) !== 0) {
    throw placement.error(`setup header: kernel_alignment ${hex(alignment)} at offset 0x230, expected a power of two`);
  }
  return {
    version,
    payload,
    headerEnd: Math.min(headerEnd, ZeroPage.setupHeaderEnd, setupSize),
    codeStart,
    alignment,
    relocatable,
    initSize: Math.max(u32(0x20a, Setup.initSize, 0), payload.length),
    preferred: Number(preferred),
    cmdlineSize: u32(0x206, Setup.cmdlineSize, 255),
    initrdMax: u32(0x203, Setup.initrdAddrMax, 0x37ffffff),
    has64: has(0x20c, Setup.xloadflags, 2) && (view.getUint16(Setup.xloadflags, true) & XLF_KERNEL_64) !== 0,
  };
}

/** The preferred address where it is free, else, for a relocatable kernel, the lowest suitable one from 1 MiB. */
function loadAddress({ placement }: BootContext, setup: SetupHeader): number {
  const { preferred, initSize, relocatable, alignment } = setup;
  const fits = preferred + initSize <= placement.ramEnd && !placement.conflict(preferred, initSize);
  if (fits || !relocatable) return preferred;
  return placement.find(initSize, { alignment, floor: 0x100000, upward: true }) ?? preferred;
}

export function loadLinux(context: BootContext): EntryState {
  const { request, placement } = context;
  refuseExtras(context, 'linux', 'modules');
  const setup = readSetup(context);
  const cmdline = cmdlineBytes(context);
  if (cmdline.length - 1 > setup.cmdlineSize) {
    throw placement.error(`"cmdline": ${cmdline.length - 1} bytes, but this kernel takes at most ${setup.cmdlineSize}`);
  }

  const start = loadAddress(context, setup);
  placement.place('kernel', start, setup.payload, setup.initSize);
  const zeroPage = zeroPageBytes(context, setup, start);
  const view = new DataView(zeroPage.buffer);
  view.setUint32(Setup.cmdLinePtr, placement.allocateLow('command line', cmdline), true);
  if (request.initrd?.length) {
    const options = { alignment: 0x1000, floor: 0x100000, limit: setup.initrdMax + 1 };
    view.setUint32(Setup.ramdiskImage, placement.allocate('initrd', request.initrd, options), true);
    view.setUint32(Setup.ramdiskSize, request.initrd.length, true);
  }
  const rsi = placement.allocateLow('zero page', zeroPage, 0x1000);
  if (!setup.has64) return flatProtectedEntry(placement, start, { rsi });
  if (setup.payload.length <= ENTRY_64) {
    throw placement.error(`truncated: the 64-bit entry is at ${hex(ENTRY_64)} of ${hex(setup.payload.length)} bytes`);
  }
  return longModeEntry(placement, start + ENTRY_64, { rsi });
}

/** struct boot_params: the image's setup header with the loader's fields filled in, screen, and E820 map. */
function zeroPageBytes({ request, placement }: BootContext, setup: SetupHeader, start: number): Uint8Array {
  const page = new Uint8Array(0x1000);
  const view = new DataView(page.buffer);
  page.set(request.kernel.subarray(ZeroPage.setupHeader, setup.headerEnd), ZeroPage.setupHeader);
  page[Setup.typeOfLoader] = NO_LOADER_ID;
  view.setUint16(Setup.vidMode, 0xffff, true); // "normal"
  view.setUint32(Setup.code32Start, start, true);
  view.setUint32(Setup.ramdiskImage, 0, true);
  view.setUint32(Setup.ramdiskSize, 0, true);

  page[ZeroPage.videoMode] = 3;
  page[ZeroPage.videoColumns] = 80;
  page[ZeroPage.videoLines] = 25;
  page[ZeroPage.isVga] = VIDEO_TYPE_VGA;
  view.setUint16(ZeroPage.videoPoints, 16, true);
  if (placement.framebuffer) describeFramebuffer(view, placement.framebuffer);
  const extended = (placement.ramEnd - 0x100000) / 1024;
  view.setUint16(ZeroPage.extMemK, Math.min(extended, 0xffff), true);
  view.setUint32(ZeroPage.altMemK, extended, true);
  view.setBigUint64(ZeroPage.acpiRsdp, BigInt(RSDP_ADDRESS), true);

  page[ZeroPage.e820Entries] = placement.map.length;
  placement.map.forEach((range, i) => {
    const at = ZeroPage.e820Table + i * 20;
    view.setBigUint64(at, BigInt(range.base), true);
    view.setBigUint64(at + 8, BigInt(range.length), true);
    view.setUint32(at + 16, range.type, true);
  });
  return page;
}

/** struct screen_info of a VESA mode; lfb_size counts 64 KiB. */
function describeFramebuffer(view: DataView, mode: Framebuffer): void {
  view.setUint8(ZeroPage.isVga, VIDEO_TYPE_VESA);
  view.setUint16(ZeroPage.lfbWidth, mode.width, true);
  view.setUint16(ZeroPage.lfbHeight, mode.height, true);
  view.setUint16(ZeroPage.lfbDepth, BITS_PER_PIXEL, true);
  view.setUint32(ZeroPage.lfbBase, mode.gpa, true);
  view.setUint32(ZeroPage.lfbSize, framebufferBytes(mode) / 0x10000, true);
  view.setUint16(ZeroPage.lfbLineLength, mode.pitch, true);
  for (const colour of ['red', 'green', 'blue'] as const) {
    view.setUint8(ZeroPage[`${colour}Size`], COLOUR_BITS);
    view.setUint8(ZeroPage[`${colour}Position`], COLOURS[colour]);
  }
}
