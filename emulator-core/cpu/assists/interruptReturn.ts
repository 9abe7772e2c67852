/** IRET in every mode: to the same or an outer level, to virtual-8086 mode, to another task. SDM Vol. 2, "IRET/IRETD/IRETQ". */
import type { CpuContext } from '../cpuContext';
import { checkCode, checkTarget, isLong, isNull, markAccessed, readDescriptor, rpl, setCode } from '../descriptors';
import { SegmentIndex } from '../layout';
import { Popper } from '../stack';
import { TaskSwitch, readTaskLink, switchTask } from '../taskSwitch';
import { Cr4, Flag, GuestFault, Vector } from '../vcpu';
import { realTransfer } from './farTransfer';
import type { Assist } from './operands';
import { dropInnerSegments, loadOuterStack } from './outerStack';
import { setVirtualInterrupts, virtualFlags, writableFlags } from './virtualFlags';

const { cs: CS, ss: SS } = SegmentIndex;
const RSP = 4;
/** What a 32-bit IRET changes in real-address mode; VM, VIF and VIP stay. */
const REAL_FLAGS = 0x257fd5;

function interruptReturn(c: CpuContext): void {
  const cpu = c.cpu;
  // NMIs are unblocked even when the instruction faults. SDM Vol. 3A, "Handling Multiple NMIs".
  cpu.nmiBlocked = false;
  cpu.attention = true;
  if (!cpu.protectedMode) return returnReal(c);
  if (cpu.v8086) return returnWithinV8086(c);
  if (cpu.systemFlags & Flag.NT) {
    if (cpu.longMode) throw new GuestFault(Vector.GP, 0);
    switchTask(c, readTaskLink(c), TaskSwitch.iret, { returnRip: c.nextRip, flags: cpu.rflags });
    return;
  }
  returnProtected(c);
}

function setFlags(c: CpuContext, flags: number, mask: number): void {
  const cpu = c.cpu;
  cpu.rflags = (cpu.rflags & ~mask) | (flags & mask);
  cpu.modeChanged();
}

function returnReal(c: CpuContext): void {
  const bytes = c.operandBytes;
  const stack = new Popper(c, bytes);
  const offset = stack.pop();
  const selector = stack.popSelector();
  const flags = Number(stack.pop() & 0xffffffffn);
  realTransfer(c, selector, offset);
  stack.commit();
  setFlags(c, flags, bytes === 2 ? REAL_FLAGS & 0xffff : REAL_FLAGS);
}

function returnWithinV8086(c: CpuContext): void {
  const cpu = c.cpu;
  const bytes = c.operandBytes;
  const virtual = cpu.iopl < 3;
  if (virtual && !(bytes === 2 && cpu.cr4 & Cr4.VME)) throw new GuestFault(Vector.GP, 0);
  const stack = new Popper(c, bytes);
  const offset = stack.pop();
  const selector = stack.popSelector();
  const flags = Number(stack.pop() & 0xffffffffn);
  if (virtual) virtualFlags(cpu, flags);
  realTransfer(c, selector, offset);
  stack.commit();
  if (virtual) setVirtualInterrupts(cpu, flags);
  const mask = virtual ? ~(Flag.IF | Flag.IOPL) : ~Flag.IOPL;
  setFlags(c, flags, (writableFlags(cpu, bytes) | (bytes === 2 ? 0 : Flag.RF)) & mask);
}

function returnProtected(c: CpuContext): void {
  const cpu = c.cpu;
  const bytes = c.operandBytes;
  const stack = new Popper(c, bytes);
  const offset = stack.pop();
  const selector = stack.popSelector();
  const flags = Number(stack.pop() & 0xffffffffn);
  if (flags & Flag.VM && cpu.cpl === 0 && bytes === 4 && !cpu.longMode)
    return returnToV8086(c, stack, offset, selector, flags);
  if (isNull(selector)) throw new GuestFault(Vector.GP, 0);
  const d = readDescriptor(c, selector, Vector.GP);
  checkCode(c, selector, d, 'return');
  const cpl = rpl(selector);
  // What may change is for the level that executes IRET to say.
  let mask = writableFlags(cpu, bytes);
  if (bytes !== 2) mask |= cpu.cpl === 0 ? Flag.RF | Flag.VIF | Flag.VIP : Flag.RF;
  const outer = cpl !== cpu.cpl;
  if (outer || cpu.bitness === 64) {
    const pointer = stack.pop();
    const ss = stack.popSelector();
    const outside = loadOuterStack(c, ss, pointer, cpl, cpu.longMode && isLong(d));
    checkTarget(c, d, offset);
    markAccessed(c, d);
    outside.load();
  } else {
    checkTarget(c, d, offset);
    markAccessed(c, d);
    stack.commit();
  }
  setCode(cpu, selector, d, cpl);
  if (outer) dropInnerSegments(c, cpl);
  c.jump(offset);
  setFlags(c, flags, mask);
}

function returnToV8086(c: CpuContext, stack: Popper, offset: bigint, selector: number, flags: number): void {
  const cpu = c.cpu;
  const pointer = stack.pop();
  const order = [SS, SegmentIndex.es, SegmentIndex.ds, SegmentIndex.fs, SegmentIndex.gs];
  const selectors = order.map(() => stack.popSelector());
  if (offset > 0xffffn) throw new GuestFault(Vector.GP, 0);
  cpu.rflags = flags;
  order.forEach((s, i) => cpu.setSegment(s, selectors[i], BigInt(selectors[i] << 4), 0xffff, 0xf3));
  cpu.setSegment(CS, selector, BigInt(selector << 4), 0xffff, 0xf3);
  cpu.setGpr(RSP, pointer);
  cpu.modeChanged();
  c.jump(offset);
}

export const interruptReturnAssists: Record<string, Assist> = { interruptReturn };
