/** PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM. */
import { Gpr, type Builder } from '../../../translate/builder';
import { i64, i64c, type Expr } from '../../../translate/wasm';
import { i64x2 } from '../../../translate/wasmSimd';
import type { Family, Instruction } from '../instruction';
import { encodings, immediate } from './forms';

/** Lengths of both strings from rAX and rDX: signed, in elements. */
function lengths(b: Builder, wide: boolean): Expr {
  const length = (register: number): Expr => (wide ? b.reg(register, 64) : i64.extend32(b.reg(register, 32)));
  return i64x2.replace(i64x2.splat(length(Gpr.rax)), 1, length(Gpr.rdx));
}

/** `explicit`: the lengths are in registers, of 64 bits when `wide`; else a zero element ends a string. */
const compare =
  (output: 'index' | 'mask', explicit: boolean, wide: boolean) =>
  (b: Builder): void => {
    const y = b.let(b.readVector(1));
    const strings = [b.let(b.readVector(0)), y];
    const [mask, rest] = explicit
      ? b.vectorOperation('compareExplicit', [strings, [lengths(b, wide)]], immediate(b))
      : b.vectorOperation('compareImplicit', [strings], immediate(b));
    const flags = b.let(i64x2.extract(rest, 1));
    if (output === 'index') b.setReg(Gpr.rcx, 32, i64x2.extract(rest, 0));
    else b.setVectorRegister(0, [mask]);
    b.setLowFlags(flags);
    b.flagsCarry(i64.and(flags, i64c(1)), i64.and(i64.shrU(flags, i64c(11)), i64c(1)));
  };

const row = (name: string, manual: string, semantics: (b: Builder) => void): Instruction[] =>
  encodings(name, { sse: 'sse4_2', vex128: 'avx' }, { manual, aligned: false, semantics });

const ESTRI = 'PCMPESTRI—Packed Compare Explicit Length Strings, Return Index';
const ESTRM = 'PCMPESTRM—Packed Compare Explicit Length Strings, Return Mask';

export const simdStrings: Family = [
  ...row('Pcmpestri', ESTRI, compare('index', true, false)),
  ...row('Pcmpestri64', ESTRI, compare('index', true, true)),
  ...row('Pcmpestrm', ESTRM, compare('mask', true, false)),
  ...row('Pcmpestrm64', ESTRM, compare('mask', true, true)),
  ...row('Pcmpistri', 'PCMPISTRI—Packed Compare Implicit Length Strings, Return Index', compare('index', false, false)),
  ...row('Pcmpistrm', 'PCMPISTRM—Packed Compare Implicit Length Strings, Return Mask', compare('mask', false, false)),
];
