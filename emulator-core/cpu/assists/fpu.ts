/** The x87 instructions over 80-bit arithmetic. SDM Vol. 1, "Programming with the x87 FPU"; Vol. 2 for each. */
import { CODES } from '../../x86/codes';
import type { CpuContext } from '../cpuContext';
import * as A from '../fpu/arithmetic80';
import { DOUBLE, SINGLE, fromBinary, fromDecimal, fromInteger, toBinary, toDecimal, toInteger } from '../fpu/convert80';
import {
  INDEFINITE,
  ONE,
  Rounding,
  float80,
  negate,
  quiet,
  signOf,
  zero,
  classify,
  Class,
  Exception,
  type Environment,
  type Float80,
} from '../fpu/float80';
import { Code, FpuState } from '../fpu/fpuState';
import { Cr0, Flag, GuestFault, Vector } from '../vcpu';
import { TRANSCENDENTAL } from './fpuTranscendental';
import { loadEnvironment, notePointers, restore, save, storeEnvironment } from './fpuEnvironment';
import type { Assist } from './operands';

type Operation = (c: CpuContext, fpu: FpuState) => void;
type Binary = (env: Environment, a: Float80, b: Float80) => Float80;

const fpu = new FpuState();

/** What the Code's name says of its operands: 'm32fp', 'st0_sti' ... */
interface Form {
  text: string;
  /** Bytes of a number in memory, 0 for other operands. */
  bytes: number;
  integer: boolean;
  /** Place of the stack register that is named beside ST(0). */
  stackOperand: 0 | 1;
  st0First: boolean;
}

const FORMS: (Form | undefined)[] = [];
function formOf(c: CpuContext): Form {
  const { code } = c;
  return (FORMS[code] ??= parseForm(CODES[code]!.name));
}
function parseForm(name: string): Form {
  const cut = name.indexOf('_');
  const text = cut < 0 ? '' : name.slice(cut + 1);
  const memory = /^m(\d+)(fp|int)/.exec(text);
  const st0First = text.startsWith('st0_');
  return {
    text,
    bytes: memory ? Number(memory[1]) / 8 : 0,
    integer: memory?.[2] === 'int',
    stackOperand: st0First ? 1 : 0,
    st0First,
  };
}

/** The memory operand's value; undefined when the operand is no memory. */
function memoryValue(c: CpuContext, env: Environment): Float80 | undefined {
  const { bytes, integer } = formOf(c);
  if (bytes === 0) return undefined;
  if (bytes === 10) {
    const linear = c.linear(10, false);
    // From the lowest address on, which a page fault reports.
    const significand = c.read(linear, 8);
    return float80(Number(c.read(linear + 8n, 2)), significand);
  }
  const bits = c.read(c.linear(bytes, false), bytes);
  if (integer) return fromInteger(BigInt.asIntN(bytes * 8, bits));
  const { value, denormal } = fromBinary(bits, bytes === 4 ? SINGLE : DOUBLE);
  env.denormalSource = denormal;
  return value;
}

/** Index of the stack register that the Code names beside ST(0). */
function stackIndex(c: CpuContext): number {
  return c.registerOffset(formOf(c).stackOperand);
}

/** dst op src, or src op dst for the reversed forms. */
function arithmetic(operation: Binary, reversed: boolean, pops: boolean): Operation {
  return (c) => {
    const env = fpu.environment();
    const memory = memoryValue(c, env);
    const i = memory ? 0 : stackIndex(c);
    const destination = memory || formOf(c).st0First ? 0 : i;
    const source = destination === 0 ? i : 0;
    if (fpu.empty(destination) || (!memory && fpu.empty(source))) {
      if (!fpu.stackFault(false)) return;
      fpu.set(destination, INDEFINITE);
    } else {
      const a = fpu.raw(destination);
      const b = memory ?? fpu.raw(source);
      const result = reversed ? operation(env, b, a) : operation(env, a, b);
      if (fpu.report(env)) return;
      fpu.set(destination, result);
    }
    if (pops) fpu.pop();
  };
}

