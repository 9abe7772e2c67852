/** Bitwise logic, shifts, rotates, bit tests and bit scans. */
import type { Bits, Builder } from '../../translate/builder';
import { i64, i64c, select, type Expr } from '../../translate/wasm';
import { rows, type Family, type UndefinedResult } from './instruction';

function logic(b: Builder, operation: (x: Expr, y: Expr) => Expr): void {
  const x = b.modify(0);
  const r = b.let(operation(x, b.read(1)));
  b.write(0, r);
  b.flagsLogic(b.bits(0), r);
}

/** Shift counts are taken modulo 32, or 64 for 64-bit operands. */
function shiftCount(b: Builder, operand: number): Expr {
  return b.let(i64.and(b.read(operand), i64c(b.bits(0) === 64 ? 63 : 31)));
}

const nonZero = (v: Expr): Expr => i64.ne(v, i64c(0));
const bit = (v: Expr, n: Expr): Expr => i64.and(i64.shrU(v, n), i64c(1));
const top = (v: Expr, bits: Bits): Expr => bit(v, i64c(bits - 1));
const mask = (bits: Bits): Expr => i64c((1n << BigInt(bits)) - 1n);

function shl(b: Builder): void {
  const bits = b.bits(0);
  const x = b.modify(0);
  const count = shiftCount(b, 1);
  const r = b.let(i64.shl(x, count));
  b.write(0, r);
  b.when(nonZero(count), () => {
    const out = bits === 64 ? bit(x, i64.sub(i64c(64), count)) : bit(r, i64c(bits));
    const cf = b.let(out);
    b.flagsResult(bits, r, cf, i64.xor(top(r, bits), cf));
  });
}

function shr(b: Builder): void {
  const bits = b.bits(0);
  const x = b.modify(0);
  const count = shiftCount(b, 1);
  const r = b.let(i64.shrU(x, count));
  b.write(0, r);
  b.when(nonZero(count), () => b.flagsResult(bits, r, bit(x, i64.sub(count, i64c(1))), top(x, bits)));
}

function sar(b: Builder): void {
  const bits = b.bits(0);
  const value = b.modify(0);
  const x = b.let(
    bits === 8 ? i64.extend8(value) : bits === 16 ? i64.extend16(value) : bits === 32 ? i64.extend32(value) : value,
  );
  const count = shiftCount(b, 1);
  const r = b.let(i64.shrS(x, count));
  b.write(0, r);
  b.when(nonZero(count), () => {
    const cf = i64.and(i64.shrS(x, i64.sub(count, i64c(1))), i64c(1));
    b.flagsResult(bits, i64.and(r, mask(bits)), cf, i64c(0));
  });
}

function rotate(b: Builder, left: boolean): void {
  const bits = b.bits(0);
  const x = b.modify(0);
  const count = shiftCount(b, 1);
  let r: Expr;
  if (bits === 64) r = (left ? i64.rotl : i64.rotr)(x, count);
  else {
    const n = b.let(i64.and(count, i64c(bits - 1)));
    const back = i64.sub(i64c(bits), n);
    const joined = left ? i64.or(i64.shl(x, n), i64.shrU(x, back)) : i64.or(i64.shrU(x, n), i64.shl(x, back));
    r = i64.and(joined, mask(bits));
  }
  r = b.let(r);
  b.write(0, r);
  b.when(nonZero(count), () => {
    const cf = b.let(left ? i64.and(r, i64c(1)) : top(r, bits));
    const of = left ? i64.xor(top(r, bits), cf) : i64.xor(cf, bit(r, i64c(bits - 2)));
    b.flagsCarry(cf, b.let(of));
  });
}

