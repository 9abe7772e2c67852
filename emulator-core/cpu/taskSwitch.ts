/**
 * Hardware task switches through 16- and 32-bit task-state segments. SDM Vol. 3A, chapter "Task Management": "Task Switching" for
 * the steps, Table "Exception Conditions Checked During a Task Switch" for the checks, Table "Effect of a Task Switch on Busy Flag,
 * NT Flag, Previous Task Link Field, and TS Flag". There are none in IA-32e mode.
 */
import type { CpuContext } from './cpuContext';
import { DebugStatus } from './debugRegisters';
import {
  BUSY,
  SystemType,
  checkTarget,
  descriptorBase,
  descriptorLimit,
  descriptorRights,
  dpl,
  errorOf,
  isCode,
  isCodeOrData,
  isConforming,
  isNull,
  isPresent,
  isReadable,
  isWritable,
  markAccessed,
  readDescriptor,
  rpl,
  setCode,
  setFromDescriptor,
  setNull,
  typeOf,
  type Descriptor,
} from './descriptors';
import { SegmentIndex, State } from './layout';
import { Pusher } from './stack';
import { Cr0, Cr4, Flag, GuestFault, Rights, Vector, type Vcpu } from './vcpu';

/** What causes a task switch, numbered as in the exit qualification of a task-switch VM exit. */
export const TaskSwitch = { call: 0, iret: 1, jump: 2, gate: 3 } as const;

const { es: ES, cs: CS, ss: SS, ds: DS, fs: FS, gs: GS, ldtr: LDTR, tr: TR } = SegmentIndex;

/** Offsets in a TSS; general registers and segment selectors lie one after the other in encoding order. */
interface TssLayout {
  /** Size of a general register's field, and of a pushed error code. */
  word: 2 | 4;
  /** The smallest limit a TSS descriptor may have. */
  limit: number;
  ip: number;
  flags: number;
  registers: number;
  selectors: number;
  selectorStep: number;
  segments: readonly number[];
  ldt: number;
}
const TSS32: TssLayout = {
  word: 4, limit: 0x67, ip: 0x20, flags: 0x24, registers: 0x28, selectors: 0x48, selectorStep: 4, segments: [ES, CS, SS, DS, FS, GS], ldt: 0x60,
}; // prettier-ignore
const TSS16: TssLayout = {
  word: 2, limit: 0x2b, ip: 0x0e, flags: 0x10, registers: 0x12, selectors: 0x22, selectorStep: 2, segments: [ES, CS, SS, DS], ldt: 0x2a,
}; // prettier-ignore
const TSS32_CR3 = 0x1c;
const TSS32_TRAP = 0x64;

export interface TaskTarget {
  selector: number;
  descriptor: Descriptor;
}

/** Available TSS that a task gate names: #GP or #NP with its selector otherwise. */
export function readTaskGate(c: CpuContext, selector: number, ext: number): TaskTarget {
  const error = errorOf(selector) | ext;
  if (selector & 4) throw new GuestFault(Vector.GP, error);
  const descriptor = readDescriptor(c, selector, Vector.GP, ext);
  checkAvailable(descriptor, error);
  return { selector, descriptor };
}

/** #GP(`error`) unless the descriptor is an available TSS, #NP(`error`) unless it is present. */
export function checkAvailable(d: Descriptor, error: number): void {
  const type = typeOf(d);
  const available = !isCodeOrData(d) && (type === SystemType.tss16 || type === SystemType.tss32);
  if (!available) throw new GuestFault(Vector.GP, error);
  if (!isPresent(d)) throw new GuestFault(Vector.NP, error);
}

/** The task that IRET with NT set goes back to. #TS unless the previous-task link names a busy TSS. */
export function readTaskLink(c: CpuContext): TaskTarget {
  const selector = Number(c.readSystem(c.cpu.segmentBase(TR), 2));
  const error = errorOf(selector);
  if (selector & 4) throw new GuestFault(Vector.TS, error);
  const descriptor = readDescriptor(c, selector, Vector.TS);
  const type = typeOf(descriptor);
  const busy = !isCodeOrData(descriptor) && (type === SystemType.busyTss16 || type === SystemType.busyTss32);
  if (!busy) throw new GuestFault(Vector.TS, error);
  if (!isPresent(descriptor)) throw new GuestFault(Vector.NP, error);
  return { selector, descriptor };
}

export interface TaskSwitchFacts {
  /** EIP and EFLAGS that the old task will go on with. */
  returnRip: bigint;
  flags: number;
  /** EXT bit of error codes. */
  ext?: number;
  /** Error code for the new task's stack. */
  error?: number;
}

/**
 * Switches to the task of `target` (checked by its kind: available, or busy for IRET). Faults before the switch leave the old task
 * as it was; those that the new task's state causes are GuestFault with `afterwards`, and rip is the new task's.
 */
