/** CpuContext over the core: how assists see the instruction they complete. One object per machine, pointed at each micro-op. */
import { SlowResult } from '../translate/abi';
import { CODES } from '../x86/codes';
import type { Core } from './core';
import type { CpuContext, TransferExits } from './cpuContext';
import { highOf, lowOf, type Halves } from './halves';
import { Segment, SegmentIndex, State, Uop, UopFlag, segmentOffset } from './layout';
import { Abandon, GuestFault, Vector, type Vcpu } from './vcpu';

export class AssistContext implements CpuContext {
  cpu!: Vcpu;
  uop = 0;
  /** Where the instruction went, when it jumped. */
  target?: bigint;

  constructor(
    private readonly core: Core,
    readonly exits: TransferExits,
    private readonly pointers: (cpu: Vcpu, cr3: number) => boolean,
    private readonly waiting: (cpu: Vcpu) => boolean,
  ) {}

  get interruptWaits(): boolean {
    return this.waiting(this.cpu);
  }

  begin(cpu: Vcpu, uop: number): void {
    this.cpu = cpu;
    this.uop = uop;
    this.target = undefined;
  }

  private field(offset: number): number {
    return this.core.memory.i32[(this.uop + offset) >> 2];
  }
  private byte(offset: number): number {
    return this.core.memory.u8[this.uop + offset];
  }
  private wrap(rip: bigint): bigint {
    return this.cpu.bitness === 64 ? BigInt.asUintN(64, rip) : rip & 0xffffffffn;
  }
  get rip(): bigint {
    // Outside of an instruction (interrupt delivery) rip is the vCPU's.
    return this.uop ? this.wrap(this.cpu.get64(State.ripBase) + BigInt(this.field(Uop.ip))) : this.cpu.rip;
  }
  get nextRip(): bigint {
    return this.wrap(this.cpu.get64(State.ripBase) + BigInt(this.field(Uop.ip) + this.field(Uop.length)));
  }
  get operandBytes(): number {
    return this.byte(Uop.size);
  }
  get length(): number {
    return this.field(Uop.length);
  }
  get code(): number {
    return this.core.memory.u16[(this.uop + Uop.code) >> 1];
  }
  get repeated(): boolean {
    return (this.byte(Uop.flags) & (UopFlag.rep | UopFlag.repne)) !== 0;
  }
  get hasMemory(): boolean {
    return (this.byte(Uop.flags) & UopFlag.memory) !== 0;
  }
  get addressBits(): number {
    return 64 - this.byte(Uop.addressShift);
  }
  get icount(): number {
    return this.core.icount;
  }
  registerOffset(i: number): number {
    return i === 0 ? this.field(Uop.r0) : i === 1 ? this.field(Uop.r1) : this.core.memory.u16[(this.uop + Uop.r2) >> 1];
  }
  immediate(): bigint {
    return this.core.memory.i64[(this.uop + Uop.immediate) >> 3];
  }
  /** Size in bytes of the memory operand by the Code's name, else the operand size. */
  get memoryBytes(): number {
    const bits = CODES[this.code]?.operands.find((o) => o.memory)?.memory;
    return bits ? bits / 8 : this.operandBytes;
  }

  effectiveAddress(): bigint {
    const { cpu } = this;
    const base = cpu.get64(this.field(Uop.base));
    const index = cpu.get64(this.core.memory.u16[(this.uop + Uop.index) >> 1]) << BigInt(this.byte(Uop.scale));
    const sum = base + index + this.core.memory.i64[(this.uop + Uop.displacement) >> 3];
    return BigInt.asUintN(this.addressBits, sum);
  }
  get flatAddress(): Halves | undefined {
    const { memory } = this.core;
    const plain = memory.u16[(this.uop + Uop.index) >> 1] === State.zero && this.byte(Uop.addressShift) === 0;
    if (!plain || this.segmentOfOperand() !== State.flatSegment) return undefined;
    const base = this.field(Uop.base);
    const displacement = this.field(Uop.displacement);
    const low = (this.cpu.get32(base) + displacement) | 0;
    const carries = low >>> 0 < displacement >>> 0 ? 1 : 0;
    const high = (this.cpu.get32(base + 4) + this.field(Uop.displacement + 4) + carries) | 0;
    return { low, high };
  }
  segmentOfOperand(): number {
    return this.field(Uop.segment);
  }
  linear(bytes: number, write: boolean, add = 0): bigint {
    const offset = BigInt.asUintN(this.addressBits, this.effectiveAddress() + BigInt(add));
    const stack = (this.byte(Uop.flags) & UopFlag.stack) !== 0;
    return this.check(this.segmentOfOperand(), offset, bytes, write, stack);
  }
  segmentLinear(segmentIndex: number, offset: bigint, bytes: number, write: boolean): bigint {
    const based = segmentIndex === SegmentIndex.fs || segmentIndex === SegmentIndex.gs;
    const struct = this.cpu.bitness === 64 && !based ? State.flatSegment : segmentOffset(segmentIndex);
    return this.check(struct, offset, bytes, write, segmentIndex === SegmentIndex.ss);
  }
  private check(struct: number, offset: bigint, bytes: number, write: boolean, stack?: boolean): bigint {
    const { cpu } = this;
    const isStack = stack ?? struct === segmentOffset(SegmentIndex.ss);
    const vector = isStack ? Vector.SS : Vector.GP;
    const last = offset + BigInt(bytes - 1);
    const low = cpu.get64(struct + (write ? Segment.loWrite : Segment.loRead));
    const high = cpu.get64(struct + (write ? Segment.hiWrite : Segment.hiRead));
    if (offset < low || last > high) throw new GuestFault(vector, 0);
    const linear = offset + cpu.get64(struct + Segment.base);
    if (cpu.bitness !== 64) return linear & 0xffffffffn;
    const wrapped = BigInt.asUintN(64, linear);
    if (!cpu.canonical(wrapped)) throw new GuestFault(vector, 0);
    return wrapped;
  }

