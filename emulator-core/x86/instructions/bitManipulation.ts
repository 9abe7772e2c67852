/**
 * Bit manipulation and carry chains: BMI1, BMI2, ADX. The VEX-encoded ones need neither OSXSAVE nor XCR0; in real-address and
 * virtual-8086 mode they are #UD (SDM Vol. 2A, "Exceptions Type 13"), which the decoder sees to.
 */
import { Gpr, type Bits, type Builder } from '../../translate/builder';
import { i32, i64, i64c, select, type Expr } from '../../translate/wasm';
import { highProduct } from './arithmetic';
import { rows, type Family } from './instruction';

const ALL_ONES = i64c(-1);
const not = (v: Expr): Expr => i64.xor(v, ALL_ONES);
const nonZero = (v: Expr): Expr => i64.extendU(i64.ne(v, i64c(0)));
const lowByte = (v: Expr): Expr => i64.and(v, i64c(0xff));
/** Ones below bit `n`; `n` is 0 .. 63. */
const below = (n: Expr): Expr => i64.sub(i64.shl(i64c(1), n), i64c(1));

function bitFieldExtract(b: Builder): void {
  const bits = b.bits(0);
  const x = b.let(b.read(1));
  const control = b.let(b.read(2));
  const start = b.let(lowByte(control));
  const length = b.let(lowByte(i64.shrU(control, i64c(8))));
  const moved = b.let(select(i64.ltU(start, i64c(64)), i64.shrU(x, start), i64c(0)));
  const r = b.let(select(i64.ltU(length, i64c(64)), i64.and(moved, below(length)), moved));
  b.write(0, r);
  b.flagsLogic(bits, r);
}

function zeroHighBits(b: Builder): void {
  const bits = b.bits(0);
  const x = b.let(b.read(1));
  const n = b.let(lowByte(b.read(2)));
  const inside = b.let(i64.ltU(n, i64c(bits)));
  const r = b.let(select(inside, i64.and(x, below(n)), x));
  b.write(0, r);
  b.flagsResult(bits, r, i64.extendU(i32.eqz(inside)), i64c(0));
}

/** BLSI, BLSMSK and BLSR: about the lowest set bit of the source; CF tells that the source is (not) zero. */
function lowestBit(b: Builder, operation: (x: Expr) => Expr, carryWhenZero: boolean): void {
  const x = b.let(b.read(1));
  const r = b.let(operation(x));
  b.write(0, r);
  b.flagsResult(b.bits(0), r, carryWhenZero ? i64.extendU(i64.eqz(x)) : nonZero(x), i64c(0));
}

/**
 * What moves a set bit of `mask` to its rank, in six steps by powers of two: step s moves the mask's bits whose distance
 * (zeros below them) has bit s, so a step is the set of bits that move then. The distances' bits are parities of zeros below,
 * and a prefix parity is a carry-less product with all ones: six shifts and XORs.
 */
function compressionSteps(b: Builder, mask: Expr): Expr[] {
  const steps: Expr[] = [];
  let kept = mask;
  let zerosBelow = b.let(i64.shl(not(mask), i64c(1)));
  for (let s = 0; s < 6; s++) {
    let parity = zerosBelow;
    for (let by = 1; by < 64; by *= 2) parity = b.let(i64.xor(parity, i64.shl(parity, i64c(by))));
    const moving = b.let(i64.and(parity, kept));
    steps.push(moving);
    kept = b.let(i64.or(i64.xor(kept, moving), i64.shrU(moving, i64c(1 << s))));
    zerosBelow = b.let(i64.and(zerosBelow, not(parity)));
  }
  return steps;
}

function extractBits(b: Builder): void {
  const mask = b.let(b.read(2));
  let r = b.let(i64.and(b.read(1), mask));
  compressionSteps(b, mask).forEach((moving, s) => {
    const part = b.let(i64.and(r, moving));
    r = b.let(i64.or(i64.xor(r, part), i64.shrU(part, i64c(1 << s))));
  });
  b.write(0, r);
}

/** The steps of PEXT backwards. */
function depositBits(b: Builder): void {
  const mask = b.let(b.read(2));
  let r = b.let(b.read(1));
  const steps = compressionSteps(b, mask);
  for (let s = 5; s >= 0; s--) {
    const moving = steps[s];
    r = b.let(i64.or(i64.and(r, not(moving)), i64.and(i64.shl(r, i64c(1 << s)), moving)));
  }
  b.write(0, i64.and(r, mask));
}

/** The high half goes to the first operand, the low half to the second; where both are one register the high half stays. */
function multiplyWithoutFlags(b: Builder): void {
  const bits = b.bits(0);
  const x = b.let(b.read(2));
  const y = b.let(b.reg(Gpr.rdx, bits));
  const low = b.let(i64.mul(x, y));
  const high = b.let(bits === 64 ? highProduct(b, x, y) : i64.shrU(low, i64c(32)));
  b.write(1, low);
  b.write(0, high);
}

