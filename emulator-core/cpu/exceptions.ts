/**
 * Delivery of interrupts and exceptions in real, protected and long mode. SDM Vol. 3A, chapter "Interrupt and Exception
 * Handling"; Vol. 3A "8086 Emulation", "Interrupt and Exception Handling" for real mode.
 */
import type { CpuContext } from './cpuContext';
import {
  descriptorBase,
  descriptorLimit,
  descriptorRights,
  dpl,
  forceCpl,
  isCode,
  isConforming,
  isPresent,
  isWritable,
  readDescriptor,
  rpl,
  markAccessed,
  type Descriptor,
} from './descriptors';
import { SegmentIndex, State } from './layout';
import { Flag, GuestFault, Rights, Vector } from './vcpu';

export interface Interruption {
  vector: number;
  error?: number;
  /** INT n, INT3, INTO: the gate's DPL is checked. */
  software: boolean;
  /** External interrupts and NMI set EXT in error codes; exceptions do, too. */
  external: boolean;
  /** Faults push RFLAGS with RF set, so that the instruction restarts without an instruction breakpoint. */
  fault?: boolean;
}

const BENIGN = 0;
const CONTRIBUTORY = 1;
const PAGE_FAULT = 2;

/** SDM Vol. 3A, "Interrupt 8—Double Fault Exception (#DF)", Table "Interrupt and Exception Classes". */
function classOf(vector: number): number {
  if (vector === Vector.PF) return PAGE_FAULT;
  return vector === Vector.DE || (vector >= Vector.TS && vector <= Vector.GP) ? CONTRIBUTORY : BENIGN;
}

/** What two exceptions in a row make: the second alone, #DF, or shutdown. */
export function combine(first: number, second: number): 'second' | 'double' | 'shutdown' {
  if (first === Vector.DF) return classOf(second) === BENIGN ? 'second' : 'shutdown';
  const a = classOf(first);
  const b = classOf(second);
  if ((a === CONTRIBUTORY && b === CONTRIBUTORY) || (a === PAGE_FAULT && b !== BENIGN)) return 'double';
  return 'second';
}

export function hasErrorCode(vector: number): boolean {
  return vector === Vector.DF || (vector >= Vector.TS && vector <= Vector.PF) || vector === Vector.AC || vector === 21;
}

/** Delivers through IVT or IDT. GuestFault when delivery itself faults; the state is then as before. */
export function deliver(c: CpuContext, interruption: Interruption, returnRip: bigint): void {
  const cpu = c.cpu;
  if (!cpu.protectedMode) deliverReal(c, interruption.vector, returnRip);
  else if (cpu.longMode) deliverLong(c, interruption, returnRip);
  else deliverProtected(c, interruption, returnRip);
}

function deliverReal(c: CpuContext, vector: number, returnRip: bigint): void {
  const cpu = c.cpu;
  if (vector * 4 + 3 > (cpu.get32(State.idtrLimit) & 0xffff)) throw new GuestFault(Vector.GP, 0);
  const entry = cpu.get64(State.idtrBase) + BigInt(vector * 4);
  const offset = c.readSystem(entry, 2);
  const selector = Number(c.readSystem(entry + 2n, 2));
  const stack = new Pusher(c, 2);
  stack.push(BigInt(cpu.rflags));
  stack.push(BigInt(cpu.selector(SegmentIndex.cs)));
  stack.push(returnRip);
  stack.commit();
  cpu.setSystemFlag(Flag.IF, false);
  cpu.setSystemFlag(Flag.TF, false);
  cpu.setSystemFlag(Flag.AC, false);
  cpu.setSegment(SegmentIndex.cs, selector, BigInt(selector << 4), 0xffff, cpu.rights(SegmentIndex.cs));
  cpu.modeChanged();
  cpu.rip = offset;
}

/** Pushes without moving rsp until all is written, so that a fault leaves the stack pointer as it was. */
class Pusher {
  private pointer: bigint;
  private readonly mask: bigint;
  constructor(
    private readonly c: CpuContext,
    private readonly bytes: number,
    private readonly stack?: {
      base: bigint;
      pointer: bigint;
      mask: bigint;
      limitLow: bigint;
      limitHigh: bigint;
      error: number;
      cpl: number;
    },
  ) {
    const cpu = c.cpu;
    this.mask = stack?.mask ?? cpu.get64(State.stackMask);
    this.pointer = stack ? stack.pointer : cpu.gpr(4) & this.mask;
  }
  push(value: bigint): void {
    this.pointer = (this.pointer - BigInt(this.bytes)) & this.mask;
    const { c, bytes } = this;
    if (this.stack) {
      const last = this.pointer + BigInt(bytes - 1);
      if (this.pointer < this.stack.limitLow || last > this.stack.limitHigh)
        throw new GuestFault(Vector.SS, this.stack.error);
      const linear = c.cpu.longMode ? this.pointer : (this.pointer + this.stack.base) & 0xffffffffn;
      c.writeAs(this.stack.cpl, linear, value, bytes);
    } else c.write(c.segmentLinear(SegmentIndex.ss, this.pointer, bytes, true), value, bytes);
  }
  commit(): void {
    const cpu = this.c.cpu;
    cpu.setGpr(4, (cpu.gpr(4) & ~this.mask & 0xffffffffffffffffn) | this.pointer);
  }
  get value(): bigint {
    return this.pointer;
  }
}

