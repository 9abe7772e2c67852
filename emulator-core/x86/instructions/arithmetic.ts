/** Integer addition, subtraction, multiplication, division and comparison. */
import { Gpr, type Bits, type Builder } from '../../translate/builder';
import { truncate } from '../../translate/operands';
import { i32, i64, i64c, select, type Expr } from '../../translate/wasm';
import type { Family } from './instruction';

const { rax, rdx } = Gpr;

/** High 64 bits of an unsigned 64 x 64 product, from four 32-bit partial products. */
export function highProduct(b: Builder, x: Expr, y: Expr): Expr {
  const low = (v: Expr): Expr => i64.and(v, i64c(0xffffffffn));
  const high = (v: Expr): Expr => i64.shrU(v, i64c(32));
  const cross1 = b.let(i64.add(i64.mul(high(x), low(y)), high(i64.mul(low(x), low(y)))));
  const cross2 = b.let(i64.add(i64.mul(low(x), high(y)), low(cross1)));
  return i64.add(i64.add(i64.mul(high(x), high(y)), high(cross1)), high(cross2));
}

function signedHighProduct(b: Builder, x: Expr, y: Expr): Expr {
  const negative = (v: Expr): Expr => i64.shrS(v, i64c(63));
  const corrections = i64.add(i64.and(negative(x), y), i64.and(negative(y), x));
  return i64.sub(highProduct(b, x, y), corrections);
}

/** Double-width product into AX, DX:AX, EDX:EAX or RDX:RAX; CF = OF = the high half is significant. */
function multiplyAccumulator(b: Builder, signed: boolean): void {
  const bits = b.bits(0);
  const x = b.let(signed ? b.readSigned(0) : b.read(0));
  const accumulator = b.reg(rax, bits);
  const sign = { 8: i64.extend8, 16: i64.extend16, 32: i64.extend32, 64: (v: Expr) => v }[bits];
  const y = b.let(signed ? sign(accumulator) : accumulator);
  const low = b.let(i64.mul(x, y));
  let significant: Expr;
  if (bits === 64) {
    const high = b.let(signed ? signedHighProduct(b, x, y) : highProduct(b, x, y));
    significant = signed ? i64.ne(high, i64.shrS(low, i64c(63))) : i64.ne(high, i64c(0));
    b.setReg(rax, 64, low);
    b.setReg(rdx, 64, high);
  } else {
    significant = signed ? i64.ne(low, sign(low)) : i64.ne(i64.shrU(low, i64c(bits)), i64c(0));
    if (bits === 8) b.setReg(rax, 16, low);
    else {
      b.setReg(rax, bits, low);
      b.setReg(rdx, bits, i64.shrU(low, i64c(bits)));
    }
  }
  const carry = b.let(i64.extendU(significant));
  const result = signed || bits === 64 ? low : i64.and(low, i64c((1n << BigInt(bits)) - 1n));
  b.flagsResult(bits, result, carry, carry);
}

/** Truncated signed product of operands x and y into operand 0. */
function multiplySigned(b: Builder, x: Expr, y: Expr): void {
  const bits = b.bits(0);
  const product = b.let(i64.mul(x, y));
  let significant: Expr;
  if (bits === 64) significant = i64.ne(signedHighProduct(b, x, y), i64.shrS(product, i64c(63)));
  else significant = i64.ne(product, (bits === 16 ? i64.extend16 : i64.extend32)(product));
  const carry = b.let(i64.extendU(significant));
  b.write(0, product);
  b.flagsResult(bits, product, carry, carry);
}

function divide(b: Builder, signed: boolean): void {
  const bits = b.bits(0);
  const divisor = b.let(signed ? b.readSigned(0) : b.read(0));
  if (bits === 64) {
    const { quotient, remainder } = b.wideDivide(signed, b.reg(rdx, 64), b.reg(rax, 64), divisor);
    b.setReg(rax, 64, quotient);
    b.setReg(rdx, 64, remainder);
    return;
  }
  b.faultIf(i64.eqz(divisor), 0);
  let dividend: Expr;
  if (bits === 8) dividend = signed ? i64.extend16(b.reg(rax, 16)) : b.reg(rax, 16);
  else {
    const joined = i64.or(i64.shl(b.reg(rdx, bits), i64c(bits)), b.reg(rax, bits));
    dividend = signed && bits === 16 ? i64.extend32(joined) : joined;
  }
  dividend = b.let(dividend);
  if (signed) {
    // The one i64 division that traps: -2^63 / -1. Its quotient does not fit 32 bits anyway.
    const smallest = i64.eq(dividend, i64c(-0x8000000000000000n));
    b.faultIf(i32.and(smallest, i64.eq(divisor, i64c(-1))), 0);
  }
  const quotient = b.let(signed ? i64.divS(dividend, divisor) : i64.divU(dividend, divisor));
  const remainder = b.let(signed ? i64.remS(dividend, divisor) : i64.remU(dividend, divisor));
  const sign = { 8: i64.extend8, 16: i64.extend16, 32: i64.extend32 }[bits];
  const fits = signed ? sign(quotient) : i64.and(quotient, i64c((1n << BigInt(bits)) - 1n));
  b.faultIf(i64.ne(quotient, fits), 0);
  if (bits === 8) {
    const low = i64.and(quotient, i64c(0xff));
    b.setReg(rax, 16, i64.or(low, i64.shl(i64.and(remainder, i64c(0xff)), i64c(8))));
  } else {
    b.setReg(rax, bits, quotient);
    b.setReg(rdx, bits, remainder);
  }
}

