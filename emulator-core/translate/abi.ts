/** What handlers, the generator and the core agree on: forms of a handler, imported functions, the slow path's requests. */
import type { Bits, BranchKind, VectorFile, Width } from './builder';

/** How a memory operand's linear address is made: 64-bit flat; 32-bit flat; through a segment (FS/GS, 16-bit, limits, address-size prefix). */
export type MemoryKind = 'flat64' | 'flat32' | 'segment';

export interface OperandForm {
  kind: 'r' | 'm' | 'i';
  /** Vector operands are read and written with the vector methods only. */
  bits: Width;
  /** Of a register: the register file, absent for general (and other) registers. */
  vector?: VectorFile;
  /** Which micro-op field holds the register: r0 .. r3. */
  slot: 0 | 1 | 2 | 3;
}

export interface HandlerForm {
  operands: OperandForm[];
  operandBits: Bits;
  memory: MemoryKind;
  /** In 64-bit mode the stack is flat; else it goes through SS. */
  stack: 'flat64' | 'segment';
  /** rep: RCX counts; repz/repnz also test ZF (CMPS, SCAS). */
  repeat?: 'rep' | 'repe' | 'repne';
  /** VEX-encoded: writes clear the rest of a vector register. */
  vex?: boolean;
  /** The 128- or 256-bit memory operand must be aligned. */
  aligned?: boolean;
}

/** Indices of the imported functions; the numbers after them are the module's own helpers. */
export const Import = { slow: 0, assist: 1, fault: 2, divide: 3, vector: 4, hot: 5 } as const;
export const IMPORTS = [
  { name: 'slow', parameters: 3 },
  { name: 'assist', parameters: 2 },
  { name: 'fault', parameters: 3 },
  { name: 'divide', parameters: 3 },
  { name: 'vector', parameters: 3 },
  { name: 'hot', parameters: 2 },
];
/** What a region's module imports: `go(uop, cpu, handler)` of the handlers' module. */
export const REGION_IMPORTS = [{ name: 'go', parameters: 3 }];
export const RegionImport = { go: 0 } as const;
export const Helper = {
  lookup: 6,
  exitNext: 7,
  run: 8,
  fused: 9,
  go: 10,
  resume: 11,
  slowRead: 12,
  lookupReturn: 13,
} as const;

/** `kind` argument of the slow path: log2 of the size, plus what is wanted. */
export const Slow = {
  sizeMask: 7,
  read: 0,
  write: 8,
  modify: 16,
  commit: 24,
  operation: 24,
  stack: 32,
  limit: 64,
} as const;
/** The request that has a helper before it: a read of 32 bits, as of devices' registers. */
export const SLOW_READ = 2 | Slow.read;
/** What `slow` returns. `again`: done, but return to the run loop after this instruction. For modify: `bounced`. */
export const SlowResult = { ok: 0, abort: 1, again: 2 } as const;

/** Handlers that stand for no instruction, at the start of the table. */
export const Pseudo = {
  /** Calls the assist named by the micro-op's Code. */
  assist: 0,
  /** Goes to State.rip through the jump cache; the micro-op is the branch. LOOKUPS are one after the other. */
  lookup: 1,
  /** As lookup, by a near call, which has pushed its return address. */
  lookupCall: 2,
  /** As lookup, by a near return. */
  lookupReturn: 3,
  /** The page ends here: goes on at the next page. */
  pageEnd: 4,
  /** Returns to the run loop. */
  stop: 5,
  /** Goes to `target`, an instruction decoded earlier. */
  goto: 6,
  /** Of code that has changed: back to the run loop, which decodes it anew. */
  stale: 7,
  last: 7,
} as const;

/** Pseudo handlers that go to State.rip, by what the branch is. */
export const LOOKUPS: Record<BranchKind, number> = {
  jump: Pseudo.lookup,
  call: Pseudo.lookupCall,
  return: Pseudo.lookupReturn,
};
