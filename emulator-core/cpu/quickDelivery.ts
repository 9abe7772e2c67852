/**
 * The usual delivery of an interrupt or exception in 64-bit mode: through an interrupt or trap gate to 64-bit code of this or an inner
 * level, with tables and stack where the soft TLBs have them. exceptions.ts has all others, and all faults.
 * SDM Vol. 3A, "Interrupt and Exception Handling": "64-Bit Mode Stack Frame", "Stack Switching in IA-32e Mode", "Interrupt Stack Table".
 */
import { Segment, SegmentIndex, State, segmentOffset } from './layout';
import type { TableMemory } from './tableMemory';
import { Flag, Rights, type Vcpu } from './vcpu';

const RSP = State.gpr + 4 * 8;
const [CS, SS, TR] = [SegmentIndex.cs, SegmentIndex.ss, SegmentIndex.tr].map(segmentOffset);
/** Of a gate's second double word: present, type and S bit; interrupt and trap gates differ in the lowest type bit. */
const GATE = 0x8e00;
const GATE_MASK = 0x9e00;
const TRAP_GATE = 0x100;
/** Of a descriptor's high half: present 64-bit code, not conforming, accessed. */
const CODE64 = 0x209900;
const CODE64_MASK = 0x609d00;
const GRANULAR = 0x800000;

/** Address `offset` above a base in a State slot: low half; the high half is that of the base, plus a carry. */
const above = (cpu: Vcpu, slot: number, offset: number): number => (cpu.get32(slot) + offset) | 0;
const aboveHigh = (cpu: Vcpu, slot: number, low: number): number =>
  (cpu.get32(slot + 4) + (low >>> 0 < cpu.get32(slot) >>> 0 ? 1 : 0)) | 0;

/**
 * Delivers vector `vector`, which no instruction asked for, with error code `error` (-1: none); `fault`: RFLAGS.RF is pushed set.
 * False when it is not the usual case: nothing has happened then.
 */
export function deliverQuickly(cpu: Vcpu, tables: TableMemory, vector: number, error: number, fault: boolean): boolean {
  if (cpu.bitness !== 64) return false;
  const { view } = cpu.memory;

  const index = vector * 16;
  if (index + 15 > (cpu.get32(State.idtrLimit) & 0xffff)) return false;
  const gateLow = above(cpu, State.idtrBase, index);
  const gate = tables.read(cpu, gateLow, aboveHigh(cpu, State.idtrBase, gateLow), 16);
  if (gate < 0) return false;
  const first = view.getInt32(gate, true);
  const second = view.getInt32(gate + 4, true);
  const targetHigh = view.getInt32(gate + 8, true);
  if ((second & GATE_MASK) !== GATE || !cpu.canonicalHigh(targetHigh)) return false;

  const selector = first >>> 16;
  const place = selector & 0xfff8;
  if (place === 0 || selector & 4 || place + 7 > (cpu.get32(State.gdtrLimit) & 0xffff)) return false;
  const codeLow = above(cpu, State.gdtrBase, place);
  const code = tables.read(cpu, codeLow, aboveHigh(cpu, State.gdtrBase, codeLow), 8);
  if (code < 0) return false;
  const low = view.getInt32(code, true);
  const high = view.getInt32(code + 4, true);
  const level = (high >>> 13) & 3;
  if ((high & CODE64_MASK) !== CODE64 || level > cpu.cpl || level === 3) return false;

  const change = level < cpu.cpl;
  const interruptStack = second & 7;
  let pointerLow = cpu.get32(RSP);
  let pointerHigh = cpu.get32(RSP + 4);
  if (change || interruptStack) {
    const offset = interruptStack ? 36 + (interruptStack - 1) * 8 : 4 + level * 8;
    if (offset + 7 > cpu.get32(TR + Segment.limit) >>> 0) return false;
    const taskLow = above(cpu, TR + Segment.base, offset);
    const at = tables.read(cpu, taskLow, aboveHigh(cpu, TR + Segment.base, taskLow), 8);
    if (at < 0) return false;
    pointerLow = view.getInt32(at, true);
    pointerHigh = view.getInt32(at + 4, true);
  }

  // The frame, in one page: aligned to 16 bytes, and it always holds SS:RSP.
  const bytes = error >= 0 ? 48 : 40;
  const top = pointerLow & ~15;
  const bottom = (top - bytes) | 0;
  if (bottom >>> 0 > top >>> 0) return false;
  const frame = tables.write(cpu, bottom, pointerHigh, bytes);
  if (frame < 0) return false;
  const flags = cpu.rflags;
  let at = frame;
  const push = (value: number, upper: number): void => {
    view.setInt32(at, value, true);
    view.setInt32(at + 4, upper, true);
    at += 8;
  };
  if (error >= 0) push(error, 0);
  push(cpu.get32(State.rip), cpu.get32(State.rip + 4));
  push(cpu.selector(SegmentIndex.cs), 0);
  push(fault ? flags | Flag.RF : flags, 0);
  push(cpu.get32(RSP), cpu.get32(RSP + 4));
  push(cpu.selector(SegmentIndex.ss), 0);

  cpu.set32(RSP, bottom);
  cpu.set32(RSP + 4, pointerHigh);
  if (change) setSegment(cpu, SS, level, Rights.unusable | (level << Rights.dplShift), 0, 0);
  const limit = (low & 0xffff) | (high & 0xf0000);
  const base = ((low >>> 16) & 0xffff) | ((high & 0xff) << 16) | (high & 0xff000000);
  setSegment(
    cpu,
    CS,
    (selector & ~3) | level,
    (high >>> 8) & 0xf0ff,
    high & GRANULAR ? (limit << 12) | 0xfff : limit,
    base,
  );
  const cleared = Flag.TF | Flag.NT | Flag.RF | (second & TRAP_GATE ? 0 : Flag.IF);
  cpu.set32(State.flags, cpu.get32(State.flags) & ~cleared);
  cpu.set32(State.rip, (first & 0xffff) | (second & 0xffff0000));
  cpu.set32(State.rip + 4, targetHigh);
  cpu.set32(State.cpl, level);
  cpu.selectTlb();
  return true;
}

/** All of a segment register at a State slot, in 64-bit mode, where limits do not count. */
function setSegment(cpu: Vcpu, slot: number, selector: number, rights: number, limit: number, base: number): void {
  cpu.set32(slot + Segment.selector, selector);
  cpu.set32(slot + Segment.attributes, rights);
  cpu.set32(slot + Segment.limit, limit);
  cpu.set32(slot + Segment.base, base);
  cpu.set32(slot + Segment.base + 4, 0);
}
