/** The memory part of a region: only what hits the soft TLB; for anything else the interpreter does the instruction. */
import { Tlb } from '../../cpu/layout';
import type { HandlerForm } from '../abi';
import type { Bits, Width } from '../builder';
import { plainRead } from '../exitEmitter';
import { MemoryEmitter, type ModifiedOperand } from '../memoryEmitter';
import { loadBits, storeBits } from '../operands';
import type { SemanticsBuilder } from '../semanticsBuilder';
import { I32, I64, get, i32, i64, i64c, ifElse, set, type Expr } from '../wasm';
import { STACK_KEY, type AddressKey } from './checkedPages';
import type { KnownPage, RegionState } from './regionState';

/** The instruction that is being emitted. */
export interface InstructionPart extends SemanticsBuilder {
  /** What is emitted now is done each time that the instruction is. */
  readonly always: boolean;
  /** Emits what leaves the instruction to the interpreter. */
  interpret(): void;
}

export class RegionMemory extends MemoryEmitter {
  /** The instruction may have exited: the interpreter must not do it another time. */
  exited = false;

  constructor(
    protected override readonly b: InstructionPart,
    form: HandlerForm,
    writes: boolean,
    private readonly s: RegionState,
    /** Of the memory operand. */
    private readonly key: AddressKey,
    /** The instruction has read a device's register (UopFlag.device). */
    private readonly device: boolean,
  ) {
    super(b, form, writes);
  }

  protected tlb(): Expr {
    return get(this.s.tlb, I32);
  }

  protected refuse(condition: Expr): void {
    ifElse(this.s.f, condition, () => this.b.interpret());
  }

  /** Host address of an access that hits. */
  private hit(linear: Expr, bits: Width, tag: number, key: AddressKey = this.key): Expr {
    const known = this.s.knownPage(key);
    // A string instruction has one key for two pointers: what it does is not what the block has been found to do with the key.
    const page = known && (tag === Tlb.tagRead ? known.reads : known.writes) ? known : undefined;
    // What is done on a condition tells nothing about what comes behind it.
    if (page?.found || (page && this.b.always)) return this.hitPage(linear, bits, tag, page);
    return this.hostAddress(linear, this.entryOf(linear, bits, tag));
  }

  /** The soft TLB's entry of an access that hits. */
  private entryOf(linear: Expr, bits: Width, tag: number): Expr {
    const entry = this.tlbEntry(linear);
    this.refuse(this.tlbMiss(entry, linear, bits, tag));
    return entry;
  }

  /** As hit(), in the page that the block knows, or is to know from now on. */
  private hitPage(linear: Expr, bits: Width, tag: number, page: KnownPage): Expr {
    const { s } = this;
    const find = (): void => {
      const entry = this.entryOf(linear, bits, tag);
      // Where both are done, the page is known when it may be both read and written.
      const other = tag === Tlb.tagRead ? Tlb.tagWrite : Tlb.tagRead;
      const both = page.reads && page.writes;
      s.setPage(page, i64.load(entry, both ? other : tag), i32.load(entry, Tlb.addend));
    };
    // What is not aligned differs from every page: only the TLB's entry tells whether it goes beyond the page.
    const aligned = i64.and(linear, i64c(-4096n | BigInt(bits / 8 - 1)));
    if (page.found) ifElse(s.f, i64.ne(aligned, s.pageTag(page)), find);
    else find();
    page.found = true;
    return i32.add(i32.wrap(linear), s.pageAddend(page));
  }

  load(linear: Expr, bits: Bits, stack: boolean): Expr {
    if (this.device && bits === 32 && !stack) return this.deviceRead(linear);
    return this.b.let(loadBits(this.hit(linear, bits, Tlb.tagRead, stack ? STACK_KEY : this.key), bits));
  }

  /** As load(), of what has been a device's register before: that needs no interpreter. */
  private deviceRead(linear: Expr): Expr {
    const { f } = this.s;
    const result = this.b.local(I64);
    const entry = this.tlbEntry(linear);
    ifElse(
      f,
      this.tlbMiss(entry, linear, 32, Tlb.tagRead),
      () => {
        const { other, read } = plainRead(this.b, linear, entry);
        this.refuse(other);
        set(result, read())(f);
      },
      () => set(result, loadBits(this.hostAddress(linear, entry), 32))(f),
    );
    this.exited = true;
    return get(result, I64);
  }

  store(linear: Expr, bits: Bits, value: Expr, stack: boolean): void {
    const v = this.b.let(value);
    storeBits(this.s.f, this.hit(linear, bits, Tlb.tagWrite, stack ? STACK_KEY : this.key), bits, v);
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
