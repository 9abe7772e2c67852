/**
 * INS and OUTS. With REP the elements are done in a row while nothing else is due, each as the iteration of its own that it is: it
 * exits, retires and leaves the registers as the instruction's next run would find them.
 * SDM Vol. 2, "INS/INSB/INSW/INSD" and "OUTS/OUTSB/OUTSW/OUTSD"; Vol. 3C, "Instructions That Cause VM Exits".
 */
import type { CpuContext } from '../cpu/cpuContext';
import { highOf, lowOf } from '../cpu/halves';
import { PAGE, SegmentIndex, State, Uop } from '../cpu/layout';
import { Abandon, Flag, GuestFault, type Vcpu } from '../cpu/vcpu';
import { CODES } from '../x86/codes';
import { SpecialCode } from '../x86/decode';
import { encodeIoQualification, ExitReason } from './vmx/exitReasons';
import type { Vmm } from './vmm';

export interface StringIoHost {
  vmm: Vmm;
  readPort(port: number, size: number): number;
  writePort(port: number, value: number, size: number): void;
  /** Throws #GP where the I/O permission bitmap says so. */
  checkPorts(c: CpuContext, port: number, size: number): void;
  /** The I/O breakpoints of an access that has happened. */
  accessed(cpu: Vcpu, port: number, size: number): void;
}

const [RCX, RDX, RSI, RDI] = [1, 2, 6, 7];
const SIZES = CODES.map(
  (info) => ({ b: 1, w: 2, d: 4 })[/^(?:Ins|Outs)([bwd])$/.exec(info?.row.mnemonic ?? '')?.[1] ?? ''] ?? 0,
);

/** Adds to the low `bits` of a register, as address sizes do. `by` is not 0. */
function add(cpu: Vcpu, register: number, by: number, bits: number): void {
  const slot = State.gpr + register * 8;
  const low = cpu.get32(slot);
  const sum = (low + by) | 0;
  if (bits === 16) {
    cpu.set32(slot, (low & ~0xffff) | (sum & 0xffff));
    return;
  }
  cpu.set32(slot, sum);
  if (bits === 32) cpu.set32(slot + 4, 0);
  else if (by > 0 ? sum >>> 0 < low >>> 0 : sum >>> 0 > low >>> 0)
    cpu.set32(slot + 4, cpu.get32(slot + 4) + Math.sign(by));
}

/** rCX in the address size, at most 2^31 - 1. */
function count(cpu: Vcpu, bits: number): number {
  const low = cpu.gpr32(RCX);
  if (bits === 16) return low & 0xffff;
  return (bits === 64 && cpu.get32(State.gpr + RCX * 8 + 4)) || low > 0x7fffffff ? 0x7fffffff : low;
}

/** Elements done singly after a look for a row in vain. */
const SKIPPED = 32;

/** Elements at hand that lie in one page of ordinary RAM. */
interface Row {
  elements: number;
  /** So many elements are not worth another look, as the last one found nothing. */
  skip: number;
  /** Where the next one is in the machine's memory, and its linear address's halves. */
  at: number;
  low: number;
  high: number;
}

class StringIo {
  private readonly size: number;
  private readonly bits: number;
  private readonly register: number;
  private readonly segment: number;
  private readonly port: number;
  private readonly qualification: number;
  private readonly row: Row = { elements: 0, skip: 0, at: 0, low: 0, high: 0 };

  constructor(
    private readonly h: StringIoHost,
    private readonly c: CpuContext,
    private readonly isInput: boolean,
  ) {
    this.size = SIZES[c.code];
    this.bits = c.addressBits;
    this.register = isInput ? RDI : RSI;
    this.port = c.cpu.gpr32(RDX) & 0xffff;
    const struct = c.segmentOfOperand();
    const other = struct === State.flatSegment ? SegmentIndex.ds : (struct - State.segments) / 64;
    this.segment = isInput ? SegmentIndex.es : other;
    const { port, size } = this;
    this.qualification = encodeIoQualification({ port, size, in: isInput, string: true, rep: c.repeated });
  }