const RELATION_CODES: Record<A.Relation, number> = {
  greater: 0,
  less: Code.C0,
  equal: Code.C3,
  unordered: Code.C0 | Code.C2 | Code.C3,
};
const RELATION_FLAGS: Record<A.Relation, number> = {
  greater: 0,
  less: Flag.CF,
  equal: Flag.ZF,
  unordered: Flag.CF | Flag.PF | Flag.ZF,
};

/** Compares ST(0) with memory, ST(i), or `other`. */
function compare(quietly: boolean, pops: number, toFlags = false, other?: Float80): Operation {
  return (c) => {
    const env = fpu.environment();
    const memory = other ?? memoryValue(c, env);
    const index = formOf(c).text === '' ? 1 : memory ? 0 : stackIndex(c);
    let relation: A.Relation = 'unordered';
    let stopped = false;
    if (fpu.empty(0) || (!memory && fpu.empty(index))) {
      if (!fpu.stackFault(false)) return;
    } else {
      relation = A.compare(env, fpu.raw(0), memory ?? fpu.raw(index), quietly);
      // An unmasked invalid operation sets no flags. An unmasked denormal operand does, but keeps the registers.
      stopped = fpu.report(env);
      if (env.flags & Exception.IE && stopped) return;
    }
    if (toFlags) {
      const cleared = c.cpu.rflags & ~(Flag.CF | Flag.PF | Flag.ZF | Flag.SF | Flag.AF | Flag.OF);
      c.cpu.rflags = cleared | RELATION_FLAGS[relation];
    } else fpu.setCodes(Code.C0 | Code.C2 | Code.C3, RELATION_CODES[relation]);
    for (let i = 0; i < pops && !stopped; i++) fpu.pop();
  };
}

/** ST(0) := f(ST(0)). */
function unary(f: (env: Environment, x: Float80) => Float80): Operation {
  return () => {
    if (fpu.empty(0)) {
      if (fpu.stackFault(false)) fpu.set(0, INDEFINITE);
      return;
    }
    const env = fpu.environment();
    const result = f(env, fpu.raw(0));
    if (!fpu.report(env)) fpu.set(0, result);
  };
}

/** What, unmasked, keeps a result out of memory. */
const BEFORE_STORE = Exception.IE | Exception.OE | Exception.UE;

/**
 * Stores ST(0) to memory, `bytes` wide, as `convert` gives it. Memory may fault, so it is written before registers change; an
 * unmasked exception that keeps the result out of memory comes before that, so that no address is looked at (seen on Intel
 * processors; AMD ones check the address first).
 */
function storeMemory(
  c: CpuContext,
  bytes: number,
  pops: boolean,
  convert: (env: Environment, x: Float80) => bigint,
): void {
  const env = fpu.environment();
  const empty = fpu.empty(0);
  // An empty register stores what the indefinite NaN converts to; that reports a stack fault and nothing else.
  const value = convert(empty ? { ...env } : env, empty ? INDEFINITE : fpu.raw(0));
  const stops = empty ? (env.masks & Exception.IE) === 0 : (env.flags & ~env.masks & BEFORE_STORE) !== 0;
  if (!stops) {
    const linear = c.linear(bytes, true);
    // Of 10 bytes the first 8 are stored also when the last two fault, as Intel processors do.
    c.write(linear, value, Math.min(bytes, 8));
    if (bytes === 10) c.write(linear + 8n, value >> 64n, 2);
  }
  if (empty) fpu.stackFault(false);
  else fpu.report(env);
  if (!stops && pops) fpu.pop();
}

function store(pops: boolean): Operation {
  return (c) => {
    const { bytes } = formOf(c);
    if (bytes === 10) storeMemory(c, 10, pops, (_env, x) => (BigInt(x.signExponent) << 64n) | x.significand);
    else if (bytes === 8) storeMemory(c, 8, pops, (env, x) => toBinary(env, x, DOUBLE));
    else if (bytes === 4) storeMemory(c, 4, pops, (env, x) => toBinary(env, x, SINGLE));
    else {
      const to = c.registerOffset(0);
      if (fpu.empty(0)) {
        if (!fpu.stackFault(false)) return;
        fpu.set(to, INDEFINITE);
      } else {
        fpu.set(to, fpu.raw(0));
        fpu.setCodes(Code.C1, 0);
      }
      if (pops) fpu.pop();
    }
  };
}

