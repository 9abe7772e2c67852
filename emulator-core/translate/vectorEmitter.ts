/** The vector part of the builder: operands in MM, XMM and YMM registers and in memory. */
import { State } from '../cpu/layout';
import type { HandlerForm } from './abi';
import type { MemoryEmitter } from './memoryEmitter';
import { cpu } from './operands';
import type { SemanticsBuilder } from './semanticsBuilder';
import { i32, i32c, i64, i64c, type Expr } from './wasm';
import { i64x2, v128 } from './wasmSimd';

const MF = 16;
/** Bit numbers: exception summary in the status word, CR0.NE. */
const FSW_ES = 7;
const CR0_NE = 5;
/** TOP in the status word. */
const FSW_TOP = 0x3800;

export class VectorEmitter {
  /** i32 local: host address of the memory operand read (or of its copy in State.bounce). */
  private address?: Expr;

  constructor(
    private readonly b: SemanticsBuilder,
    private readonly memory: MemoryEmitter,
    private readonly form: HandlerForm,
  ) {}

  /** A pending x87 exception is reported before an MMX instruction. SDM Vol. 3A, "MMX Technology System Programming". */
  begin(): void {
    if (!this.b.usesMmx) return;
    const summary = i32.shrU(i32.load(cpu, State.fsw), i32c(FSW_ES));
    const native = i32.shrU(i32.load(cpu, State.cr0), i32c(CR0_NE));
    this.b.faultIf(i32.and(i32.and(summary, native), i32c(1)), MF);
  }
  /** MMX instructions set TOP to 0 and all tags to valid. SDM Vol. 1, 9.5.1 "MMX Instructions and the x87 FPU Tag Word". */
  end(): void {
    if (!this.b.usesMmx) return;
    this.clearTop();
    i32.store(cpu, i32c(0), State.ftw)(this.b.f);
  }
  /** A store from an MM register that faults finds TOP 0 already, the tags as they were: seen on Intel processors. */
  beforeStore(): void {
    if (this.b.usesMmx) this.clearTop();
  }
  private clearTop(): void {
    i32.store(cpu, i32.and(i32.load(cpu, State.fsw), i32c(~FSW_TOP)), State.fsw)(this.b.f);
  }

  read(i: number, part: number): Expr {
    const { kind, bits, vector } = this.form.operands[i];
    if (kind === 'r') {
      if (!vector) throw new Error(`operand ${i} is no vector`);
      const { base, offset } = this.b.registerAddress(i);
      if (vector === 'mm') return v128.load64Zero(base, offset);
      return v128.load(base, offset + 16 * part);
    }
    if (bits === 128 || bits === 256) return v128.load((this.address ??= this.resolve(bits)), 16 * part);
    return i64x2.replace(v128.zero, 0, this.b.let(this.b.read(i)));
  }

  private resolve(bits: 128 | 256): Expr {
    return this.memory.hostForRead(this.alignedLinear(bits), bits);
  }

  private alignedLinear(bits: 128 | 256): Expr {
    const linear = this.memory.operandLinear();
    if (this.form.aligned) this.b.protectionFaultIf(i64.ne(i64.and(linear, i64c(bits / 8 - 1)), i64c(0)));
    return linear;
  }

  write(i: number, parts: Expr[]): void {
    const { b } = this;
    const { kind, bits, vector } = this.form.operands[i];
    if (kind === 'm') this.store(bits, parts);
    else if (vector === 'mm') {
      const { base, offset } = b.registerAddress(i);
      const address = b.let(base);
      i64.store(address, i64x2.extract(parts[0], 0), offset)(b.f);
      // As an x87 register it is a NaN or infinity then: sign and exponent are all ones.
      i64.store16(address, i64c(0xffff), offset + 8)(b.f);
    } else if (vector) {
      const { base, offset } = b.registerAddress(i);
      this.storeRegister(b.let(base), offset, parts);
    } else throw new Error(`operand ${i} is no vector`);
  }

  private storeRegister(address: Expr, offset: number, parts: Expr[]): void {
    const { b } = this;
    const values = parts.map((part) => b.let(part));
    values.forEach((value, part) => v128.store(address, value, offset + 16 * part)(b.f));
    if (this.form.vex && parts.length === 1) v128.store(address, v128.zero, offset + 16)(b.f);
  }

  private store(bits: number, parts: Expr[]): void {
    const { b, memory } = this;
    b.wroteMemory = true;
    this.beforeStore();
    if (bits !== 128 && bits !== 256) {
      memory.store(memory.operandLinear(), bits as 8 | 16 | 32 | 64, i64x2.extract(parts[0], 0), false);
      return;
    }
    const values = parts.map((part) => b.let(part));
    const put = (address: Expr): void => values.forEach((value, part) => v128.store(address, value, 16 * part)(b.f));
    memory.storeVector(this.alignedLinear(bits), bits, put);
  }

  register(register: number, part: number): Expr {
    return v128.load(cpu, State.ymm + 32 * register + 16 * part);
  }

  setRegister(register: number, parts: Expr[]): void {
    this.storeRegister(cpu, State.ymm + 32 * register, parts);
  }
}