  read(linear: bigint, bytes: number): bigint {
    this.checkAlignment(linear, bytes);
    return this.access(linear, bytes, this.cpu.cpl === 3);
  }
  readSystem(linear: bigint, bytes: number): bigint {
    const wrapped = this.wrapLinear(linear);
    const at = this.core.tables.read(this.cpu, lowOf(wrapped), highOf(wrapped), bytes);
    if (at >= 0) {
      const { view } = this.core.memory;
      if (bytes === 8) return view.getBigUint64(at, true);
      return BigInt(
        bytes === 4 ? view.getUint32(at, true) : bytes === 2 ? view.getUint16(at, true) : view.getUint8(at),
      );
    }
    this.core.mmu.implicit = true;
    try {
      return this.access(linear, bytes, false);
    } finally {
      this.core.mmu.implicit = false;
    }
  }
  private checkAlignment(linear: bigint, bytes: number): void {
    if (this.cpu.checksAlignment && linear & BigInt(bytes - 1)) throw new GuestFault(Vector.AC, 0);
  }
  private wrapLinear(linear: bigint): bigint {
    return this.cpu.longMode ? BigInt.asUintN(64, linear) : linear & 0xffffffffn;
  }
  private access(linear: bigint, bytes: number, user: boolean): bigint {
    const status = this.core.memoryPath.readLinear(this.cpu, this.wrapLinear(linear), bytes, user, false);
    if (status === SlowResult.abort) this.failed();
    return this.cpu.get64(State.slowValue);
  }
  write(linear: bigint, value: bigint, bytes: number): void {
    this.checkAlignment(linear, bytes);
    this.store(linear, value, bytes, this.cpu.cpl === 3);
  }
  writeSystem(linear: bigint, value: bigint, bytes: number): void {
    this.core.mmu.implicit = true;
    try {
      this.store(linear, value, bytes, false);
    } finally {
      this.core.mmu.implicit = false;
    }
  }
  writeAs(cpl: number, linear: bigint, value: bigint, bytes: number): void {
    this.store(linear, value, bytes, cpl === 3);
  }
  private store(linear: bigint, value: bigint, bytes: number, user: boolean): void {
    const v = BigInt.asUintN(64, value);
    const status = this.core.memoryPath.writeLinear(this.cpu, this.wrapLinear(linear), bytes, v, user, false);
    if (status === SlowResult.abort) this.failed();
    if (status === SlowResult.again) this.cpu.attention = true;
  }
  probeWrite(linear: bigint, bytes: number, system = false): void {
    if (!system && bytes <= 8 && (bytes & (bytes - 1)) === 0) this.checkAlignment(linear, bytes);
    if (!this.core.memoryPath.probeWrite(this.cpu, this.wrapLinear(linear), bytes, !system && this.cpu.cpl === 3))
      this.failed();
  }
  probeRead(linear: bigint): number {
    if (!this.core.memoryPath.probeRead(this.cpu, this.wrapLinear(linear), this.cpu.cpl === 3)) this.failed();
    return this.core.mmu.gpa;
  }
  ordinaryPage(linear: bigint, write: boolean): number {
    return this.core.memoryPath.ordinaryPage(this.cpu, this.wrapLinear(linear), write, this.cpu.cpl === 3);
  }
  private failed(): never {
    const pending = this.cpu.pending;
    if (!pending) throw new Abandon();
    this.cpu.pending = undefined;
    throw new GuestFault(pending.vector, pending.error, pending.address);
  }

  jump(rip: bigint): void {
    this.target = rip;
    this.cpu.rip = rip;
  }
  slowStep(): void {
    this.core.slowStep();
  }
  flushTranslations(): void {
    this.core.flushTranslations(this.cpu);
  }
  flushLocalTranslations(): void {
    this.core.flushLocalTranslations(this.cpu);
  }
  flushPage(low: number, high: number): boolean {
    return this.core.flushPage(this.cpu, low, high);
  }
  loadPointers(cr3: number): boolean {
    return this.pointers(this.cpu, cr3);
  }
}