export function switchTask(c: CpuContext, target: TaskTarget, source: number, facts: TaskSwitchFacts): void {
  const { cpu } = c;
  const ext = facts.ext ?? 0;
  const { selector, descriptor } = target;
  const layout = typeOf(descriptor) & 8 ? TSS32 : TSS16;
  if (descriptorLimit(descriptor) < layout.limit) throw new GuestFault(Vector.TS, errorOf(selector) | ext);
  c.exits.taskSwitch(c, selector, source);
  const base = BigInt(descriptorBase(descriptor));
  const image = readTss(c, base, layout);
  const nested = source === TaskSwitch.call || source === TaskSwitch.gate;
  // Everything that will be written is checked first, so that a page fault leaves the old task as it was.
  if (nested) c.probeWrite(base, 2, true);
  if (source !== TaskSwitch.iret) c.probeWrite(descriptor.address + 4n, 4, true);
  const oldSelector = cpu.selector(TR);
  probeOldTask(c, ext);
  if (image.cr3 !== undefined && paePaging(cpu) && !c.loadPointers(Number(image.cr3)))
    throw new GuestFault(Vector.TS, errorOf(selector) | ext);
  saveOldTask(c, source === TaskSwitch.iret ? facts.flags & ~Flag.NT : facts.flags, facts.returnRip);
  if (!nested) clearBusy(c, oldSelector);
  if (nested) c.writeSystem(base, BigInt(oldSelector), 2);
  if (source !== TaskSwitch.iret) {
    descriptor.high |= BUSY;
    c.writeSystem(descriptor.address + 4n, BigInt(descriptor.high >>> 0), 4);
  }
  cpu.setSegment(TR, selector, base, descriptorLimit(descriptor), descriptorRights(descriptor) | (BUSY >> 8));
  cpu.set64(State.cr0, BigInt((cpu.cr0 | Cr0.TS) >>> 0));
  // The local breakpoints belong to a task. SDM Vol. 3B, "Debug Control Register (DR7)".
  cpu.set64(State.dr + 7 * 8, cpu.get64(State.dr + 7 * 8) & ~0x155n);
  loadRegisters(cpu, image, nested);
  c.flushTranslations();
  c.jump(image.ip);
  cpu.attention = true;
  try {
    loadSegments(c, image, ext);
    if (facts.error !== undefined) {
      const stack = new Pusher(c, layout.word, undefined, ext);
      stack.push(BigInt(facts.error));
      stack.commit();
    }
  } catch (e) {
    if (e instanceof GuestFault) throw new GuestFault(e.vector, e.error, e.address, { afterwards: true });
    throw e;
  }
  if (image.trap) cpu.debugTraps |= DebugStatus.BT;
}

interface TssImage {
  ip: bigint;
  flags: number;
  registers: bigint[];
  /** By segment index. */
  selectors: number[];
  ldt: number;
  cr3?: bigint;
  trap: boolean;
}

function readTss(c: CpuContext, base: bigint, layout: TssLayout): TssImage {
  const read = (offset: number, bytes: number): bigint => c.readSystem(base + BigInt(offset), bytes);
  const { word } = layout;
  const selectors = [0, 0, 0, 0, 0, 0];
  layout.segments.forEach((s, i) => (selectors[s] = Number(read(layout.selectors + i * layout.selectorStep, 2))));
  const wide = layout === TSS32;
  return {
    ip: read(layout.ip, word),
    flags: Number(read(layout.flags, word)),
    registers: Array.from({ length: 8 }, (_, r) => read(layout.registers + r * word, word)),
    selectors,
    ldt: Number(read(layout.ldt, 2)),
    cr3: wide ? read(TSS32_CR3, 4) : undefined,
    trap: wide && (read(TSS32_TRAP, 2) & 1n) !== 0n,
  };
}

const paePaging = (cpu: Vcpu): boolean => (cpu.cr0 & Cr0.PG) !== 0 && (cpu.cr4 & Cr4.PAE) !== 0;

const presentLayout = (cpu: Vcpu): TssLayout => (cpu.rights(TR) & 8 ? TSS32 : TSS16);

/** The present TSS can take the old task's state. */
function probeOldTask(c: CpuContext, ext: number): void {
  const { cpu } = c;
  const layout = presentLayout(cpu);
  if (cpu.segmentLimit(TR) < layout.limit) throw new GuestFault(Vector.TS, errorOf(cpu.selector(TR)) | ext);
  const base = cpu.segmentBase(TR);
  c.probeWrite(base + BigInt(layout.ip), 1, true);
  c.probeWrite(base + BigInt(layout.ldt - 1), 1, true);
}

/** Registers, selectors, flags and ip into the present TSS; its link, stacks, CR3 and LDT selector are static. */
function saveOldTask(c: CpuContext, flags: number, ip: bigint): void {
  const { cpu } = c;
  const layout = presentLayout(cpu);
  const base = cpu.segmentBase(TR);
  const { word } = layout;
  const write = (offset: number, value: bigint, bytes: number): void =>
    c.writeSystem(base + BigInt(offset), value, bytes);
  write(layout.ip, ip, word);
  write(layout.flags, BigInt(flags >>> 0), word);
  for (let r = 0; r < 8; r++) write(layout.registers + r * word, cpu.gpr(r), word);
  layout.segments.forEach((s, i) => write(layout.selectors + i * layout.selectorStep, BigInt(cpu.selector(s)), 2));
}

