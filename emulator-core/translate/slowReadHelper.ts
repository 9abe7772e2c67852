/**
 * slowRead(uop, cpu): a read of 32 bits that misses the soft TLB. Those of the local APIC's registers that are as they are kept are an
 * exit like others, but need nobody else; all others go to the slow path.
 */
import { State, Uop, UopFlag } from '../cpu/layout';
import { Import, SLOW_READ, SlowResult } from './abi';
import { plainRead } from './exitEmitter';
import { InterpreterBuilder } from './interpreter';
import { cpu, state, uop } from './operands';
import { I32, call, i32, i32c, i64, ifElse, ret, type Fn } from './wasm';

export function slowReadHelper(): Fn {
  const b = new InterpreterBuilder({ operands: [], operandBits: 32, memory: 'flat64', stack: 'flat64' });
  const { f } = b;
  const linear = b.let(state(State.slowAddress));
  const { other, read } = plainRead(b, linear, b.tlbEntry(linear));
  ifElse(f, i32.eqz(other), () => {
    i64.store(cpu, read(), State.slowValue)(f);
    i32.store8(uop, i32.or(i32.load8u(uop, Uop.flags), i32c(UopFlag.device)), Uop.flags)(f);
    ret(f, i32c(SlowResult.ok));
  });
  call(Import.slow, I32, uop, cpu, i32c(SLOW_READ)).emit(f);
  return f;
}
