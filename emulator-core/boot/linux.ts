/**
 * The Linux/x86 boot protocol: a bzImage's 64-bit, 32-bit or 16-bit entry.
 * Source: Linux kernel documentation, "The Linux/x86 Boot Protocol" (sections "The Real-Mode Kernel Header",
 * "32-bit Boot Protocol", "64-bit Boot Protocol") and "Zero Page".
 */
import type { EntryState } from './boot';
import { flatProtectedEntry, longModeEntry } from './entryState';
import { BITS_PER_PIXEL, COLOUR_BITS, COLOURS, framebufferBytes, type Framebuffer } from './framebuffer';
import { enterRealMode, ZIMAGE_ADDRESS } from './linuxRealMode';
import { LOADED_HIGH, SETUP_FIELDS, SetupHeader, showField, XLF_KERNEL_64 } from './linuxSetupHeader';
import { cmdlineBytes, refuseExtras, type BootContext } from './protocol';
import { RSDP_ADDRESS } from './acpi';

/** Where a Linux image is entered; auto: the one with the widest registers that it has. */
export const LINUX_ENTRIES = ['auto', '64-bit', '32-bit', '16-bit'] as const;
export type LinuxEntry = (typeof LINUX_ENTRIES)[number];

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
  setupHeaderEnd: 0x290,
  e820Table: 0x2d0,
} as const;

/** screen_info.orig_video_isVGA: VIDEO_TYPE_VGAC, VIDEO_TYPE_VLFB. */
const VIDEO_TYPE_VGA = 1;
const VIDEO_TYPE_VESA = 0x23;
const ENTRY_64 = 0x200;
/** The first version whose command line lies where the loader wants it: the entries in protected mode need that. */
const MIN_PROTECTED_VERSION = 0x202;
const NO_LOADER_ID = 0xff;
const CODE32_START = 0x100000;
const MAX_ZIMAGE = 0x80000;

const hex = (value: number): string => '0x' + value.toString(16);

/** Whether an image carries the setup header's signature. */
export function isLinux(kernel: Uint8Array): boolean {
  return SetupHeader.of(kernel) !== undefined;
}

