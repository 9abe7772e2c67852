/** Flags, the wide stack instructions, and odd data instructions. */
import { CODES } from '../../x86/codes';
import type { CpuContext } from '../cpuContext';
import { loadSegment } from '../descriptors';
import { SegmentIndex, State } from '../layout';
import { Cr4, Flag, GuestFault, Vector } from '../vcpu';
import { readOperand, type Assist } from './operands';
import {
  clearInterrupts,
  flagsWithVirtualInterrupts,
  setInterrupts,
  setVirtualInterrupts,
  virtualFlags,
  writableFlags,
} from './virtualFlags';

const { ss: SS } = SegmentIndex;
const RSP = 4;
const ALL = 0xffffffffffffffffn;

function push(c: CpuContext, value: bigint, bytes: number): void {
  const cpu = c.cpu;
  const mask = cpu.get64(State.stackMask);
  const pointer = ((cpu.gpr(RSP) & mask) - BigInt(bytes)) & mask;
  c.write(c.segmentLinear(SS, pointer, bytes, true), value, bytes);
  cpu.setGpr(RSP, (cpu.gpr(RSP) & ~mask & ALL) | pointer);
}

function peek(c: CpuContext, bytes: number, offset = 0): bigint {
  const pointer = (c.cpu.gpr(RSP) + BigInt(offset)) & c.cpu.get64(State.stackMask);
  return c.read(c.segmentLinear(SS, pointer, bytes, false), bytes);
}

function drop(c: CpuContext, bytes: number, mask = c.cpu.get64(State.stackMask)): void {
  const cpu = c.cpu;
  cpu.setGpr(RSP, (cpu.gpr(RSP) & ~mask & ALL) | ((cpu.gpr(RSP) + BigInt(bytes)) & mask));
}

function pushFlags(c: CpuContext): void {
  const cpu = c.cpu;
  let flags = cpu.rflags;
  if (cpu.v8086 && cpu.iopl < 3) {
    if (!(cpu.cr4 & Cr4.VME && c.operandBytes === 2)) throw new GuestFault(Vector.GP, 0);
    flags = flagsWithVirtualInterrupts(cpu);
  }
  push(c, BigInt((flags & ~(Flag.VM | Flag.RF)) >>> 0), c.operandBytes);
}

/** SDM Vol. 2, "POPF/POPFD/POPFQ", Table "Effect of POPF/POPFD on the EFLAGS Register". */
function popFlags(c: CpuContext): void {
  const cpu = c.cpu;
  const bytes = c.operandBytes;
  const virtual = cpu.v8086 && cpu.iopl < 3;
  if (virtual && !(cpu.cr4 & Cr4.VME && bytes === 2)) throw new GuestFault(Vector.GP, 0);
  const value = Number(peek(c, bytes) & 0xffffffffn);
  if (virtual) virtualFlags(cpu, value);
  drop(c, bytes);
  if (virtual) setVirtualInterrupts(cpu, value);
  const mask = writableFlags(cpu, bytes);
  const before = cpu.systemFlags;
  cpu.rflags = (cpu.rflags & ~mask & ~Flag.RF) | (value & mask);
  if ((before ^ cpu.systemFlags) & Flag.AC) cpu.selectTlb();
  if (cpu.interruptsEnabled || cpu.systemFlags & Flag.TF) cpu.attention = true;
}

/** 16 or 32 bits: AX CX DX BX SP BP SI DI, nothing changed until all are written. */
function pushAll(c: CpuContext): void {
  const cpu = c.cpu;
  const bytes = c.operandBytes;
  const mask = cpu.get64(State.stackMask);
  let pointer = cpu.gpr(RSP) & mask;
  for (let r = 0; r < 8; r++) {
    pointer = (pointer - BigInt(bytes)) & mask;
    c.write(c.segmentLinear(SS, pointer, bytes, true), BigInt.asUintN(bytes * 8, cpu.gpr(r)), bytes);
  }
  cpu.setGpr(RSP, (cpu.gpr(RSP) & ~mask & ALL) | pointer);
}

function popAll(c: CpuContext): void {
  const bytes = c.operandBytes;
  const values: bigint[] = [];
  for (let i = 0; i < 8; i++) values.push(peek(c, bytes, i * bytes));
  values.forEach((value, i) => {
    if (7 - i !== RSP) c.cpu.setGprSized(7 - i, value, bytes);
  });
  drop(c, 8 * bytes);
}

