/**
 * ORC, the kernel's own unwinding tables: for each range of code how to find the caller's stack pointer and frame pointer, or the registers
 * that an interrupt, exception or system call saved. Linux, Documentation/arch/x86/orc-unwinder.rst; arch/x86/include/asm/orc_types.h
 * (struct orc_entry); arch/x86/kernel/unwind_orc.c (unwind_next_frame).
 */
import { lastAtOrBelow } from '../../symbols/dwarf/sections';
import type { FrameContext } from '../../symbols/location';
import type { UnwindResult } from '../../symbols/unwind';

/** ORC_REG_*: what the caller's stack pointer and frame pointer are found from. */
const Base = {
  undefined: 0,
  previousSp: 1,
  dx: 2,
  di: 3,
  bp: 4,
  sp: 5,
  r10: 6,
  r13: 7,
  bpIndirect: 8,
  spIndirect: 9,
} as const;

/** DWARF numbers of the registers that ORC speaks of. */
const RDX = 1;
const RDI = 5;
const RBP = 6;
const RSP = 7;
const R10 = 10;
const R13 = 13;
const RIP = 16;
const CS = 51;
/** struct pt_regs by DWARF number; orig_ax has none. */
const PT_REGS = [15, 14, 13, 12, RBP, 3, 11, R10, 9, 8, 0, 2, RDX, 4, RDI, undefined, RIP, CS, 49, RSP, 52];
/** Of these, what the processor pushes: from rip on. */
const IRET_FRAME = 16;
const SELECTORS: ReadonlySet<number> = new Set([CS, 52]);

type EntryKind = 'undefined' | 'end' | 'call' | 'registers' | 'iret frame';

export interface OrcEntry {
  spOffset: number;
  bpOffset: number;
  spReg: number;
  bpReg: number;
  kind: EntryKind;
}

/** Linux 4.14 to 6.3: `type` has 2 bits; a bit above it marks the end of the stack. */
const KINDS_BEFORE_6_4: readonly EntryKind[] = ['call', 'registers', 'iret frame', 'undefined'];
/** From 6.4 on: `type` has 3 bits. */
const KINDS: readonly EntryKind[] = ['undefined', 'end', 'call', 'registers', 'iret frame'];
const ENTRY_SIZE = 6;
/** Most code is in called functions: their kind tells the formats apart. As many entries are looked at. */
const SAMPLE = 4096;

export interface OrcSections {
  /** .orc_unwind_ip: for each entry where its code begins, relative to the word itself. */
  ip: Uint8Array;
  /** Address of .orc_unwind_ip as linked. */
  ipAddress: bigint;
  /** .orc_unwind */
  entries: Uint8Array;
  /** [major, minor] of the kernel. */
  version?: readonly [number, number];
}

export class OrcTable {
  /** Address of .orc_unwind_ip as linked. */
  private readonly base: bigint;
  /** Where entries begin, relative to the start of .orc_unwind_ip, ascending. */
  private readonly starts: Int32Array;
  /** Entry of each start; undefined: the same index. */
  private readonly order: Uint32Array | undefined;
  private readonly entries: DataView;
  private readonly newKinds: boolean;
  private readonly offsetAfterIndirect: boolean;

  /** @throws Error when the sections do not belong together */
  constructor({ ip, ipAddress, entries, version = [6, 0] }: OrcSections) {
    this.base = ipAddress;
    const count = Math.floor(ip.length / 4);
    if (count === 0 || Math.floor(entries.length / ENTRY_SIZE) !== count)
      throw new Error(
        `ORC: ${ip.length} bytes of addresses and ${entries.length} of entries, expected 4 and 6 for each`,
      );
    const words = new DataView(ip.buffer, ip.byteOffset, ip.byteLength);
    this.entries = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
    this.starts = new Int32Array(count);
    let sorted = true;
    for (let i = 0; i < count; i++) {
      this.starts[i] = 4 * i + words.getInt32(4 * i, true);
      if (i > 0 && this.starts[i] < this.starts[i - 1]) sorted = false;
    }
    // Until 5.5 the kernel sorted them when it booted.
    if (!sorted) {
      const { starts } = this;
      const order = Uint32Array.from(starts, (_, i) => i).sort((a, b) => starts[a] - starts[b]);
      this.starts = Int32Array.from(order, (i) => starts[i]);
      this.order = order;
    }
    this.newKinds = this.looksNew(count);
    const [major, minor] = version;
    this.offsetAfterIndirect = major > 5 || (major === 5 && minor >= 12);
  }

  /** Number of entries. */
  get size(): number {
    return this.starts.length;
  }

  private looksNew(count: number): boolean {
    const step = Math.max(1, Math.floor(count / SAMPLE));
    let before = 0;
    let since = 0;
    for (let i = 0; i < count; i += step) {
      const at = i * ENTRY_SIZE;
      if ((this.entries.getUint8(at + 4) & 15) !== Base.sp) continue;
      const type = this.entries.getUint8(at + 5) & 7;
      if (KINDS[type] === 'call') since++;
      else if (type === KINDS_BEFORE_6_4.indexOf('call')) before++;
    }
    return since > before;
  }

