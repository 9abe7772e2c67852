/**
 * SMBIOS: who made the machine and what is in it, for guests that print it (Linux's "DMI:" line) or ask for it (dmidecode).
 * Source: DMTF DSP0134, System Management BIOS Reference Specification 2.8, chapter 5.2.1 "SMBIOS Entry Point Structure" and
 * chapter 7 "Structure definitions" (the type's section is named at each).
 */
import { Writer } from '../writer';

/** Where the entry point lies, on a 16-byte boundary of the BIOS area; the structures follow it. */
export const SMBIOS_ADDRESS = 0xf2000;

const VERSION = { major: 2, minor: 8 };
const MAKER = 'Ringside';
const PRODUCT = 'Virtual PC';
/**
 * Month, day and year. Operating systems take firmware of before 2001 or 2008 for broken, and Linux that of 2015 and later for one whose ACPI
 * gives the real-time clock's alarms: here they are the clock's own, or the HPET's.
 */
const RELEASE_DATE = '01/01/2014';
const UNKNOWN = 2;
const SAFE = 3;
const NO_HANDLE = 0xffff;
const NO_ERROR_HANDLE = 0xfffe;

interface Structure {
  type: number;
  /** The formatted part behind type, length and handle; strings are numbered from 1. */
  body: Writer;
  strings?: string[];
}

/** "BIOS Information (Type 0)": no characteristics but that this is a virtual machine. */
function bios(): Structure {
  const [NOT_SUPPORTED, VIRTUAL_MACHINE, NONE] = [1 << 3, 1 << 4, 0xff];
  const body = new Writer().u8(1).u8(2).u16(0xf000).u8(3).u8(0).u64(NOT_SUPPORTED).u8(0).u8(VIRTUAL_MACHINE);
  return { type: 0, body: body.u8(0).u8(1).u8(NONE).u8(NONE), strings: [MAKER, '0.1', RELEASE_DATE] };
}

/** "System Information (Type 1)": without serial number and UUID. */
function system(): Structure {
  const POWER_SWITCH = 6;
  const body = new Writer().u8(1).u8(2).u8(0).u8(0).zeros(16).u8(POWER_SWITCH).u8(0).u8(0);
  return { type: 1, body, strings: [MAKER, PRODUCT] };
}

/** "System Enclosure or Chassis (Type 3)". */
function chassis(): Structure {
  const OTHER = 1;
  const body = new Writer().u8(1).u8(OTHER).u8(0).u8(0).u8(0).u8(SAFE).u8(SAFE).u8(SAFE).u8(UNKNOWN);
  return { type: 3, body: body.u32(0).u8(0).u8(0).u8(0).u8(0), strings: [MAKER] };
}

/** "Processor Information (Type 4)": one socket with one core. */
function processor(index: number): Structure {
  const [CENTRAL, POPULATED_ENABLED, OTHER] = [3, 0x41, 1];
  const body = new Writer().u8(1).u8(CENTRAL).u8(UNKNOWN).u8(2).u64(0).u8(0).u8(0).u16(0).u16(0).u16(0);
  body.u8(POPULATED_ENABLED).u8(OTHER).u16(NO_HANDLE).u16(NO_HANDLE).u16(NO_HANDLE).u8(0).u8(0).u8(0);
  body.u8(1).u8(1).u8(1).u16(UNKNOWN).u16(UNKNOWN);
  return { type: 4, body, strings: [`CPU ${index}`, MAKER] };
}

/** "Physical Memory Array (Type 16)" and its one "Memory Device (Type 17)"; "Memory Array Mapped Address (Type 19)". */
function memoryStructures(bytes: number, handle: number): Structure[] {
  const kib = bytes / 1024;
  const [BOARD, SYSTEM_MEMORY, NO_ECC, DIMM, RAM, OTHER_DETAIL] = [3, 3, 3, 9, 7, 2];
  const array = new Writer().u8(BOARD).u8(SYSTEM_MEMORY).u8(NO_ECC).u32(kib).u16(NO_ERROR_HANDLE).u16(1).u64(0);
  // Sizes below 32 MiB may count KiB (bit 15).
  const size = kib < 0x8000 ? 0x8000 | kib : Math.floor(kib / 1024);
  const device = new Writer().u16(handle).u16(NO_ERROR_HANDLE).u16(0xffff).u16(0xffff).u16(size).u8(DIMM).u8(0).u8(1);
  device.u8(0).u8(RAM).u16(OTHER_DETAIL).u16(0).u8(0).u8(0).u8(0).u8(0).u8(0).u32(0).u16(0).u16(0).u16(0).u16(0);
  const mapped = new Writer()
    .u32(0)
    .u32(kib - 1)
    .u16(handle)
    .u8(1)
    .u64(0)
    .u64(0);
  return [
    { type: 16, body: array },
    { type: 17, body: device, strings: ['DIMM 0'] },
    { type: 19, body: mapped },
  ];
}

/** "System Boot Information (Type 32)": no errors detected. */
const bootInformation = (): Structure => ({ type: 32, body: new Writer().zeros(6).u8(0) });
/** "End-of-Table (Type 127)". */
const endOfTable = (): Structure => ({ type: 127, body: new Writer() });

/**
 * Entry point and structures as one block for SMBIOS_ADDRESS.
 * @param cpus number of processors
 * @param memory bytes of RAM, a multiple of 4 KiB
 */
export function smbiosTables(cpus: number, memory: number): Uint8Array {
  const structures = [bios(), system(), chassis()];
  for (let i = 0; i < cpus; i++) structures.push(processor(i));
  // A handle is a structure's index.
  structures.push(...memoryStructures(memory, structures.length), bootInformation(), endOfTable());
  const table = new Writer();
  let longest = 0;
  structures.forEach(({ type, body, strings = [] }, handle) => {
    const start = table.length;
    table
      .u8(type)
      .u8(4 + body.length)
      .u16(handle)
      .bytes(body.done());
    for (const text of strings) table.text(text).u8(0);
    table.u8(0);
    if (strings.length === 0) table.u8(0);
    longest = Math.max(longest, table.length - start);
  });
  const ENTRY_LENGTH = 0x1f;
  const address = SMBIOS_ADDRESS + 0x20;
  const entry = new Writer().text('_SM_').u8(0).u8(ENTRY_LENGTH).u8(VERSION.major).u8(VERSION.minor).u16(longest);
  entry.zeros(6).text('_DMI_').u8(0).u16(table.length).u32(address).u16(structures.length);
  entry.u8((VERSION.major << 4) | VERSION.minor);
  entry.checksum(0x15, 0x10).checksum(4).align(16);
  return entry.bytes(table.done()).done();
}
