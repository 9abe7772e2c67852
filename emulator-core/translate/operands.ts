/** What all parts of a handler are made with: its parameters, and values of an operand size in memory and registers. */
import type { Bits, Width } from './builder';
import { I32, bitsOf, get, i64, i64c, type Expr, type Fn } from './wasm';

/** Parameters of a handler: addresses of the micro-op and of the vCPU's state. */
export const uop = get(0, I32);
export const cpu = get(1, I32);
/** log2 of the bytes that so many bits are. */
export const SIZE_LOG: Record<Width, number> = { 8: 0, 16: 1, 32: 2, 64: 3, 128: 4, 256: 5 };

const MASKS = { 8: i64c(0xff), 16: i64c(0xffff), 32: i64c(0xffffffff) };

/** The low bits, zero-extended. */
export function truncate(value: Expr, bits: Bits): Expr {
  if (bits === 64 || bitsOf(value) <= bits) return value;
  if (bits === 32 && value.low && value.constant === undefined) return i64.extendU(value.low());
  return i64.and(value, MASKS[bits]);
}

export function signExtend(value: Expr, bits: Bits): Expr {
  return bits === 64
    ? value
    : bits === 32
      ? i64.extend32(value)
      : bits === 16
        ? i64.extend16(value)
        : i64.extend8(value);
}

/** A 64-bit slot of the state. */
export const state = (offset: number): Expr => i64.load(cpu, offset);

/** Zero-extended load of `bits` at an i32 address. */
export function loadBits(address: Expr, bits: Bits): Expr {
  const op = { 8: i64.load8u, 16: i64.load16u, 32: i64.load32u, 64: i64.load }[bits];
  return op(address, 0);
}

export function storeBits(f: Fn, address: Expr, bits: Bits, value: Expr): void {
  const op = { 8: i64.store8, 16: i64.store16, 32: i64.store32, 64: i64.store }[bits];
  op(address, value, 0)(f);
}

/** Register write semantics: 8 and 16 bits merge, 32 bits zero-extend. */
export function storeRegister(f: Fn, address: Expr, bits: Bits, value: Expr): void {
  if (bits === 32) i64.store(address, truncate(value, 32), 0)(f);
  else storeBits(f, address, bits, value);
}