function storeInteger(pops: boolean, rounding?: number): Operation {
  return (c) => {
    const { bytes } = formOf(c);
    storeMemory(c, bytes, pops, (env, x) => toInteger(env, x, bytes * 8, rounding));
  };
}

function conditionalMove(test: (flags: number) => boolean): Operation {
  return (c) => {
    const i = stackIndex(c);
    if (fpu.empty(0) || fpu.empty(i)) {
      if (fpu.stackFault(false)) fpu.set(0, INDEFINITE);
      return;
    }
    if (test(c.cpu.rflags)) fpu.set(0, fpu.raw(i));
  };
}

/** Constants: the exponent, the significand rounded down, and what the next bits say for rounding up. */
const CONSTANTS: Record<string, [exponent: number, significand: bigint, roundsUpNearest: boolean]> = {
  Fldpi: [0x4000, 0xc90fdaa22168c234n, true],
  Fldl2t: [0x4000, 0xd49a784bcd1b8afen, false],
  Fldl2e: [0x3fff, 0xb8aa3b295c17f0bbn, true],
  Fldlg2: [0x3ffd, 0x9a209a84fbcff798n, true],
  Fldln2: [0x3ffe, 0xb17217f7d1cf79abn, true],
};

function constant(name: string): Operation {
  return () => {
    const [exponent, significand, up] = CONSTANTS[name];
    const rounding = (fpu.control >> 10) & 3;
    const add = rounding === Rounding.up || (rounding === Rounding.nearest && up) ? 1n : 0n;
    fpu.setCodes(Code.C1, 0);
    fpu.push(float80(exponent, significand + add));
  };
}

function load(value: (c: CpuContext, env: Environment) => Float80): Operation {
  return (c) => {
    const env = fpu.environment();
    const x = value(c, env);
    if (fpu.empty(7)) {
      if (env.denormalSource) env.flags |= Exception.DE;
      // A denormal is loaded even when that is unmasked.
      if (fpu.report(env, Exception.IE)) return;
    }
    fpu.push(x);
  };
}

/** FLD of a single or double quiets a signaling NaN; of an 80-bit value it copies. */
function loadValue(c: CpuContext, env: Environment): Float80 {
  const form = formOf(c);
  if (form.text === 'sti') return fpu.raw(c.registerOffset(0));
  const x = memoryValue(c, env)!;
  if (form.bytes !== 10 && classify(x) === Class.signalingNan) {
    env.flags |= Exception.IE;
    return quiet(x);
  }
  return x;
}

function partialRemainder(nearest: boolean): Operation {
  return () => {
    if (fpu.empty(0) || fpu.empty(1)) {
      fpu.setCodes(Code.C2, 0);
      if (fpu.stackFault(false)) fpu.set(0, INDEFINITE);
      return;
    }
    const env = fpu.environment();
    const { value, quotient, computed } = A.remainder(env, fpu.raw(0), fpu.raw(1), nearest);
    if (!fpu.report(env)) fpu.set(0, value);
    if (!computed) {
      fpu.setCodes(Code.C2, 0);
      return;
    }
    const q = quotient ?? 0;
    const codes =
      (q & 4 ? Code.C0 : 0) | (q & 2 ? Code.C3 : 0) | (q & 1 ? Code.C1 : 0) | (quotient === undefined ? Code.C2 : 0);
    fpu.setCodes(Code.C0 | Code.C1 | Code.C2 | Code.C3, codes);
  };
}

function examine(): void {
  const x = fpu.raw(0);
  const kind = fpu.empty(0) ? 0b101 : A.examine(x);
  const codes =
    (kind & 4 ? Code.C3 : 0) | (kind & 2 ? Code.C2 : 0) | (kind & 1 ? Code.C0 : 0) | (signOf(x) ? Code.C1 : 0);
  fpu.setCodes(Code.C0 | Code.C1 | Code.C2 | Code.C3, codes);
}

/** FFREE leaves the condition codes undefined; processors clear C1. */
function free(c: CpuContext): void {
  fpu.free(c.registerOffset(0));
  fpu.setCodes(Code.C1, 0);
}

/** FNOP, and what only the 8087 or 80287 did. */
function nothing(): void {}

