/**
 * REP MOVS and STOS by the page: as many iterations as lie in the pages that the soft TLB has, and in the budget, at once. They end as
 * the same number of single ones would.
 */
import { PAGE, State, Tlb } from '../cpu/layout';
import type { Bits } from './builder';
import type { HandlerMemory } from './handlerMemory';
import type { InterpreterBuilder } from './interpreter';
import { SIZE_LOG, cpu, state } from './operands';
import { I32, get, i32, i32c, i64, i64c, ifElse, memoryCopy, memoryFill, select, set, type Expr } from './wasm';

const [RAX, RCX, RSI, RDI] = [0, 1, 6, 7].map((register) => State.gpr + register * 8);
/** Fewer iterations are done one by one. */
const FEW = 4;

/** Emits several iterations at once, where they can be done so with flat addresses, else `one`. */
export function bulkIterations(
  b: InterpreterBuilder,
  memory: HandlerMemory,
  addresses: 'flat64' | 'flat32',
  kind: 'copy' | 'fill',
  bits: Bits,
  one: () => void,
): void {
  const { f } = b;
  const log = SIZE_LOG[bits];
  const count = f.local(I32);
  const done = f.local(I32);
  set(done, i32c(0))(f);
  const masked = (value: Expr): Expr => (addresses === 'flat64' ? value : i64.and(value, i64c(0xffffffffn)));
  const register = (offset: number): Expr => masked(state(offset));
  const to = b.let(register(RDI));
  const from = kind === 'copy' ? b.let(register(RSI)) : to;
  const shrink = (limit: Expr): void => {
    const value = b.let(limit);
    set(count, select(i32.ltS(value, get(count, I32)), value, get(count, I32)))(f);
  };
  /** Whole elements up to the end of the address's page. */
  const room = (address: Expr): Expr =>
    i32.shrU(i32.sub(i32c(PAGE), i32.and(i32.wrap(address), i32c(PAGE - 1))), i32c(log));
  const bytes = (): Expr => i32.shl(get(count, I32), i32c(log));
  const advance = (offset: number): void =>
    i64.store(cpu, masked(i64.add(state(offset), i64.extendU(bytes()))), offset)(f);

  ifElse(f, i64.eq(state(State.direction), i64c(1)), () => {
    const large = i64.gtU(register(RCX), i64c(PAGE));
    set(count, select(large, i32c(PAGE), i32.wrap(state(RCX))))(f);
    shrink(i32.add(i32.load(cpu, State.budget), i32c(1)));
    shrink(room(to));
    if (kind === 'copy') shrink(room(from));
    ifElse(f, i32.ltS(i32c(FEW), get(count, I32)), () => {
      const target = memory.inPage(to, Tlb.tagWrite);
      const source = kind === 'copy' ? memory.inPage(from, Tlb.tagRead) : target;
      ifElse(f, i32.and(target.hits, source.hits), () => {
        const host = b.let(target.host);
        const finish = (): void => {
          if (kind === 'copy') advance(RSI);
          advance(RDI);
          i64.store(cpu, masked(i64.sub(state(RCX), i64.extendU(get(count, I32)))), RCX)(f);
          const rest = i32.sub(i32.load(cpu, State.budget), i32.sub(get(count, I32), i32c(1)));
          i32.store(cpu, rest, State.budget)(f);
          set(done, i32c(1))(f);
        };
        if (kind === 'copy') {
          const origin = b.let(source.host);
          // What an iteration has stored is what a later one loads, when the target begins within the source.
          ifElse(f, i32.geU(i32.sub(host, origin), bytes()), () => {
            memoryCopy(f, host, origin, bytes());
            finish();
          });
        } else {
          const value = b.reg(0, bits);
          const repeated = i64.mul(
            i64.load8u(cpu, RAX),
            i64c(bits === 64 ? 0x0101010101010101n : (1n << BigInt(bits)) / 255n),
          );
          ifElse(f, i64.eq(value, repeated), () => {
            memoryFill(f, host, i32.load8u(cpu, RAX), bytes());
            finish();
          });
        }
      });
    });
  });
  ifElse(f, i32.eqz(get(done, I32)), one);
}
