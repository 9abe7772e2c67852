/**
 * 128-bit vector instructions of WebAssembly, as expressions. Names follow the specification: `i8x16.add` is `i8x16.add`.
 * Opcodes: WebAssembly Core Specification, "Binary Format", "Vector Instructions".
 */
import { I32, I64, V128, make, type Expr, type Fn, type Type } from './wasm';
import { uleb } from './wasmBytes';

const PREFIX = 0xfd;

function opcode(f: Fn, code: number): void {
  f.code.push(PREFIX);
  uleb(f.code, code);
}

const unary =
  (code: number, result: Type = V128) =>
  (a: Expr) =>
    make(result, (f) => {
      a.emit(f);
      opcode(f, code);
    });

const binary = (code: number) => (a: Expr, b: Expr) =>
  make(V128, (f) => {
    a.emit(f);
    b.emit(f);
    opcode(f, code);
  });

/** Shift counts are i32, taken modulo the lane width. */
const shift = binary;

const extract = (code: number, result: Type) => (a: Expr, lane: number) =>
  make(result, (f) => {
    a.emit(f);
    opcode(f, code);
    f.code.push(lane);
  });

const replace = (code: number) => (a: Expr, lane: number, value: Expr) =>
  make(V128, (f) => {
    a.emit(f);
    value.emit(f);
    opcode(f, code);
    f.code.push(lane);
  });

const load = (code: number) => (address: Expr, offset: number) =>
  make(V128, (f) => {
    address.emit(f);
    opcode(f, code);
    f.code.push(0); // alignment hint: none
    uleb(f.code, offset);
  });

/** A constant of 16 bytes. */
export function v128c(bytes: ArrayLike<number>): Expr {
  return make(V128, (f) => {
    opcode(f, 0x0c);
    for (let i = 0; i < 16; i++) f.code.push(bytes[i] & 0xff);
  });
}

/** Bytes picked from a (0..15) and b (16..31). */
export function shuffle(a: Expr, b: Expr, lanes: ArrayLike<number>): Expr {
  return make(V128, (f) => {
    a.emit(f);
    b.emit(f);
    opcode(f, 0x0d);
    for (let i = 0; i < 16; i++) f.code.push(lanes[i]);
  });
}

export const v128 = {
  load: load(0x00),
  /** The rest of the vector becomes zero. */
  load32Zero: load(0x5c),
  load64Zero: load(0x5d),
  store: (address: Expr, value: Expr, offset: number) => (f: Fn) => {
    address.emit(f);
    value.emit(f);
    opcode(f, 0x0b);
    f.code.push(0);
    uleb(f.code, offset);
  },
  zero: v128c(new Uint8Array(16)),
  ones: v128c(new Uint8Array(16).fill(0xff)),
  not: unary(0x4d),
  and: binary(0x4e),
  /** a AND NOT b (x86's PANDN negates its first operand instead). */
  andnot: binary(0x4f),
  or: binary(0x50),
  xor: binary(0x51),
  /** Bits of a where mask is 1, else of b. */
  bitselect: (a: Expr, b: Expr, mask: Expr) =>
    make(V128, (f) => {
      a.emit(f);
      b.emit(f);
      mask.emit(f);
      opcode(f, 0x52);
    }),
  anyTrue: unary(0x53, I32),
};

export const i8x16 = {
  /** Bytes of a by index; indices beyond 15 give 0. */
  swizzle: binary(0x0e),
  splat: unary(0x0f),
  extractS: extract(0x15, I32),
  extractU: extract(0x16, I32),
  replace: replace(0x17),
  eq: binary(0x23),
  ne: binary(0x24),
  ltS: binary(0x25),
  ltU: binary(0x26),
  gtS: binary(0x27),
  gtU: binary(0x28),
  abs: unary(0x60),
  neg: unary(0x61),
  popcnt: unary(0x62),
  allTrue: unary(0x63, I32),
  bitmask: unary(0x64, I32),
  narrowI16x8S: binary(0x65),
  narrowI16x8U: binary(0x66),
  shl: shift(0x6b),
  shrS: shift(0x6c),
  shrU: shift(0x6d),
  add: binary(0x6e),
  addSatS: binary(0x6f),
  addSatU: binary(0x70),
  sub: binary(0x71),
  subSatS: binary(0x72),
  subSatU: binary(0x73),
  minS: binary(0x76),
  minU: binary(0x77),
  maxS: binary(0x78),
  maxU: binary(0x79),
  avgrU: binary(0x7b),
};

export const i16x8 = {
  splat: unary(0x10),
  extractS: extract(0x18, I32),
  extractU: extract(0x19, I32),
  replace: replace(0x1a),
  extaddPairwiseI8x16S: unary(0x7c),
  extaddPairwiseI8x16U: unary(0x7d),
  eq: binary(0x2d),
  ne: binary(0x2e),
  ltS: binary(0x2f),
  ltU: binary(0x30),
  gtS: binary(0x31),
  gtU: binary(0x32),
  abs: unary(0x80),
  neg: unary(0x81),
  q15mulrSatS: binary(0x82),
  allTrue: unary(0x83, I32),
  bitmask: unary(0x84, I32),
  narrowI32x4S: binary(0x85),
  narrowI32x4U: binary(0x86),
  extendLowI8x16S: unary(0x87),
  extendHighI8x16S: unary(0x88),
  extendLowI8x16U: unary(0x89),
  extendHighI8x16U: unary(0x8a),
  shl: shift(0x8b),
  shrS: shift(0x8c),
  shrU: shift(0x8d),
  add: binary(0x8e),
  addSatS: binary(0x8f),
  addSatU: binary(0x90),
  sub: binary(0x91),
  subSatS: binary(0x92),
  subSatU: binary(0x93),
  mul: binary(0x95),
  minS: binary(0x96),
  minU: binary(0x97),
  maxS: binary(0x98),
  maxU: binary(0x99),
  avgrU: binary(0x9b),
  extmulLowI8x16S: binary(0x9c),
  extmulHighI8x16S: binary(0x9d),
  extmulLowI8x16U: binary(0x9e),
  extmulHighI8x16U: binary(0x9f),
};

