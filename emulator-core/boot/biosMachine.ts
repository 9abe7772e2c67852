/** What the BIOS services need of the machine, and helpers that several services share. */

export type BiosRegister = 'eax' | 'ebx' | 'ecx' | 'edx' | 'esi' | 'edi' | 'ebp' | 'esp';
export type BiosSegment = 'cs' | 'ds' | 'es' | 'ss';

/** Registers of the vCPU at the stub's VMCALL, real mode. Values are unsigned. */
export interface BiosRegisters {
  get(register: BiosRegister): number;
  /** Sets all 32 bits; the upper half of the 64-bit register becomes 0. */
  set(register: BiosRegister, value: number): void;
  /** Base address of a segment (selector * 16 in real mode). */
  segmentBase(segment: BiosSegment): number;
  /** Loads a segment register as real mode does: base = selector * 16. */
  setSegment(segment: BiosSegment, selector: number): void;
}

/** The bytes of a disk. Offsets and lengths are within `size`; they may exceed 2^32. */
export interface BiosDisk {
  readonly size: number;
  readBytes(offset: number, length: number): Uint8Array;
  /** False when the disk can't be written. */
  writeBytes(offset: number, data: Uint8Array): boolean;
}

export interface BiosKey {
  /** ASCII code, 0 for keys without one. */
  ascii: number;
  /** Scan code, set 1. */
  scanCode: number;
}

export interface BiosMachine {
  /** Size of RAM in bytes, as handed to bootGuest. */
  readonly memorySize: number;
  /**
   * Guest-physical reads and writes. Writes go the way device writes (DMA) go: code caches and checkpoints see them.
   * Addresses come from guest registers: beyond RAM, a read gives fewer bytes or none and a write does nothing.
   */
  readMemory(gpa: number, length: number): Uint8Array;
  writeMemory(gpa: number, data: Uint8Array): void;
  /** Drive 80h, if there is one. */
  disk?: BiosDisk;
  /** The key queue: the oldest key, which `take` removes; undefined when it is empty. */
  key(take: boolean): BiosKey | undefined;
  /** Every character that the teletype service writes, for the console. */
  console(byte: number): void;
  /** A CMOS register of the real-time clock. */
  cmos?(index: number): number;
  /** Something the user should know. */
  note(text: string): void;
}

/** What a call does next: return to its caller, or wait for an interrupt and be asked again. */
export type BiosOutcome = 'return' | 'wait';

/** One call in progress: 8- and 16-bit halves of registers, memory, and the flags the caller will see. */
export class BiosCall {
  constructor(
    readonly vector: number,
    readonly regs: BiosRegisters,
    readonly machine: BiosMachine,
    /** Tells the user, once per text. */
    readonly note: (text: string) => void,
  ) {}

  word(register: BiosRegister): number {
    return this.regs.get(register) & 0xffff;
  }
  setWord(register: BiosRegister, value: number): void {
    this.regs.set(register, ((this.regs.get(register) & 0xffff0000) | (value & 0xffff)) >>> 0);
  }
  /** Bits 7:0 of a register: AL, BL, CL, DL. */
  low(register: BiosRegister): number {
    return this.regs.get(register) & 0xff;
  }
  /** Bits 15:8 of a register: AH, BH, CH, DH. */
  high(register: BiosRegister): number {
    return (this.regs.get(register) >> 8) & 0xff;
  }
  setLow(register: BiosRegister, value: number): void {
    this.setWord(register, (this.word(register) & 0xff00) | (value & 0xff));
  }
  setHigh(register: BiosRegister, value: number): void {
    this.setWord(register, (this.word(register) & 0xff) | ((value & 0xff) << 8));
  }

  readByte(gpa: number): number {
    return this.machine.readMemory(gpa, 1)[0];
  }
  readWord(gpa: number): number {
    const bytes = this.machine.readMemory(gpa, 2);
    return bytes[0] | (bytes[1] << 8);
  }
  writeByte(gpa: number, value: number): void {
    this.machine.writeMemory(gpa, Uint8Array.of(value & 0xff));
  }
  writeWord(gpa: number, value: number): void {
    this.machine.writeMemory(gpa, Uint8Array.of(value & 0xff, (value >> 8) & 0xff));
  }

  /** Sets or clears CF (bit 0) or ZF (bit 6) in the FLAGS image that IRET will pop: at SS:SP + 4. */
  private setFlag(mask: number, on: boolean): void {
    const at = this.regs.segmentBase('ss') + ((this.word('esp') + 4) & 0xffff);
    const flags = this.readWord(at);
    this.writeWord(at, on ? flags | mask : flags & ~mask);
  }
  setCarry(on: boolean): void {
    this.setFlag(1, on);
  }
  setZero(on: boolean): void {
    this.setFlag(0x40, on);
  }

  /** Success with AH = 0, or failure with AH = status. */
  status(code: number): BiosOutcome {
    this.setHigh('eax', code);
    this.setCarry(code !== 0);
    return 'return';
  }

  /** A service that does not exist here: AH = 86h, carry set, and a note. */
  unsupported(): BiosOutcome {
    const hex = (value: number, width: number): string => value.toString(16).padStart(width, '0') + 'h';
    this.note(`BIOS service INT ${hex(this.vector, 2)} AX=${hex(this.word('eax'), 4)} is not supported`);
    return this.status(0x86);
  }
}
