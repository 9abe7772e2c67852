/**
 * Where everything lives in the one WebAssembly memory: per-vCPU state, soft TLB, jump and return cache, micro-ops, EPT, guest RAM.
 * An address in this memory is the machine's host-physical address (HPA).
 */

/** Offsets inside a vCPU's area. Registers are 64-bit little-endian slots. */
export const State = {
  /** 16 general registers in encoding order: rax rcx rdx rbx rsp rbp rsi rdi r8 .. r15. */
  gpr: 0x000,
  /** Always zero: stands for an absent base, index or segment base. */
  zero: 0x080,
  /** Valid whenever no handler runs. */
  rip: 0x088,
  /** rip of the code page's byte 0: rip of a micro-op is ripBase + its page offset. */
  ripBase: 0x090,
  /** Flags are kept as values they derive from: ZF = (fz == 0), SF = (fs < 0), PF = even parity of fs's low byte, */
  fz: 0x098,
  fs: 0x0a0,
  /** CF = bit 63, OF = bit 63 ^ bit 62, AF = bit 3 of fc (carries out of each bit, shifted to the top; AF stays at 3). */
  fc: 0x0a8,
  /** The other RFLAGS bits (TF IF DF IOPL NT RF VM AC VIF VIP ID and bit 1). i32 */
  flags: 0x0b0,
  /** Current privilege level. i32 */
  cpl: 0x0b4,
  /** +1 or -1 by DF. i64 */
  direction: 0x0b8,
  /** Instructions that may still retire before control returns to the run loop. i32 */
  budget: 0x0c0,
  /** Address of the soft TLB in use (user, supervisor, supervisor with SMAP suspended). i32 */
  tlb: 0x0c4,
  /** What a jump cache entry must carry to be valid now: generation and code context. i32 */
  codeTag: 0x0c8,
  /** Mask of ESP/SP when pushing: 0xffff, 0xffffffff or all ones. i64 */
  stackMask: 0x0d0,
  /** Arguments and result of the memory slow path. i64 */
  slowAddress: 0x0d8,
  slowValue: 0x0e0,
  /** What linear addresses wrap at: 0xffffffff outside 64-bit mode, else all ones. i64 */
  linearMask: 0x0e8,
  /** As codeTag, for entries of global pages. i32 */
  globalTag: 0x404,
  /** A direct branch that wants to be linked to its target (micro-op address), else 0. i32 */
  linkFrom: 0x0f0,
  /** A near branch whose target the run loop must look up (micro-op address), else 0. i32 */
  branchFrom: 0x0f4,
  /** Third argument of wide divisions. i64 */
  divisor: 0x0f8,
  /** Segment registers ES CS SS DS FS GS, LDTR, TR: one Segment struct each. */
  segments: 0x100,
  cr0: 0x300,
  cr2: 0x308,
  cr3: 0x310,
  cr4: 0x318,
  cr8: 0x320,
  efer: 0x328,
  dr: 0x330, // 8 slots
  gdtrBase: 0x370,
  gdtrLimit: 0x378,
  idtrBase: 0x380,
  idtrLimit: 0x388,
  star: 0x390,
  lstar: 0x398,
  cstar: 0x3a0,
  fmask: 0x3a8,
  kernelGsBase: 0x3b0,
  tscAux: 0x3b8,
  apicBase: 0x3c0,
  pat: 0x3c8,
  sysenterCs: 0x3d0,
  sysenterEsp: 0x3d8,
  sysenterEip: 0x3e0,
  tscAdjust: 0x3e8,
  xcr0: 0x3f0,
  /** Copy of a device or page-crossing operand while an instruction modifies it. 64 bytes */
  bounce: 0x440,
  /** A Segment struct with base 0 and no limits: what ES, CS, SS and DS are in 64-bit mode. */
  flatSegment: 0x480,
  /** x87 FPU: data registers R0..R7 (physical order), 10 of 16 bytes each. */
  fpr: 0x500,
  /** x87 control, status and tag words, last opcode (11 bits), last instruction and data pointers with their selectors. */
  fcw: 0x600,
  fsw: 0x608,
  ftw: 0x610,
  fop: 0x618,
  fip: 0x620,
  fcs: 0x628,
  fdp: 0x630,
  fds: 0x638,
  /** SSE control and status. i32. SDM Vol. 1, 10.2.3 "MXCSR Control and Status Register" */
  mxcsr: 0x640,
  /** Protection-key rights for user pages. i32 */
  pkru: 0x648,
  /** IA32_XSS. i64 */
  xss: 0x650,
  /** IA32_PKRS: protection-key rights for supervisor pages. i32 */
  pkrs: 0x658,
  /** PAE page-directory-pointer registers, 4 slots. SDM Vol. 3A, "PDPTE Registers" */
  pdpte: 0x680,
  /** Vector registers: YMM0..YMM15, 32 bytes each; the low 16 bytes are XMM0..XMM15. (MM0..MM7 are in fpr.) */
  ymm: 0x800,
  /** Operands and result of vector operations that are done outside the handlers. 32 bytes each */
  vectorA: 0xa00,
  vectorB: 0xa20,
  vectorC: 0xa40,
  vectorResult: 0xa60,
  /** A few micro-ops copied here when fewer than a whole block may run; an instruction in two pages. */
  scratch: 0x1000,
  /** Instructions that compiled code has retired: for statistics. i64 */
  compiled: 0x3100,
  /** Non-zero: PAUSE exits. Set with the VMCS's controls. i32 */
  pauseExits: 0x3108,
  /** What IRET and SYSRET leave to their assists: EventWaits bits. i32 */
  eventWaits: 0x3130,
  /** Non-zero: an AMD processor. i32 */
  amd: 0x3134,
  /** The budget when an IRET that set RFLAGS.RF was followed at once by another instruction, else -1. i32 */
  resumed: 0x3138,
  /** Where the log of exits is in the memory (virt/exitRow.ts), and the vCPU's number. i32 */
  exitLog: 0x3110,
  index: 0x3114,
  /** Instructions of the machine when all of the budget has been used. i64 */
  icountEnd: 0x3118,
  /** 1 more than the seq of the vCPU's newest exit, 0: none. i64 */
  lastExit: 0x3120,
  /** Address of the table of ports (devices/bus.ts). i32 */
  ports: 0x3128,
  /** Answers of CPUID that are known: one CpuidAnswer each. */
  cpuid: 0x3180,
  /** Guest-physical page whose registers reads find as they are kept, -1: none. i32 */
  plainPage: 0x312c,
  /** Registers of the local APIC, 64 of 32 bits. */
  apic: 0x3380,
  /** Pages that the loops of the region that runs have found in the soft TLB: one LoopPage each. */
  loopPages: 0x3480,
  size: 0x3500,
} as const;