function popSegment(c: CpuContext): void {
  // Of a slot of any size 16 bits are read, as Intel processors do; AMD ones read all of it.
  const selector = Number(peek(c, 2));
  const segment = (c.registerOffset(0) - State.segments) / 64;
  // POP SS moves the stack pointer of the old stack.
  const mask = c.cpu.get64(State.stackMask);
  loadSegment(c, segment, selector);
  drop(c, c.operandBytes, mask);
  if (segment === SS) shadowStack(c);
}

/** Interrupts and the single-step trap wait until the instruction after MOV SS or POP SS has run. */
function shadowStack(c: CpuContext): void {
  c.cpu.shadowUntil = c.icount + 2;
  c.cpu.shadowsTraps = true;
  c.cpu.trapSuppressed = true;
}

function enter(c: CpuContext): void {
  const cpu = c.cpu;
  const bytes = c.operandBytes;
  const size = c.immediate() & 0xffffn;
  const level = Number((c.immediate() >> 32n) & 31n);
  const saved = cpu.gpr(RSP);
  const RBP = 5;
  try {
    push(c, BigInt.asUintN(bytes * 8, cpu.gpr(RBP)), bytes);
    const frame = cpu.gpr(RSP);
    let link = cpu.gpr(RBP);
    for (let i = 1; i < level; i++) {
      link -= BigInt(bytes);
      const at = link & cpu.get64(State.stackMask);
      push(c, c.read(c.segmentLinear(SS, at, bytes, false), bytes), bytes);
    }
    if (level > 0) push(c, BigInt.asUintN(bytes * 8, frame), bytes);
    const mask = cpu.get64(State.stackMask);
    const pointer = (cpu.gpr(RSP) - size) & mask;
    // The new top must be writable: the manual checks it before rBP changes.
    c.probeWrite(c.segmentLinear(SS, pointer, 1, true), 1);
    cpu.setGpr(RSP, (cpu.gpr(RSP) & ~mask & ALL) | pointer);
    cpu.setGprSized(RBP, frame, bytes);
  } catch (error) {
    cpu.setGpr(RSP, saved);
    throw error;
  }
}

function cmpxchg16b(c: CpuContext): void {
  const cpu = c.cpu;
  const linear = c.linear(16, true);
  if (linear & 15n) throw new GuestFault(Vector.GP, 0);
  c.probeWrite(linear, 16);
  const low = c.read(linear, 8);
  const high = c.read(linear + 8n, 8);
  const equal = low === cpu.gpr(0) && high === cpu.gpr(2);
  c.write(linear, equal ? cpu.gpr(3) : low, 8);
  c.write(linear + 8n, equal ? cpu.gpr(1) : high, 8);
  if (!equal) {
    cpu.setGpr(0, low);
    cpu.setGpr(2, high);
  }
  cpu.rflags = equal ? cpu.rflags | Flag.ZF : cpu.rflags & ~Flag.ZF;
}

function translateByte(c: CpuContext): void {
  const cpu = c.cpu;
  const offset = BigInt.asUintN(c.addressBits, cpu.gpr(3) + (cpu.gpr(0) & 0xffn));
  const struct = c.segmentOfOperand();
  const segment = struct === State.flatSegment ? SegmentIndex.ds : (struct - State.segments) / 64;
  cpu.setGprSized(0, c.read(c.segmentLinear(segment, offset, 1, false), 1), 1);
}

function loadFarPointer(c: CpuContext): void {
  const bytes = c.operandBytes;
  const offset = c.read(c.linear(bytes, false), bytes);
  const selector = Number(c.read(c.linear(2, false, bytes), 2));
  loadSegment(c, farSegment(c), selector);
  c.cpu.setGprSized(c.registerOffset(0) >> 3, offset, bytes);
}

/** LES -> ES and so on. */
function farSegment(c: CpuContext): number {
  const mnemonic = CODES[c.code]!.row.mnemonic;
  return SegmentIndex[mnemonic.slice(1).toLowerCase() as 'es' | 'ds' | 'ss' | 'fs' | 'gs'];
}

export const flagAssists: Record<string, Assist> = {
  pushFlags,
  popFlags,
  pushAll,
  popAll,
  popSegment,
  enter,
  cmpxchg16b,
  translateByte,
  loadFarPointer,
  loadSegment: (c) => {
    const segment = (c.registerOffset(0) - State.segments) / 64;
    if (segment === SegmentIndex.cs) throw new GuestFault(Vector.UD);
    loadSegment(c, segment, Number(readOperand(c, 1, 2) & 0xffffn));
    if (segment === SS) shadowStack(c);
  },
  clearInterrupts,
  setInterrupts,
};
