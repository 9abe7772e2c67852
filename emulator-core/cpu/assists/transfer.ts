/** Far jumps, calls and returns, IRET, software interrupts, SYSCALL and SYSENTER families. */
import type { CpuContext } from '../cpuContext';
import {
  checkCode,
  descriptorBase,
  descriptorLimit,
  descriptorRights,
  dpl,
  isPresent,
  isWritable,
  markAccessed,
  readDescriptor,
  rpl,
  setCode,
  setNull,
} from '../descriptors';
import { deliver } from '../exceptions';
import { SegmentIndex, State } from '../layout';
import { Efer, Flag, GuestFault, Rights, Vector, type Vcpu } from '../vcpu';
import type { Assist } from './operands';

const { cs: CS, ss: SS } = SegmentIndex;
const RSP = 4;

function truncated(value: bigint, bytes: number): bigint {
  return BigInt.asUintN(bytes * 8, value);
}

function setStackPointer(cpu: Vcpu, value: bigint): void {
  const mask = cpu.get64(State.stackMask);
  cpu.setGpr(RSP, (cpu.gpr(RSP) & ~mask & 0xffffffffffffffffn) | (value & mask));
}

/** Reads values off the stack without moving it. */
class Popper {
  private pointer: bigint;
  constructor(
    private readonly c: CpuContext,
    private readonly bytes: number,
  ) {
    this.pointer = c.cpu.gpr(RSP);
  }
  pop(): bigint {
    const { c, bytes } = this;
    const at = this.pointer & c.cpu.get64(State.stackMask);
    this.pointer += BigInt(bytes);
    return c.read(c.segmentLinear(SS, at, bytes, false), bytes);
  }
  skip(bytes: number): void {
    this.pointer += BigInt(bytes);
  }
  commit(): void {
    setStackPointer(this.c.cpu, this.pointer);
  }
}

/** Far pointer operand: immediate ptr16:16/32, or memory m16:16/32/64. */
function farPointer(c: CpuContext): { selector: number; offset: bigint } {
  if (!c.hasMemory) {
    const value = c.immediate();
    return { offset: value & 0xffffffffn, selector: Number((value >> 32n) & 0xffffn) };
  }
  const bytes = c.operandBytes;
  const offset = c.read(c.linear(bytes, false), bytes);
  return { offset, selector: Number(c.read(c.linear(2, false, bytes), 2)) };
}

function realTransfer(c: CpuContext, selector: number, offset: bigint): void {
  const cpu = c.cpu;
  if (offset > BigInt(cpu.segmentLimit(CS))) throw new GuestFault(Vector.GP, 0);
  cpu.setSegment(CS, selector, BigInt(selector << 4), cpu.v8086 ? 0xffff : cpu.segmentLimit(CS), cpu.rights(CS));
  cpu.modeChanged();
  c.jump(offset);
}

function checkTarget(c: CpuContext, high: number, offset: bigint, limit: number): void {
  const long = c.cpu.longMode && (high & (1 << 21)) !== 0;
  const bad = long ? !c.cpu.canonical(offset) : offset > BigInt(limit);
  if (bad) throw new GuestFault(Vector.GP, 0);
}

function jumpFar(c: CpuContext): void {
  const { selector, offset } = farPointer(c);
  if (c.cpu.realOrV8086) return realTransfer(c, selector, offset);
  const d = checkCode(c, selector, 'jump');
  checkTarget(c, d.high, offset, descriptorLimit(d));
  setCode(c, selector, d, c.cpu.cpl);
  c.cpu.modeChanged();
  c.jump(offset);
}

function pushAll(c: CpuContext, values: bigint[], bytes: number): void {
  const cpu = c.cpu;
  const mask = cpu.get64(State.stackMask);
  let pointer = cpu.gpr(RSP) & mask;
  for (const value of values) {
    pointer = (pointer - BigInt(bytes)) & mask;
    c.write(c.segmentLinear(SS, pointer, bytes, true), value, bytes);
  }
  setStackPointer(cpu, pointer);
}