/** `tag`: linear page address, -1: none; as the soft TLB's. */
export const LoopPage = { entries: 8, tag: 0, addend: 8, size: 16 } as const;

/** `interrupt`: one waits for RFLAGS.IF, whose bit this is. `other`: NMIs are blocked, or an event other than an interrupt waits. */
export const EventWaits = { other: 1, interrupt: 1 << 9 } as const;

/** An answer of CPUID: for which EAX and ECX, and the registers. i32 each. One that is none has a leaf whose place is another. */
export const CpuidAnswer = {
  entries: 16,
  leaf: 0,
  subleaf: 4,
  eax: 16,
  ebx: 20,
  ecx: 24,
  edx: 28,
  size: 32,
} as const;

/**
 * Index of CPUID's answer for a leaf: ECX does not count, as it is what the last CPUID left there, and would have to be waited for.
 */
export function cpuidEntry(leaf: number): number {
  return (leaf ^ (leaf >>> 28)) & (CpuidAnswer.entries - 1);
}

/** One segment register: selector and the hidden part. */
export const Segment = {
  selector: 0, // i32
  /** VMCS access-rights format. i32 */
  attributes: 4,
  /** i32, expanded by G */
  limit: 8,
  base: 16, // i64
  /** Offsets loRead..hiRead may be read, loWrite..hiWrite written; none where hi < lo. i64 */
  loRead: 24,
  hiRead: 32,
  loWrite: 40,
  hiWrite: 48,
  size: 64,
} as const;

export const SegmentIndex = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5, ldtr: 6, tr: 7 } as const;
export type SegmentName = keyof typeof SegmentIndex;

