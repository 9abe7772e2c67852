/**
 * The BIOS ROM image at segment F000h, the interrupt vector table at 0, and the BIOS data area at 400h.
 *
 * Every interrupt vector that offers a service points to a stub of 8 bytes, at F000h:(vector * 8):
 *
 *     +0  vmcall        the VMM finds the vector from rip and carries the service out (biosServices.ts)
 *     +3  iret          it resumes here
 *     +4  sti           or here, when the service waits for something (a key)
 *     +5  hlt
 *     +6  jmp +0        then it asks again
 *
 * Hardware interrupts are served by guest code in the ROM, so ticks need no VM exit.
 */
import type { PortWrite } from './boot';
import { EBDA, ROM_WINDOW } from './memoryMap';
import { Writer } from '../writer';

export const BIOS_SEGMENT = 0xf000;
export const BIOS_BASE = 0xf0000;
const STUB_SIZE = 8;
const STUB = [0x0f, 0x01, 0xc1, 0xcf, 0xfb, 0xf4, 0xeb, 0xf8];

/** Offsets of routines in the BIOS segment, and their code. */
const ROUTINES = {
  /** IRQ 0: counts ticks since midnight at 40:6Ch, calls INT 1Ch, ends the interrupt. */
  timer: {
    offset: 0x1000,
    code: [
      ...[0x1e, 0x50, 0x31, 0xc0, 0x8e, 0xd8], // push ds; push ax; xor ax, ax; mov ds, ax
      ...[0xff, 0x06, 0x6c, 0x04, 0x75, 0x04, 0xff, 0x06, 0x6e, 0x04], // inc word [46Ch]; jnz +4; inc word [46Eh]
      ...[0x83, 0x3e, 0x6e, 0x04, 0x18, 0x72, 0x12], // cmp word [46Eh], 18h; jb done
      ...[0x81, 0x3e, 0x6c, 0x04, 0xb0, 0x00, 0x72, 0x0a], // cmp word [46Ch], 0B0h; jb done
      ...[0xa3, 0x6c, 0x04, 0xa3, 0x6e, 0x04], // mov [46Ch], ax; mov [46Eh], ax
      ...[0xfe, 0x06, 0x70, 0x04], // inc byte [470h]: midnight has passed
      ...[0xcd, 0x1c, 0xb0, 0x20, 0xe6, 0x20], // done: int 1Ch; mov al, 20h; out 20h, al
      ...[0x58, 0x1f, 0xcf], // pop ax; pop ds; iret
    ],
  },
  /** IRQ 1: takes the byte from the keyboard controller and drops it: keys come through the machine's key queue. */
  keyboard: { offset: 0x1040, code: [0x50, 0xe4, 0x60, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf] },
  /** Other interrupts of the first and second 8259: end of interrupt. */
  endOfInterrupt1: { offset: 0x1050, code: [0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf] },
  endOfInterrupt2: { offset: 0x1060, code: [0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf] },
  /** User hooks (INT 1Bh, 1Ch, 23h, 24h): iret. */
  nothing: { offset: 0x1070, code: [0xcf] },
  /** FFFFh:0: resets the machine through port CF9h; then cli, hlt for ever. */
  reset: { offset: 0x1080, code: [0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xfa, 0xf4, 0xeb, 0xfc] },
};

/** The diskette parameter table that INT 1Eh points to: 512-byte sectors, 18 to a track. */
const DISKETTE_PARAMETERS = { offset: 0x10a0, data: [0xaf, 0x02, 0x25, 0x02, 18, 0x1b, 0xff, 0x6c, 0xf6, 0x0f, 0x08] };

/**
 * The configuration table of INT 15h AH = C0h, at its place in a PC/AT's BIOS: 8 bytes follow; PC/AT; second 8259, real-time clock and
 * extended BIOS data area. No Micro Channel (bit 1 of the features).
 */
export const CONFIGURATION = { offset: 0xe6f5, data: [8, 0, 0xfc, 0, 0, 0x64, 0, 0, 0, 0] };

/** What firmware leaves in the 8259s (vectors 08h and 70h, IRQ 0 to 2 unmasked) and the 8254 (18.2 interrupts a second). */
export const FIRMWARE_PORT_WRITES: readonly PortWrite[] = [
  [0x20, 0x11],
  [0xa0, 0x11],
  [0x21, 0x08],
  [0xa1, 0x70],
  [0x21, 0x04],
  [0xa1, 0x02],
  [0x21, 0x01],
  [0xa1, 0x01],
  [0x21, 0xf8],
  [0xa1, 0xff],
  [0x43, 0x36],
  [0x40, 0x00],
  [0x40, 0x00],
].map(([port, value]) => ({ port, value }));