export const i32x4 = {
  splat: unary(0x11),
  extract: extract(0x1b, I32),
  replace: replace(0x1c),
  eq: binary(0x37),
  ne: binary(0x38),
  ltS: binary(0x39),
  ltU: binary(0x3a),
  gtS: binary(0x3b),
  gtU: binary(0x3c),
  extaddPairwiseI16x8S: unary(0x7e),
  extaddPairwiseI16x8U: unary(0x7f),
  abs: unary(0xa0),
  neg: unary(0xa1),
  allTrue: unary(0xa3, I32),
  bitmask: unary(0xa4, I32),
  extendLowI16x8S: unary(0xa7),
  extendHighI16x8S: unary(0xa8),
  extendLowI16x8U: unary(0xa9),
  extendHighI16x8U: unary(0xaa),
  shl: shift(0xab),
  shrS: shift(0xac),
  shrU: shift(0xad),
  add: binary(0xae),
  sub: binary(0xb1),
  mul: binary(0xb5),
  minS: binary(0xb6),
  minU: binary(0xb7),
  maxS: binary(0xb8),
  maxU: binary(0xb9),
  dotI16x8S: binary(0xba),
  extmulLowI16x8S: binary(0xbc),
  extmulHighI16x8S: binary(0xbd),
  extmulLowI16x8U: binary(0xbe),
  extmulHighI16x8U: binary(0xbf),
  truncSatF32x4S: unary(0xf8),
  truncSatF64x2SZero: unary(0xfc),
};

export const i64x2 = {
  splat: unary(0x12),
  extract: extract(0x1d, I64),
  replace: replace(0x1e),
  abs: unary(0xc0),
  neg: unary(0xc1),
  allTrue: unary(0xc3, I32),
  bitmask: unary(0xc4, I32),
  extendLowI32x4S: unary(0xc7),
  extendHighI32x4S: unary(0xc8),
  extendLowI32x4U: unary(0xc9),
  extendHighI32x4U: unary(0xca),
  shl: shift(0xcb),
  shrS: shift(0xcc),
  shrU: shift(0xcd),
  add: binary(0xce),
  sub: binary(0xd1),
  mul: binary(0xd5),
  eq: binary(0xd6),
  ne: binary(0xd7),
  ltS: binary(0xd8),
  gtS: binary(0xd9),
  extmulLowI32x4S: binary(0xdc),
  extmulHighI32x4S: binary(0xdd),
  extmulLowI32x4U: binary(0xde),
  extmulHighI32x4U: binary(0xdf),
};

/** splat(convert(i64)), i64 signed. */
const splatInteger = (convert: number, splat: number) => (x: Expr) =>
  make(V128, (f) => {
    x.emit(f);
    f.code.push(convert);
    opcode(f, splat);
  });

/** Lane 0 truncated to a signed i64; saturates, and a NaN gives 0. */
const truncateLane = (lane: number, truncate: number) => (v: Expr) =>
  make(I64, (f) => {
    v.emit(f);
    opcode(f, lane);
    f.code.push(0, 0xfc, truncate);
  });

export const f32x4 = {
  eq: binary(0x41),
  ne: binary(0x42),
  lt: binary(0x43),
  gt: binary(0x44),
  le: binary(0x45),
  ge: binary(0x46),
  demoteF64x2Zero: unary(0x5e),
  ceil: unary(0x67),
  floor: unary(0x68),
  trunc: unary(0x69),
  nearest: unary(0x6a),
  splatI64S: splatInteger(0xb4, 0x13),
  truncateI64S: truncateLane(0x1f, 0x04),
  abs: unary(0xe0),
  neg: unary(0xe1),
  sqrt: unary(0xe3),
  add: binary(0xe4),
  sub: binary(0xe5),
  mul: binary(0xe6),
  div: binary(0xe7),
  min: binary(0xe8),
  max: binary(0xe9),
  pmin: binary(0xea),
  pmax: binary(0xeb),
  convertI32x4S: unary(0xfa),
};

export const f64x2 = {
  eq: binary(0x47),
  ne: binary(0x48),
  lt: binary(0x49),
  gt: binary(0x4a),
  le: binary(0x4b),
  ge: binary(0x4c),
  promoteLowF32x4: unary(0x5f),
  ceil: unary(0x74),
  floor: unary(0x75),
  trunc: unary(0x7a),
  nearest: unary(0x94),
  splatI64S: splatInteger(0xb9, 0x14),
  truncateI64S: truncateLane(0x21, 0x06),
  abs: unary(0xec),
  neg: unary(0xed),
  sqrt: unary(0xef),
  add: binary(0xf0),
  sub: binary(0xf1),
  mul: binary(0xf2),
  div: binary(0xf3),
  min: binary(0xf4),
  max: binary(0xf5),
  pmin: binary(0xf6),
  pmax: binary(0xf7),
  convertLowI32x4S: unary(0xfe),
};
