/** The memory part of a handler: what misses the soft TLB calls the slow path, in the middle of the instruction. */
import { State, Tlb } from '../cpu/layout';
import { Helper, Import, SLOW_READ, Slow, SlowResult } from './abi';
import type { Bits } from './builder';
import { MemoryEmitter, type ModifiedOperand } from './memoryEmitter';
import { SIZE_LOG, cpu, loadBits, state, storeBits, uop } from './operands';
import { I32, I64, call, drop, get, i32, i32c, i64, i64c, ifElse, ret, set, type Expr } from './wasm';

export class HandlerMemory extends MemoryEmitter {
  /** Local that is non-zero when control must return to the run loop after this instruction; undefined: it never must. */
  again?: number;

  protected tlb(): Expr {
    return i32.load(cpu, State.tlb);
  }

  protected refuse(condition: Expr, stack: Expr): void {
    const { f } = this.b;
    ifElse(f, condition, () => {
      const kind = i32.or(i32c(Slow.limit), i32.shl(stack, i32c(5)));
      call(Import.slow, I32, uop, cpu, kind).emit(f);
      drop(f);
      ret(f, i32c(0));
    });
  }

  /** Whether the address's page hits (i32), and where the address then is. */
  inPage(linear: Expr, tag: number): { hits: Expr; host: Expr } {
    const entry = this.tlbEntry(linear);
    const hits = i64.eq(i64.load(entry, tag), i64.and(linear, i64c(-4096)));
    return { hits, host: this.hostAddress(linear, entry) };
  }

  /** Builder.cached(), by one of the soft TLBs. */
  cached(linear: Expr, bytes: number, table: Expr): { hits: Expr; host: Expr } {
    const address = this.b.let(linear);
    const entry = this.tlbEntry(address, table);
    const last = i64.and(i64.add(address, i64c(bytes - 1)), i64c(-4096));
    return { hits: this.b.let(i64.eq(i64.load(entry, Tlb.tagRead), last)), host: this.hostAddress(address, entry) };
  }

  againLocal(): number {
    this.again ??= this.b.f.local(I32);
    return this.again;
  }

  /** Status of the slow path (SlowResult), to be used once. */
  private slowCall(linear: Expr, kind: number): Expr {
    i64.store(cpu, linear, State.slowAddress)(this.b.f);
    if (kind === SLOW_READ) return call(Helper.slowRead, I32, uop, cpu);
    return call(Import.slow, I32, uop, cpu, i32c(kind));
  }

  /** Ends the handler when the slow path abandoned the instruction, and keeps whether to return to the run loop after it. */
  private slowStatus(status: Expr): void {
    const { f } = this.b;
    const local = this.againLocal();
    set(local, status)(f);
    ifElse(f, i32.eq(get(local, I32), i32c(SlowResult.abort)), () => ret(f, i32c(0)));
  }

  load(linear: Expr, bits: Bits, stack: boolean): Expr {
    const { f } = this.b;
    const result = f.local(I64);
    const entry = this.tlbEntry(linear);
    const kind = SIZE_LOG[bits] | Slow.read | (stack ? Slow.stack : 0);
    ifElse(
      f,
      this.tlbMiss(entry, linear, bits, Tlb.tagRead),
      () => {
        this.slowStatus(this.slowCall(linear, kind));
        set(result, state(State.slowValue))(f);
      },
      () => set(result, loadBits(this.hostAddress(linear, entry), bits))(f),
    );
    return get(result, I64);
  }

  store(linear: Expr, bits: Bits, value: Expr, stack: boolean): void {
    const { f } = this.b;
    const v = this.b.let(value);
    const entry = this.tlbEntry(linear);
    const kind = SIZE_LOG[bits] | Slow.write | (stack ? Slow.stack : 0);
    ifElse(
      f,
      this.tlbMiss(entry, linear, bits, Tlb.tagWrite),
      () => {
        i64.store(cpu, v, State.slowValue)(f);
        this.slowStatus(this.slowCall(linear, kind));
      },
      () => storeBits(f, this.hostAddress(linear, entry), bits, v),
    );
  }

  hostForModify(linear: Expr, bits: Bits): Required<ModifiedOperand> {
    const { f } = this.b;
    const address = f.local(I32);
    const bounced = f.local(I32);
    const entry = this.tlbEntry(linear);
    // A loop may run this more than once (REP never modifies, but keep locals clean).
    set(bounced, i32c(0))(f);
    ifElse(
      f,
      this.tlbMiss(entry, linear, bits, Tlb.tagWrite),
      () => {
        set(bounced, this.slowCall(linear, SIZE_LOG[bits] | Slow.modify))(f);
        ifElse(f, i32.eq(get(bounced, I32), i32c(SlowResult.abort)), () => ret(f, i32c(0)));
        set(address, i32.wrap(state(State.slowValue)))(f);
      },
      () => set(address, this.hostAddress(linear, entry))(f),
    );
    return { address, bounced };
  }

  /** What the soft TLB does not reach is copied to State.bounce. */
  hostForRead(linear: Expr, bits: 128 | 256): Expr {
    const { f } = this.b;
    const address = f.local(I32);
    const entry = this.tlbEntry(linear);
    ifElse(
      f,
      this.tlbMiss(entry, linear, bits, Tlb.tagRead),
      () => {
        this.slowStatus(this.slowCall(linear, SIZE_LOG[bits] | Slow.read));
        set(address, i32.add(cpu, i32c(State.bounce)))(f);
      },
      () => set(address, this.hostAddress(linear, entry))(f),
    );
    return get(address, I32);
  }

  storeVector(linear: Expr, bits: 128 | 256, put: (address: Expr) => void): void {
    const { f } = this.b;
    const entry = this.tlbEntry(linear);
    ifElse(
      f,
      this.tlbMiss(entry, linear, bits, Tlb.tagWrite),
      () => {
        put(i32.add(cpu, i32c(State.bounce)));
        this.slowStatus(this.slowCall(linear, SIZE_LOG[bits] | Slow.write));
      },
      () => put(this.b.let(this.hostAddress(linear, entry))),
    );
  }
}