interface Gate {
  selector: number;
  offset: bigint;
  type: number;
  dpl: number;
  present: boolean;
  ist: number;
  error: number;
}

function readGate(c: CpuContext, i: Interruption, bytes: 8 | 16): Gate {
  const cpu = c.cpu;
  const ext = i.external ? 1 : 0;
  const error = (i.vector << 3) | 2 | ext;
  const at = i.vector * bytes;
  if (at + bytes - 1 > (cpu.get32(State.idtrLimit) & 0xffff)) throw new GuestFault(Vector.GP, error);
  const address = BigInt.asUintN(64, cpu.get64(State.idtrBase) + BigInt(at));
  const low = Number(c.readSystem(address, 4));
  const high = Number(c.readSystem(address + 4n, 4));
  let offset = BigInt(((low & 0xffff) | (high & 0xffff0000)) >>> 0);
  if (bytes === 16) offset |= c.readSystem(address + 8n, 4) << 32n;
  return {
    selector: low >>> 16,
    offset,
    type: (high >>> 8) & 31,
    dpl: (high >>> 13) & 3,
    present: (high & 0x8000) !== 0,
    ist: high & 7,
    error,
  };
}

function targetCode(c: CpuContext, gate: Gate, ext: number): { d: Descriptor; cpl: number } {
  const cpu = c.cpu;
  if ((gate.selector & 0xfffc) === 0) throw new GuestFault(Vector.GP, ext);
  const d = readDescriptor(c, gate.selector, Vector.GP);
  const error = (gate.selector & 0xfffc) | ext;
  if (!isCode(d) || dpl(d) > cpu.cpl) throw new GuestFault(Vector.GP, error);
  if (!isPresent(d)) throw new GuestFault(Vector.NP, error);
  return { d, cpl: isConforming(d) ? cpu.cpl : dpl(d) };
}

function deliverProtected(c: CpuContext, i: Interruption, returnRip: bigint): void {
  const cpu = c.cpu;
  const ext = i.external ? 1 : 0;
  const gate = readGate(c, i, 8);
  const kind = gate.type & 7; // 5: task, 6: interrupt, 7: trap
  const wide = (gate.type & 8) !== 0;
  if (gate.type & 16 || kind < 5 || (kind === 5 && wide)) throw new GuestFault(Vector.GP, gate.error);
  if (i.software && gate.dpl < cpu.cpl) throw new GuestFault(Vector.GP, gate.error);
  if (!gate.present) throw new GuestFault(Vector.NP, gate.error);
  if (kind === 5) throw new GuestFault(Vector.GP, gate.error);
  const { d, cpl } = targetCode(c, gate, ext);
  const bytes = wide ? 4 : 2;
  const flags = BigInt(cpu.rflags | (i.fault ? Flag.RF : 0));
  const old = { ss: cpu.selector(SegmentIndex.ss), sp: cpu.gpr(4), cs: cpu.selector(SegmentIndex.cs) };
  if (cpl < cpu.cpl) {
    const inner = innerStack(c, cpl, ext);
    const stack = new Pusher(c, bytes, inner.stack);
    if (cpu.v8086)
      for (const s of [SegmentIndex.gs, SegmentIndex.fs, SegmentIndex.ds, SegmentIndex.es])
        stack.push(BigInt(cpu.selector(s)));
    stack.push(BigInt(old.ss));
    stack.push(old.sp);
    stack.push(flags);
    stack.push(BigInt(old.cs));
    stack.push(returnRip);
    if (i.error !== undefined) stack.push(BigInt(i.error));
    markAccessed(c, inner.d);
    if (cpu.v8086) {
      for (const s of [SegmentIndex.gs, SegmentIndex.fs, SegmentIndex.ds, SegmentIndex.es])
        cpu.setSegment(s, 0, 0n, 0, Rights.unusable);
      cpu.setSystemFlag(Flag.VM, false);
    }
    cpu.setSegment(
      SegmentIndex.ss,
      inner.selector,
      BigInt(descriptorBase(inner.d)),
      descriptorLimit(inner.d),
      descriptorRights(inner.d),
    );
    cpu.setGpr(4, stack.value);
  } else {
    const stack = new Pusher(c, bytes);
    stack.push(flags);
    stack.push(BigInt(old.cs));
    stack.push(returnRip);
    if (i.error !== undefined) stack.push(BigInt(i.error));
    stack.commit();
  }
  enterHandler(c, gate, d, cpl, kind === 6, wide ? gate.offset : gate.offset & 0xffffn);
}

