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
import { SegmentIndex, State } from '../layout';
import { Cr0, Flag, GuestFault, Vector } from '../vcpu';
import type { Assist } from './operands';

type Operation = (c: CpuContext, fpu: FpuState) => void;
type Binary = (env: Environment, a: Float80, b: Float80) => Float80;

const fpu = new FpuState();

/** The Code's operand part: 'm32fp', 'sti_st0' ... */
function operandsOf(c: CpuContext): string {
  const name = CODES[c.code]!.name;
  const cut = name.indexOf('_');
  return cut < 0 ? '' : name.slice(cut + 1);
}

/** The memory operand's value; undefined when the operand is no memory. */
function memoryValue(c: CpuContext, env: Environment): Float80 | undefined {
  const m = /^m(\d+)(fp|int)/.exec(operandsOf(c));
  if (!m) return undefined;
  const bytes = Number(m[1]) / 8;
  if (bytes === 10) {
    const linear = c.linear(10, false);
    return float80(Number(c.read(linear + 8n, 2)), c.read(linear, 8));
  }
  const bits = c.read(c.linear(bytes, false), bytes);
  if (m[2] === 'int') return fromInteger(BigInt.asIntN(bytes * 8, bits));
  const { value, denormal } = fromBinary(bits, bytes === 4 ? SINGLE : DOUBLE);
  env.denormalSource = denormal;
  return value;
}

/** ST(i) as an operand: a stack fault where it is empty. undefined: unmasked, the instruction does nothing more. */
function operand(i: number): Float80 | undefined {
  if (!fpu.empty(i)) return fpu.raw(i);
  return fpu.stackFault(false) ? INDEFINITE : undefined;
}

/** Index of the stack register that the Code names beside ST(0). */
function stackIndex(c: CpuContext): number {
  const operands = operandsOf(c);
  return operands.startsWith('st0_') ? c.registerOffset(1) : c.registerOffset(0);
}