function clearBusy(c: CpuContext, selector: number): void {
  if (isNull(selector)) return;
  const d = readDescriptor(c, selector, Vector.TS);
  c.writeSystem(d.address + 4n, BigInt((d.high & ~BUSY) >>> 0), 4);
}

/** All that needs no descriptor. The segment registers hold their selectors, but cannot be used yet. */
function loadRegisters(cpu: Vcpu, image: TssImage, nested: boolean): void {
  if (image.cr3 !== undefined && cpu.cr0 & Cr0.PG) cpu.set64(State.cr3, image.cr3);
  image.registers.forEach((value, r) => cpu.setGpr(r, value));
  cpu.rflags = image.flags | (nested ? Flag.NT : 0);
  const cpl = image.flags & Flag.VM ? 3 : rpl(image.selectors[CS]);
  image.selectors.forEach((selector, s) => {
    cpu.setSegment(s, selector, 0n, 0, Rights.unusable | (s === SS ? cpl << Rights.dplShift : 0));
  });
  cpu.setSegment(LDTR, image.ldt, 0n, 0, 0x82 | Rights.unusable);
  cpu.modeChanged();
}

/** The descriptors that the new task's selectors name, with the checks of a task switch. */
function loadSegments(c: CpuContext, image: TssImage, ext: number): void {
  const { cpu } = c;
  const { selectors } = image;
  if (!isNull(image.ldt)) loadLdt(c, image.ldt, ext);
  if (image.flags & Flag.VM) {
    selectors.forEach((selector, s) => cpu.setSegment(s, selector, BigInt(selector << 4), 0xffff, 0xf3));
    cpu.modeChanged();
    if (image.ip > 0xffffn) throw new GuestFault(Vector.GP, ext);
    return;
  }
  const code = loadCode(c, selectors[CS], ext);
  loadStackSegment(c, selectors[SS], rpl(selectors[CS]), ext);
  for (const s of [DS, ES, FS, GS]) loadData(c, s, selectors[s], ext);
  cpu.modeChanged();
  checkTarget(c, code, image.ip, ext);
}

function loadLdt(c: CpuContext, selector: number, ext: number): void {
  const error = errorOf(selector) | ext;
  if (selector & 4) throw new GuestFault(Vector.TS, error);
  const d = readDescriptor(c, selector, Vector.TS, ext);
  if (isCodeOrData(d) || typeOf(d) !== SystemType.ldt || !isPresent(d)) throw new GuestFault(Vector.TS, error);
  setFromDescriptor(c.cpu, LDTR, selector, d);
}

function loadCode(c: CpuContext, selector: number, ext: number): Descriptor {
  if (isNull(selector)) throw new GuestFault(Vector.TS, ext);
  const error = errorOf(selector) | ext;
  const d = readDescriptor(c, selector, Vector.TS, ext);
  const wrong = isConforming(d) ? dpl(d) > rpl(selector) : dpl(d) !== rpl(selector);
  if (!isCode(d) || wrong) throw new GuestFault(Vector.TS, error);
  if (!isPresent(d)) throw new GuestFault(Vector.NP, error);
  markAccessed(c, d);
  setCode(c.cpu, selector, d, rpl(selector));
  c.cpu.modeChanged();
  return d;
}

function loadStackSegment(c: CpuContext, selector: number, cpl: number, ext: number): void {
  if (isNull(selector)) throw new GuestFault(Vector.TS, ext);
  const error = errorOf(selector) | ext;
  const d = readDescriptor(c, selector, Vector.TS, ext);
  if (!isWritable(d) || rpl(selector) !== cpl || dpl(d) !== cpl) throw new GuestFault(Vector.TS, error);
  if (!isPresent(d)) throw new GuestFault(Vector.SS, error);
  markAccessed(c, d);
  setFromDescriptor(c.cpu, SS, selector, d);
  c.cpu.modeChanged();
}

function loadData(c: CpuContext, segment: number, selector: number, ext: number): void {
  const { cpu } = c;
  if (isNull(selector)) {
    setNull(cpu, segment, selector);
    return;
  }
  const error = errorOf(selector) | ext;
  const d = readDescriptor(c, selector, Vector.TS, ext);
  const checked = !isCode(d) || !isConforming(d);
  const hidden = checked && (rpl(selector) > dpl(d) || cpu.cpl > dpl(d));
  if (!isCodeOrData(d) || !isReadable(d) || hidden) throw new GuestFault(Vector.TS, error);
  if (!isPresent(d)) throw new GuestFault(Vector.NP, error);
  markAccessed(c, d);
  setFromDescriptor(cpu, segment, selector, d);
}
