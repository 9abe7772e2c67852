/** Descriptor-table registers, task and local-descriptor registers, and the instructions that inspect descriptors. */
import { CODES } from '../../x86/codes';
import type { CpuContext } from '../cpuContext';
import {
  BUSY,
  SystemType,
  descriptorBase,
  descriptorLimit,
  descriptorRights,
  dpl,
  errorOf,
  isCode,
  isCodeOrData,
  isConforming,
  isPresent,
  isReadable,
  isWritable,
  readDescriptor,
  rpl,
  typeOf,
  upperHalf,
  type Descriptor,
} from '../descriptors';
import { SegmentIndex, State } from '../layout';
import { Cr4, Flag, GuestFault, Rights, Vector } from '../vcpu';
import { privileged, protectedOnly, readOperand, writeOperand, type Assist } from './operands';

/** UMIP forbids SGDT, SIDT, SLDT, STR and SMSW outside CPL 0. */
function umip(c: CpuContext): void {
  if (c.cpu.cr4 & Cr4.UMIP && c.cpu.cpl !== 0) throw new GuestFault(Vector.GP, 0);
}

function descriptorTable(c: CpuContext): { base: number; limit: number; global: boolean } {
  const global = CODES[c.code]!.row.mnemonic.endsWith('gdt');
  return { base: global ? State.gdtrBase : State.idtrBase, limit: global ? State.gdtrLimit : State.idtrLimit, global };
}

function storeDescriptorTable(c: CpuContext): void {
  umip(c);
  const { base, limit } = descriptorTable(c);
  const bytes = c.cpu.bitness === 64 ? 8 : 4;
  const linear = c.linear(2 + bytes, true);
  c.probeWrite(linear, 2 + bytes);
  c.write(linear, c.cpu.get64(limit) & 0xffffn, 2);
  c.write(linear + 2n, c.cpu.get64(base), bytes);
}

function loadDescriptorTable(c: CpuContext): void {
  privileged(c);
  const { base, limit } = descriptorTable(c);
  const long = c.cpu.bitness === 64;
  const linear = c.linear(long ? 10 : 6, false);
  const newLimit = c.read(linear, 2);
  let newBase = c.read(linear + 2n, long ? 8 : 4);
  // A 16-bit operand size loads 24 bits of base.
  if (CODES[c.code]!.name.endsWith('m1632_16')) newBase &= 0xffffffn;
  if (long && !c.cpu.canonicalBase(newBase)) throw new GuestFault(Vector.GP, 0);
  c.cpu.set64(base, newBase);
  c.cpu.set64(limit, newLimit);
}

/**
 * Base of an LDT or TSS. In IA-32e mode their descriptors are 16 bytes, which must lie in the table, with a type of zero in the upper
 * half; the base must be canonical. SDM Vol. 3A, "Segment Descriptor Tables in IA-32e Mode", "TSS Descriptor in 64-bit mode".
 */
function systemBase(c: CpuContext, selector: number, d: Descriptor): bigint {
  const low = BigInt(descriptorBase(d));
  if (!c.cpu.longMode) return low;
  const upper = upperHalf(c, selector);
  const base = low | (BigInt(upper.low >>> 0) << 32n);
  if (upper.high & 0x1f00 || !c.cpu.canonicalBase(base)) throw new GuestFault(Vector.GP, errorOf(selector));
  return base;
}

function loadLocalDescriptorTable(c: CpuContext): void {
  protectedOnly(c);
  privileged(c);
  const selector = Number(readOperand(c, 0, 2) & 0xffffn);
  const ldtr = SegmentIndex.ldtr;
  if ((selector & 0xfffc) === 0) {
    c.cpu.setSegment(ldtr, selector, 0n, 0, 0x82 | Rights.unusable);
    return;
  }
  const error = selector & 0xfffc;
  if (selector & 4) throw new GuestFault(Vector.GP, error);
  const d = readDescriptor(c, selector, Vector.GP);
  if (isCodeOrData(d) || typeOf(d) !== SystemType.ldt) throw new GuestFault(Vector.GP, error);
  if (!isPresent(d)) throw new GuestFault(Vector.NP, error);
  c.cpu.setSegment(ldtr, selector, systemBase(c, selector, d), descriptorLimit(d), descriptorRights(d));
}

