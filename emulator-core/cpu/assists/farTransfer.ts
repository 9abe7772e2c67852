/** Far jumps, calls and returns: direct, through call gates, to tasks. SDM Vol. 2, JMP, CALL, RET; Vol. 3A, "Gate Descriptors". */
import type { CpuContext } from '../cpuContext';
import {
  DEFAULT_BIG,
  SystemType,
  checkCode,
  checkTarget,
  dpl,
  errorOf,
  isCode,
  isCodeOrData,
  isConforming,
  isLong,
  isNull,
  isPresent,
  loadParagraph,
  markAccessed,
  readDescriptor,
  rpl,
  setCode,
  typeOf,
  upperHalf,
  type Descriptor,
} from '../descriptors';
import { SegmentIndex, State } from '../layout';
import { Popper, Pusher, innerStack, markStackAccessed } from '../stack';
import { TaskSwitch, checkAvailable, readTaskGate, switchTask } from '../taskSwitch';
import { GuestFault, Vector } from '../vcpu';
import type { Assist } from './operands';
import { dropInnerSegments, loadOuterStack } from './outerStack';

const { cs: CS, ss: SS } = SegmentIndex;
const RSP = 4;

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

/** CS:IP in real-address and virtual-8086 mode. #GP(0) when the offset lies beyond CS's limit. */
export function realTransfer(c: CpuContext, selector: number, offset: bigint): void {
  const cpu = c.cpu;
  if (offset > BigInt(cpu.v8086 ? 0xffff : cpu.segmentLimit(CS))) throw new GuestFault(Vector.GP, 0);
  loadParagraph(cpu, CS, selector);
  cpu.modeChanged();
  c.jump(offset);
}

/** The descriptor of a far JMP's or CALL's selector. */
function destination(c: CpuContext, selector: number): Descriptor {
  if (isNull(selector)) throw new GuestFault(Vector.GP, 0);
  return readDescriptor(c, selector, Vector.GP);
}

function jumpFar(c: CpuContext): void {
  const cpu = c.cpu;
  const { selector, offset } = farPointer(c);
  if (cpu.realOrV8086) return realTransfer(c, selector, offset);
  const d = destination(c, selector);
  if (!isCodeOrData(d)) return system(c, selector, d, false);
  checkCode(c, selector, d, 'jump');
  checkTarget(c, d, offset);
  enter(c, selector, d, offset, cpu.cpl);
}

function callFar(c: CpuContext): void {
  const cpu = c.cpu;
  const { selector, offset } = farPointer(c);
  const stack = new Pusher(c, c.operandBytes);
  if (cpu.realOrV8086) {
    pushReturn(c, stack);
    realTransfer(c, selector, offset);
    stack.commit();
    return;
  }
  const d = destination(c, selector);
  if (!isCodeOrData(d)) return system(c, selector, d, true);
  checkCode(c, selector, d, 'jump');
  checkTarget(c, d, offset);
  pushReturn(c, stack);
  markAccessed(c, d);
  stack.commit();
  enter(c, selector, d, offset, cpu.cpl);
}

function pushReturn(c: CpuContext, stack: Pusher): void {
  stack.push(BigInt(c.cpu.selector(CS)));
  stack.push(c.nextRip);
}

function enter(c: CpuContext, selector: number, d: Descriptor, offset: bigint, cpl: number): void {
  markAccessed(c, d);
  setCode(c.cpu, selector, d, cpl);
  c.cpu.modeChanged();
  c.jump(offset);
}

/** JMP or CALL to a system descriptor: call gate, task gate or TSS. */
function system(c: CpuContext, selector: number, d: Descriptor, call: boolean): void {
  const cpu = c.cpu;
  const error = errorOf(selector);
  const type = typeOf(d);
  const callGate = type === SystemType.callGate32 || (type === SystemType.callGate16 && !cpu.longMode);
  const task = type === SystemType.taskGate || type === SystemType.tss16 || type === SystemType.tss32;
  if (!callGate && (!task || cpu.longMode)) throw new GuestFault(Vector.GP, error);
  if (dpl(d) < cpu.cpl || dpl(d) < rpl(selector)) throw new GuestFault(Vector.GP, error);
  if (callGate) return throughCallGate(c, selector, d, call);
  let target = { selector, descriptor: d };
  if (type === SystemType.taskGate) {
    if (!isPresent(d)) throw new GuestFault(Vector.NP, error);
    target = readTaskGate(c, d.low >>> 16, 0);
  } else checkAvailable(d, error);
  const facts = { returnRip: c.nextRip, flags: cpu.rflags };
  switchTask(c, target, call ? TaskSwitch.call : TaskSwitch.jump, facts);
}