const ARITHMETIC: [stem: string, operation: Binary, reversed: boolean][] = [
  ['add', A.add, false],
  ['sub', A.subtract, false],
  ['subr', A.subtract, true],
  ['mul', A.multiply, false],
  ['div', A.divide, false],
  ['divr', A.divide, true],
];

/** By iced-x86 mnemonic. */
const OPERATIONS: Record<string, Operation> = {
  ...Object.fromEntries(
    ARITHMETIC.flatMap(([stem, operation, reversed]) => [
      [`F${stem}`, arithmetic(operation, reversed, false)],
      [`F${stem}p`, arithmetic(operation, reversed, true)],
      [`Fi${stem}`, arithmetic(operation, reversed, false)],
    ]),
  ),
  ...Object.fromEntries(Object.keys(CONSTANTS).map((name) => [name, constant(name)])),
  Fld1: load(() => ONE),
  Fldz: load(() => zero(0)),
  Fld: (c, f) => {
    if (formOf(c).text === 'sti' && f.empty(c.registerOffset(0))) {
      // Also with the stack full: underflow comes first.
      if (!f.stackFault(false)) return;
      f.top = f.top - 1;
      f.set(0, INDEFINITE);
      return;
    }
    load(loadValue)(c, f);
  },
  Fild: load((c, env) => memoryValue(c, env)!),
  Fbld: load((c) => {
    const linear = c.linear(10, false);
    return fromDecimal(c.read(linear, 8) | (c.read(linear + 8n, 2) << 64n));
  }),
  Fst: store(false),
  Fstp: store(true),
  Fist: storeInteger(false),
  Fistp: storeInteger(true),
  Fisttp: storeInteger(true, Rounding.truncate),
  Fbstp: (c) => storeMemory(c, 10, true, toDecimal),
  Fcom: compare(false, 0),
  Fcomp: compare(false, 1),
  Fcompp: compare(false, 2),
  Fucom: compare(true, 0),
  Fucomp: compare(true, 1),
  Fucompp: compare(true, 2),
  Ficom: compare(false, 0),
  Ficomp: compare(false, 1),
  Fcomi: compare(false, 0, true),
  Fcomip: compare(false, 1, true),
  Fucomi: compare(true, 0, true),
  Fucomip: compare(true, 1, true),
  Ftst: compare(false, 0, false, zero(0)),
  Fxam: examine,
  Fcmovb: conditionalMove((f) => (f & Flag.CF) !== 0),
  Fcmove: conditionalMove((f) => (f & Flag.ZF) !== 0),
  Fcmovbe: conditionalMove((f) => (f & (Flag.CF | Flag.ZF)) !== 0),
  Fcmovu: conditionalMove((f) => (f & Flag.PF) !== 0),
  Fcmovnb: conditionalMove((f) => (f & Flag.CF) === 0),
  Fcmovne: conditionalMove((f) => (f & Flag.ZF) === 0),
  Fcmovnbe: conditionalMove((f) => (f & (Flag.CF | Flag.ZF)) === 0),
  Fcmovnu: conditionalMove((f) => (f & Flag.PF) === 0),
  Fxch: (c) => {
    const i = stackIndex(c);
    const value = (n: number): Float80 => (fpu.empty(n) ? INDEFINITE : fpu.raw(n));
    if (fpu.empty(0) || fpu.empty(i)) {
      if (!fpu.stackFault(false)) return;
    } else fpu.setCodes(Code.C1, 0);
    const [a, b] = [value(0), value(i)];
    fpu.set(0, b);
    fpu.set(i, a);
  },
  Fchs: unary((_env, x) => negate(x)),
  Fabs: unary((_env, x) => float80(x.signExponent & 0x7fff, x.significand)),
  Fsqrt: unary(A.squareRoot),
  Frndint: unary(A.roundToInteger),
  Fscale: () => {
    if (fpu.empty(0) || fpu.empty(1)) {
      if (fpu.stackFault(false)) fpu.set(0, INDEFINITE);
      return;
    }
    const env = fpu.environment();
    const result = A.scale(env, fpu.raw(0), fpu.raw(1));
    if (!fpu.report(env)) fpu.set(0, result);
  },
  Fxtract: () => {
    const underflow = fpu.empty(0);
    let parts = { exponent: INDEFINITE, significand: INDEFINITE };
    if (underflow || !fpu.empty(7)) {
      if (!fpu.stackFault(!underflow)) return;
    } else {
      const env = fpu.environment();
      parts = A.extract(env, fpu.raw(0));
      if (fpu.report(env)) return;
    }
    fpu.set(0, parts.exponent);
    fpu.top = fpu.top - 1;
    fpu.set(0, parts.significand);
  },
  ...TRANSCENDENTAL,
  Fprem: partialRemainder(false),
  Fprem1: partialRemainder(true),
  Fninit: () => fpu.initialize(),
  Fnclex: () => {
    fpu.status = fpu.status & 0x7f00;
  },
  Fnstcw: (c) => c.write(c.linear(2, true), BigInt(fpu.control), 2),
  Fldcw: (c) => {
    fpu.control = Number(c.read(c.linear(2, false), 2));
  },
  Fnstsw: (c) => {
    if (formOf(c).text === 'AX') c.cpu.setGprSized(0, BigInt(fpu.status), 2);
    else c.write(c.linear(2, true), BigInt(fpu.status), 2);
  },
  Fnstenv: (c) => storeEnvironment(c, fpu, formOf(c).text),
  Fldenv: (c) => loadEnvironment(c, fpu, formOf(c).text),
  Fnsave: (c) => save(c, fpu, formOf(c).text),
  Frstor: (c) => restore(c, fpu, formOf(c).text),
  Wait: nothing,
  Fnop: nothing,
  Fneni: nothing,
  Fndisi: nothing,
  Fnsetpm: nothing,
  Ffree: free,
  Ffreep: (c) => {
    free(c);
    fpu.pop();
  },
  Fstpnce: (c) => {
    fpu.setCodes(Code.C1, 0);
    if (!fpu.empty(0)) fpu.set(c.registerOffset(0), fpu.raw(0));
    fpu.pop();
  },
  Fincstp: () => {
    fpu.top = fpu.top + 1;
    fpu.setCodes(Code.C1, 0);
  },
  Fdecstp: () => {
    fpu.top = fpu.top - 1;
    fpu.setCodes(Code.C1, 0);
  },
};