function loadTask(c: CpuContext): void {
  protectedOnly(c);
  privileged(c);
  const selector = Number(readOperand(c, 0, 2) & 0xffffn);
  const error = selector & 0xfffc;
  if (error === 0) throw new GuestFault(Vector.GP, 0);
  if (selector & 4) throw new GuestFault(Vector.GP, error);
  const d = readDescriptor(c, selector, Vector.GP);
  const type = typeOf(d);
  const available = type === SystemType.tss32 || (type === SystemType.tss16 && !c.cpu.longMode);
  if (isCodeOrData(d) || !available) throw new GuestFault(Vector.GP, error);
  if (!isPresent(d)) throw new GuestFault(Vector.NP, error);
  const base = systemBase(c, selector, d);
  d.high |= BUSY;
  c.writeSystem(d.address + 4n, BigInt(d.high >>> 0), 4);
  c.cpu.setSegment(SegmentIndex.tr, selector, base, descriptorLimit(d), descriptorRights(d));
}

/** The descriptor a selector names when LAR, LSL, VERR or VERW may see it, else undefined. */
function visible(c: CpuContext, selector: number): Descriptor | undefined {
  if ((selector & 0xfffc) === 0) return undefined;
  let d: Descriptor;
  try {
    d = readDescriptor(c, selector, Vector.GP);
  } catch (error) {
    // Outside its table: the instruction says so in ZF. A page fault on the table is real.
    if (error instanceof GuestFault && error.vector === Vector.GP) return undefined;
    throw error;
  }
  const conforming = isCode(d) && isConforming(d);
  if (!conforming && (c.cpu.cpl > dpl(d) || rpl(selector) > dpl(d))) return undefined;
  return d;
}

function setZero(c: CpuContext, on: boolean): void {
  c.cpu.rflags = on ? c.cpu.rflags | Flag.ZF : c.cpu.rflags & ~Flag.ZF;
}

function inspect(c: CpuContext, types: readonly number[], value: (d: Descriptor) => number): void {
  protectedOnly(c);
  const d = visible(c, Number(readOperand(c, 1, 2) & 0xffffn));
  const ok = d !== undefined && (isCodeOrData(d) || types.includes(typeOf(d)));
  if (ok) writeOperand(c, 0, BigInt(value(d) >>> 0), 8);
  setZero(c, ok);
}

export const tableAssists: Record<string, Assist> = {
  storeDescriptorTable,
  loadDescriptorTable,
  loadLocalDescriptorTable,
  loadTask,
  storeSystemSegment: (c) => {
    protectedOnly(c);
    umip(c);
    const segment = CODES[c.code]!.row.mnemonic === 'Str' ? SegmentIndex.tr : SegmentIndex.ldtr;
    writeOperand(c, 0, BigInt(c.cpu.selector(segment)), 2);
  },
  storeMachineStatus: (c) => {
    umip(c);
    writeOperand(c, 0, c.cpu.get64(State.cr0), 2);
  },
  loadAccessRights: (c) => {
    const types = c.cpu.longMode ? [2, 9, 11, 12] : [1, 2, 3, 4, 5, 9, 11, 12];
    inspect(c, types, (d) => d.high & 0x00f0ff00);
  },
  loadSegmentLimit: (c) => inspect(c, c.cpu.longMode ? [2, 9, 11] : [1, 2, 3, 9, 11], descriptorLimit),
  adjustRequestedPrivilege: (c) => {
    protectedOnly(c);
    const destination = Number(readOperand(c, 0, 2) & 0xffffn);
    const requested = rpl(Number(c.cpu.gpr(c.registerOffset(1) >> 3) & 0xffffn));
    const adjust = rpl(destination) < requested;
    if (adjust) {
      const value = BigInt((destination & ~3) | requested);
      if (c.hasMemory) c.write(c.linear(2, true), value, 2);
      else c.cpu.setGprSized(c.registerOffset(0) >> 3, value, 2);
    }
    setZero(c, adjust);
  },
  verifySegment: (c) => {
    protectedOnly(c);
    const d = visible(c, Number(readOperand(c, 0, 2) & 0xffffn));
    const write = CODES[c.code]!.row.mnemonic === 'Verw';
    setZero(c, d !== undefined && isCodeOrData(d) && (write ? isWritable(d) : isReadable(d)));
  },
};