function shiftWithoutFlags(b: Builder, shift: (x: Expr, count: Expr) => Expr, signed = false): void {
  const x = b.let(signed ? b.readSigned(1) : b.read(1));
  const count = i64.and(b.read(2), i64c(b.bits(0) - 1));
  b.write(0, shift(x, count));
}

function rotateRightWithoutFlags(b: Builder): void {
  const bits: Bits = b.bits(0);
  const x = b.let(b.read(1));
  const count = b.let(i64.and(b.read(2), i64c(bits - 1)));
  if (bits === 64) b.write(0, i64.rotr(x, count));
  else b.write(0, i64.or(i64.shrU(x, count), i64.shl(x, i64.sub(i64c(bits), count))));
}

/** Adds with one flag as carry in and out; all other flags are kept. */
function addThrough(b: Builder, flag: 'cf' | 'of'): void {
  const bits = b.bits(0);
  const x = b.modify(0);
  const y = b.let(b.read(1));
  const r = b.let(i64.add(i64.add(x, y), b.flag(flag)));
  const carries = i64.or(i64.and(x, y), i64.and(i64.or(x, y), not(r)));
  const out = b.let(bits === 64 ? i64.shrU(carries, i64c(63)) : i64.shrU(r, i64c(bits)));
  b.write(0, r);
  if (flag === 'cf') b.setCarry(out);
  else b.flagsCarry(b.let(b.flag('cf')), out);
}

const UNDEFINED = { undefinedResults: [{ flags: 'AF PF' }], note: 'AF and PF as after a logical operation' };

export const bitManipulation: Family = [
  {
    mnemonic: 'Andn',
    feature: 'bmi1',
    manual: 'ANDN—Logical AND NOT',
    ...UNDEFINED,
    semantics: (b) => {
      const r = b.let(i64.and(not(b.read(1)), b.read(2)));
      b.write(0, r);
      b.flagsLogic(b.bits(0), r);
    },
  },
  {
    mnemonic: 'Bextr',
    feature: 'bmi1',
    manual: 'BEXTR—Bit Field Extract',
    undefinedResults: [{ flags: 'AF SF PF' }],
    note: 'AF, SF and PF as after a logical operation',
    semantics: bitFieldExtract,
  },
  {
    mnemonic: 'Blsi',
    feature: 'bmi1',
    manual: 'BLSI—Extract Lowest Set Isolated Bit',
    ...UNDEFINED,
    semantics: (b) => lowestBit(b, (x) => i64.and(x, i64.sub(i64c(0), x)), false),
  },
  {
    mnemonic: 'Blsmsk',
    feature: 'bmi1',
    manual: 'BLSMSK—Get Mask Up to Lowest Set Bit',
    ...UNDEFINED,
    semantics: (b) => lowestBit(b, (x) => i64.xor(x, i64.sub(x, i64c(1))), true),
  },
  {
    mnemonic: 'Blsr',
    feature: 'bmi1',
    manual: 'BLSR—Reset Lowest Set Bit',
    ...UNDEFINED,
    semantics: (b) => lowestBit(b, (x) => i64.and(x, i64.sub(x, i64c(1))), true),
  },
  {
    mnemonic: 'Bzhi',
    feature: 'bmi2',
    manual: 'BZHI—Zero High Bits Starting with Specified Bit Position',
    ...UNDEFINED,
    semantics: zeroHighBits,
  },
  {
    mnemonic: 'Mulx',
    feature: 'bmi2',
    manual: 'MULX—Unsigned Multiply Without Affecting Flags',
    semantics: multiplyWithoutFlags,
  },
  { mnemonic: 'Pdep', feature: 'bmi2', manual: 'PDEP—Parallel Bits Deposit', semantics: depositBits },
  { mnemonic: 'Pext', feature: 'bmi2', manual: 'PEXT—Parallel Bits Extract', semantics: extractBits },
  {
    mnemonic: 'Rorx',
    feature: 'bmi2',
    manual: 'RORX—Rotate Right Logical Without Affecting Flags',
    semantics: rotateRightWithoutFlags,
  },
  {
    mnemonic: 'Sarx',
    feature: 'bmi2',
    manual: 'SARX/SHLX/SHRX—Shift Without Affecting Flags',
    semantics: (b) => shiftWithoutFlags(b, i64.shrS, true),
  },
  ...rows(
    [
      ['Shlx', i64.shl],
      ['Shrx', i64.shrU],
    ] as const,
    ([mnemonic, shift]) => ({
      mnemonic,
      feature: 'bmi2',
      manual: 'SARX/SHLX/SHRX—Shift Without Affecting Flags',
      semantics: (b: Builder) => shiftWithoutFlags(b, shift),
    }),
  ),
  {
    mnemonic: 'Adcx',
    feature: 'adx',
    manual: 'ADCX—Unsigned Integer Addition of Two Operands With Carry Flag',
    semantics: (b) => addThrough(b, 'cf'),
  },
  {
    mnemonic: 'Adox',
    feature: 'adx',
    manual: 'ADOX—Unsigned Integer Addition of Two Operands With Overflow Flag',
    semantics: (b) => addThrough(b, 'of'),
  },
];