/** Rotates through CF: a rotation of bits + 1 bits. */
function rotateCarry(b: Builder, left: boolean): void {
  const bits = b.bits(0);
  const x = b.modify(0);
  const raw = shiftCount(b, 1);
  const carry = b.let(b.flag('cf'));
  const count = bits === 8 || bits === 16 ? b.let(i64.remU(raw, i64c(bits + 1))) : raw;
  const one = i64c(1);
  let r: Expr;
  let cf: Expr;
  if (bits === 64) {
    const less = i64.sub(count, one);
    const rest = i64.sub(i64c(64), count);
    // 65 - count may be 64: shift in two steps.
    const around = left ? i64.shrU(i64.shrU(x, one), rest) : i64.shl(i64.shl(x, one), rest);
    const carried = left ? i64.shl(carry, less) : i64.shl(carry, rest);
    const moved = left ? i64.shl(x, count) : i64.shrU(x, count);
    r = select(nonZero(count), i64.or(i64.or(moved, carried), around), x);
    cf = select(nonZero(count), left ? bit(x, rest) : bit(x, less), carry);
  } else {
    const wide = b.let(i64.or(x, i64.shl(carry, i64c(bits))));
    const back = i64.sub(i64c(bits + 1), count);
    const rotated = left
      ? i64.or(i64.shl(wide, count), i64.shrU(wide, back))
      : i64.or(i64.shrU(wide, count), i64.shl(wide, back));
    const all = b.let(rotated);
    r = i64.and(all, mask(bits));
    cf = bit(all, i64c(bits));
  }
  r = b.let(r);
  cf = b.let(cf);
  b.write(0, r);
  b.when(nonZero(raw), () => {
    const of = left ? i64.xor(top(r, bits), cf) : i64.xor(top(r, bits), bit(r, i64c(bits - 2)));
    b.flagsCarry(cf, b.let(of));
  });
}

function doubleShift(b: Builder, left: boolean): void {
  const bits = b.bits(0);
  const x = b.modify(0);
  const fill = b.let(b.read(1));
  const count = shiftCount(b, 2);
  const back = i64.sub(i64c(bits), count);
  const moved = left
    ? i64.or(i64.shl(x, count), i64.shrU(fill, back))
    : i64.or(i64.shrU(x, count), i64.shl(fill, back));
  const r = b.let(i64.and(select(nonZero(count), moved, x), bits === 64 ? i64c(-1) : mask(bits)));
  b.write(0, r);
  b.when(nonZero(count), () => {
    const cf = left ? bit(x, back) : bit(x, i64.sub(count, i64c(1)));
    b.flagsResult(bits, r, b.let(cf), i64.xor(top(r, bits), top(x, bits)));
  });
}

type BitChange = 'none' | 'set' | 'reset' | 'complement';

function bitTest(b: Builder, change: BitChange): void {
  const bits = b.bits(0);
  const offset = b.let(b.readSigned(1));
  // A register offset reaches beyond a memory operand; an immediate one is taken modulo its size.
  if (b.kind(0) === 'm' && b.kind(1) === 'r') {
    const words = i64.shrS(offset, i64c(Math.log2(bits)));
    b.displaceOperand(i64.mul(words, i64c(bits / 8)));
  }
  const x = change === 'none' ? b.let(b.read(0)) : b.modify(0);
  const n = b.let(i64.and(offset, i64c(bits - 1)));
  const cf = b.let(bit(x, n));
  const m = i64.shl(i64c(1), n);
  if (change === 'set') b.write(0, i64.or(x, m));
  if (change === 'reset') b.write(0, i64.and(x, i64.xor(m, i64c(-1))));
  if (change === 'complement') b.write(0, i64.xor(x, m));
  b.setCarry(cf);
}

function bitScan(b: Builder, reverse: boolean): void {
  const x = b.let(b.read(1));
  const r = reverse ? i64.sub(i64c(63), i64.clz(x)) : i64.ctz(x);
  b.when(nonZero(x), () => b.write(0, r));
  b.flagsLogic(b.bits(0), x);
}