interface CallGate {
  selector: number;
  offset: bigint;
  /** Size of what is pushed, in bytes. */
  bytes: 2 | 4 | 8;
  /** Parameters to copy, of that size. */
  parameters: number;
}

/** SDM Vol. 3A, "Call Gates" and "IA-32e Mode Call Gates" (16 bytes, the upper type field zero). */
function readCallGate(c: CpuContext, selector: number, d: Descriptor): CallGate {
  if (!isPresent(d)) throw new GuestFault(Vector.NP, errorOf(selector));
  const gate = { selector: d.low >>> 16, parameters: d.high & 31 };
  const low = BigInt(((d.low & 0xffff) | (d.high & 0xffff0000)) >>> 0);
  if (!c.cpu.longMode) {
    if (typeOf(d) === SystemType.callGate32) return { ...gate, offset: low, bytes: 4 };
    return { ...gate, offset: low & 0xffffn, bytes: 2 };
  }
  // The upper half has to lie in the table, too.
  const upper = upperHalf(c, selector);
  if (upper.high & 0x1f00) throw new GuestFault(Vector.GP, errorOf(selector));
  return { ...gate, offset: low | (BigInt(upper.low >>> 0) << 32n), bytes: 8, parameters: 0 };
}

function throughCallGate(c: CpuContext, gateSelector: number, gateDescriptor: Descriptor, call: boolean): void {
  const cpu = c.cpu;
  const gate = readCallGate(c, gateSelector, gateDescriptor);
  if (isNull(gate.selector)) throw new GuestFault(Vector.GP, 0);
  const d = readDescriptor(c, gate.selector, Vector.GP);
  const error = errorOf(gate.selector);
  const same = isConforming(d) || call ? dpl(d) <= cpu.cpl : dpl(d) === cpu.cpl;
  if (!isCode(d) || !same) throw new GuestFault(Vector.GP, error);
  if (cpu.longMode && (!isLong(d) || d.high & DEFAULT_BIG)) throw new GuestFault(Vector.GP, error);
  if (!isPresent(d)) throw new GuestFault(Vector.NP, error);
  if (call && !isConforming(d) && dpl(d) < cpu.cpl) return callInner(c, gate, d);
  checkTarget(c, d, gate.offset);
  if (call) {
    const stack = new Pusher(c, gate.bytes);
    pushReturn(c, stack);
    markAccessed(c, d);
    stack.commit();
  }
  enter(c, gate.selector, d, gate.offset, cpu.cpl);
}

/** A call to a more privileged level: switches stacks and copies parameters. */
function callInner(c: CpuContext, gate: CallGate, d: Descriptor): void {
  const cpu = c.cpu;
  const cpl = dpl(d);
  const inner = innerStack(c, cpl);
  checkTarget(c, d, gate.offset);
  const { bytes } = gate;
  const parameters: bigint[] = [];
  const mask = cpu.get64(State.stackMask);
  for (let i = gate.parameters - 1; i >= 0; i--) {
    const at = (cpu.gpr(RSP) + BigInt(i * bytes)) & mask;
    parameters.push(c.read(c.segmentLinear(SS, at, bytes, false), bytes));
  }
  const stack = new Pusher(c, bytes, inner);
  stack.push(BigInt(cpu.selector(SS)));
  stack.push(cpu.gpr(RSP));
  for (const parameter of parameters) stack.push(parameter);
  pushReturn(c, stack);
  markStackAccessed(c, inner);
  markAccessed(c, d);
  stack.commit();
  enter(c, gate.selector, d, gate.offset, cpl);
}

function returnFar(c: CpuContext): void {
  const cpu = c.cpu;
  const bytes = c.operandBytes;
  const release = Number(c.immediate() & 0xffffn);
  const stack = new Popper(c, bytes);
  const offset = stack.pop();
  const selector = stack.popSelector();
  stack.skip(release);
  if (cpu.realOrV8086) {
    realTransfer(c, selector, offset);
    stack.commit();
    return;
  }
  if (isNull(selector)) throw new GuestFault(Vector.GP, 0);
  const d = readDescriptor(c, selector, Vector.GP);
  checkCode(c, selector, d, 'return');
  const cpl = rpl(selector);
  if (cpl === cpu.cpl) {
    checkTarget(c, d, offset);
    markAccessed(c, d);
    stack.commit();
    return enter(c, selector, d, offset, cpl);
  }
  const pointer = stack.pop();
  const ss = stack.popSelector();
  const outer = loadOuterStack(c, ss, pointer + BigInt(release), cpl, cpu.longMode && isLong(d));
  checkTarget(c, d, offset);
  markAccessed(c, d);
  outer.load();
  setCode(cpu, selector, d, cpl);
  dropInnerSegments(c, cpl);
  cpu.modeChanged();
  c.jump(offset);
}

export const farAssists: Record<string, Assist> = { jumpFar, callFar, returnFar };
