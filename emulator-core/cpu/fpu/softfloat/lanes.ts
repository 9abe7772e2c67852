/**
 * Vectors of floating-point lanes: operands, result, and what is the same for every operation: denormals, NaNs, and how the
 * exceptions of the lanes come together. SDM Vol. 1, "SIMD Floating-Point Exception Conditions" and "Handling SIMD Floating-Point
 * Exceptions in Software"; table "Rules for Handling NaNs".
 */
import { BEFORE, Exception, FloatEnvironment } from './environment';
import { DOUBLE, type BinaryFormat } from './rounding';

/** 256 bits, seen as lanes of any kind: 32 bytes of a buffer, or of its own. */
export class FloatVector {
  readonly bytes: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly f32: Float32Array;
  readonly f64: Float64Array;

  constructor(buffer: ArrayBufferLike = new ArrayBuffer(32), at = 0) {
    this.bytes = new Uint8Array(buffer, at, 32);
    this.u16 = new Uint16Array(buffer, at, 16);
    this.u32 = new Uint32Array(buffer, at, 8);
    this.i32 = new Int32Array(buffer, at, 8);
    this.f32 = new Float32Array(buffer, at, 8);
    this.f64 = new Float64Array(buffer, at, 4);
  }

  number(format: BinaryFormat, i: number): number {
    return format === DOUBLE ? this.f64[i] : this.f32[i];
  }

  /** Stores a lane; a NaN stands for the indefinite value, which an invalid operation gives. */
  put(format: BinaryFormat, i: number, value: number): void {
    if (value !== value) this.putIndefinite(format, i);
    else if (format === DOUBLE) this.f64[i] = value;
    else this.f32[i] = value;
  }

  putIndefinite(format: BinaryFormat, i: number): void {
    if (format === DOUBLE) {
      this.u32[2 * i] = 0;
      this.u32[2 * i + 1] = 0xfff80000;
    } else this.u32[i] = 0xffc00000;
  }

  /** For a lane that is a NaN: has it the quiet bit clear? */
  signaling(format: BinaryFormat, i: number): boolean {
    return format === DOUBLE ? (this.u32[2 * i + 1] & 0x80000) === 0 : (this.u32[i] & 0x400000) === 0;
  }

  copyLane(format: BinaryFormat, i: number, from: FloatVector, j: number): void {
    if (format === DOUBLE) {
      this.u32[2 * i] = from.u32[2 * j];
      this.u32[2 * i + 1] = from.u32[2 * j + 1];
    } else this.u32[i] = from.u32[j];
  }

  /** Sets the quiet bit of a lane that is a NaN. */
  quiet(format: BinaryFormat, i: number): void {
    if (format === DOUBLE) this.u32[2 * i + 1] |= 0x80000;
    else this.u32[i] |= 0x400000;
  }

  /** Stores all ones or all zeros. */
  putMask(format: BinaryFormat, i: number, value: boolean): void {
    const word = value ? 0xffffffff : 0;
    if (format === DOUBLE) this.u32[2 * i] = this.u32[2 * i + 1] = word;
    else this.u32[i] = word;
  }
}

/** Operands and result of the operation in progress. */
export class FloatUnit {
  readonly a: FloatVector;
  readonly b: FloatVector;
  readonly c: FloatVector;
  readonly result: FloatVector;
  /** Operands rearranged. */
  readonly p = new FloatVector();
  readonly q = new FloatVector();
  readonly env = new FloatEnvironment();
  private met = 0;
  private before = 0;
  private after = 0;

  /** `at`: where in the buffer a, b, c and the result are; without a buffer they have their own. */
  constructor(buffer?: ArrayBufferLike, at: readonly number[] = []) {
    [this.a, this.b, this.c, this.result] = [0, 1, 2, 3].map((i) => new FloatVector(buffer, at[i]));
  }

  /** Starts an instruction under this MXCSR. */
  begin(mxcsr: number): void {
    this.env.load(mxcsr);
    this.met = this.before = this.after = 0;
  }

  /**
   * Ends an instruction: the exceptions to add to MXCSR's flags. If one of them is unmasked, `result` must not be used.
   * Exceptions of results are left out when one of operands is unmasked, whichever the lane.
   */
  end(): number {
    this.met |= this.before;
    if ((this.before & ~this.env.masks) === 0) this.met |= this.after;
    this.before = this.after = 0;
    return this.met;
  }

  /** Ends one of several operations that an instruction consists of. False when an unmasked exception ends the instruction. */
  step(): boolean {
    return (this.end() & ~this.env.masks) === 0;
  }

  /** Operand lane as a number; with DAZ a denormal is a zero of its sign, else it is noted. */
  operand(format: BinaryFormat, vector: FloatVector, i: number): number {
    return this.denormal(format, vector.number(format, i));
  }

  /** As `operand`, for a number read before. */
  denormal(format: BinaryFormat, x: number): number {
    if (x === 0 || Math.abs(x) >= format.smallestNormal || x !== x) return x;
    if (this.env.daz) return x < 0 ? -0 : 0;
    this.env.flags |= Exception.DE;
    return x;
  }

  /** Takes over what the environment has noted for a lane. Invalid operations and divisions by zero precede denormal operands. */
  settle(): void {
    const { flags } = this.env;
    this.before |= flags & (Exception.IE | Exception.ZE) ? flags & (BEFORE & ~Exception.DE) : flags & BEFORE;
    this.after |= flags & ~BEFORE;
    this.env.flags = 0;
  }

  /** Notes an invalid operation for this lane. */
  invalid(): void {
    this.env.flags |= Exception.IE;
  }

  /** result[i] = the NaN vector[j], quiet. */
  propagate(format: BinaryFormat, i: number, vector: FloatVector, j = i): void {
    this.result.copyLane(format, i, vector, j);
    this.result.quiet(format, i);
  }

  /** Of a[i] and b[i] one is a NaN at least: gives the first that is. */
  nanOfTwo(format: BinaryFormat, i: number): void {
    const { a, b } = this;
    const nanA = Number.isNaN(a.number(format, i));
    const nanB = Number.isNaN(b.number(format, i));
    if ((nanA && a.signaling(format, i)) || (nanB && b.signaling(format, i))) this.invalid();
    this.env.flags &= ~Exception.DE;
    this.propagate(format, i, nanA ? a : b);
  }

  /** As nanOfTwo for a[i], b[i], c[i]. */
  nanOfThree(format: BinaryFormat, i: number): void {
    const { a, b, c } = this;
    if (Number.isNaN(c.number(format, i)) && c.signaling(format, i)) this.invalid();
    const others = !Number.isNaN(a.number(format, i)) && !Number.isNaN(b.number(format, i));
    if (others) this.propagate(format, i, c);
    else this.nanOfTwo(format, i);
  }
}
