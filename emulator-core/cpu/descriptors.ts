/** Segment descriptors: reading them from the GDT or LDT and loading segment registers. SDM Vol. 3A, "Protected-Mode Memory Management". */
import type { CpuContext } from './cpuContext';
import { SegmentIndex, State, type SegmentName } from './layout';
import { GuestFault, Rights, Vector, type Vcpu } from './vcpu';

export interface Descriptor {
  low: number;
  high: number;
  /** Linear address of the descriptor. */
  address: bigint;
}

export const rpl = (selector: number): number => selector & 3;
export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;
/** The selector as error codes hold it. SDM Vol. 3A, "Error Code". */
export const errorOf = (selector: number): number => selector & 0xfffc;

/** Types of system descriptors. SDM Vol. 3A, "System Descriptor Types". */
export const SystemType = {
  tss16: 1, ldt: 2, busyTss16: 3, callGate16: 4, taskGate: 5, tss32: 9, busyTss32: 11, callGate32: 12,
} as const; // prettier-ignore
/** Bit that makes an available TSS descriptor a busy one, in the descriptor's high half. */
export const BUSY = 0x200;

export const dpl = (d: Descriptor): number => (d.high >>> 13) & 3;
export const typeOf = (d: Descriptor): number => (d.high >>> 8) & 15;
export const isPresent = (d: Descriptor): boolean => (d.high & 0x8000) !== 0;
/** Code or data (S = 1), as opposed to a system descriptor. */
export const isCodeOrData = (d: Descriptor): boolean => (d.high & 0x1000) !== 0;
export const isCode = (d: Descriptor): boolean => isCodeOrData(d) && (typeOf(d) & 8) !== 0;
export const isConforming = (d: Descriptor): boolean => (typeOf(d) & 4) !== 0;
export const isReadable = (d: Descriptor): boolean => !isCode(d) || (typeOf(d) & 2) !== 0;
export const isWritable = (d: Descriptor): boolean => isCodeOrData(d) && !isCode(d) && (typeOf(d) & 2) !== 0;

export function descriptorBase(d: Descriptor): number {
  return (((d.low >>> 16) & 0xffff) | ((d.high & 0xff) << 16) | (d.high & 0xff000000)) >>> 0;
}
export function descriptorLimit(d: Descriptor): number {
  const limit = (d.low & 0xffff) | (d.high & 0xf0000);
  return d.high & 0x800000 ? ((limit << 12) | 0xfff) >>> 0 : limit;
}
/** Access rights in the VMCS format. */
export function descriptorRights(d: Descriptor): number {
  return ((d.high >>> 8) & 0xff) | ((d.high >>> 8) & 0xf000);
}

/** Reads the descriptor a selector names; GuestFault(vector, selector | ext) when it lies outside its table. */
export function readDescriptor(c: CpuContext, selector: number, vector: number, ext = 0): Descriptor {
  const cpu = c.cpu;
  let base = cpu.get64(State.gdtrBase);
  let limit = cpu.get32(State.gdtrLimit) & 0xffff;
  if (selector & 4) {
    if (cpu.rights(SegmentIndex.ldtr) & Rights.unusable) throw new GuestFault(vector, errorOf(selector) | ext);
    base = cpu.segmentBase(SegmentIndex.ldtr);
    limit = cpu.segmentLimit(SegmentIndex.ldtr);
  }
  const offset = selector & 0xfff8;
  if (offset + 7 > limit) throw new GuestFault(vector, errorOf(selector) | ext);
  const address = BigInt.asUintN(64, base + BigInt(offset));
  return { low: Number(c.readSystem(address, 4)), high: Number(c.readSystem(address + 4n, 4)), address };
}

/** The upper 8 bytes of a system descriptor in IA-32e mode; #GP(selector) when they lie outside the table. */
export function upperHalf(c: CpuContext, selector: number): Descriptor {
  try {
    return readDescriptor(c, selector + 8, Vector.GP);
  } catch (e) {
    if (e instanceof GuestFault && e.vector === Vector.GP) throw new GuestFault(Vector.GP, errorOf(selector));
    throw e;
  }
}

/** Sets the accessed bit of a code or data descriptor, as loading it does. */
export function markAccessed(c: CpuContext, d: Descriptor): void {
  if (d.high & 0x100) return;
  d.high |= 0x100;
  c.writeSystem(d.address + 4n, BigInt(d.high >>> 0), 4);
}

export function setFromDescriptor(cpu: Vcpu, segment: number, selector: number, d: Descriptor): void {
  cpu.setSegment(segment, selector, BigInt(descriptorBase(d)), descriptorLimit(d), descriptorRights(d));
}

/** An unusable data segment register (null selector). */
export function setNull(cpu: Vcpu, segment: number, selector: number): void {
  // In 64-bit mode FS and GS keep their base on Intel only until the next load; a null selector clears it.
  cpu.setSegment(
    segment,
    selector,
    0n,
    0,
    Rights.unusable | (segment === SegmentIndex.ss ? cpu.cpl << Rights.dplShift : 0),
  );
}

