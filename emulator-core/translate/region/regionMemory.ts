/** The memory part of a region: only what hits the soft TLB; for anything else the interpreter does the instruction. */
import { Tlb } from '../../cpu/layout';
import type { HandlerForm } from '../abi';
import type { Bits } from '../builder';
import { MemoryEmitter, type ModifiedOperand } from '../memoryEmitter';
import { loadBits, storeBits } from '../operands';
import type { SemanticsBuilder } from '../semanticsBuilder';
import { I32, get, ifElse, set, type Expr } from '../wasm';
import type { RegionState } from './regionState';

export class RegionMemory extends MemoryEmitter {
  constructor(
    b: SemanticsBuilder,
    form: HandlerForm,
    writes: boolean,
    private readonly s: RegionState,
    /** Emits what leaves the instruction to the interpreter. */
    private readonly interpret: () => void,
  ) {
    super(b, form, writes);
  }

  protected tlb(): Expr {
    return get(this.s.tlb, I32);
  }

  protected refuse(condition: Expr): void {
    ifElse(this.s.f, condition, () => this.interpret());
  }

  /** Host address of an access that hits. */
  private hit(linear: Expr, bits: Bits | 128 | 256, tag: number): Expr {
    const entry = this.tlbEntry(linear);
    this.refuse(this.tlbMiss(entry, linear, bits, tag));
    return this.hostAddress(linear, entry);
  }

  load(linear: Expr, bits: Bits): Expr {
    return this.b.let(loadBits(this.hit(linear, bits, Tlb.tagRead), bits));
  }

  store(linear: Expr, bits: Bits, value: Expr): void {
    const v = this.b.let(value);
    storeBits(this.s.f, this.hit(linear, bits, Tlb.tagWrite), bits, v);
  }

  hostForModify(linear: Expr, bits: Bits): ModifiedOperand {
    const address = this.b.local(I32);
    set(address, this.hit(linear, bits, Tlb.tagWrite))(this.s.f);
    return { address };
  }

  hostForRead(linear: Expr, bits: 128 | 256): Expr {
    return this.b.let(this.hit(linear, bits, Tlb.tagRead));
  }

  storeVector(linear: Expr, bits: 128 | 256, put: (address: Expr) => void): void {
    put(this.b.let(this.hit(linear, bits, Tlb.tagWrite)));
  }
}