interface LinuxImage {
  header: SetupHeader;
  /** A zImage's protected-mode part lies below 640 KiB. */
  high: boolean;
  /** Protected-mode part of the file. */
  payload: Uint8Array;
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
function readImage({ request, placement }: BootContext): LinuxImage {
  const { kernel } = request;
  const header = SetupHeader.of(kernel);
  if (!header) throw placement.error('no Linux setup header: expected aa55 at offset 0x1fe and "HdrS" at offset 0x202');
  const { setupSize, payload } = header;
  if (kernel.length <= setupSize) {
    throw placement.error(`truncated: ${hex(kernel.length)} bytes, but the setup sectors alone have ${hex(setupSize)}`);
  }
  // syssize is rounded up to 16 bytes; the file may end before the last of them. Older headers have no true size.
  const syssize = header.get('syssize');
  if (payload.length <= (syssize - 1) * 16) {
    throw placement.error(
      `truncated: the setup header promises ${hex(setupSize + syssize * 16)} bytes (${showField(header, 'syssize')}), ` +
        `the file has ${hex(kernel.length)}`,
    );
  }
  const high = (header.get('loadflags') & LOADED_HIGH) !== 0;
  if (!high && payload.length > MAX_ZIMAGE) {
    throw placement.error(
      `setup header: ${showField(header, 'loadflags')} lack LOADED_HIGH, which makes it a zImage, ` +
        `but its ${payload.length} bytes of protected-mode code are more than ${MAX_ZIMAGE}`,
    );
  }
  const codeStart = high ? header.get('code32_start') || CODE32_START : ZIMAGE_ADDRESS;
  const preferred = high ? header.get('pref_address', codeStart) : codeStart;
  if (preferred >= 2 ** 32) throw placement.error(`setup header: ${showField(header, 'pref_address')} is above 4 GiB`);
  const relocatable = high && header.get('relocatable_kernel') !== 0;
  const alignment = header.get('kernel_alignment') || 0x1000;
  if (relocatable && (alignment & (alignment - 1)) !== 0) {
    throw placement.error(`setup header: ${showField(header, 'kernel_alignment')}, expected a power of two`);
  }
  return {
    header,
    high,
    payload,
    alignment,
    relocatable,
    initSize: high ? Math.max(header.get('init_size'), payload.length) : payload.length,
    preferred,
    cmdlineSize: header.get('cmdline_size', 255),
    initrdMax: header.get('initrd_addr_max', 0x37ffffff),
    has64: (header.get('xloadflags') & XLF_KERNEL_64) !== 0,
  };
}

/** The entry wanted, or the best that the image has. @throws BootError when it has not got the one wanted */
function chooseEntry({ request, placement }: BootContext, image: LinuxImage): Exclude<LinuxEntry, 'auto'> {
  const { header, high, has64 } = image;
  const wanted = request.linuxEntry ?? 'auto';
  if (!high || header.version < MIN_PROTECTED_VERSION) {
    if (wanted === 'auto' || wanted === '16-bit') return '16-bit';
    const why = high
      ? `${showField(header, 'version')}, and entries in protected mode need ${hex(MIN_PROTECTED_VERSION)}`
      : `${showField(header, 'loadflags')} lack LOADED_HIGH (a zImage), so only its real-mode code can start it`;
    throw placement.error(`"linuxEntry": "${wanted}" is not possible: ${why}; use "16-bit"`);
  }
  if (wanted === '64-bit' && !has64) {
    throw placement.error(
      `"linuxEntry": "64-bit" is not possible: ${showField(header, 'xloadflags')} lack XLF_KERNEL_64; use "32-bit"`,
    );
  }
  if (wanted === 'auto') return has64 ? '64-bit' : '32-bit';
  return wanted;
}

/** The preferred address where it is free, else, for a relocatable kernel, the lowest suitable one from 1 MiB. */
function loadAddress({ placement }: BootContext, image: LinuxImage): number {
  const { preferred, initSize, relocatable, alignment } = image;
  const fits = preferred + initSize <= placement.ramEnd && !placement.conflict(preferred, initSize);
  if (fits || !relocatable) return preferred;
  return placement.find(initSize, { alignment, floor: 0x100000, upward: true }) ?? preferred;
}

export function loadLinux(context: BootContext): EntryState {
  const { request, placement } = context;
  refuseExtras(context, 'linux', 'modules');
  const image = readImage(context);
  const entry = chooseEntry(context, image);
  const cmdline = cmdlineBytes(context);
  if (cmdline.length - 1 > image.cmdlineSize) {
    throw placement.error(`"cmdline": ${cmdline.length - 1} bytes, but this kernel takes at most ${image.cmdlineSize}`);
  }
  if (entry === '16-bit' && placement.framebuffer) {
    throw placement.error(
      '"display": the 16-bit entry asks the video BIOS, which has text only; use another "linuxEntry"',
    );
  }

  const start = loadAddress(context, image);
  placement.place('kernel', start, image.payload, image.initSize);
  let initrd: { gpa: number; length: number } | undefined;
  if (request.initrd?.length) {
    const options = { alignment: 0x1000, floor: 0x100000, limit: image.initrdMax + 1 };
    initrd = { gpa: placement.allocate('initrd', request.initrd, options), length: request.initrd.length };
  }
  if (entry === '16-bit') return enterRealMode(context, image.header, cmdline, start, initrd);

  const zeroPage = zeroPageBytes(context, image, start);
  const setup = new SetupHeader(zeroPage);
  setup.set('cmd_line_ptr', placement.allocateLow('command line', cmdline));
  setup.set('ramdisk_image', initrd?.gpa ?? 0);
  setup.set('ramdisk_size', initrd?.length ?? 0);
  const rsi = placement.allocateLow('zero page', zeroPage, 0x1000);
  if (entry === '32-bit') return flatProtectedEntry(placement, start, { rsi });
  if (image.payload.length <= ENTRY_64) {
    throw placement.error(`truncated: the 64-bit entry is at ${hex(ENTRY_64)} of ${hex(image.payload.length)} bytes`);
  }
  return longModeEntry(placement, start + ENTRY_64, { rsi });
}

/** struct boot_params: the image's setup header with the loader's fields filled in, screen, and E820 map. */
function zeroPageBytes({ request, placement }: BootContext, { header }: LinuxImage, start: number): Uint8Array {
  const page = new Uint8Array(0x1000);
  const view = new DataView(page.buffer);
  const [first] = SETUP_FIELDS.setup_sects;
  const end = Math.min(header.end, ZeroPage.setupHeaderEnd, header.setupSize);
  page.set(request.kernel.subarray(first, end), first);
  const setup = new SetupHeader(page);
  setup.set('type_of_loader', NO_LOADER_ID);
  setup.set('vid_mode', 0xffff); // "normal"
  setup.set('code32_start', start);

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