/**
 * A segment register in real-address and virtual-8086 mode: the base is the selector times 16. Real mode keeps the cached limit and
 * size ("unreal" mode); virtual-8086 mode has 64 KiB segments. modeChanged() must follow.
 */
export function loadParagraph(cpu: Vcpu, segment: number, selector: number): void {
  if (cpu.v8086) {
    cpu.setSegment(segment, selector, BigInt(selector << 4), 0xffff, 0xf3);
    return;
  }
  const type = segment === SegmentIndex.cs ? 0x9b : 0x93;
  const kept = cpu.rights(segment) & (Rights.DB | Rights.G);
  cpu.setSegment(segment, selector, BigInt(selector << 4), cpu.segmentLimit(segment), type | kept);
}

/** MOV/POP to DS, ES, FS, GS, SS with all checks. SDM Vol. 2, "MOV—Move", Operation. modeChanged() is done here. */
export function loadSegment(c: CpuContext, segment: number, selector: number): void {
  const cpu = c.cpu;
  if (cpu.realOrV8086) {
    loadParagraph(cpu, segment, selector);
    cpu.modeChanged();
    return;
  }
  const stack = segment === SegmentIndex.ss;
  if (isNull(selector)) {
    if (stack && !(cpu.bitness === 64 && cpu.cpl < 3 && rpl(selector) === cpu.cpl)) throw new GuestFault(Vector.GP, 0);
    setNull(cpu, segment, selector);
    cpu.modeChanged();
    return;
  }
  const d = readDescriptor(c, selector, Vector.GP);
  const error = errorOf(selector);
  if (stack) {
    if (rpl(selector) !== cpu.cpl || !isWritable(d) || dpl(d) !== cpu.cpl) throw new GuestFault(Vector.GP, error);
    if (!isPresent(d)) throw new GuestFault(Vector.SS, error);
  } else {
    if (!isCodeOrData(d) || !isReadable(d)) throw new GuestFault(Vector.GP, error);
    const checked = !isCode(d) || !isConforming(d);
    if (checked && (rpl(selector) > dpl(d) || cpu.cpl > dpl(d))) throw new GuestFault(Vector.GP, error);
    if (!isPresent(d)) throw new GuestFault(Vector.NP, error);
  }
  markAccessed(c, d);
  setFromDescriptor(cpu, segment, selector, d);
  cpu.modeChanged();
}

/**
 * Checks a code descriptor for a far transfer to `selector`: a direct JMP or CALL, or a return (which may lower privilege).
 * SDM Vol. 3A, "Privilege Level Checking When Transferring Program Control Between Code Segments".
 */
export function checkCode(c: CpuContext, selector: number, d: Descriptor, kind: 'jump' | 'return'): void {
  const cpu = c.cpu;
  const error = errorOf(selector);
  if (!isCode(d)) throw new GuestFault(Vector.GP, error);
  const conforming = isConforming(d);
  let bad: boolean;
  if (kind === 'jump') bad = conforming ? dpl(d) > cpu.cpl : rpl(selector) > cpu.cpl || dpl(d) !== cpu.cpl;
  else bad = rpl(selector) < cpu.cpl || (conforming ? dpl(d) > rpl(selector) : dpl(d) !== rpl(selector));
  if (bad || (cpu.longMode && isLong(d) && d.high & DEFAULT_BIG)) throw new GuestFault(Vector.GP, error);
  if (!isPresent(d)) throw new GuestFault(Vector.NP, error);
}

/** D/B: 32-bit code or stack. */
export const DEFAULT_BIG = 1 << 22;
/** L: 64-bit code, in IA-32e mode. */
export const isLong = (d: Descriptor): boolean => (d.high & (1 << 21)) !== 0;

/** #GP(`error`) unless `offset` can be fetched from code segment `d`. */
export function checkTarget(c: CpuContext, d: Descriptor, offset: bigint, error = 0): void {
  const long = c.cpu.longMode && isLong(d);
  const bad = long ? !c.cpu.canonical(offset) : offset > BigInt(descriptorLimit(d));
  if (bad) throw new GuestFault(Vector.GP, error);
}

/** Loads CS with a checked and accessed descriptor at privilege `cpl`, which becomes the selector's RPL. modeChanged() must follow. */
export function setCode(cpu: Vcpu, selector: number, d: Descriptor, cpl: number): void {
  setFromDescriptor(cpu, SegmentIndex.cs, (selector & ~3) | cpl, d);
}

/** CPL lives in SS.DPL: forces it where a transfer changes privilege without a stack descriptor of its own. */
export function forceCpl(cpu: Vcpu, cpl: number): void {
  const ss = SegmentIndex.ss;
  const rights = (cpu.rights(ss) & ~(3 << Rights.dplShift)) | (cpl << Rights.dplShift);
  cpu.setSegment(ss, cpu.selector(ss), cpu.segmentBase(ss), cpu.segmentLimit(ss), rights);
}

export const SEGMENT_NAMES = Object.keys(SegmentIndex) as SegmentName[];