function countZeros(b: Builder, leading: boolean): void {
  const bits = b.bits(0);
  const x = b.let(b.read(1));
  const limited = select(nonZero(x), i64.ctz(x), i64c(bits));
  const r = b.let(leading ? i64.sub(i64.clz(x), i64c(64 - bits)) : limited);
  b.write(0, r);
  b.flagsResult(bits, r, i64.extendU(i64.eqz(x)), i64c(0));
}

const AF_UNDEFINED: readonly UndefinedResult[] = [{ flags: 'AF' }];
/** SAR shifts copies of the sign out, so its CF is defined for all counts. */
const SHIFT_RIGHT_SIGNED: readonly UndefinedResult[] = [
  { flags: 'OF', when: 'count is over 1' },
  { flags: 'AF', when: 'count is not 0' },
];
const SHIFT: readonly UndefinedResult[] = [...SHIFT_RIGHT_SIGNED, { flags: 'CF', when: 'count is the size or more' }];
const ROTATE: readonly UndefinedResult[] = [{ flags: 'OF', when: 'count is over 1' }];
const DOUBLE_SHIFT: readonly UndefinedResult[] = [
  ...SHIFT_RIGHT_SIGNED,
  { destination: true, flags: 'CF PF AF ZF SF OF', when: 'count is over the size' },
];
const BIT_TEST: readonly UndefinedResult[] = [{ flags: 'OF SF AF PF' }];
const BIT_SCAN: readonly UndefinedResult[] = [{ flags: 'CF OF SF AF PF' }];
const BIT_COUNT: readonly UndefinedResult[] = [{ flags: 'OF SF AF PF' }];