/** dst op src, or src op dst for the reversed forms. */
function arithmetic(operation: Binary, reversed: boolean, pops: boolean): Operation {
  return (c) => {
    const env = fpu.environment();
    const memory = memoryValue(c, env);
    const operands = operandsOf(c);
    const i = memory ? 0 : stackIndex(c);
    const destination = memory || operands.startsWith('st0_') ? 0 : i;
    const a = operand(destination);
    const b = memory ?? operand(destination === 0 ? i : 0);
    if (!a || !b) return;
    const empty = fpu.empty(destination) || (!memory && fpu.empty(destination === 0 ? i : 0));
    if (empty) fpu.set(destination, INDEFINITE);
    else {
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
    const index = operandsOf(c) === '' ? 1 : memory ? 0 : stackIndex(c);
    const a = operand(0);
    const b = memory ?? operand(index);
    if (!a || !b) return;
    let relation: A.Relation = 'unordered';
    if (!fpu.empty(0) && (memory || !fpu.empty(index))) {
      relation = A.compare(env, a, b, quietly);
      if (fpu.report(env)) return;
    }
    if (toFlags) {
      const cleared = c.cpu.rflags & ~(Flag.CF | Flag.PF | Flag.ZF | Flag.SF | Flag.AF | Flag.OF);
      c.cpu.rflags = cleared | RELATION_FLAGS[relation];
    } else fpu.setCodes(Code.C0 | Code.C2 | Code.C3, RELATION_CODES[relation]);
    for (let i = 0; i < pops; i++) fpu.pop();
  };
}

/** ST(0) := f(ST(0)). */
function unary(f: (env: Environment, x: Float80) => Float80): Operation {
  return () => {
    const x = operand(0);
    if (!x) return;
    if (fpu.empty(0)) {
      fpu.set(0, INDEFINITE);
      return;
    }
    const env = fpu.environment();
    const result = f(env, x);
    if (!fpu.report(env)) fpu.set(0, result);
  };
}

function store(pops: boolean): Operation {
  return (c) => {
    const operands = operandsOf(c);
    const value = operand(0);
    if (!value) return;
    const env = fpu.environment();
    if (operands.startsWith('sti')) {
      const to = c.registerOffset(0);
      fpu.set(to, value);
      fpu.setCodes(Code.C1, 0);
    } else if (operands === 'm80fp') {
      const linear = c.linear(10, true);
      c.probeWrite(linear, 10);
      c.write(linear, value.significand, 8);
      c.write(linear + 8n, BigInt(value.signExponent), 2);
      fpu.setCodes(Code.C1, 0);
    } else {
      const format = operands === 'm32fp' ? SINGLE : DOUBLE;
      const linear = c.linear(format.bits / 8, true);
      const bits = toBinary(env, value, format);
      // Unmasked overflow and underflow store nothing in memory, either.
      const blocks = Exception.IE | Exception.OE | Exception.UE;
      if ((env.flags & blocks & ~env.masks) === 0) c.write(linear, bits, format.bits / 8);
      else c.probeWrite(linear, format.bits / 8);
      if (fpu.report(env) || (env.flags & blocks & ~env.masks) !== 0) return;
    }
    if (pops) fpu.pop();
  };
}

function storeInteger(pops: boolean, rounding?: number): Operation {
  return (c) => {
    const bits = Number(/^m(\d+)int/.exec(operandsOf(c))![1]);
    const linear = c.linear(bits / 8, true);
    const value = operand(0);
    if (!value) return;
    const env = fpu.environment();
    const result = toInteger(env, value, bits, rounding ?? env.rounding);
    if (env.flags & Exception.IE & ~env.masks) c.probeWrite(linear, bits / 8);
    else c.write(linear, BigInt.asUintN(64, result), bits / 8);
    if (rounding !== undefined) env.roundedUp = false;
    if (!fpu.report(env) && pops) fpu.pop();
  };
}

function conditionalMove(test: (flags: number) => boolean): Operation {
  return (c) => {
    const i = stackIndex(c);
    const a = operand(0);
    const b = operand(i);
    if (!a || !b) return;
    if (fpu.empty(0) || fpu.empty(i)) fpu.set(0, INDEFINITE);
    else if (test(c.cpu.rflags)) fpu.set(0, b);
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
    if (env.denormalSource) env.flags |= Exception.DE;
    if (fpu.report(env)) return;
    fpu.push(x);
  };
}

/** FLD of a single or double quiets a signaling NaN; of an 80-bit value it copies. */
function loadValue(c: CpuContext, env: Environment): Float80 {
  const operands = operandsOf(c);
  if (operands === 'sti') return fpu.raw(c.registerOffset(0));
  const x = memoryValue(c, env)!;
  if (operands !== 'm80fp' && classify(x) === Class.signalingNan) {
    env.flags |= Exception.IE;
    return quiet(x);
  }
  return x;
}

// ---- environment and state images: SDM Vol. 1, "Saving the x87 FPU's State with FSTENV/FNSTENV and FSAVE/FNSAVE" ----

const ENVIRONMENT = [State.fcw, State.fsw, State.ftw, State.fip, State.fcs, State.fdp, State.fds];

function storeEnvironment(c: CpuContext, wide: boolean, extra: number): bigint {
  const step = wide ? 4 : 2;
  const linear = c.linear(7 * step + extra, true);
  c.probeWrite(linear, 7 * step + extra);
  const { cpu } = c;
  ENVIRONMENT.forEach((slot, i) => {
    let value = cpu.get64(slot);
    if (wide && i < 3) value |= 0xffff0000n;
    if (wide && i === 4) value = (value & 0xffffn) | ((cpu.get64(State.fop) & 0x7ffn) << 16n);
    if (wide && i === 6) value |= 0xffff0000n;
    c.write(linear + BigInt(i * step), value & (wide ? 0xffffffffn : 0xffffn), step);
  });
  return linear + BigInt(7 * step);
}

function loadEnvironment(c: CpuContext, wide: boolean, extra: number): bigint {
  const step = wide ? 4 : 2;
  const linear = c.linear(7 * step + extra, false);
  const values = ENVIRONMENT.map((_, i) => c.read(linear + BigInt(i * step), step));
  c.read(linear + BigInt(7 * step + extra - 1), 1);
  const { cpu } = c;
  fpu.status = Number(values[1] & 0xffffn);
  fpu.tags = Number(values[2] & 0xffffn);
  fpu.control = Number(values[0] & 0xffffn);
  cpu.set64(State.fip, values[3]);
  cpu.set64(State.fcs, values[4] & 0xffffn);
  if (wide) cpu.set64(State.fop, (values[4] >> 16n) & 0x7ffn);
  cpu.set64(State.fdp, values[5]);
  cpu.set64(State.fds, values[6] & 0xffffn);
  return linear + BigInt(7 * step);
}

const REGISTERS = 80;

function save(c: CpuContext): void {
  const at = storeEnvironment(c, operandsOf(c) === 'm108byte', REGISTERS);
  for (let i = 0; i < 8; i++) {
    const x = fpu.raw(i);
    c.write(at + BigInt(i * 10), x.significand, 8);
    c.write(at + BigInt(i * 10 + 8), BigInt(x.signExponent), 2);
  }
  fpu.initialize();
}

function restore(c: CpuContext): void {
  const at = loadEnvironment(c, operandsOf(c) === 'm108byte', REGISTERS);
  const { tags } = fpu;
  for (let i = 0; i < 8; i++) {
    fpu.set(i, float80(Number(c.read(at + BigInt(i * 10 + 8), 2)), c.read(at + BigInt(i * 10), 8)));
  }
  fpu.tags = tags;
}

function partialRemainder(nearest: boolean): Operation {
  return () => {
    const a = operand(0);
    const b = operand(1);
    if (!a || !b) return;
    const env = fpu.environment();
    if (fpu.empty(0) || fpu.empty(1)) {
      fpu.set(0, INDEFINITE);
      return;
    }
    const { value, quotient } = A.remainder(env, a, b, nearest);
    if (fpu.report(env)) return;
    fpu.set(0, value);
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
    if (operandsOf(c) === 'sti' && f.empty(c.registerOffset(0))) {
      if (f.stackFault(false)) f.push(INDEFINITE);
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
  Fbstp: (c) => {
    const linear = c.linear(10, true);
    const value = operand(0);
    if (!value) return;
    const env = fpu.environment();
    const bits = toDecimal(env, value);
    c.probeWrite(linear, 10);
    if (fpu.report(env)) return;
    c.write(linear, bits & 0xffffffffffffffffn, 8);
    c.write(linear + 8n, bits >> 64n, 2);
    fpu.pop();
  },
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
    const a = operand(0);
    const b = operand(i);
    if (!a || !b) return;
    fpu.set(0, b);
    fpu.set(i, a);
    fpu.setCodes(Code.C1, 0);
  },
  Fchs: unary((_env, x) => negate(x)),
  Fabs: unary((_env, x) => float80(x.signExponent & 0x7fff, x.significand)),
  Fsqrt: unary(A.squareRoot),
  Frndint: unary(A.roundToInteger),
  Fscale: () => {
    const a = operand(0);
    const b = operand(1);
    if (!a || !b) return;
    const env = fpu.environment();
    const result = fpu.empty(0) || fpu.empty(1) ? INDEFINITE : A.scale(env, a, b);
    if (!fpu.report(env)) fpu.set(0, result);
  },
  Fxtract: () => {
    const x = operand(0);
    if (!x) return;
    const env = fpu.environment();
    const parts = fpu.empty(0) ? { exponent: INDEFINITE, significand: INDEFINITE } : A.extract(env, x);
    if (fpu.report(env)) return;
    fpu.set(0, parts.exponent);
    fpu.push(parts.significand);
  },
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
    if (operandsOf(c) === 'AX') c.cpu.setGprSized(0, BigInt(fpu.status), 2);
    else c.write(c.linear(2, true), BigInt(fpu.status), 2);
  },
  Fnstenv: (c) => {
    storeEnvironment(c, operandsOf(c) === 'm28byte', 0);
    // All exceptions are masked afterwards.
    fpu.control = fpu.control | 0x3f;
  },
  Fldenv: (c) => void loadEnvironment(c, operandsOf(c) === 'm28byte', 0),
  Fnsave: save,
  Frstor: restore,
  Wait: () => {},
  Fnop: () => {},
  Ffree: (c) => fpu.free(c.registerOffset(0)),
  Ffreep: (c) => {
    fpu.free(c.registerOffset(0));
    fpu.top = fpu.top + 1;
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
const NON_WAITING = new Set(['Fninit', 'Fnclex', 'Fnstcw', 'Fnstsw', 'Fnstenv', 'Fnsave']);
/** Instructions that leave the last instruction's pointers alone. */
const CONTROL = new Set([...NON_WAITING, 'Fldcw', 'Fldenv', 'Frstor', 'Wait', 'Fnop']);

function x87(c: CpuContext): void {
  const { cpu } = c;
  const { mnemonic } = CODES[c.code]!.row;
  const blocked =
    mnemonic === 'Wait' ? (cpu.cr0 & (Cr0.MP | Cr0.TS)) === (Cr0.MP | Cr0.TS) : (cpu.cr0 & (Cr0.EM | Cr0.TS)) !== 0;
  if (blocked) throw new GuestFault(Vector.NM);
  fpu.cpu = cpu;
  // With CR0.NE clear the error would go out through FERR# and IRQ 13: taken as ignored (IGNNE# asserted).
  if (fpu.pending && !NON_WAITING.has(mnemonic) && cpu.cr0 & Cr0.NE) throw new GuestFault(Vector.MF);
  OPERATIONS[mnemonic](c, fpu);
  if (CONTROL.has(mnemonic)) return;
  cpu.set64(State.fip, c.rip);
  cpu.set64(State.fcs, BigInt(cpu.selector(SegmentIndex.cs)));
  if (c.hasMemory) cpu.set64(State.fdp, c.effectiveAddress());
}

export const fpuAssists: Record<string, Assist> = { x87 };
