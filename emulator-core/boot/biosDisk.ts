/**
 * INT 13h: one hard disk, drive 80h. Source: Ralf Brown's Interrupt List, INT 13; Phoenix "BIOS Enhanced Disk Drive
 * Specification" 3.0 for functions 41h to 48h.
 */
import { BOOT_DRIVE, SECTOR } from './bios';
import type { BiosCall, BiosDisk, BiosOutcome } from './biosMachine';
import { Bda } from './biosRom';
import { Writer } from '../writer';

/** Status codes in AH. */
const Status = { ok: 0, badCommand: 0x01, writeProtected: 0x03, sectorNotFound: 0x04, noDrive: 0x80 } as const;

export interface Geometry {
  cylinders: number;
  heads: number;
  sectors: number;
}

/** Sizes of diskette images in KiB, with heads and sectors per track. */
const diskettes: [kib: number, heads: number, sectors: number][] = [
  [160, 1, 8],
  [180, 1, 9],
  [320, 2, 8],
  [360, 2, 9],
  [720, 2, 9],
  [1200, 2, 15],
  [1440, 2, 18],
  [2880, 2, 36],
];

/**
 * Cylinders, heads and sectors of a disk of `size` bytes: a diskette's own where the size is exactly a diskette's, else
 * 63 sectors and 16 heads, or 255 heads above 1024 cylinders.
 */
export function diskGeometry(size: number): Geometry {
  const total = Math.floor(size / SECTOR);
  const diskette = diskettes.find(([kib]) => kib * 1024 === size);
  const sectors = diskette ? diskette[2] : 63;
  let heads = diskette ? diskette[1] : 16;
  if (total > 1024 * heads * sectors) heads = 255;
  const cylinders = Math.max(1, Math.min(1024, Math.ceil(total / (heads * sectors))));
  return { cylinders, heads, sectors };
}

function transfer(call: BiosCall, disk: BiosDisk, lba: number, count: number, gpa: number, write: boolean): number {
  // An image that ends inside a sector reads as zeros from there.
  if (lba + count > Math.ceil(disk.size / SECTOR)) return Status.sectorNotFound;
  const offset = lba * SECTOR;
  const inside = Math.min(count * SECTOR, disk.size - offset);
  if (gpa + count * SECTOR > call.machine.memorySize) return Status.badCommand;
  if (write) {
    return disk.writeBytes(offset, call.machine.readMemory(gpa, inside)) ? Status.ok : Status.writeProtected;
  }
  const data = new Uint8Array(count * SECTOR);
  data.set(disk.readBytes(offset, inside));
  call.machine.writeMemory(gpa, data);
  return Status.ok;
}

/** AH = 02h and 03h: cylinder in CH and CL[7:6], sector (from 1) in CL[5:0], head in DH, ES:BX the buffer. */
function chsTransfer(call: BiosCall, disk: BiosDisk, write: boolean): number {
  const { cylinders, heads, sectors } = diskGeometry(disk.size);
  const count = call.low('eax');
  const cylinder = call.high('ecx') | ((call.low('ecx') & 0xc0) << 2);
  const sector = call.low('ecx') & 0x3f;
  const head = call.high('edx');
  if (count === 0 || count > 128) return Status.badCommand;
  if (sector === 0 || sector > sectors || head >= heads || cylinder >= cylinders) return Status.sectorNotFound;
  const lba = (cylinder * heads + head) * sectors + sector - 1;
  return transfer(call, disk, lba, count, call.regs.segmentBase('es') + call.word('ebx'), write);
}

/** AH = 42h and 43h: DS:SI points to a packet with count, buffer as offset and segment, and the 64-bit sector number. */
function packetTransfer(call: BiosCall, disk: BiosDisk, write: boolean): number {
  const packetAt = call.regs.segmentBase('ds') + call.word('esi');
  const bytes = call.machine.readMemory(packetAt, 16);
  if (bytes.length < 16 || bytes[0] < 16) return Status.badCommand;
  const packet = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = packet.getUint16(2, true);
  const lba = packet.getBigUint64(8, true);
  if (count === 0 || count > 128) return Status.badCommand;
  if (lba > 0xffffffffn) return Status.sectorNotFound;
  const gpa = packet.getUint16(6, true) * 16 + packet.getUint16(4, true);
  const status = transfer(call, disk, Number(lba), count, gpa, write);
  if (status !== Status.ok) call.writeWord(packetAt + 2, 0);
  return status;
}

/** AH = 48h: the drive's parameters into the buffer at DS:SI, whose first word is its size. */
function extendedParameters(call: BiosCall, disk: BiosDisk): number {
  const at = call.regs.segmentBase('ds') + call.word('esi');
  if (call.readWord(at) < 26) return Status.badCommand;
  const { cylinders, heads, sectors } = diskGeometry(disk.size);
  const GEOMETRY_VALID = 2;
  const result = new Writer().u16(26).u16(GEOMETRY_VALID).u32(cylinders).u32(heads).u32(sectors);
  result.u64(Math.ceil(disk.size / SECTOR)).u16(SECTOR);
  call.machine.writeMemory(at, result.done());
  return Status.ok;
}

/** Carries out INT 13h. */
export function diskService(call: BiosCall): BiosOutcome {
  const { disk } = call.machine;
  const service = call.high('eax');
  const finish = (status: number): BiosOutcome => {
    call.writeByte(Bda.diskStatus, status);
    return call.status(status);
  };
  if (service === 0x01) return call.status(call.readByte(Bda.diskStatus));
  if (!disk || call.low('edx') !== BOOT_DRIVE) {
    // Probing for drives that are not there is normal.
    if (service === 0x00 && call.low('edx') < BOOT_DRIVE) return finish(Status.ok);
    return finish(service === 0x08 || service === 0x41 ? Status.badCommand : Status.noDrive);
  }
  switch (service) {
    case 0x00: // reset
    case 0x0d:
      return finish(Status.ok);
    case 0x02:
    case 0x03: {
      const count = call.low('eax');
      const status = chsTransfer(call, disk, service === 0x03);
      call.setLow('eax', status === Status.ok ? count : 0);
      return finish(status);
    }
    case 0x04: // verify: the sectors exist
      return finish(Status.ok);
    case 0x08: {
      const { cylinders, heads, sectors } = diskGeometry(disk.size);
      const last = cylinders - 1;
      call.setWord('ecx', ((last & 0xff) << 8) | ((last >> 2) & 0xc0) | sectors);
      call.setWord('edx', ((heads - 1) << 8) | 1);
      call.setLow('ebx', 0);
      call.setLow('eax', 0);
      return finish(Status.ok);
    }
    case 0x15: {
      const total = Math.min(0xffffffff, Math.ceil(disk.size / SECTOR));
      call.setWord('ecx', Math.floor(total / 0x10000));
      call.setWord('edx', total & 0xffff);
      call.setHigh('eax', 3); // a hard disk; AH is the answer, not a status
      call.setCarry(false);
      return 'return';
    }
    case 0x41:
      if (call.word('ebx') !== 0x55aa) return finish(Status.badCommand);
      call.setWord('ebx', 0xaa55);
      call.setWord('ecx', 1); // packet access
      finish(Status.ok);
      call.setHigh('eax', 0x21); // version 1.1
      return 'return';
    case 0x42:
      return finish(packetTransfer(call, disk, false));
    case 0x43:
      return finish(packetTransfer(call, disk, true));
    case 0x48:
      return finish(extendedParameters(call, disk));
    default:
      return call.unsupported();
  }
}