function extend(value: Expr, from: Bits): Expr {
  return from === 8 ? i64.extend8(value) : from === 16 ? i64.extend16(value) : i64.extend32(value);
}

/** A result for operand 0 and for the flags: of 32 bits, which registers get zero-extended, it is cut once for both. */
function result(b: Builder, value: Expr): Expr {
  return b.let(b.bits(0) === 32 ? truncate(value, 32) : value);
}

function add(b: Builder, carryIn: boolean): void {
  const x = b.modify(0);
  const y = b.let(b.read(1));
  const sum = i64.add(x, y);
  const r = result(b, carryIn ? i64.add(sum, b.flag('cf')) : sum);
  b.write(0, r);
  b.flagsAdd(b.bits(0), x, y, r);
}

function subtract(b: Builder, borrowIn: boolean): void {
  const x = b.modify(0);
  const y = b.let(b.read(1));
  const difference = i64.sub(x, y);
  const r = result(b, borrowIn ? i64.sub(difference, b.flag('cf')) : difference);
  b.write(0, r);
  b.flagsSub(b.bits(0), x, y, r, borrowIn);
}

const UNDEFINED_DIVIDE = { undefinedResults: [{ flags: 'CF OF SF ZF AF PF' }], note: 'Undefined flags are kept' };
const UNDEFINED_MULTIPLY = { undefinedResults: [{ flags: 'SF ZF AF PF' }], note: 'SF ZF PF from the low half, AF 0' };