  /** The entry for an address as linked. */
  find(linked: bigint): OrcEntry | undefined {
    const { starts, order, entries } = this;
    const relative = linked - this.base;
    if (relative < BigInt(starts[0]) || relative >= 1n << 31n) return undefined;
    const found = lastAtOrBelow(starts, Number(relative));
    const at = (order ? order[found] : found) * ENTRY_SIZE;
    const registers = entries.getUint8(at + 4);
    const flags = entries.getUint8(at + 5);
    const spReg = registers & 15;
    let kind = this.newKinds ? KINDS[flags & 7] : KINDS_BEFORE_6_4[flags & 3];
    if (!this.newKinds && spReg === Base.undefined) kind = flags & 12 ? 'end' : 'undefined';
    return {
      spOffset: entries.getInt16(at, true),
      bpOffset: entries.getInt16(at + 2, true),
      spReg,
      bpReg: registers >> 4,
      kind: kind ?? 'undefined',
    };
  }

  /**
   * The caller of a frame whose code is at `linked` (of callers: the return address less one). undefined where the tables do not know;
   * a result without return address is the end of the stack.
   */
  async unwind(linked: bigint, context: FrameContext): Promise<UnwindResult | undefined> {
    const entry = this.find(linked);
    if (!entry || entry.kind === 'undefined') return undefined;
    if (entry.kind === 'end') return result(new Map(), 0n, undefined, false);
    const words = async (address: bigint, count: number): Promise<bigint[] | undefined> => {
      const bytes = await context.read(BigInt.asUintN(64, address), 8 * count);
      if (bytes.length < 8 * count) return undefined;
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      return Array.from({ length: count }, (_, i) => view.getBigUint64(8 * i, true));
    };
    const sp = await this.previousSp(entry, context, words);
    if (sp === undefined) return undefined;

    const registers = new Map<number, bigint>();
    const full = entry.kind === 'registers';
    if (entry.kind === 'call') {
      const [returnAddress] = (await words(sp - 8n, 1)) ?? [];
      if (returnAddress === undefined) return undefined;
      registers.set(RIP, returnAddress);
      registers.set(RSP, sp);
    } else {
      const first = full ? 0 : IRET_FRAME;
      const saved = await words(sp, PT_REGS.length - first);
      if (!saved) return undefined;
      saved.forEach((value, i) => {
        const number = PT_REGS[first + i];
        if (number !== undefined) registers.set(number, SELECTORS.has(number) ? value & 0xffffn : value);
      });
    }
    if (!full || entry.bpReg !== Base.undefined) {
      const bp = await this.previousBp(entry, sp, context, words);
      if (bp === undefined) registers.delete(RBP);
      else registers.set(RBP, bp);
    }
    const switched = entry.kind !== 'call' || entry.spReg === Base.spIndirect || entry.spReg === Base.bpIndirect;
    return result(registers, registers.get(RSP)!, registers.get(RIP), entry.kind !== 'call', switched);
  }

  private async previousSp(
    { spReg, spOffset }: OrcEntry,
    context: FrameContext,
    words: (address: bigint, count: number) => Promise<bigint[] | undefined>,
  ): Promise<bigint | undefined> {
    const offset = BigInt(spOffset);
    const based = async (register: number, by: bigint): Promise<bigint | undefined> => {
      const value = await context.register(register);
      return value === undefined ? undefined : BigInt.asUintN(64, value + by);
    };
    const loaded = async (address: bigint | undefined, by: bigint): Promise<bigint | undefined> => {
      const value = address === undefined ? undefined : (await words(address, 1))?.[0];
      return value === undefined ? undefined : BigInt.asUintN(64, value + by);
    };
    switch (spReg) {
      case Base.sp:
        return based(RSP, offset);
      case Base.bp:
        return based(RBP, offset);
      case Base.spIndirect:
        // Until 5.11 the offset led to the word, now it is added to what the word holds.
        return this.offsetAfterIndirect ? loaded(await based(RSP, 0n), offset) : loaded(await based(RSP, offset), 0n);
      case Base.bpIndirect:
        return loaded(await based(RBP, offset), 0n);
      case Base.r10:
        return based(R10, 0n);
      case Base.r13:
        return based(R13, 0n);
      case Base.di:
        return based(RDI, 0n);
      case Base.dx:
        return based(RDX, 0n);
      default:
        return undefined;
    }
  }

  private async previousBp(
    { bpReg, bpOffset }: OrcEntry,
    sp: bigint,
    context: FrameContext,
    words: (address: bigint, count: number) => Promise<bigint[] | undefined>,
  ): Promise<bigint | undefined> {
    const bp = await context.register(RBP);
    if (bpReg === Base.undefined) return bp;
    if (bpReg === Base.previousSp) return (await words(sp + BigInt(bpOffset), 1))?.[0];
    if (bpReg === Base.bp && bp !== undefined) return (await words(bp + BigInt(bpOffset), 1))?.[0];
    return undefined;
  }
}

function result(
  registers: Map<number, bigint>,
  cfa: bigint,
  returnAddress: bigint | undefined,
  signalFrame: boolean,
  otherStack = false,
): UnwindResult {
  return {
    cfa,
    returnAddress,
    signalFrame,
    registers,
    register: (number) => Promise.resolve(registers.get(number)),
    ...(otherStack ? { otherStack } : {}),
    ...(returnAddress === undefined ? { outermost: true } : {}),
  };
}
