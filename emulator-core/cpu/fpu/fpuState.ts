/** The x87 register stack and its control state in a vCPU's memory. SDM Vol. 1, "x87 FPU Execution Environment". */
import { State } from '../layout';
import type { Vcpu } from '../vcpu';
import { EXPONENT_MASK, Exception, INDEFINITE, float80, type Environment, type Float80 } from './float80';

const EMPTY = 3;
const PRECISION = [24, 64, 53, 64];

/** Condition codes of the status word. */
export const Code = { C0: 1 << 8, C1: 1 << 9, C2: 1 << 10, C3: 1 << 14 } as const;
const SUMMARY = 0x8080; // ES and B
/** Exceptions met before anything is computed: unmasked, they leave registers and memory alone. */
const BEFORE = Exception.IE | Exception.DE | Exception.ZE;

export class FpuState {
  cpu!: Vcpu;

  get control(): number {
    return this.cpu.get32(State.fcw) & 0xffff;
  }
  set control(value: number) {
    // Bit 6 reads as 1; reserved bits as 0.
    this.cpu.set32(State.fcw, (value & 0x1f3f) | 0x40);
    this.summarize();
  }
  get status(): number {
    return this.cpu.get32(State.fsw) & 0xffff;
  }
  set status(value: number) {
    this.cpu.set32(State.fsw, value & 0xffff);
  }
  get tags(): number {
    return this.cpu.get32(State.ftw) & 0xffff;
  }
  /** Only empty or not is taken from the value: the rest of a tag says what the register holds. */
  set tags(value: number) {
    let tags = 0;
    for (let r = 0; r < 8; r++) tags |= (((value >> (r * 2)) & 3) === EMPTY ? EMPTY : this.tagOf(r)) << (r * 2);
    this.cpu.set32(State.ftw, tags);
  }
  /** What the contents of R`r` call for: a normal number (tag 00), a zero (01), or something special (10). */
  private tagOf(r: number): number {
    const { cpu } = this;
    const at = State.fpr + r * 16;
    const exponent = cpu.get32(at + 8) & EXPONENT_MASK;
    const high = cpu.get32(at + 4);
    if (exponent === 0) return (cpu.get32(at) | high) === 0 ? 1 : 2;
    // Bit 63 is the integer bit.
    return exponent === EXPONENT_MASK || high >= 0 ? 2 : 0;
  }
  get top(): number {
    return (this.status >> 11) & 7;
  }
  set top(value: number) {
    this.status = (this.status & ~0x3800) | ((value & 7) << 11);
  }

  /** FNINIT. */
  initialize(): void {
    this.cpu.set32(State.fcw, 0x37f);
    this.status = 0;
    this.tags = 0xffff;
    for (const slot of [State.fop, State.fip, State.fcs, State.fdp, State.fds]) this.cpu.set64(slot, 0n);
  }

  environment(): Environment {
    const control = this.control;
    return {
      rounding: (control >> 10) & 3,
      precision: PRECISION[(control >> 8) & 3],
      masks: control & 0x3f,
      flags: 0,
      roundedUp: false,
      denormalSource: false,
    };
  }

  private physical(i: number): number {
    return (this.top + i) & 7;
  }
  empty(i: number): boolean {
    return ((this.tags >> (this.physical(i) * 2)) & 3) === EMPTY;
  }
  /** Contents of ST(i) whatever its tag. */
  raw(i: number): Float80 {
    return this.register(this.physical(i));
  }
  private register(r: number): Float80 {
    const at = State.fpr + r * 16;
    return float80(this.cpu.get32(at + 8) & 0xffff, this.cpu.get64(at));
  }
  set(i: number, value: Float80): void {
    const { cpu } = this;
    const register = this.physical(i);
    const at = State.fpr + register * 16;
    cpu.set64(at, value.significand);
    cpu.set32(at + 8, value.signExponent);
    cpu.set32(State.ftw, (this.tags & ~(3 << (register * 2))) | (this.tagOf(register) << (register * 2)));
  }
  free(i: number): void {
    this.cpu.set32(State.ftw, this.tags | (EMPTY << (this.physical(i) * 2)));
  }
  pop(): void {
    this.free(0);
    this.top = this.top + 1;
  }

  setCodes(mask: number, value: number): void {
    this.status = (this.status & ~mask) | (value & mask);
  }

  /** Exceptions that the control word does not mask set ES and B. */
  summarize(): void {
    const pending = this.status & ~this.control & 0x3f;
    this.status = pending ? this.status | SUMMARY : this.status & ~SUMMARY;
  }

  /** An unmasked exception waits for the next waiting instruction. */
  get pending(): boolean {
    return (this.status & 0x80) !== 0;
  }

  /** Takes over what an operation met, and C1. True when one of `preventing` is unmasked: its result must not be stored. */
  report(env: Environment, preventing: number = BEFORE): boolean {
    const status = (this.status & ~(Code.C1 | SUMMARY)) | env.flags | (env.roundedUp ? Code.C1 : 0);
    this.status = status & ~this.control & 0x3f ? status | SUMMARY : status;
    return (env.flags & preventing & ~env.masks) !== 0;
  }

  /** Stack overflow (C1 = 1) or underflow (C1 = 0). True when masked: the operation goes on with the indefinite value. */
  stackFault(overflow: boolean): boolean {
    this.status |= Exception.IE | Exception.SF;
    this.setCodes(Code.C1, overflow ? Code.C1 : 0);
    this.summarize();
    return (this.control & Exception.IE) !== 0;
  }

  /** Pushes, or faults when the register is in use. */
  push(value: Float80): void {
    if (!this.empty(7)) {
      if (!this.stackFault(true)) return;
      value = INDEFINITE;
    }
    this.top = this.top - 1;
    this.set(0, value);
  }
}
