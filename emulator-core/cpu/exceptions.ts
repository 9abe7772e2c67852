/**
 * Delivery of interrupts and exceptions in every mode. SDM Vol. 3A, chapter "Interrupt and Exception Handling", and "8086
 * Emulation" for real-address and virtual-8086 mode; Vol. 2, "INT n/INTO/INT3/INT1—Call to Interrupt Procedure", Operation.
 */
import type { CpuContext } from './cpuContext';
import {
  DEFAULT_BIG,
  checkTarget,
  dpl,
  errorOf,
  forceCpl,
  isCode,
  isConforming,
  isLong,
  isNull,
  isPresent,
  loadParagraph,
  markAccessed,
  readDescriptor,
  setCode,
  setNull,
  type Descriptor,
} from './descriptors';
import { SegmentIndex, State } from './layout';
import { Pusher, innerStack, interruptStack, markStackAccessed, type NewStack } from './stack';
import { TaskSwitch, readTaskGate, switchTask } from './taskSwitch';
import { Flag, GuestFault, Vector } from './vcpu';

const { es: ES, cs: CS, ss: SS, ds: DS, fs: FS, gs: GS } = SegmentIndex;
const RSP = 4;

export interface Interruption {
  vector: number;
  error?: number;
  /** INT n, INT3, INTO: the gate's DPL is checked. */
  software: boolean;
  /** What is not caused by INT n, INT3 or INTO sets EXT in the error codes of its delivery. */
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

/**
 * Delivers through IVT or IDT and sets rip. GuestFault when delivery itself faults; the state is then as before, unless the fault
 * says that it happened in the context of a new task.
 */
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
  deliverThroughVectorTable(c, entry, returnRip, cpu.rflags);
  cpu.setSystemFlag(Flag.IF, false);
  cpu.setSystemFlag(Flag.AC, false);
}

