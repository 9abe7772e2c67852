/**
 * BIOS interrupt services for boot sectors: enough firmware to print, read keys and disks, size memory and tell the
 * time. Source: Ralf Brown's Interrupt List; ACPI specification, "System Address Map Interfaces" for INT 15h E820.
 *
 * A VMCALL exit whose linear address `biosVector` knows (biosRom.ts) is a call: the VMM runs `biosCall`, then resumes
 * the guest `biosResumeOffset(outcome)` bytes after the VMCALL. All state is in guest memory (the BIOS data area), so
 * checkpoints need no more.
 */
import { BOOT_DRIVE, BOOT_SECTOR_ADDRESS, hasBootSignature, SECTOR } from './bios';
import { diskService } from './biosDisk';
import { BiosCall, type BiosMachine, type BiosOutcome, type BiosRegisters } from './biosMachine';
import { Bda, BIOS_SEGMENT, CONFIGURATION } from './biosRom';
import { videoService } from './biosVideo';
import { ACPI_AREA, EBDA, memoryMap } from './memoryMap';
import { Writer } from '../writer';

const SMAP = 0x534d4150;

/** INT 15h AX = E820h: one range of the memory map; EBX is where to go on, 0 at the end. */
function e820(call: BiosCall): BiosOutcome {
  const map = memoryMap(call.machine.memorySize);
  const index = call.regs.get('ebx');
  if (call.regs.get('edx') !== SMAP || index >= map.length || call.regs.get('ecx') < 20) return call.status(0x86);
  const { base, length, type } = map[index];
  const at = call.regs.segmentBase('es') + call.word('edi');
  call.machine.writeMemory(at, new Writer().u64(base).u64(length).u32(type).done());
  call.regs.set('eax', SMAP);
  call.regs.set('ecx', 20);
  call.regs.set('ebx', index + 1 < map.length ? index + 1 : 0);
  call.setCarry(false);
  return 'return';
}

function systemService(call: BiosCall): BiosOutcome {
  const ramEnd = call.machine.memorySize - ACPI_AREA;
  const kib = (ramEnd - 0x100000) / 1024;
  switch (call.word('eax')) {
    case 0xe820:
      return e820(call);
    case 0xe801: {
      // KiB from 1 to 16 MiB, and 64-KiB blocks above.
      const low = Math.min(kib, 15 * 1024);
      const high = Math.floor(Math.max(0, ramEnd - 0x1000000) / 0x10000);
      for (const register of ['eax', 'ecx'] as const) call.setWord(register, low);
      for (const register of ['ebx', 'edx'] as const) call.setWord(register, high);
      call.setCarry(false);
      return 'return';
    }
    case 0x2401: // enable A20
      return call.status(0);
    case 0x2402: // query: it is always on
      call.setLow('eax', 1);
      return call.status(0);
    case 0x2403: // supported by the keyboard controller and port 92h
      call.setWord('ebx', 3);
      return call.status(0);
    case 0x2400: // disable A20: this machine has no such gate
    case 0xe980: // SpeedStep, which Linux asks for
    case 0xec00: // the mode in which the caller will run, which Linux tells
      return call.status(0x86);
  }
  switch (call.high('eax')) {
    case 0x88:
      call.setWord('eax', Math.min(kib, 0xffff));
      call.setCarry(false);
      return 'return';
    case 0xc0: // the configuration table
      call.regs.setSegment('es', BIOS_SEGMENT);
      call.setWord('ebx', CONFIGURATION.offset);
      return call.status(0);
    case 0xc1:
      call.regs.setSegment('es', EBDA >> 4);
      return call.status(0);
    case 0x41: // wait for external event, keyboard intercept, PS/2 mouse, APM, joystick: asked for routinely
    case 0x4f:
    case 0x53:
    case 0x84:
    case 0xc2:
      return call.status(0x86);
    default:
      return call.unsupported();
  }
}