function callFar(c: CpuContext): void {
  const cpu = c.cpu;
  const { selector, offset } = farPointer(c);
  const bytes = c.operandBytes;
  const back = [BigInt(cpu.selector(CS)), c.nextRip];
  if (cpu.realOrV8086) {
    pushAll(c, back, bytes);
    return realTransfer(c, selector, offset);
  }
  const d = checkCode(c, selector, 'jump');
  checkTarget(c, d.high, offset, descriptorLimit(d));
  pushAll(c, back, bytes);
  setCode(c, selector, d, cpu.cpl);
  cpu.modeChanged();
  c.jump(offset);
}

/** Stack switch of a return to an outer privilege level. */
function loadOuterStack(c: CpuContext, selector: number, pointer: bigint, cpl: number, wide: boolean): () => void {
  const cpu = c.cpu;
  if ((selector & 0xfffc) === 0) {
    if (!(wide && cpl < 3)) throw new GuestFault(Vector.GP, 0);
    return () => {
      cpu.setSegment(SS, selector, 0n, 0, Rights.unusable | (cpl << Rights.dplShift));
      cpu.setGpr(RSP, pointer);
    };
  }
  const error = selector & 0xfffc;
  const d = readDescriptor(c, selector, Vector.GP);
  if (rpl(selector) !== cpl || !isWritable(d) || dpl(d) !== cpl) throw new GuestFault(Vector.GP, error);
  if (!isPresent(d)) throw new GuestFault(Vector.SS, error);
  return () => {
    markAccessed(c, d);
    cpu.setSegment(SS, selector, BigInt(descriptorBase(d)), descriptorLimit(d), descriptorRights(d));
    const big = wide || (d.high & (1 << 22)) !== 0;
    const mask = wide ? 0xffffffffffffffffn : big ? 0xffffffffn : 0xffffn;
    cpu.setGpr(RSP, (cpu.gpr(RSP) & ~mask & 0xffffffffffffffffn) | (pointer & mask));
  };
}

/** Data segments that the outer level may not use become null. SDM Vol. 2, "RET", RETURN-OUTER-PRIVILEGE-LEVEL. */
function dropInnerSegments(c: CpuContext, cpl: number): void {
  const cpu = c.cpu;
  for (const s of [SegmentIndex.es, SegmentIndex.fs, SegmentIndex.gs, SegmentIndex.ds]) {
    const rights = cpu.rights(s);
    if (rights & Rights.unusable) continue;
    const conforming = (rights & 0x1c) === 0x1c;
    if (!conforming && ((rights >> Rights.dplShift) & 3) < cpl) setNull(cpu, s, 0);
  }
}

function returnFar(c: CpuContext): void {
  const cpu = c.cpu;
  const bytes = c.operandBytes;
  const release = Number(c.immediate() & 0xffffn);
  const stack = new Popper(c, bytes);
  const offset = stack.pop();
  const selector = Number(stack.pop() & 0xffffn);
  if (cpu.realOrV8086) {
    stack.skip(release);
    realTransfer(c, selector, offset);
    stack.commit();
    return;
  }
  const d = checkCode(c, selector, 'return');
  checkTarget(c, d.high, offset, descriptorLimit(d));
  stack.skip(release);
  if (rpl(selector) === cpu.cpl) {
    setCode(c, selector, d, cpu.cpl);
    stack.commit();
  } else {
    const pointer = stack.pop();
    const ss = Number(stack.pop() & 0xffffn);
    const load = loadOuterStack(c, ss, pointer + BigInt(release), rpl(selector), bytes === 8);
    setCode(c, selector, d, rpl(selector));
    load();
    dropInnerSegments(c, rpl(selector));
  }
  cpu.modeChanged();
  c.jump(offset);
}

/**
 * RFLAGS that IRET and POPF may change at a privilege level. RF is left out: IRET sets it only for the next instruction, to pass
 * over an instruction breakpoint in DR0-DR3, which this processor does not take.
 */
export function writableFlags(cpu: Vcpu, bytes: number): number {
  let mask = 0x244dd5; // CF PF AF ZF SF TF DF OF NT AC ID
  if (cpu.cpl === 0) mask |= Flag.IOPL | Flag.IF;
  else if (cpu.cpl <= cpu.iopl) mask |= Flag.IF;
  return bytes === 2 ? mask & 0xffff : mask;
}

