/**
 * slowRead(uop, cpu): a read of 32 bits that misses the soft TLB. Those of the local APIC's registers that are as they are kept are an
 * exit like others, but need nobody else; all others go to the slow path.
 */
import { State, Tlb } from '../cpu/layout';
import { APIC_PLAIN_REGISTERS } from '../devices/apicRegisters';
import { EptAccess } from '../virt/vmx/ept';
import { ExitReason, encodeEptViolationQualification } from '../virt/vmx/exitReasons';
import { Import, SLOW_READ, SlowResult } from './abi';
import { emitExit } from './exitEmitter';
import { InterpreterBuilder } from './interpreter';
import { cpu, state, uop } from './operands';
import { I32, call, i32, i32c, i64, i64c, ifElse, ret, type Fn } from './wasm';

export function slowReadHelper(): Fn {
  const b = new InterpreterBuilder({ operands: [], operandBits: 32, memory: 'flat64', stack: 'flat64' });
  const { f } = b;
  const linear = b.let(state(State.slowAddress));
  const low = b.let(i32.wrap(linear));
  const slot = i32.shl(i32.and(i32.shrU(low, i32c(12)), i32c(Tlb.entries - 1)), i32c(Math.log2(Tlb.entrySize)));
  const entry = b.let(i32.add(i32.load(cpu, State.tlb), slot));
  const device = i64.or(i64.and(linear, i64c(-4096)), i64c(Tlb.device));
  const offset = b.let(i32.and(low, i32c(0xfff)));
  ifElse(f, i64.eq(i64.load(entry, Tlb.tagRead), device), () => {
    const page = b.let(i32.load(entry, Tlb.addend));
    const aligned = i32.and(i32.eqz(i32.and(offset, i32c(15))), i32.ltS(offset, i32c(0x400)));
    const mine = i32.and(i32.eq(page, i32.load(cpu, State.plainPage)), i32.eqz(i32.load(cpu, State.exitsAsked)));
    ifElse(f, i32.and(mine, aligned), () => {
      const bit = i64.and(i64.shrU(i64c(APIC_PLAIN_REGISTERS), i64.extendU(i32.shrU(offset, i32c(4)))), i64c(1));
      ifElse(f, i32.wrap(bit), () => {
        const physical = i64.or(i64.shl(i64.extendU(page), i64c(12)), i64.extendU(offset));
        emitExit(b, ExitReason.eptViolation, i64c(encodeEptViolationQualification(EptAccess.read, 0, 'page')), {
          linear,
          physical,
        });
        const register = i32.add(cpu, i32.shrU(offset, i32c(2)));
        i64.store(cpu, i64.load32u(register, State.apic), State.slowValue)(f);
        ret(f, i32c(SlowResult.ok));
      });
    });
  });
  call(Import.slow, I32, uop, cpu, i32c(SLOW_READ)).emit(f);
  return f;
}