function keyboardService(call: BiosCall): BiosOutcome {
  const service = call.high('eax');
  switch (service) {
    case 0x00:
    case 0x10: {
      const key = call.machine.key(true);
      if (!key) return 'wait';
      call.setWord('eax', (key.scanCode << 8) | key.ascii);
      return 'return';
    }
    case 0x01:
    case 0x11: {
      const key = call.machine.key(false);
      if (key) call.setWord('eax', (key.scanCode << 8) | key.ascii);
      call.setZero(!key);
      return 'return';
    }
    case 0x02:
    case 0x12:
      call.setLow('eax', call.readByte(Bda.keyboardFlags));
      if (service === 0x12) call.setHigh('eax', 0);
      return 'return';
    case 0x03: // typematic rate
      return 'return';
    default:
      return call.unsupported();
  }
}

function clockService(call: BiosCall): BiosOutcome {
  const cmos = (index: number): number => call.machine.cmos?.(index) ?? 0;
  const service = call.high('eax');
  if (service >= 0x02 && service <= 0x05 && !call.machine.cmos) return call.unsupported();
  switch (service) {
    case 0x00:
      call.setWord('edx', call.readWord(Bda.ticks));
      call.setWord('ecx', call.readWord(Bda.ticks + 2));
      call.setLow('eax', call.readByte(Bda.midnight));
      call.writeByte(Bda.midnight, 0);
      return call.status(0);
    case 0x01:
      call.writeWord(Bda.ticks, call.word('edx'));
      call.writeWord(Bda.ticks + 2, call.word('ecx'));
      call.writeByte(Bda.midnight, 0);
      return call.status(0);
    case 0x02: // time of day, BCD: hours, minutes, seconds
      call.setWord('ecx', (cmos(0x04) << 8) | cmos(0x02));
      call.setWord('edx', cmos(0x00) << 8);
      return call.status(0);
    case 0x04: // date, BCD: century, year, month, day
      call.setWord('ecx', (cmos(0x32) << 8) | cmos(0x09));
      call.setWord('edx', (cmos(0x08) << 8) | cmos(0x07));
      return call.status(0);
    default:
      return call.unsupported();
  }
}

/** INT 19h: reads the boot sector again and makes IRET go to it. */
function bootstrap(call: BiosCall): BiosOutcome {
  const { disk } = call.machine;
  const sector = disk && disk.size >= SECTOR ? disk.readBytes(0, SECTOR) : undefined;
  if (!sector || !hasBootSignature(sector)) {
    call.note('BIOS service INT 19h: there is no disk to boot from');
    return 'wait';
  }
  call.machine.writeMemory(BOOT_SECTOR_ADDRESS, sector);
  const frame = call.regs.segmentBase('ss') + call.word('esp');
  call.writeWord(frame, BOOT_SECTOR_ADDRESS);
  call.writeWord(frame + 2, 0);
  call.regs.set('edx', BOOT_DRIVE);
  call.regs.setSegment('ds', 0);
  call.regs.setSegment('es', 0);
  return 'return';
}

type Service = (call: BiosCall) => BiosOutcome;

const services = new Map<number, Service>([
  [0x10, videoService],
  [0x11, (call) => (call.setWord('eax', call.readWord(Bda.equipment)), 'return')],
  [0x12, (call) => (call.setWord('eax', call.readWord(Bda.memoryKib)), 'return')],
  [0x13, diskService],
  [0x15, systemService],
  [0x16, keyboardService],
  [0x19, bootstrap],
  [0x1a, clockService],
]);

/** Texts that a machine has noted already. */
const noted = new WeakMap<BiosMachine, Set<string>>();

/**
 * Carries out the BIOS call of an interrupt vector.
 * @param vector 0 to 255, from `biosVector`
 * @param regs the vCPU at the VMCALL: SS:SP points to the interrupt frame IP, CS, FLAGS
 * @returns 'return' when the call is done, 'wait' when the guest shall wait for an interrupt and call again
 */
export function biosCall(vector: number, regs: BiosRegisters, machine: BiosMachine): BiosOutcome {
  const seen = noted.get(machine) ?? new Set();
  noted.set(machine, seen);
  const once = (text: string): void => {
    if (!seen.has(text)) machine.note(text);
    seen.add(text);
  };
  const call = new BiosCall(vector, regs, machine, once);
  const service = services.get(vector);
  if (service) return service(call);
  // The first eight vectors are exceptions, which no program set up a handler for.
  if (vector < 8) {
    once(`exception ${vector} in real mode without a handler of the guest's own`);
    return 'return';
  }
  return call.unsupported();
}