export const arithmetic: Family = [
  { mnemonic: 'Add', manual: 'ADD—Add', semantics: (b) => add(b, false) },
  { mnemonic: 'Adc', manual: 'ADC—Add With Carry', semantics: (b) => add(b, true) },
  { mnemonic: 'Sub', manual: 'SUB—Subtract', semantics: (b) => subtract(b, false) },
  { mnemonic: 'Sbb', manual: 'SBB—Integer Subtraction With Borrow', semantics: (b) => subtract(b, true) },
  {
    mnemonic: 'Cmp',
    manual: 'CMP—Compare Two Operands',
    semantics: (b) => {
      const x = b.let(b.read(0));
      const y = b.let(b.read(1));
      b.flagsSub(b.bits(0), x, y, result(b, i64.sub(x, y)));
    },
  },
  {
    mnemonic: 'Inc',
    manual: 'INC—Increment by 1',
    semantics: (b) => {
      const x = b.modify(0);
      const r = result(b, i64.add(x, i64c(1)));
      b.write(0, r);
      b.flagsInc(b.bits(0), x, r);
    },
  },
  {
    mnemonic: 'Dec',
    manual: 'DEC—Decrement by 1',
    semantics: (b) => {
      const x = b.modify(0);
      const r = result(b, i64.sub(x, i64c(1)));
      b.write(0, r);
      b.flagsDec(b.bits(0), x, r);
    },
  },
  {
    mnemonic: 'Neg',
    manual: "NEG—Two's Complement Negation",
    semantics: (b) => {
      const x = b.modify(0);
      const r = result(b, i64.sub(i64c(0), x));
      b.write(0, r);
      b.flagsSub(b.bits(0), i64c(0), x, r);
    },
  },
  {
    mnemonic: 'Mul',
    manual: 'MUL—Unsigned Multiply',
    semantics: (b) => multiplyAccumulator(b, false),
    ...UNDEFINED_MULTIPLY,
  },
  {
    mnemonic: 'Imul',
    manual: 'IMUL—Signed Multiply',
    operands: /^rm\d+$/,
    semantics: (b) => multiplyAccumulator(b, true),
    ...UNDEFINED_MULTIPLY,
  },
  {
    mnemonic: 'Imul',
    manual: 'IMUL—Signed Multiply',
    operands: /^r\d+_rm\d+$/,
    semantics: (b) => multiplySigned(b, b.let(b.readSigned(0)), b.let(b.readSigned(1))),
    ...UNDEFINED_MULTIPLY,
  },
  {
    mnemonic: 'Imul',
    manual: 'IMUL—Signed Multiply',
    operands: /_imm\d+$/,
    semantics: (b) => multiplySigned(b, b.let(b.readSigned(1)), b.let(b.readSigned(2))),
    ...UNDEFINED_MULTIPLY,
  },
  { mnemonic: 'Div', manual: 'DIV—Unsigned Divide', semantics: (b) => divide(b, false), ...UNDEFINED_DIVIDE },
  { mnemonic: 'Idiv', manual: 'IDIV—Signed Divide', semantics: (b) => divide(b, true), ...UNDEFINED_DIVIDE },
  {
    mnemonic: 'Cbw',
    manual: 'CBW/CWDE/CDQE—Convert Byte to Word/Convert Word to Doubleword/Convert Doubleword to Quadword',
    semantics: (b) => b.setReg(rax, 16, extend(b.reg(rax, 8), 8)),
  },
  {
    mnemonic: 'Cwde',
    manual: 'CBW/CWDE/CDQE—Convert Byte to Word/Convert Word to Doubleword/Convert Doubleword to Quadword',
    semantics: (b) => b.setReg(rax, 32, extend(b.reg(rax, 16), 16)),
  },
  {
    mnemonic: 'Cdqe',
    manual: 'CBW/CWDE/CDQE—Convert Byte to Word/Convert Word to Doubleword/Convert Doubleword to Quadword',
    semantics: (b) => b.setReg(rax, 64, extend(b.reg(rax, 32), 32)),
  },
  {
    mnemonic: 'Cwd',
    manual: 'CWD/CDQ/CQO—Convert Word to Doubleword/Convert Doubleword to Quadword',
    semantics: (b) => b.setReg(rdx, 16, i64.shrS(extend(b.reg(rax, 16), 16), i64c(63))),
  },
  {
    mnemonic: 'Cdq',
    manual: 'CWD/CDQ/CQO—Convert Word to Doubleword/Convert Doubleword to Quadword',
    semantics: (b) => b.setReg(rdx, 32, i64.shrS(extend(b.reg(rax, 32), 32), i64c(63))),
  },
  {
    mnemonic: 'Cqo',
    manual: 'CWD/CDQ/CQO—Convert Word to Doubleword/Convert Doubleword to Quadword',
    semantics: (b) => b.setReg(rdx, 64, i64.shrS(b.reg(rax, 64), i64c(63))),
  },
  {
    mnemonic: 'Xadd',
    manual: 'XADD—Exchange and Add',
    semantics: (b) => {
      const x = b.modify(0);
      const y = b.let(b.read(1));
      const r = b.let(i64.add(x, y));
      b.write(1, x);
      b.write(0, r);
      b.flagsAdd(b.bits(0), x, y, r);
    },
  },
  {
    mnemonic: 'Cmpxchg',
    manual: 'CMPXCHG—Compare and Exchange',
    semantics: (b) => {
      const bits = b.bits(0);
      const destination = b.modify(0);
      const accumulator = b.let(b.reg(rax, bits));
      const source = b.let(b.read(1));
      const equal = b.let(i64.eq(destination, accumulator));
      if (b.kind(0) === 'm') {
        // Memory is written either way, as the manual says; rax changes only when they differ.
        b.write(0, select(equal, source, destination));
        b.when(i32.eqz(equal), () => b.setReg(rax, bits, destination));
      } else {
        // A 32-bit register that is not written keeps its upper half.
        b.when(
          equal,
          () => b.write(0, source),
          () => b.setReg(rax, bits, destination),
        );
      }
      b.flagsSub(bits, accumulator, destination, b.let(i64.sub(accumulator, destination)));
    },
  },
  {
    mnemonic: 'Cmpxchg8b',
    feature: 'cx8',
    manual: 'CMPXCHG8B/CMPXCHG16B—Compare and Exchange Bytes',
    semantics: (b) => {
      const pair = (high: number, low: number): Expr => i64.or(i64.shl(b.reg(high, 32), i64c(32)), b.reg(low, 32));
      const destination = b.modify(0);
      const expected = b.let(pair(Gpr.rdx, Gpr.rax));
      const equal = b.let(i64.eq(destination, expected));
      b.write(0, select(equal, pair(Gpr.rcx, Gpr.rbx), destination));
      b.when(i32.eqz(equal), () => {
        b.setReg(rax, 32, destination);
        b.setReg(rdx, 32, i64.shrU(destination, i64c(32)));
      });
      b.setZero(i64.extendU(i32.eqz(equal)));
    },
  },
  {
    mnemonic: 'Cmpxchg16b',
    feature: 'cx16',
    manual: 'CMPXCHG8B/CMPXCHG16B—Compare and Exchange Bytes',
    semantics: (b) => {
      const { low, high, store } = b.modifyPair(0);
      const equal = b.let(i32.and(i64.eq(low, b.reg(Gpr.rax, 64)), i64.eq(high, b.reg(Gpr.rdx, 64))));
      store(select(equal, b.reg(Gpr.rbx, 64), low), select(equal, b.reg(Gpr.rcx, 64), high));
      b.when(i32.eqz(equal), () => {
        b.setReg(Gpr.rax, 64, low);
        b.setReg(Gpr.rdx, 64, high);
      });
      b.setZero(i64.extendU(i32.eqz(equal)));
    },
    assist: 'cmpxchg16b',
  },
];
