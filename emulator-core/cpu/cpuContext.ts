/**
 * What assists may use of the machine around them. An assist is the rare, wide part of an instruction in TypeScript; it reads its
 * operands through this context and either completes, throws GuestFault (the instruction has not happened) or Abandon.
 */
import type { Halves } from './halves';
import type { Vcpu } from './vcpu';

/** The VM exits of control transfers. Each throws Abandon when the debugger stops at the exit. */
export interface TransferExits {
  /** INT1, INT3 or INTO is about to be delivered: exits when the exception bitmap says so. `type`: InterruptionType. */
  softwareException(c: CpuContext, vector: number, type: number): void;
  /** A hardware task switch. `source`: TaskSwitch. */
  taskSwitch(c: CpuContext, selector: number, source: number): void;
  /** Runs the delivery of an event, which exits during it report as IDT-vectoring information. */
  delivering(info: number, error: number, run: () => void): void;
}

export interface CpuContext {
  readonly cpu: Vcpu;
  readonly exits: TransferExits;
  /** Micro-op being executed: its fields are read through `memory.view` at this address. */
  readonly uop: number;
  /** rip of the instruction and of the next one, truncated to the code's width. */
  readonly rip: bigint;
  readonly nextRip: bigint;
  /** Operand size of the row in bytes (2, 4, 8). */
  readonly operandBytes: number;
  /** Instruction length in bytes. */
  readonly length: number;
  /** iced-x86 Code. */
  readonly code: number;
  readonly repeated: boolean;
  /** Address size in bits: 16, 32, 64. */
  readonly addressBits: number;
  /** True when operand `i` is in memory (of the r/m operand there is at most one). */
  readonly hasMemory: boolean;
  /** Instructions retired before this one. */
  readonly icount: number;

  /** State offset of register operand i (0, 1, 2). For segment operands: the Segment struct's offset. */
  registerOffset(i: number): number;
  immediate(): bigint;
  /** Linear address of the memory operand + `add`, after segment checks for `bytes` (GuestFault if they fail). */
  linear(bytes: number, write: boolean, add?: number): bigint;
  /** Effective address (offset) of the memory operand without its segment. */
  effectiveAddress(): bigint;
  /** effectiveAddress() where that is the linear address and simple to find: 64-bit, without an index and a segment base. */
  readonly flatAddress: Halves | undefined;
  /** State offset of the memory operand's Segment struct. */
  segmentOfOperand(): number;
  /** Linear address of segment:offset after checks. */
  segmentLinear(segmentIndex: number, offset: bigint, bytes: number, write: boolean): bigint;

  /** Guest linear memory with the current privilege. bytes: 1, 2, 4, 8. GuestFault on #PF, Abandon on a stop. */
  read(linear: bigint, bytes: number): bigint;
  write(linear: bigint, value: bigint, bytes: number): void;
  /** As the processor's own accesses to descriptor tables and TSS: supervisor privilege whatever CPL is. */
  readSystem(linear: bigint, bytes: number): bigint;
  writeSystem(linear: bigint, value: bigint, bytes: number): void;
  /** Throws what a read of the byte would throw, without reading; its guest-physical address. */
  probeRead(linear: bigint): number;
  /**
   * Address in the machine's memory of the page that a linear address is in, for copying within it, when accesses there have no
   * effect beside their data: RAM that nobody watches and, for writing, no code was decoded from. -1 otherwise, also when the access would fault.
   */
  ordinaryPage(linear: bigint, write: boolean): number;
  /** As code at privilege level `cpl` would: what an interruption pushes on the stack that it switches to. */
  writeAs(cpl: number, linear: bigint, value: bigint, bytes: number): void;
  /** Throws what a write of `bytes` would throw, without writing. `system`: as readSystem. */
  probeWrite(linear: bigint, bytes: number, system?: boolean): void;

  /** An interrupt could be delivered if RFLAGS.IF let it. */
  readonly interruptWaits: boolean;

  /** Jumps: sets rip; the instruction ends the block. */
  jump(rip: bigint): void;
  /** Drops soft TLB and jump cache of this vCPU (CR3, CR4, CR0.PG, EFER.NXE ... changed). */
  flushTranslations(): void;
  /** As flushTranslations(), but for global pages. */
  flushLocalTranslations(): void;
  /** A step more of an instruction that goes on for long: one of those that Core.patience counts. */
  slowStep(): void;
  /** Drops what is cached of the page of an address, in two halves. True: what runs next has to be looked up anew. */
  flushPage(low: number, high: number): boolean;
  /** Loads the PAE page-directory-pointer registers from where `cr3` points; false when they are malformed. */
  loadPointers(cr3: number): boolean;
}