/** Pushes `flags`, CS and IP as words and takes CS:IP from `entry`. Clears TF and RF; IF or VIF is the caller's. */
export function deliverThroughVectorTable(c: CpuContext, entry: bigint, returnRip: bigint, flags: number): void {
  const cpu = c.cpu;
  const offset = c.readSystem(entry, 2);
  const selector = Number(c.readSystem(entry + 2n, 2));
  const stack = new Pusher(c, 2);
  stack.push(BigInt(flags & 0xffff));
  stack.push(BigInt(cpu.selector(CS)));
  stack.push(returnRip);
  stack.commit();
  cpu.setSystemFlag(Flag.TF, false);
  cpu.setSystemFlag(Flag.RF, false);
  loadParagraph(cpu, CS, selector);
  cpu.modeChanged();
  cpu.rip = offset;
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

/** Types of gates in the IDT, with the S bit. SDM Vol. 3A, "IDT Descriptors". */
const GateType = { task: 5, interrupt16: 6, trap16: 7, interrupt32: 14, trap32: 15 } as const;

function readGate(c: CpuContext, i: Interruption, types: readonly number[], bytes: 8 | 16): Gate {
  const cpu = c.cpu;
  const error = (i.vector << 3) | 2 | (i.external ? 1 : 0);
  const at = i.vector * bytes;
  if (at + bytes - 1 > (cpu.get32(State.idtrLimit) & 0xffff)) throw new GuestFault(Vector.GP, error);
  const address = BigInt.asUintN(64, cpu.get64(State.idtrBase) + BigInt(at));
  const low = Number(c.readSystem(address, 4));
  const high = Number(c.readSystem(address + 4n, 4));
  let offset = BigInt(((low & 0xffff) | (high & 0xffff0000)) >>> 0);
  if (bytes === 16) offset |= c.readSystem(address + 8n, 4) << 32n;
  const type = (high >>> 8) & 31;
  const gateDpl = (high >>> 13) & 3;
  if (!types.includes(type)) throw new GuestFault(Vector.GP, error);
  if (i.software && gateDpl < cpu.cpl) throw new GuestFault(Vector.GP, error);
  if (!(high & 0x8000)) throw new GuestFault(Vector.NP, error);
  return { selector: low >>> 16, offset, type, dpl: gateDpl, present: true, ist: high & 7, error };
}

/** The handler's code segment and the privilege level it runs at. */
function targetCode(c: CpuContext, gate: Gate, ext: number): { d: Descriptor; cpl: number } {
  const cpu = c.cpu;
  if (isNull(gate.selector)) throw new GuestFault(Vector.GP, ext);
  const d = readDescriptor(c, gate.selector, Vector.GP, ext);
  const error = errorOf(gate.selector) | ext;
  if (!isCode(d) || dpl(d) > cpu.cpl) throw new GuestFault(Vector.GP, error);
  if (cpu.longMode && (!isLong(d) || d.high & DEFAULT_BIG)) throw new GuestFault(Vector.GP, error);
  if (!isPresent(d)) throw new GuestFault(Vector.NP, error);
  const cpl = isConforming(d) ? cpu.cpl : dpl(d);
  // Out of virtual-8086 mode there is only the way to privilege level 0.
  if (cpu.v8086 && cpl !== 0) throw new GuestFault(Vector.GP, error);
  return { d, cpl };
}

function deliverProtected(c: CpuContext, i: Interruption, returnRip: bigint): void {
  const cpu = c.cpu;
  const ext = i.external ? 1 : 0;
  const gate = readGate(c, i, Object.values(GateType), 8);
  const flags = cpu.rflags | (i.fault ? Flag.RF : 0);
  if (gate.type === GateType.task) {
    const target = readTaskGate(c, gate.selector, ext);
    switchTask(c, target, TaskSwitch.gate, { returnRip, flags, ext, error: i.error });
    return;
  }
  const { d, cpl } = targetCode(c, gate, ext);
  const wide = (gate.type & 8) !== 0;
  const offset = wide ? gate.offset : gate.offset & 0xffffn;
  const inner: NewStack | undefined = cpl < cpu.cpl ? innerStack(c, cpl, ext) : undefined;
  const stack = new Pusher(c, wide ? 4 : 2, inner, ext);
  if (cpu.v8086) for (const s of [GS, FS, DS, ES]) stack.push(BigInt(cpu.selector(s)));
  if (inner) {
    stack.push(BigInt(cpu.selector(SS)));
    stack.push(cpu.gpr(RSP));
  }
  stack.push(BigInt(flags));
  stack.push(BigInt(cpu.selector(CS)));
  stack.push(returnRip);
  if (i.error !== undefined) stack.push(BigInt(i.error));
  checkTarget(c, d, offset, ext);
  if (inner) markStackAccessed(c, inner);
  markAccessed(c, d);
  if (cpu.v8086) {
    cpu.setSystemFlag(Flag.VM, false);
    for (const s of [GS, FS, DS, ES]) setNull(cpu, s, 0);
  }
  stack.commit();
  enterHandler(c, gate, d, cpl, offset);
}

function deliverLong(c: CpuContext, i: Interruption, returnRip: bigint): void {
  const cpu = c.cpu;
  const ext = i.external ? 1 : 0;
  const gate = readGate(c, i, [GateType.interrupt32, GateType.trap32], 16);
  const { d, cpl } = targetCode(c, gate, ext);
  const flags = cpu.rflags | (i.fault ? Flag.RF : 0);
  const change = cpl < cpu.cpl;
  let fresh: NewStack | undefined;
  if (gate.ist) fresh = interruptStack(c, gate.ist, cpl, ext);
  else if (change) fresh = innerStack(c, cpl, ext);
  const pointer = fresh?.pointer ?? cpu.gpr(RSP);
  // In IA-32e mode the frame is aligned to 16 bytes and always holds SS:RSP; SS stays unless the privilege level changes.
  const stack = new Pusher(c, 8, {
    selector: cpl,
    base: 0n,
    pointer: pointer & ~15n,
    mask: 0xffffffffffffffffn,
    low: 0n,
    high: 0xffffffffffffffffn,
    error: ext,
    cpl,
  });
  stack.push(BigInt(cpu.selector(SS)));
  stack.push(cpu.gpr(RSP));
  stack.push(BigInt(flags));
  stack.push(BigInt(cpu.selector(CS)));
  stack.push(returnRip);
  if (i.error !== undefined) stack.push(BigInt(i.error));
  checkTarget(c, d, gate.offset, ext);
  markAccessed(c, d);
  if (change) stack.commit();
  else stack.commitPointer();
  enterHandler(c, gate, d, cpl, gate.offset);
}

function enterHandler(c: CpuContext, gate: Gate, d: Descriptor, cpl: number, offset: bigint): void {
  const cpu = c.cpu;
  setCode(cpu, gate.selector, d, cpl);
  // Interrupt gates have even types.
  if (!(gate.type & 1)) cpu.setSystemFlag(Flag.IF, false);
  for (const flag of [Flag.TF, Flag.NT, Flag.RF, Flag.VM]) cpu.setSystemFlag(flag, false);
  forceCpl(cpu, cpl);
  cpu.modeChanged();
  cpu.rip = offset;
}
