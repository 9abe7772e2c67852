/** The transcendental x87 instructions over the register stack. SDM Vol. 2 for each. */
import type { CpuContext } from '../cpuContext';
import { INDEFINITE, type Environment, type Float80 } from '../fpu/float80';
import { Code, type FpuState } from '../fpu/fpuState';
import * as T from '../fpu/transcendental80';

type Operation = (c: CpuContext, fpu: FpuState) => void;

/** ST(0) := f(ST(0)), and with a second result a push; an argument out of range stays, with C2 set. */
function trigonometric(f: (env: Environment, x: Float80) => T.Trigonometric, pushes: boolean): Operation {
  return (_c, fpu) => {
    const underflow = fpu.empty(0);
    let results: T.Trigonometric = [INDEFINITE, INDEFINITE];
    if (underflow || (pushes && !fpu.empty(7))) {
      fpu.setCodes(Code.C2, 0);
      if (!fpu.stackFault(!underflow)) return;
    } else {
      const env = fpu.environment();
      results = f(env, fpu.raw(0));
      fpu.setCodes(Code.C2, results === 'out of range' ? Code.C2 : 0);
      if (fpu.report(env) || results === 'out of range') return;
    }
    fpu.set(0, results[0]);
    if (!pushes) return;
    fpu.top = fpu.top - 1;
    fpu.set(0, results[1]);
  };
}

/** ST(1) := f(ST(1), ST(0)), and pops. */
function binary(f: (env: Environment, y: Float80, x: Float80) => Float80): Operation {
  return (_c, fpu) => {
    let result = INDEFINITE;
    if (fpu.empty(0) || fpu.empty(1)) {
      if (!fpu.stackFault(false)) return;
    } else {
      const env = fpu.environment();
      result = f(env, fpu.raw(1), fpu.raw(0));
      if (fpu.report(env)) return;
    }
    fpu.set(1, result);
    fpu.pop();
  };
}

/** ST(0) := 2^ST(0) - 1. */
const exponential: Operation = (_c, fpu) => {
  let result = INDEFINITE;
  if (fpu.empty(0)) {
    if (!fpu.stackFault(false)) return;
  } else {
    const env = fpu.environment();
    result = T.exponential(env, fpu.raw(0));
    if (fpu.report(env)) return;
  }
  fpu.set(0, result);
};

/** By iced-x86 mnemonic. */
export const TRANSCENDENTAL: Record<string, Operation> = {
  F2xm1: exponential,
  Fyl2x: binary(T.logarithm),
  Fyl2xp1: binary(T.logarithmPlusOne),
  Fpatan: binary(T.arctangent),
  Fptan: trigonometric(T.tangent, true),
  Fsin: trigonometric(T.sine, false),
  Fcos: trigonometric(T.cosineValue, false),
  Fsincos: trigonometric(T.sineAndCosine, true),
};