/**
 * The vector whose stub a VMCALL at this address belongs to, or undefined when it is the guest's own.
 * @param linear cs.base + rip of the VMCALL instruction
 */
export function biosVector(linear: number): number | undefined {
  const offset = linear - BIOS_BASE;
  return offset >= 0 && offset < 256 * STUB_SIZE && offset % STUB_SIZE === 0 ? offset / STUB_SIZE : undefined;
}

/** Bytes from a stub's VMCALL to where the guest goes on: IRET after a finished call, STI and HLT while it waits. */
export function biosResumeOffset(outcome: 'return' | 'wait'): number {
  return outcome === 'return' ? 3 : 4;
}

/** The 64 KiB ROM image for guest-physical F0000h, without the tables that other files add. */
export function biosRom(): Uint8Array {
  const rom = new Uint8Array(ROM_WINDOW.end - BIOS_BASE);
  for (let vector = 0; vector < 256; vector++) rom.set(STUB, vector * STUB_SIZE);
  for (const { offset, code } of Object.values(ROUTINES)) rom.set(code, offset);
  for (const { data, offset } of [DISKETTE_PARAMETERS, CONFIGURATION]) rom.set(data, offset);
  const reset = ROUTINES.reset.offset;
  // The reset vector, the BIOS date, and the model byte of a PC/AT.
  rom.set([0xea, reset & 0xff, reset >> 8, BIOS_SEGMENT & 0xff, BIOS_SEGMENT >> 8], 0xfff0);
  rom.set(new TextEncoder().encode('01/01/00'), 0xfff5);
  rom[0xfffe] = 0xfc;
  return rom;
}

/** The 256 far pointers of the interrupt vector table, 1 KiB for guest-physical 0. */
export function interruptVectors(): Uint8Array {
  const offsets = Array.from({ length: 256 }, (_, vector) => vector * STUB_SIZE);
  offsets.fill(ROUTINES.endOfInterrupt1.offset, 0x0a, 0x10);
  offsets.fill(ROUTINES.endOfInterrupt2.offset, 0x70, 0x78);
  offsets[0x08] = ROUTINES.timer.offset;
  offsets[0x09] = ROUTINES.keyboard.offset;
  for (const hook of [0x1b, 0x1c, 0x23, 0x24]) offsets[hook] = ROUTINES.nothing.offset;
  offsets[0x1e] = DISKETTE_PARAMETERS.offset;
  const table = new Writer();
  for (const offset of offsets) table.u16(offset).u16(BIOS_SEGMENT);
  return table.done();
}

/** Fields of the BIOS data area, guest-physical. IBM PC/AT Technical Reference, "BIOS Data Area". */
export const Bda = {
  com1: 0x400,
  ebdaSegment: 0x40e,
  equipment: 0x410,
  memoryKib: 0x413,
  keyboardFlags: 0x417,
  keyBufferHead: 0x41a,
  keyBufferTail: 0x41c,
  diskStatus: 0x474,
  diskCount: 0x475,
  videoMode: 0x449,
  columns: 0x44a,
  pageSize: 0x44c,
  cursorPositions: 0x450,
  cursorShape: 0x460,
  page: 0x462,
  crtcPort: 0x463,
  ticks: 0x46c,
  midnight: 0x470,
  keyBufferStart: 0x480,
  keyBufferEnd: 0x482,
  lastRow: 0x484,
  characterHeight: 0x485,
} as const;

/** Size of conventional memory in KiB, for INT 12h. */
export const CONVENTIONAL_KIB = EBDA / 1024;
/** Equipment word for INT 11h: x87, 80x25 colour, one serial port. */
export const EQUIPMENT = 0x0222;

/** The BIOS data area, 256 bytes for guest-physical 400h. `disks`: number of hard disks. */
export function biosDataArea(disks: number): Uint8Array {
  const bda = new Writer().zeros(0x100);
  const word = (address: number, value: number): void => void bda.setU16(address - 0x400, value);
  const byte = (address: number, value: number): void => void bda.setU8(address - 0x400, value);
  word(Bda.com1, 0x3f8);
  word(Bda.ebdaSegment, EBDA >> 4);
  word(Bda.equipment, EQUIPMENT);
  word(Bda.memoryKib, CONVENTIONAL_KIB);
  word(Bda.keyBufferHead, 0x1e);
  word(Bda.keyBufferTail, 0x1e);
  word(Bda.keyBufferStart, 0x1e);
  word(Bda.keyBufferEnd, 0x3e);
  byte(Bda.diskCount, disks);
  byte(Bda.videoMode, 3);
  word(Bda.columns, 80);
  word(Bda.pageSize, 0x1000);
  word(Bda.cursorShape, 0x0607);
  word(Bda.crtcPort, 0x3d4);
  byte(Bda.lastRow, 24);
  byte(Bda.characterHeight, 16);
  return bda.done();
}