export function segmentOffset(index: number): number {
  return State.segments + index * Segment.size;
}

/** Soft TLB: direct-mapped by linear page number. */
export const Tlb = {
  entries: 2048,
  /** i64 linear page address when reads hit, else -1. */
  tagRead: 0,
  tagWrite: 8,
  /** i32: HPA = low 32 bits of the linear address + addend (mod 2^32). */
  addend: 16,
  /** In the tags of a page that is no RAM, which no access matches: the slow path finds the guest-physical page in `addend`. */
  device: 0x800,
  entrySize: 32,
  /** User; supervisor; supervisor while SMAP is suspended by AC; user with alignment checks (never filled). */
  contexts: 4,
  /** The first contexts, all but the one that is never filled. */
  filled: 3,
} as const;
export const TLB_BYTES = Tlb.entries * Tlb.entrySize;

/**
 * Jump cache: rip -> micro-op, direct-mapped. The entry is that of rip's low bits with those above `fold` mixed in: functions begin
 * at multiples of 16, so that the low bits alone would leave most entries to nobody.
 */
export const Jump = { entries: 16384, fold: 14, rip: 0, uop: 8, tag: 12, entrySize: 16 } as const;

/** Address of the entry that the soft TLB at `table` has for the page of a linear address, by its low half. */
export function tlbEntry(table: number, low: number): number {
  return table + ((low >>> 12) & (Tlb.entries - 1)) * Tlb.entrySize;
}

export const VCPU_TLB = State.size;
export const VCPU_JUMPS = VCPU_TLB + TLB_BYTES * Tlb.contexts;

/**
 * Return cache: where near calls return to, direct-mapped by the stack pointer. Entries are as the jump cache's. It is so small that it
 * stays near, which the jump cache does not.
 */
export const RETURN_ENTRIES = 64;
export const VCPU_RETURNS = VCPU_JUMPS + Jump.entries * Jump.entrySize;
export const VCPU_AREA = VCPU_RETURNS + RETURN_ENTRIES * Jump.entrySize;

/** Address of the entry that the jump cache of the vCPU at `base` has for an rip, by its low half. */
export function jumpEntry(base: number, rip: number): number {
  return base + VCPU_JUMPS + ((rip ^ (rip >>> Jump.fold)) & (Jump.entries - 1)) * Jump.entrySize;
}

/** Micro-op: one pre-decoded instruction, contiguous in execution order. */
export const Uop = {
  /** i32 table index of the handler. */
  handler: 0,
  /** i32: instructions from this one to the end of its block, itself included; 0 for pseudo micro-ops that end one. */
  left: 4,
  /** i32: offset of the instruction in its page. */
  ip: 8,
  length: 12, // i32
  /** State offsets of register operands 0 and 1. i32 */
  r0: 16,
  r1: 20,
  /** State offset of the memory operand's base register. i32 */
  base: 24,
  /** u16: state offset of its index register. */
  index: 28,
  /** u16: how often it may still be branched to before that is worth a region. */
  heat: 30,
  displacement: 32, // i64
  immediate: 40, // i64
  /** u8 */
  scale: 48,
  /** u8: 64 minus the address size in bits. */
  addressShift: 49,
  /** u8: operand size in bytes of memory accesses by assists. */
  size: 50,
  /** u8: prefixes and operand facts for assists (UopFlag). */
  flags: 51,
  /** State offset of the memory operand's Segment struct. i32 */
  segment: 52,
  /** i32: micro-op that a direct branch goes to inside the page, 0: not linked, -1: beyond the page; or that a goto goes to. */
  target: 56,
  /** State offset of register operand 3, in instructions that are no branches. i32 */
  r3: 56,
  /** u16 iced-x86 Code; u16 third register operand (state offset). */
  code: 60,
  r2: 62,
  bytes: 64,
} as const;

/**
 * stack: the memory operand refers to SS, so that a non-canonical address is #SS. device: it has read a device's register that handlers
 * read by themselves, since it was decoded.
 */
export const UopFlag = { rep: 1, repne: 2, lock: 4, memory: 8, stack: 16, device: 32 } as const;

export const PAGE = 4096;