function interruptReturn(c: CpuContext): void {
  const cpu = c.cpu;
  const bytes = c.operandBytes;
  const stack = new Popper(c, bytes);
  if (!cpu.protectedMode || cpu.v8086) {
    if (cpu.v8086 && cpu.iopl < 3) throw new GuestFault(Vector.GP, 0);
    const offset = stack.pop();
    const selector = Number(stack.pop() & 0xffffn);
    const flags = Number(stack.pop() & 0xffffffffn);
    const mask = (cpu.v8086 ? writableFlags(cpu, bytes) & ~Flag.IOPL : 0x257fd5) & (bytes === 2 ? 0xffff : -1);
    realTransfer(c, selector, offset);
    stack.commit();
    cpu.rflags = (cpu.rflags & ~mask) | (flags & mask);
    dropResume(cpu);
    cpu.modeChanged();
    cpu.attention = true;
    return;
  }
  if (cpu.systemFlags & Flag.NT) throw new GuestFault(cpu.longMode ? Vector.GP : Vector.TS, 0);
  const offset = stack.pop();
  const selector = Number(stack.pop() & 0xffffn);
  const flags = Number(stack.pop() & 0xffffffffn);
  if (flags & Flag.VM && cpu.cpl === 0 && bytes === 4 && !cpu.longMode)
    return returnToV8086(c, stack, offset, selector, flags);
  const d = checkCode(c, selector, 'return');
  checkTarget(c, d.high, offset, descriptorLimit(d));
  const cpl = rpl(selector);
  const mask = writableFlags(cpu, bytes);
  if (cpl !== cpu.cpl || cpu.bitness === 64) {
    const pointer = stack.pop();
    const ss = Number(stack.pop() & 0xffffn);
    const load = loadOuterStack(c, ss, pointer, cpl, bytes === 8);
    const outer = cpl !== cpu.cpl;
    setCode(c, selector, d, cpl);
    load();
    if (outer) dropInnerSegments(c, cpl);
  } else {
    setCode(c, selector, d, cpl);
    stack.commit();
  }
  cpu.rflags = (cpu.rflags & ~mask) | (flags & mask);
  dropResume(cpu);
  cpu.modeChanged();
  cpu.attention = true;
  c.jump(offset);
}

/** RF holds for the next instruction only, and only instruction breakpoints of the debug registers look at it. */
function dropResume(cpu: Vcpu): void {
  cpu.setSystemFlag(Flag.RF, false);
}

function returnToV8086(c: CpuContext, stack: Popper, offset: bigint, selector: number, flags: number): void {
  const cpu = c.cpu;
  const pointer = stack.pop();
  const order = [SS, SegmentIndex.es, SegmentIndex.ds, SegmentIndex.fs, SegmentIndex.gs];
  const selectors = order.map(() => Number(stack.pop() & 0xffffn));
  cpu.rflags = flags;
  dropResume(cpu);
  order.forEach((s, i) => cpu.setSegment(s, selectors[i], BigInt(selectors[i] << 4), 0xffff, 0xf3));
  cpu.setSegment(CS, selector, BigInt(selector << 4), 0xffff, 0xf3);
  cpu.setGpr(RSP, pointer);
  cpu.modeChanged();
  cpu.attention = true;
  c.jump(offset & 0xffffn);
}

function interrupt(c: CpuContext, vector: number): void {
  const cpu = c.cpu;
  if (cpu.v8086 && cpu.iopl < 3 && vector !== 3) throw new GuestFault(Vector.GP, 0);
  const next = c.nextRip;
  // INT1 (ICEBP) counts as a debug exception: the gate's DPL does not matter.
  deliver(c, { vector, software: vector !== Vector.DB, external: false }, next);
  // Delivery has cleared TF.
  cpu.trapSuppressed = true;
  c.jump(cpu.rip);
}

