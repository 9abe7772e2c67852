/** RFLAGS as one number, as instructions push, save and load them. */
import { State } from '../../cpu/layout';
import { ARITHMETIC, FLAGS_MASK, Flag } from '../../cpu/vcpu';
import type { Builder } from '../../translate/builder';
import { i32, i32c, i64, i64c, select, type Expr } from '../../translate/wasm';

/** All flags but RF, as i64. `system`: Builder.systemFlags(). */
export function flagsImage(b: Builder, system: Expr): Expr {
  const others = i64.and(i64.extendU(system), i64c(~(ARITHMETIC | Flag.RF)));
  const overflow = i64.shl(b.flag('of'), i64c(Math.log2(Flag.OF)));
  return i64.or(i64.or(others, b.lowFlags()), overflow);
}

/** Sets all flags from an i64, whose other bits do not count; gives what Builder.systemFlags() then is. */
export function setFlagsImage(b: Builder, image: Expr): Expr {
  const bit = (flag: number): Expr => i64.and(i64.shrU(image, i64c(Math.log2(flag))), i64c(1));
  b.setLowFlags(image);
  b.flagsCarry(bit(Flag.CF), bit(Flag.OF));
  const system = b.let(i32.or(i32.and(i32.wrap(image), i32c(FLAGS_MASK & ~ARITHMETIC)), i32c(2)));
  b.setSystemFlags(system);
  const down = i32.and(system, i32c(Flag.DF));
  b.setState64(State.direction, select(down, i64c(-1), i64c(1)));
  return system;
}
