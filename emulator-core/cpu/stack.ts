/**
 * Stacks of control transfers: values are pushed and popped without moving rSP until the transfer commits, so that a fault leaves
 * the stack pointer as it was. SDM Vol. 1, "Procedure Calls, Interrupts, and Exceptions".
 */
import type { CpuContext } from './cpuContext';
import {
  descriptorBase,
  descriptorLimit,
  descriptorRights,
  dpl,
  errorOf,
  isPresent,
  isWritable,
  markAccessed,
  readDescriptor,
  rpl,
  type Descriptor,
} from './descriptors';
import { SegmentIndex, State } from './layout';
import { GuestFault, Rights, Vector, type Vcpu } from './vcpu';

const { ss: SS, tr: TR } = SegmentIndex;
const RSP = 4;
const ONES = 0xffffffffffffffffn;

/** A stack that is not in SS yet: the one of an inner privilege level, or an interrupt stack. */
export interface NewStack {
  selector: number;
  /** Undefined for the null selector of IA-32e mode. */
  descriptor?: Descriptor;
  base: bigint;
  pointer: bigint;
  mask: bigint;
  /** Offsets that may be written. */
  low: bigint;
  high: bigint;
  /** Error code of #SS. */
  error: number;
  cpl: number;
}

/** Pushes `bytes` wide, on the present stack or on a new one. */
export class Pusher {
  private pointer: bigint;
  private readonly mask: bigint;

  constructor(
    private readonly c: CpuContext,
    private readonly bytes: number,
    private readonly stack?: NewStack,
    /** Error code of #SS on the present stack: EXT when an event is delivered. */
    private readonly error = 0,
  ) {
    this.mask = stack?.mask ?? c.cpu.get64(State.stackMask);
    this.pointer = stack ? stack.pointer : c.cpu.gpr(RSP) & this.mask;
  }

  push(value: bigint): void {
    const { c, bytes, stack } = this;
    this.pointer = (this.pointer - BigInt(bytes)) & this.mask;
    if (!stack) {
      c.write(this.present(), value, bytes);
      return;
    }
    if (this.pointer < stack.low || this.pointer + BigInt(bytes - 1) > stack.high)
      throw new GuestFault(Vector.SS, stack.error);
    if (c.cpu.longMode && !c.cpu.canonical(this.pointer)) throw new GuestFault(Vector.SS, stack.error);
    const linear = c.cpu.longMode ? this.pointer : (this.pointer + stack.base) & 0xffffffffn;
    c.writeAs(stack.cpl, linear, value, bytes);
  }

  private present(): bigint {
    try {
      return this.c.segmentLinear(SS, this.pointer, this.bytes, true);
    } catch (e) {
      if (e instanceof GuestFault && e.vector === Vector.SS) throw new GuestFault(Vector.SS, this.error);
      throw e;
    }
  }

  /** Moves rSP: on the present stack in its width; a new stack's pointer is loaded whole. */
  commit(): void {
    const { cpu } = this.c;
    if (this.stack) loadStack(cpu, this.stack, this.pointer);
    else cpu.setGpr(RSP, (cpu.gpr(RSP) & ~this.mask & ONES) | this.pointer);
  }
  /** Moves rSP to the new stack, SS stays. */
  commitPointer(): void {
    this.c.cpu.setGpr(RSP, this.pointer);
  }
}

/** SS:rSP of a stack whose descriptor has been marked accessed. modeChanged() must follow. */
function loadStack(cpu: Vcpu, stack: NewStack, pointer: bigint): void {
  const d = stack.descriptor;
  if (d) cpu.setSegment(SS, stack.selector, stack.base, descriptorLimit(d), descriptorRights(d));
  else cpu.setSegment(SS, stack.selector, 0n, 0, Rights.unusable | (stack.cpl << Rights.dplShift));
  cpu.setGpr(RSP, pointer);
}

/** Pops `bytes` wide off the present stack. */
export class Popper {
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
  popSelector(): number {
    return Number(this.pop() & 0xffffn);
  }
  skip(bytes: number): void {
    this.pointer += BigInt(bytes);
  }
  commit(): void {
    const { cpu } = this.c;
    const mask = cpu.get64(State.stackMask);
    cpu.setGpr(RSP, (cpu.gpr(RSP) & ~mask & ONES) | (this.pointer & mask));
  }
}

/**
 * SS:rSP for privilege level `cpl` from the present TSS, checked. `ext`: the EXT bit of error codes.
 * SDM Vol. 3A, "Stack Switching" and "Stack Switching in IA-32e Mode".
 */
export function innerStack(c: CpuContext, cpl: number, ext = 0): NewStack {
  const cpu = c.cpu;
  if (cpu.longMode) return longStack(c, 4 + cpl * 8, cpl, ext);
  const wide = (cpu.rights(TR) & 8) !== 0;
  const offset = wide ? 4 + cpl * 8 : 2 + cpl * 4;
  const bytes = wide ? 4 : 2;
  if (offset + bytes + 1 > cpu.segmentLimit(TR)) throw new GuestFault(Vector.TS, errorOf(cpu.selector(TR)) | ext);
  const base = cpu.segmentBase(TR);
  const pointer = c.readSystem(base + BigInt(offset), bytes);
  const selector = Number(c.readSystem(base + BigInt(offset + bytes), 2));
  if (errorOf(selector) === 0) throw new GuestFault(Vector.TS, ext);
  const error = errorOf(selector) | ext;
  const d = readDescriptor(c, selector, Vector.TS, ext);
  if (rpl(selector) !== cpl || dpl(d) !== cpl || !isWritable(d)) throw new GuestFault(Vector.TS, error);
  if (!isPresent(d)) throw new GuestFault(Vector.SS, error);
  const mask = d.high & (1 << 22) ? 0xffffffffn : 0xffffn;
  const limit = BigInt(descriptorLimit(d));
  const down = (descriptorRights(d) & 4) !== 0;
  return {
    selector,
    descriptor: d,
    base: BigInt(descriptorBase(d)),
    pointer: pointer & mask,
    mask,
    low: down ? limit + 1n : 0n,
    high: down ? mask : limit,
    error,
    cpl,
  };
}

/** An interrupt stack (1..7) of the 64-bit TSS. */
export function interruptStack(c: CpuContext, ist: number, cpl: number, ext: number): NewStack {
  return longStack(c, 36 + (ist - 1) * 8, cpl, ext);
}

function longStack(c: CpuContext, offset: number, cpl: number, ext: number): NewStack {
  const cpu = c.cpu;
  if (offset + 7 > cpu.segmentLimit(TR)) throw new GuestFault(Vector.TS, errorOf(cpu.selector(TR)) | ext);
  const pointer = c.readSystem(BigInt.asUintN(64, cpu.segmentBase(TR) + BigInt(offset)), 8);
  if (!cpu.canonical(pointer)) throw new GuestFault(Vector.SS, ext);
  return { selector: cpl, base: 0n, pointer, mask: ONES, low: 0n, high: ONES, error: ext, cpl };
}

/** Sets the accessed bit of a new stack's descriptor: before anything of the state changes. */
export function markStackAccessed(c: CpuContext, stack: NewStack): void {
  if (stack.descriptor) markAccessed(c, stack.descriptor);
}
