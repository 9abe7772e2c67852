/** Segment descriptors: reading them from the GDT or LDT and loading segment registers. SDM Vol. 3A, "Protected-Mode Memory Management". */
import type { CpuContext } from './cpuContext';
import { SegmentIndex, State, type SegmentName } from './layout';
import { Efer, GuestFault, Rights, Vector, type Vcpu } from './vcpu';

export interface Descriptor {
  low: number;
  high: number;
  /** Linear address of the descriptor. */
  address: bigint;
}

export const rpl = (selector: number): number => selector & 3;
const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;
const errorOf = (selector: number): number => selector & 0xfffc;

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

/** Reads the descriptor a selector names; GuestFault(vector, selector) when it lies outside its table. */
export function readDescriptor(c: CpuContext, selector: number, vector: number): Descriptor {
  const cpu = c.cpu;
  let base = cpu.get64(State.gdtrBase);
  let limit = cpu.get32(State.gdtrLimit) & 0xffff;
  if (selector & 4) {
    if (cpu.rights(SegmentIndex.ldtr) & Rights.unusable) throw new GuestFault(vector, errorOf(selector));
    base = cpu.segmentBase(SegmentIndex.ldtr);
    limit = cpu.segmentLimit(SegmentIndex.ldtr);
  }
  const offset = selector & 0xfff8;
  if (offset + 7 > limit) throw new GuestFault(vector, errorOf(selector));
  const address = BigInt.asUintN(64, base + BigInt(offset));
  return { low: Number(c.readSystem(address, 4)), high: Number(c.readSystem(address + 4n, 4)), address };
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

/** MOV/POP to DS, ES, FS, GS, SS with all checks. SDM Vol. 2, "MOV—Move", Operation. modeChanged() is done here. */
export function loadSegment(c: CpuContext, segment: number, selector: number): void {
  const cpu = c.cpu;
  if (cpu.realOrV8086) {
    const rights = cpu.v8086 ? 0xf3 : 0x93;
    // Real mode keeps the cached limit ("unreal" mode); virtual-8086 mode has 64 KiB segments.
    const limit = cpu.v8086 ? 0xffff : cpu.segmentLimit(segment);
    const kept = cpu.v8086 ? rights : cpu.rights(segment) & ~Rights.unusable;
    cpu.setSegment(segment, selector, BigInt(selector << 4), limit, kept);
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

/** Checks a code descriptor for a far transfer to `selector` at privilege `target`; returns it. `outer`: IRET and RETF may lower privilege. */
export function checkCode(c: CpuContext, selector: number, kind: 'jump' | 'return' | 'gate', gateDpl = 0): Descriptor {
  const cpu = c.cpu;
  if (isNull(selector)) throw new GuestFault(Vector.GP, 0);
  const d = readDescriptor(c, selector, Vector.GP);
  const error = errorOf(selector);
  if (!isCode(d)) throw new GuestFault(Vector.GP, error);
  const conforming = isConforming(d);
  void gateDpl;
  if (kind === 'jump') {
    if (conforming ? dpl(d) > cpu.cpl : rpl(selector) > cpu.cpl || dpl(d) !== cpu.cpl)
      throw new GuestFault(Vector.GP, error);
  } else if (kind === 'return') {
    if (rpl(selector) < cpu.cpl) throw new GuestFault(Vector.GP, error);
    if (conforming ? dpl(d) > rpl(selector) : dpl(d) !== rpl(selector)) throw new GuestFault(Vector.GP, error);
  } else if (dpl(d) > cpu.cpl) throw new GuestFault(Vector.GP, error);
  const long = (d.high & (1 << 21)) !== 0;
  if (long && cpu.efer & Efer.LMA && d.high & (1 << 22)) throw new GuestFault(Vector.GP, error);
  if (!isPresent(d)) throw new GuestFault(Vector.NP, error);
  return d;
}

/** Loads CS with a checked descriptor at privilege `cpl`: RPL of the selector becomes CPL. modeChanged() must follow. */
export function setCode(c: CpuContext, selector: number, d: Descriptor, cpl: number): void {
  markAccessed(c, d);
  const cpu = c.cpu;
  setFromDescriptor(cpu, SegmentIndex.cs, (selector & ~3) | cpl, d);
}

/** CPL lives in SS.DPL: forces it where a transfer changes privilege without a stack descriptor of its own. */
export function forceCpl(cpu: Vcpu, cpl: number): void {
  const ss = SegmentIndex.ss;
  const rights = (cpu.rights(ss) & ~(3 << Rights.dplShift)) | (cpl << Rights.dplShift);
  cpu.setSegment(ss, cpu.selector(ss), cpu.segmentBase(ss), cpu.segmentLimit(ss), rights);
}

export const SEGMENT_NAMES = Object.keys(SegmentIndex) as SegmentName[];
