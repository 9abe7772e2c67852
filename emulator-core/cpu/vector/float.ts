/** Floating-point vector operations as handlers call for them: those of cpu/fpu/softfloat over a vCPU's operand slots. */
import { FloatUnit } from '../fpu/softfloat/lanes';
import { FLOAT_OPERATIONS, type FloatOperation } from '../fpu/softfloat/operations';
import { DOUBLE, SINGLE } from '../fpu/softfloat/rounding';
import { State } from '../layout';
import { Vector } from '../vcpu';
import type { MachineMemory } from '../../mmu/memory';
import type { VectorOperation } from './operations';

/** Fields of the argument: the operation's option (immediate or variant), its format and its number of lanes. */
export const FloatArgument = {
  option: 0xff,
  double: 1 << 8,
  countShift: 9,
  countMask: 15,
} as const;

type Name = keyof typeof FLOAT_OPERATIONS;
export type FloatOperationName = `float:${Name}`;

/** Units over the operand slots of each vCPU. */
const units = new WeakMap<MachineMemory, Map<number, FloatUnit>>();

function unitOf(memory: MachineMemory, cpu: number): FloatUnit {
  let ofMemory = units.get(memory);
  if (!ofMemory) units.set(memory, (ofMemory = new Map()));
  let unit = ofMemory.get(cpu);
  if (!unit) {
    const at = [State.vectorA, State.vectorB, State.vectorC, State.vectorResult].map((offset) => cpu + offset);
    ofMemory.set(cpu, (unit = new FloatUnit(memory.u8.buffer, at)));
  }
  return unit;
}

/** Exceptions become flags of MXCSR, also when one of them is unmasked: then that is #XM. */
function operation(run: FloatOperation): VectorOperation {
  return (memory, cpu, argument) => {
    const unit = unitOf(memory, cpu);
    const at = (cpu + State.mxcsr) >> 2;
    const mxcsr = memory.i32[at];
    unit.begin(mxcsr);
    const format = argument & FloatArgument.double ? DOUBLE : SINGLE;
    const count = (argument >> FloatArgument.countShift) & FloatArgument.countMask;
    run(unit, format, count, argument & FloatArgument.option);
    const flags = unit.end();
    memory.i32[at] = mxcsr | flags;
    return flags & ~unit.env.masks ? Vector.XM : 0;
  };
}

export const FLOAT_VECTOR_OPERATIONS = Object.fromEntries(
  (Object.keys(FLOAT_OPERATIONS) as Name[]).map((name) => [`float:${name}`, operation(FLOAT_OPERATIONS[name])]),
) as Record<FloatOperationName, VectorOperation>;
