import { FrameRules, RegisterRule } from './dwarf/cfi';
import { evaluateExpression, ExpressionEnvironment } from './dwarf/expr';
import { RegisterModel } from './registers';

/** The caller's frame as call frame information gives it. Addresses are those of the running machine. */
export interface UnwindResult {
  /** Canonical frame address: the stack pointer before the call. */
  cfa: bigint;
  /** Where the caller goes on; undefined at the outermost frame. */
  returnAddress: bigint | undefined;
  /** Entered by an interrupt: `returnAddress` is not one behind a call. */
  signalFrame: boolean;
  /** The caller's registers by DWARF number; absent: not known. */
  registers: Map<number, bigint>;
  /** The same as a function, ready for the caller's own context. */
  register(dwarfNumber: number): Promise<bigint | undefined>;
  /** The caller may be on another stack (of an interrupt, of user space): its stack pointer says nothing about depth. */
  otherStack?: boolean;
  /** There is no caller: the absence of a return address is known, not a gap. */
  outermost?: boolean;
}

/** Applies the rules in effect at a frame's address. undefined when the CFA is not known there. */
export async function applyRules(
  rules: FrameRules,
  environment: ExpressionEnvironment,
  model: RegisterModel,
): Promise<UnwindResult | undefined> {
  const mask = (value: bigint): bigint => BigInt.asUintN(environment.addressSize * 8, value);
  const cfa = await computeCfa(rules, environment, mask);
  if (cfa === undefined) return undefined;

  const load = async (address: bigint): Promise<bigint | undefined> => {
    const bytes = await environment.read(mask(address), environment.addressSize);
    if (bytes.length < environment.addressSize) return undefined;
    return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  };
  const recover = async (register: number, rule: RegisterRule): Promise<bigint | undefined> => {
    switch (rule.kind) {
      case 'undefined':
        return undefined;
      case 'same value':
        return environment.register(register);
      case 'offset':
        return load(cfa + rule.offset);
      case 'value offset':
        return mask(cfa + rule.offset);
      case 'register':
        return environment.register(rule.register);
      default: {
        const place = await evaluateExpression(rule.expression, environment, [cfa]);
        if (place.kind !== 'memory') return undefined;
        return rule.kind === 'expression' ? load(place.address) : place.address;
      }
    }
  };

  const registers = new Map<number, bigint>();
  const set = (register: number, value: bigint | undefined): void => {
    if (value !== undefined) registers.set(register, mask(value));
  };
  for (const register of model.calleeSaved) {
    if (!rules.registers.has(register)) set(register, await environment.register(register));
  }
  registers.set(model.stackPointer, cfa);
  for (const [register, rule] of rules.registers) {
    registers.delete(register);
    set(register, await recover(register, rule));
  }
  const returnAddress = registers.get(rules.returnAddress);
  if (returnAddress !== undefined) registers.set(model.instructionPointer, returnAddress);
  return {
    cfa,
    returnAddress,
    signalFrame: rules.signalFrame,
    registers,
    register: (dwarfNumber) => Promise.resolve(registers.get(dwarfNumber)),
  };
}

async function computeCfa(
  { cfa }: FrameRules,
  environment: ExpressionEnvironment,
  mask: (value: bigint) => bigint,
): Promise<bigint | undefined> {
  if (cfa.kind === 'register') {
    const base = await environment.register(cfa.register);
    return base === undefined ? undefined : mask(base + cfa.offset);
  }
  const place = await evaluateExpression(cfa.expression, environment);
  return place.kind === 'memory' ? place.address : undefined;
}