/** Instructions that do not look for pending exceptions first. */
const NON_WAITING = new Set('Fninit Fnclex Fnstcw Fnstsw Fnstenv Fnsave Fneni Fndisi Fnsetpm'.split(' '));
/** Instructions that leave the last instruction's pointers alone. */
const CONTROL = new Set([...NON_WAITING, 'Fldcw', 'Fldenv', 'Frstor', 'Wait', 'Fnop']);

/** What an instruction does, by Code. */
interface Entry {
  operation: Operation;
  /** Bits of CR0 of which any (WAIT: all) make it #NM. */
  blocking: number;
  isWait: boolean;
  waits: boolean;
  /** Leaves its own address and its operand's as the last instruction's. */
  notes: boolean;
}
const ENTRIES: (Entry | undefined)[] = [];
function makeEntry(mnemonic: string): Entry {
  const isWait = mnemonic === 'Wait';
  return {
    operation: OPERATIONS[mnemonic],
    blocking: Cr0.TS | (isWait ? Cr0.MP : Cr0.EM),
    isWait,
    waits: !NON_WAITING.has(mnemonic),
    notes: !CONTROL.has(mnemonic),
  };
}

function x87(c: CpuContext): void {
  const { cpu, code } = c;
  const entry = (ENTRIES[code] ??= makeEntry(CODES[code]!.row.mnemonic));
  const blocked = cpu.cr0 & entry.blocking;
  if (entry.isWait ? blocked === entry.blocking : blocked !== 0) throw new GuestFault(Vector.NM);
  fpu.cpu = cpu;
  // With CR0.NE clear the error would go out through FERR# and IRQ 13: taken as ignored (IGNNE# asserted).
  if (entry.waits && fpu.pending && cpu.cr0 & Cr0.NE) throw new GuestFault(Vector.MF);
  entry.operation(c, fpu);
  if (entry.notes) notePointers(c, fpu);
}

export const fpuAssists: Record<string, Assist> = { x87 };
