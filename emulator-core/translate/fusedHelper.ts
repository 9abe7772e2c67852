/**
 * Fused multiply-add inside the handler module: WebAssembly has none that is exact, but sums and products with their residuals are.
 * It serves the usual case (MXCSR as WebAssembly rounds, nothing special in a lane) and calls `vector` for any other.
 * S. Boldo and G. Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd".
 */
import { Mxcsr } from '../cpu/fpu/softfloat/environment';
import { Fused } from '../cpu/fpu/softfloat/operations';
import { State } from '../cpu/layout';
import { FloatArgument } from '../cpu/vector/float';
import { Import } from './abi';
import { Fn, I32, get, i32, i32c, i64, i64c, ifElse, set, tailCall, type Expr } from './wasm';
import { f32x4, f64x2, i32x4, i64x2, shuffle, v128, v128c } from './wasmSimd';

const uop = get(0, I32);
const cpu = get(1, I32);
const request = get(2, I32);
/** Where the operation's argument begins in a request. */
const ARGUMENT = 16;

const doubles = (value: number): Expr => v128c(new Uint8Array(new Float64Array(2).fill(value).buffer));
const singles = (value: number): Expr => v128c(new Uint8Array(new Float32Array(4).fill(value).buffer));

/** Emits the arithmetic; every value has a local. */
class FusedEmitter {
  readonly f = new Fn(3);

  name(value: Expr): Expr {
    const local = this.f.local(value.type);
    set(local, value)(this.f);
    return get(local, value.type);
  }

  twoSum(a: Expr, b: Expr): { sum: Expr; residual: Expr } {
    const sum = this.name(f64x2.add(a, b));
    const fromB = this.name(f64x2.sub(sum, a));
    const residual = f64x2.add(f64x2.sub(a, f64x2.sub(sum, fromB)), f64x2.sub(b, fromB));
    return { sum, residual: this.name(residual) };
  }

  /** The high 26 bits of the significands, and the rest. */
  split(x: Expr): { high: Expr; low: Expr } {
    const t = this.name(f64x2.mul(doubles(2 ** 27 + 1), x));
    const high = this.name(f64x2.sub(t, f64x2.sub(t, x)));
    return { high, low: this.name(f64x2.sub(x, high)) };
  }

  twoProduct(a: Expr, b: Expr): { product: Expr; residual: Expr } {
    const product = this.name(f64x2.mul(a, b));
    const x = this.split(a);
    const y = this.split(b);
    const mul = f64x2.mul;
    const rest = f64x2.sub(f64x2.sub(product, mul(x.high, y.high)), mul(x.low, y.high));
    return { product, residual: this.name(f64x2.sub(mul(x.low, y.low), f64x2.sub(rest, mul(x.high, y.low)))) };
  }

  /** An inexact x whose last bit is zero moves towards what it misses, by one unit. */
  toOdd(x: Expr, residual: Expr): Expr {
    const inexact = f64x2.ne(residual, v128.zero);
    const even = i64x2.eq(v128.and(x, i64x2.splat(i64c(1))), v128.zero);
    const direction = v128.or(i64x2.shrS(v128.xor(x, residual), i32c(63)), i64x2.splat(i64c(1)));
    return this.name(i64x2.add(x, v128.and(direction, v128.and(inexact, even))));
  }

  /** No NaN and not denormal, by the format's lanes. */
  plain(lanes: typeof f32x4 | typeof f64x2, x: Expr, smallest: Expr): Expr {
    return v128.or(lanes.ge(lanes.abs(x), smallest), lanes.eq(x, v128.zero));
  }

  /** Two binary64 lanes. Within the bounds tested no intermediate overflows and no residual is lost. */
  double(x: Expr, y: Expr, z: Expr): { result: Expr; fits: Expr } {
    const { abs, lt, ge, eq } = f64x2;
    const { product, residual } = this.twoProduct(x, y);
    const high = this.twoSum(z, residual);
    const total = this.twoSum(product, high.sum);
    const rest = this.twoSum(total.residual, high.residual);
    const sum = this.name(f64x2.add(total.sum, this.toOdd(rest.sum, rest.residual)));
    // What is zero is exactly so, and has the sign that the plain sum gives it.
    const isZero = eq(sum, v128.zero);
    const result = this.name(v128.bitselect(f64x2.add(product, z), sum, isZero));
    const smallest = doubles(2 ** -1022);
    const plain = [x, y, z].map((v) => this.plain(f64x2, v, smallest)).reduce((p, q) => v128.and(p, q));
    const noProduct = v128.or(eq(x, v128.zero), eq(y, v128.zero));
    const bounds = [
      lt(abs(x), doubles(2 ** 480)),
      lt(abs(y), doubles(2 ** 480)),
      lt(abs(z), doubles(2 ** 1000)),
      v128.or(noProduct, ge(abs(product), doubles(2 ** -900))),
      v128.or(ge(abs(result), doubles(2 ** -1021)), eq(result, v128.zero)),
    ].reduce((p, q) => v128.and(p, q));
    return { result, fits: this.name(v128.and(plain, bounds)) };
  }