function syscall(c: CpuContext): void {
  const cpu = c.cpu;
  if (!(cpu.efer & Efer.SCE) || cpu.bitness !== 64) throw new GuestFault(Vector.UD);
  const star = cpu.get64(State.star);
  cpu.setGpr(1, c.nextRip);
  cpu.setGpr(11, BigInt(cpu.rflags & ~Flag.RF));
  cpu.rflags = cpu.rflags & ~Number(cpu.get64(State.fmask) & 0xffffffffn) & ~Flag.RF;
  const selector = Number((star >> 32n) & 0xfffcn);
  cpu.setSegment(CS, selector, 0n, 0xffffffff, 0xa09b);
  cpu.setSegment(SS, selector + 8, 0n, 0xffffffff, 0xc093);
  cpu.modeChanged();
  c.jump(cpu.get64(State.lstar));
}

function sysret(c: CpuContext): void {
  const cpu = c.cpu;
  if (!(cpu.efer & Efer.SCE) || cpu.bitness !== 64) throw new GuestFault(Vector.UD);
  if (cpu.cpl !== 0) throw new GuestFault(Vector.GP, 0);
  const wide = c.operandBytes === 8;
  const target = cpu.gpr(1);
  if (wide && !cpu.canonical(target)) throw new GuestFault(Vector.GP, 0);
  const star = Number((cpu.get64(State.star) >> 48n) & 0xffffn);
  cpu.rflags = (Number(cpu.gpr(11) & 0xffffffffn) & 0x3c7fd7) | 2;
  cpu.setSegment(CS, (star + (wide ? 16 : 0)) | 3, 0n, 0xffffffff, wide ? 0xa0fb : 0xc0fb);
  cpu.setSegment(SS, (star + 8) | 3, 0n, 0xffffffff, 0xc0f3);
  cpu.modeChanged();
  cpu.attention = true;
  c.jump(wide ? target : target & 0xffffffffn);
}

function sysenter(c: CpuContext): void {
  const cpu = c.cpu;
  const selector = cpu.get32(State.sysenterCs) & 0xfffc;
  if (!cpu.protectedMode || selector === 0) throw new GuestFault(Vector.GP, 0);
  cpu.setSystemFlag(Flag.VM, false);
  cpu.setSystemFlag(Flag.IF, false);
  cpu.setSegment(CS, selector, 0n, 0xffffffff, cpu.longMode ? 0xa09b : 0xc09b);
  cpu.setSegment(SS, selector + 8, 0n, 0xffffffff, 0xc093);
  const mask = cpu.longMode ? 0xffffffffffffffffn : 0xffffffffn;
  cpu.setGpr(RSP, cpu.get64(State.sysenterEsp) & mask);
  cpu.modeChanged();
  c.jump(cpu.get64(State.sysenterEip) & mask);
}

function sysexit(c: CpuContext): void {
  const cpu = c.cpu;
  const base = cpu.get32(State.sysenterCs) & 0xfffc;
  if (!cpu.protectedMode || base === 0 || cpu.cpl !== 0) throw new GuestFault(Vector.GP, 0);
  const wide = c.operandBytes === 8;
  const code = (base + (wide ? 32 : 16)) | 3;
  const rip = truncated(cpu.gpr(2), wide ? 8 : 4);
  cpu.setGpr(RSP, truncated(cpu.gpr(1), wide ? 8 : 4));
  cpu.setSegment(CS, code, 0n, 0xffffffff, wide ? 0xa0fb : 0xc0fb);
  cpu.setSegment(SS, code + 8, 0n, 0xffffffff, 0xc0f3);
  cpu.modeChanged();
  c.jump(rip);
}

export const transferAssists: Record<string, Assist> = {
  jumpFar,
  callFar,
  returnFar,
  interruptReturn,
  softwareInterrupt: (c) => interrupt(c, Number(c.immediate() & 0xffn)),
  breakpointTrap: (c) => interrupt(c, Vector.BP),
  debugTrap: (c) => interrupt(c, Vector.DB),
  overflowTrap: (c) => {
    if (c.cpu.rflags & Flag.OF) interrupt(c, Vector.OF);
    else c.jump(c.nextRip);
  },
  syscall,
  sysret,
  sysenter,
  sysexit,
};