function enterHandler(c: CpuContext, gate: Gate, d: Descriptor, cpl: number, masks: boolean, offset: bigint): void {
  const cpu = c.cpu;
  markAccessed(c, d);
  cpu.setSegment(
    SegmentIndex.cs,
    (gate.selector & ~3) | cpl,
    BigInt(descriptorBase(d)),
    descriptorLimit(d),
    descriptorRights(d),
  );
  if (masks) cpu.setSystemFlag(Flag.IF, false);
  for (const flag of [Flag.TF, Flag.NT, Flag.RF, Flag.VM]) cpu.setSystemFlag(flag, false);
  forceCpl(cpu, cpl);
  cpu.modeChanged();
  cpu.rip = offset;
}

/** SS:ESP for a privilege level from the TSS. SDM Vol. 3A, "Task-State Segment (TSS)". */
function innerStack(c: CpuContext, cpl: number, ext: number) {
  const cpu = c.cpu;
  const tr = SegmentIndex.tr;
  const wide = (cpu.rights(tr) & 8) !== 0;
  const base = cpu.segmentBase(tr);
  const offset = wide ? 4 + cpl * 8 : 2 + cpl * 4;
  const size = wide ? 8 : 4;
  if (offset + size - 1 > cpu.segmentLimit(tr)) throw new GuestFault(Vector.TS, (cpu.selector(tr) & 0xfffc) | ext);
  const pointer = c.readSystem(base + BigInt(offset), wide ? 4 : 2);
  const selector = Number(c.readSystem(base + BigInt(offset + (wide ? 4 : 2)), 2));
  const error = (selector & 0xfffc) | ext;
  if ((selector & 0xfffc) === 0) throw new GuestFault(Vector.TS, ext);
  const d = readDescriptor(c, selector, Vector.TS);
  if (rpl(selector) !== cpl || dpl(d) !== cpl || !isWritable(d)) throw new GuestFault(Vector.TS, error);
  if (!isPresent(d)) throw new GuestFault(Vector.SS, error);
  const big = (d.high & (1 << 22)) !== 0;
  const limit = BigInt(descriptorLimit(d));
  const down = (descriptorRights(d) & 4) !== 0;
  const mask = big ? 0xffffffffn : 0xffffn;
  const stack = {
    base: BigInt(descriptorBase(d)),
    pointer: pointer & mask,
    mask,
    limitLow: down ? limit + 1n : 0n,
    limitHigh: down ? mask : limit,
    error,
    cpl,
  };
  return { d, selector, stack };
}

function deliverLong(c: CpuContext, i: Interruption, returnRip: bigint): void {
  const cpu = c.cpu;
  const ext = i.external ? 1 : 0;
  const gate = readGate(c, i, 16);
  if (gate.type !== 14 && gate.type !== 15) throw new GuestFault(Vector.GP, gate.error);
  if (i.software && gate.dpl < cpu.cpl) throw new GuestFault(Vector.GP, gate.error);
  if (!gate.present) throw new GuestFault(Vector.NP, gate.error);
  const { d, cpl } = targetCode(c, gate, ext);
  if (!(d.high & (1 << 21)) || d.high & (1 << 22)) throw new GuestFault(Vector.GP, (gate.selector & 0xfffc) | ext);
  let pointer = cpu.gpr(4);
  const change = cpl < cpu.cpl;
  if (gate.ist || change) {
    const offset = gate.ist ? 36 + (gate.ist - 1) * 8 : 4 + cpl * 8;
    const tr = SegmentIndex.tr;
    if (offset + 7 > cpu.segmentLimit(tr)) throw new GuestFault(Vector.TS, (cpu.selector(tr) & 0xfffc) | ext);
    pointer = c.readSystem(BigInt.asUintN(64, cpu.segmentBase(tr) + BigInt(offset)), 8);
  }
  if (!cpu.canonical(pointer)) throw new GuestFault(Vector.SS, ext);
  // In IA-32e mode the frame is aligned to 16 bytes and always holds SS:RSP.
  const stack = new Pusher(c, 8, {
    base: 0n,
    pointer: pointer & ~15n,
    mask: 0xffffffffffffffffn,
    limitLow: 0n,
    limitHigh: 0xffffffffffffffffn,
    error: ext,
    cpl,
  });
  stack.push(BigInt(cpu.selector(SegmentIndex.ss)));
  stack.push(cpu.gpr(4));
  stack.push(BigInt(cpu.rflags | (i.fault ? Flag.RF : 0)));
  stack.push(BigInt(cpu.selector(SegmentIndex.cs)));
  stack.push(returnRip);
  if (i.error !== undefined) stack.push(BigInt(i.error));
  cpu.setGpr(4, stack.value);
  if (change) cpu.setSegment(SegmentIndex.ss, cpl, 0n, 0, Rights.unusable | (cpl << Rights.dplShift));
  enterHandler(c, gate, d, cpl, gate.type === 14, gate.offset);
}