  /** Two binary32 lanes as binary64 ones: the product is exact, and the sum to odd rounds to binary32 as the exact one. */
  widened(x: Expr, y: Expr, z: Expr): Expr {
    const product = this.name(f64x2.mul(f64x2.promoteLowF32x4(x), f64x2.promoteLowF32x4(y)));
    const { sum, residual } = this.twoSum(product, this.name(f64x2.promoteLowF32x4(z)));
    return this.toOdd(sum, residual);
  }

  /** Four binary32 lanes. */
  single(x: Expr, y: Expr, z: Expr): { result: Expr; fits: Expr } {
    const upper = (v: Expr): Expr => shuffle(v, v, [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15]);
    const low = this.widened(x, y, z);
    const high = this.widened(upper(x), upper(y), upper(z));
    const halves = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];
    const result = this.name(shuffle(f32x4.demoteF64x2Zero(low), f32x4.demoteF64x2Zero(high), halves));
    const everyOther = [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27];
    const exactZero = shuffle(f64x2.eq(low, v128.zero), f64x2.eq(high, v128.zero), everyOther);
    const { abs, lt, ge } = f32x4;
    const normal = v128.and(ge(abs(result), singles(2 ** -125)), lt(abs(result), singles(Infinity)));
    const smallest = singles(2 ** -126);
    const plain = [x, y, z].map((v) => this.plain(f32x4, v, smallest)).reduce((p, q) => v128.and(p, q));
    return { result, fits: this.name(v128.and(plain, v128.or(normal, exactZero))) };
  }

  /** One part of 128 bits: signs as the option says, result stored, or off to `vector` when a lane that counts does not fit. */
  part(isDouble: boolean, at: number, signs: { product: Expr; addend: Expr }, idle: Expr): void {
    const load = (slot: number): Expr => v128.load(cpu, slot + at);
    const x = this.name(v128.xor(load(State.vectorA), signs.product));
    const y = this.name(load(State.vectorB));
    const z = this.name(v128.xor(load(State.vectorC), signs.addend));
    const { result, fits } = isDouble ? this.double(x, y, z) : this.single(x, y, z);
    const unfit = i32.eqz(i32x4.allTrue(v128.or(fits, idle)));
    ifElse(this.f, unfit, () => tailCall(this.f, Import.vector, uop, cpu, request));
    v128.store(cpu, result, State.vectorResult + at)(this.f);
  }

  format(isDouble: boolean): void {
    const bit = (mask: number): Expr =>
      i64.and(i64.shrU(i64.extendU(request), i64c(ARGUMENT + Math.log2(mask))), i64c(1));
    const sign = (lane: Expr, at: number): Expr => i64.shl(lane, i64c(at));
    const splatBoth = (even: Expr, odd: Expr): Expr =>
      isDouble
        ? i64x2.replace(i64x2.splat(sign(even, 63)), 1, sign(odd, 63))
        : i64x2.splat(i64.or(sign(even, 31), sign(odd, 63)));
    const product = this.name(splatBoth(bit(Fused.negateProduct), bit(Fused.negateProduct)));
    const addend = this.name(splatBoth(bit(Fused.negateEven), bit(Fused.negateOdd)));
    const count = this.name(
      i32.and(i32.shrU(request, i32c(ARGUMENT + FloatArgument.countShift)), i32c(FloatArgument.countMask)),
    );
    // Of a scalar operation lane 0 counts alone.
    const others = isDouble ? [0, 0, -1, -1] : [0, -1, -1, -1];
    const idleLanes = v128c(new Uint8Array(Int32Array.from(others).buffer));
    const scalar = this.name(i32x4.splat(i32.sub(i32c(0), i32.eq(count, i32c(1)))));
    this.part(isDouble, 0, { product, addend }, this.name(v128.and(idleLanes, scalar)));
    ifElse(this.f, i32.ltS(i32c(isDouble ? 2 : 4), count), () =>
      this.part(isDouble, 16, { product, addend }, v128.zero),
    );
  }
}

/** fused(uop, cpu, request): as the import `vector` for the operation `float:fused`. */
export function fusedHelper(): Fn {
  const e = new FusedEmitter();
  const { f } = e;
  const fields = i32.and(i32.load(cpu, State.mxcsr), i32c(Mxcsr.nativeFields));
  ifElse(f, i32.ne(fields, i32c(Mxcsr.native)), () => tailCall(f, Import.vector, uop, cpu, request));
  const isDouble = i32.and(request, i32c(FloatArgument.double << ARGUMENT));
  ifElse(
    f,
    isDouble,
    () => e.format(true),
    () => e.format(false),
  );
  i32c(0).emit(f);
  return f;
}