export const logicFamily: Family = [
  {
    mnemonic: 'And',
    manual: 'AND—Logical AND',
    semantics: (b) => logic(b, i64.and),
    undefinedResults: AF_UNDEFINED,
    note: 'AF 0',
  },
  {
    mnemonic: 'Or',
    manual: 'OR—Logical Inclusive OR',
    semantics: (b) => logic(b, i64.or),
    undefinedResults: AF_UNDEFINED,
    note: 'AF 0',
  },
  {
    mnemonic: 'Xor',
    manual: 'XOR—Logical Exclusive OR',
    semantics: (b) => logic(b, i64.xor),
    undefinedResults: AF_UNDEFINED,
    note: 'AF 0',
  },
  {
    mnemonic: 'Test',
    manual: 'TEST—Logical Compare',
    semantics: (b) => b.flagsLogic(b.bits(0), b.let(i64.and(b.read(0), b.read(1)))),
    undefinedResults: AF_UNDEFINED,
    note: 'AF 0',
  },
  {
    mnemonic: 'Not',
    manual: "NOT—One's Complement Negation",
    semantics: (b) => b.write(0, i64.xor(b.modify(0), i64c(-1))),
  },
  ...rows(['Shl', 'Sal'], (mnemonic) => ({
    mnemonic,
    manual: 'SAL/SAR/SHL/SHR—Shift',
    semantics: shl,
    undefinedResults: SHIFT,
  })),
  { mnemonic: 'Shr', manual: 'SAL/SAR/SHL/SHR—Shift', semantics: shr, undefinedResults: SHIFT },
  { mnemonic: 'Sar', manual: 'SAL/SAR/SHL/SHR—Shift', semantics: sar, undefinedResults: SHIFT_RIGHT_SIGNED },
  { mnemonic: 'Rol', manual: 'RCL/RCR/ROL/ROR—Rotate', semantics: (b) => rotate(b, true), undefinedResults: ROTATE },
  { mnemonic: 'Ror', manual: 'RCL/RCR/ROL/ROR—Rotate', semantics: (b) => rotate(b, false), undefinedResults: ROTATE },
  {
    mnemonic: 'Rcl',
    manual: 'RCL/RCR/ROL/ROR—Rotate',
    semantics: (b) => rotateCarry(b, true),
    undefinedResults: ROTATE,
  },
  {
    mnemonic: 'Rcr',
    manual: 'RCL/RCR/ROL/ROR—Rotate',
    semantics: (b) => rotateCarry(b, false),
    undefinedResults: ROTATE,
  },
  {
    mnemonic: 'Shld',
    manual: 'SHLD—Double Precision Shift Left',
    semantics: (b) => doubleShift(b, true),
    undefinedResults: DOUBLE_SHIFT,
  },
  {
    mnemonic: 'Shrd',
    manual: 'SHRD—Double Precision Shift Right',
    semantics: (b) => doubleShift(b, false),
    undefinedResults: DOUBLE_SHIFT,
  },
  { mnemonic: 'Bt', manual: 'BT—Bit Test', semantics: (b) => bitTest(b, 'none'), undefinedResults: BIT_TEST },
  { mnemonic: 'Bts', manual: 'BTS—Bit Test and Set', semantics: (b) => bitTest(b, 'set'), undefinedResults: BIT_TEST },
  {
    mnemonic: 'Btr',
    manual: 'BTR—Bit Test and Reset',
    semantics: (b) => bitTest(b, 'reset'),
    undefinedResults: BIT_TEST,
  },
  {
    mnemonic: 'Btc',
    manual: 'BTC—Bit Test and Complement',
    semantics: (b) => bitTest(b, 'complement'),
    undefinedResults: BIT_TEST,
  },
  {
    mnemonic: 'Bsf',
    manual: 'BSF—Bit Scan Forward',
    semantics: (b) => bitScan(b, false),
    undefinedResults: BIT_SCAN,
    note: 'A zero source leaves the destination as it was (documented by AMD, so on Intel processors, too)',
  },
  {
    mnemonic: 'Bsr',
    manual: 'BSR—Bit Scan Reverse',
    semantics: (b) => bitScan(b, true),
    undefinedResults: BIT_SCAN,
    note: 'As BSF for a zero source',
  },
  {
    mnemonic: 'Tzcnt',
    feature: 'bmi1',
    manual: 'TZCNT—Count the Number of Trailing Zero Bits',
    semantics: (b) => countZeros(b, false),
    undefinedResults: BIT_COUNT,
  },
  {
    mnemonic: 'Lzcnt',
    feature: 'abm',
    manual: 'LZCNT—Count the Number of Leading Zero Bits',
    semantics: (b) => countZeros(b, true),
    undefinedResults: BIT_COUNT,
  },
  {
    mnemonic: 'Popcnt',
    feature: 'popcnt',
    manual: 'POPCNT—Return the Count of Number of Bits Set to 1',
    semantics: (b) => {
      const x = b.let(b.read(1));
      b.write(0, i64.popcnt(x));
      // All of OF SF AF CF PF are 0: those of the value 1.
      b.flagsLogic(64, i64c(1));
      b.setZero(x);
    },
  },
  {
    mnemonic: 'Bswap',
    operands: /^r16$/,
    manual: 'BSWAP—Byte Swap',
    semantics: (b) => b.write(0, i64c(0)),
    undefinedResults: [{ destination: true }],
    note: 'Gives 0',
  },
  {
    mnemonic: 'Bswap',
    operands: /^r(32|64)$/,
    manual: 'BSWAP—Byte Swap',
    semantics: (b) => {
      const swapHalf = (v: Expr, m: bigint, n: number): Expr =>
        i64.or(i64.shl(i64.and(v, i64c(m)), i64c(n)), i64.and(i64.shrU(v, i64c(n)), i64c(m)));
      const bytes = b.let(swapHalf(b.let(b.read(0)), 0x00ff00ff00ff00ffn, 8));
      const words = b.let(swapHalf(bytes, 0x0000ffff0000ffffn, 16));
      b.write(0, b.bits(0) === 64 ? i64.rotl(words, i64c(32)) : words);
    },
  },
];
