/** The boot processor's state for the ways of starting a guest: real mode, flat 32-bit protected mode, 64-bit mode. */
import type { EntryState, SegmentState } from './boot';
import type { Placement } from './placement';
import { Writer } from '../writer';

/** Access rights in VMCS format: present, S = 1, accessed. SDM Vol. 3C, "Guest Segment Registers". */
const CODE = 0x9b;
const DATA = 0x93;
const FLAG_L = 0x2000;
const FLAG_DB = 0x4000;
const FLAG_G = 0x8000;

const CR0_PE = 1;
const CR0_ET = 0x10;
const CR0_PG = 0x80000000;
const CR4_PAE = 0x20;
const EFER_LME = 0x100;
const EFER_LMA = 0x400;

/** Selectors that the Linux boot protocol prescribes; used for every protocol. */
const BOOT_CS = 0x10;
const BOOT_DS = 0x18;

type Registers = EntryState['registers'];

function all(cs: SegmentState, data: SegmentState): EntryState['segments'] {
  return { cs, ss: { ...data }, ds: { ...data }, es: { ...data }, fs: { ...data }, gs: { ...data } };
}

const flat = (selector: number, attributes: number): SegmentState => ({
  selector,
  base: 0,
  limit: 0xffffffff,
  attributes: attributes | FLAG_G,
});

/** Puts a GDT with the flat segments in low memory. @returns GDTR contents */
function placeGdt(placement: Placement, code: number): EntryState['gdtr'] {
  const gdt = new Writer().u64(0).u64(0);
  // Flat descriptors: limit 0xfffff in pages, base 0. SDM Vol. 3A, "Segment Descriptors".
  for (const attributes of [code, DATA | FLAG_DB | FLAG_G]) {
    gdt
      .u16(0xffff)
      .u16(0)
      .u8(0)
      .u8(attributes & 0xff)
      .u8((attributes >> 8) | 0xf)
      .u8(0);
  }
  const bytes = gdt.done();
  return { base: placement.allocateLow('GDT', bytes), limit: bytes.length - 1 };
}

/**
 * 32-bit protected mode without paging, flat segments, interrupts off.
 * @param rip guest-physical address of the first instruction
 */
export function flatProtectedEntry(placement: Placement, rip: number, registers: Registers): EntryState {
  return {
    rip,
    rflags: 2,
    registers,
    cr0: CR0_PE | CR0_ET,
    cr3: 0,
    cr4: 0,
    efer: 0,
    segments: all(flat(BOOT_CS, CODE | FLAG_DB), flat(BOOT_DS, DATA | FLAG_DB)),
    gdtr: placeGdt(placement, CODE | FLAG_DB | FLAG_G),
    idtr: { base: 0, limit: 0 },
  };
}

/**
 * 64-bit mode with the first 4 GiB mapped onto themselves by 2 MiB pages, flat segments, interrupts off.
 * @param rip linear (and guest-physical) address of the first instruction
 */
export function longModeEntry(placement: Placement, rip: number, registers: Registers): EntryState {
  return {
    rip,
    rflags: 2,
    registers,
    cr0: CR0_PE + CR0_ET + CR0_PG,
    cr3: placeIdentityPageTables(placement),
    cr4: CR4_PAE,
    efer: EFER_LME | EFER_LMA,
    segments: all(flat(BOOT_CS, CODE | FLAG_L), flat(BOOT_DS, DATA | FLAG_DB)),
    gdtr: placeGdt(placement, CODE | FLAG_L | FLAG_G),
    idtr: { base: 0, limit: 0 },
  };
}

/** PML4, PDPT and four page directories of 2 MiB pages. SDM Vol. 3A, "4-Level Paging". @returns address of the PML4 */
function placeIdentityPageTables(placement: Placement): number {
  const pages = 6;
  const tables = new Uint8Array(pages * 0x1000);
  const view = new DataView(tables.buffer);
  const base = placement.allocateLow('page tables', tables, 0x1000);
  const PRESENT_WRITABLE = 3;
  const PAGE_SIZE = 0x80;
  const entry = (at: number, value: number): void => view.setBigUint64(at, BigInt(value), true);
  entry(0, base + 0x1000 + PRESENT_WRITABLE);
  for (let gib = 0; gib < 4; gib++) {
    entry(0x1000 + gib * 8, base + 0x2000 + gib * 0x1000 + PRESENT_WRITABLE);
    for (let i = 0; i < 512; i++) {
      entry(0x2000 + gib * 0x1000 + i * 8, gib * 0x40000000 + i * 0x200000 + PAGE_SIZE + PRESENT_WRITABLE);
    }
  }
  placement.overwrite(base, tables);
  return base;
}

/**
 * Real mode: how a BIOS starts a boot sector (all segments 0, interrupts on), or a boot loader real-mode code.
 * @param rip offset in the code segment
 * @param start selectors of CS and of the other segments, and the interrupt flag
 */
export function realModeEntry(
  rip: number,
  registers: Registers,
  { code = 0, data = 0, interrupts = true } = {},
): EntryState {
  const segment = (selector: number, attributes: number): SegmentState => ({
    selector,
    base: selector << 4,
    limit: 0xffff,
    attributes,
  });
  return {
    rip,
    rflags: interrupts ? 0x202 : 2,
    registers,
    cr0: CR0_ET,
    cr3: 0,
    cr4: 0,
    efer: 0,
    segments: all(segment(code, CODE), segment(data, DATA)),
    gdtr: { base: 0, limit: 0xffff },
    idtr: { base: 0, limit: 0x3ff },
  };
}
