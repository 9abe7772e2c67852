/**
 * The 16-bit entry of the Linux/x86 boot protocol: the image's own real-mode code is put into low memory and started there. It asks
 * the BIOS for everything and goes to protected mode by itself; with protocols before 2.02 and zImages there is no other way.
 * Source: Linux kernel documentation, "The Linux/x86 Boot Protocol", sections "Memory Layout", "The Kernel Command Line",
 * "Sample Boot Configuration" and "Running the Kernel".
 */
import type { EntryState } from './boot';
import { realModeEntry } from './entryState';
import { CAN_USE_HEAP, LOADED_HIGH, SetupHeader } from './linuxSetupHeader';
import type { BootContext } from './protocol';

/** Where a zImage's protected-mode part goes; its setup code moves it on. */
export const ZIMAGE_ADDRESS = 0x10000;
/** Real-mode code: anywhere low with a bzImage of protocol 2.02, else where LILO had it. The heap ends at these offsets in its segment. */
const MODERN = { base: 0x10000, heapEnd: 0xe000 };
const CLASSIC = { base: 0x90000, heapEnd: 0x9800 };
/** Heap and stack begin here at the latest. */
const MAX_SETUP = 0x8000;
/** CS is 20h above the other segments: behind the boot sector, which does not run. */
const ENTRY_PARAGRAPHS = 0x20;
/** Before protocol 2.02 the command line's offset in the segment stands in the boot sector, behind a magic number. */
const OLD_COMMAND_LINE = { magicAt: 0x20, magic: 0xa33f, offsetAt: 0x22 };

const VIDEO_MODES: Readonly<Record<string, number>> = { normal: 0xffff, ext: 0xfffe, ask: 0xfffd };

/** vid_mode for `vga=`, which a boot loader takes from the command line: normal, ext, ask or a number. */
export function videoMode(cmdline: string): number {
  const value = /(?:^|\s)vga=(\S+)/.exec(cmdline)?.[1] ?? 'normal';
  if (value in VIDEO_MODES) return VIDEO_MODES[value];
  const number = /^0[0-7]+$/.test(value) ? parseInt(value, 8) : Number(value);
  return Number.isInteger(number) && number >= 0 && number <= 0xffff ? number : VIDEO_MODES.normal;
}

/**
 * Puts the real-mode code and the command line into low memory.
 * @param header the image's, checked
 * @param start where the protected-mode part lies
 * @param initrd where it lies, if there is one
 * @throws BootError
 */
export function enterRealMode(
  { request, placement }: BootContext,
  header: SetupHeader,
  cmdline: Uint8Array,
  start: number,
  initrd: { gpa: number; length: number } | undefined,
): EntryState {
  const { setupSize } = header;
  if (setupSize > MAX_SETUP) {
    throw placement.error(
      `setup header: setup_sects makes ${setupSize} bytes of real-mode code, expected at most ${MAX_SETUP}`,
    );
  }
  const high = (header.get('loadflags') & LOADED_HIGH) !== 0;
  const { base, heapEnd } = high && header.has('cmd_line_ptr') ? MODERN : CLASSIC;
  const code = request.kernel.slice(0, setupSize);
  const setup = new SetupHeader(code);
  setup.set('type_of_loader', 0xff);
  setup.set('vid_mode', videoMode(request.cmdline));
  if (header.has('heap_end_ptr')) {
    setup.set('heap_end_ptr', heapEnd - 0x200);
    setup.set('loadflags', header.get('loadflags') | CAN_USE_HEAP);
  }
  if (high) setup.set('code32_start', start);
  setup.set('ramdisk_image', initrd?.gpa ?? 0);
  setup.set('ramdisk_size', initrd?.length ?? 0);
  setup.set('cmd_line_ptr', base + heapEnd);
  if (!header.has('cmd_line_ptr')) {
    const view = new DataView(code.buffer);
    view.setUint16(OLD_COMMAND_LINE.magicAt, OLD_COMMAND_LINE.magic, true);
    view.setUint16(OLD_COMMAND_LINE.offsetAt, heapEnd, true);
  }
  placement.place('real-mode code', base, code, heapEnd);
  placement.place('command line', base + heapEnd, cmdline);
  const segment = base >> 4;
  return realModeEntry(0, { rsp: heapEnd }, { code: segment + ENTRY_PARAGRAPHS, data: segment, interrupts: false });
}