  run(): void {
    const { c, bits, size, port } = this;
    const { cpu, repeated } = c;
    const step = cpu.systemFlags & Flag.DF ? -size : size;
    for (let first = true; ; first = false) {
      try {
        this.element(first);
      } catch (e) {
        // As after any iteration but the first: see `interrupted`.
        if (!first && e instanceof Abandon && !cpu.pending) cpu.setSystemFlag(Flag.RF, true);
        throw e;
      }
      add(cpu, this.register, step, bits);
      if (repeated) add(cpu, RCX, -1, bits);
      this.h.accessed(cpu, port, size);
      if (!repeated || count(cpu, bits) === 0) return c.jump(c.nextRip);
      if (this.interrupted()) {
        cpu.setSystemFlag(Flag.RF, true);
        return c.jump(c.rip);
      }
    }
  }

  /** Whether the run loop has to look between two iterations; else the next one is charged. */
  private interrupted(): boolean {
    const { cpu, uop } = this.c;
    this.c.slowStep();
    const budget = cpu.get32(State.budget);
    if (cpu.attention || cpu.pending || budget <= 0) return true;
    // A breakpoint of the debugger's counts each iteration.
    if (cpu.memory.u16[(uop - Uop.bytes + Uop.code) >> 1] === SpecialCode.breakpoint) return true;
    cpu.set32(State.budget, budget - 1);
    return false;
  }

  private element(first: boolean): void {
    const { c, h, port, size, row, isInput } = this;
    h.checkPorts(c, port, size);
    if (!first && row.elements === 0 && row.skip === 0) this.findRow();
    if (row.elements === 0) {
      if (row.skip) row.skip--;
      this.single();
      return;
    }
    const { view } = c.cpu.memory;
    const { at } = row;
    this.exit(row.low, row.high);
    if (isInput) {
      const value = h.readPort(port, size);
      if (size === 1) view.setUint8(at, value);
      else if (size === 2) view.setUint16(at, value, true);
      else view.setUint32(at, value, true);
    } else
      h.writePort(
        port,
        size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at, true) : view.getUint32(at, true),
        size,
      );
    row.elements--;
    row.at += size;
    row.low = (row.low + size) | 0;
  }

  private exit(low: number, high: number): void {
    const { cpu, uop } = this.c;
    if (this.h.vmm.tryInstructionExit(cpu, uop, ExitReason.ioInstruction, this.qualification, low, high))
      throw new Abandon();
  }

  private get offset(): bigint {
    return BigInt.asUintN(this.bits, this.c.cpu.gpr(this.register));
  }

  private single(): void {
    const { c, h, port, size, isInput } = this;
    const linear = c.segmentLinear(this.segment, this.offset, size, isInput);
    if (isInput) c.probeWrite(linear, size);
    const value = isInput ? 0n : c.read(linear, size);
    this.exit(lowOf(linear), highOf(linear));
    if (isInput) c.write(linear, BigInt(h.readPort(port, size)), size);
    else h.writePort(port, Number(value), size);
  }

  /** Elements from here on that need no look at segment and paging: none, if one of them may fault or have an effect of its own. */
  private findRow(): void {
    const { c, bits, size, segment, isInput, row } = this;
    const { cpu } = c;
    row.skip = SKIPPED;
    if (cpu.systemFlags & Flag.DF || cpu.checksAlignment) return;
    const { offset } = this;
    try {
      const linear = c.segmentLinear(segment, offset, size, isInput);
      const room = Math.floor((PAGE - Number(linear & BigInt(PAGE - 1))) / size);
      const elements = Math.min(count(cpu, bits), room);
      if (elements < 2) return;
      const last = BigInt((elements - 1) * size);
      if (BigInt.asUintN(bits, offset + last) !== offset + last) return;
      if (c.segmentLinear(segment, offset + last, size, isInput) !== linear + last) return;
      const page = c.ordinaryPage(linear, isInput);
      if (page < 0) return;
      row.elements = elements;
      row.skip = 0;
      row.at = page + Number(linear & BigInt(PAGE - 1));
      row.low = lowOf(linear);
      row.high = highOf(linear);
    } catch (e) {
      // The element that faults does so in its turn.
      if (!(e instanceof GuestFault)) throw e;
    }
  }
}

/** One run of INS or OUTS: an iteration, and with REP those that follow it until something else is due. */
export function stringIo(h: StringIoHost, c: CpuContext, isInput: boolean): void {
  if (c.repeated && count(c.cpu, c.addressBits) === 0) c.jump(c.nextRip);
  else new StringIo(h, c, isInput).run();
}
