/**
 * What a test case and its result look like in memory: the same bytes go to the runner (runner.c) and into the emulated machine.
 * All numbers are little-endian. Both sides have the same linear memory, and nothing else is mapped below 2^47 in 64-bit mode
 * but the runner's own high addresses.
 */

/** Two writable pages with nothing before and behind them. */
export const DATA = 0x200000;
export const DATA_BYTES = 0x2000;
/** One page that may only be read. */
export const READ_ONLY = 0x204000;
/** Code: slots of 64 bytes, filled up with HLT, which ends a case with #GP; nothing is mapped behind. */
export const CODE = 0x300000;
export const CODE_BYTES = 0x10000;
export const SLOT = 64;
export const HLT = 0xf4;

/** What data memory holds before a case's patches. Its first 256 bytes are those of test/vectors. */
export function templateByte(offset: number): number {
  return (37 * offset + 11 + 101 * (offset >> 8)) & 0xff;
}

/** Selectors that Linux gives its processes. */
export const Selectors = { code32: 0x23, data: 0x2b, code64: 0x33 } as const;

export const BATCH_MAGIC = 0x48435442;
export const RESULT_MAGIC = 0x544c5352;
/** Vector of a result that stands for a case that never ended. */
export const ENDLESS = 255;

/** Byte offsets in a case; patches (address, length, bytes filled up to a multiple of 8) follow the last block. */
export const Case = {
  size: 0,
  id: 4,
  flags: 8,
  patches: 12,
  rip: 16,
  rflags: 20,
  mxcsr: 24,
  fcw: 28,
  fsw: 30,
  /** One bit per register R0..R7: not empty. */
  valid: 32,
  fsBase: 40,
  gsBase: 48,
  gpr: 64,
  /** R0..R7 in 16 bytes each, where Case.extended is set. */
  x87: 192,
  /** YMM0..YMM15. */
  ymm: 320,
  end: 832,
} as const;
export const CaseFlag = { compatibility: 1, extended: 2 } as const;

/** Byte offsets in a result; then x87 and YMM registers if they changed, then changed lines of data memory. */
export const Result = {
  size: 0,
  id: 4,
  flags: 8,
  lines: 12,
  vector: 16,
  error: 20,
  address: 24,
  rip: 32,
  rflags: 40,
  mxcsr: 44,
  fcw: 48,
  fsw: 50,
  valid: 52,
  fsBase: 56,
  gsBase: 64,
  /** ES CS SS DS FS GS, 16 bits each. */
  selectors: 72,
  gpr: 96,
  end: 224,
} as const;
export const ResultFlag = { x87: 1, ymm: 2 } as const;
export const LINE = 64;

/** Status flags of RFLAGS: CF PF AF ZF SF DF OF. */
export const STATUS = 0xcd5;
/** RFLAGS bits that user code can see and change, RF left out: a fault saves it as 1. */
export const VISIBLE_FLAGS = 0x247fd7;

/** State of one side after a case, with all blocks in place. */
export class Outcome {
  vector = 0;
  error = 0;
  /** #PF only. */
  readonly address = new Uint32Array(2);
  readonly rip = new Uint32Array(2);
  rflags = 0;
  mxcsr = 0;
  fcw = 0;
  fsw = 0;
  valid = 0;
  readonly bases = Buffer.alloc(16);
  readonly selectors = new Uint16Array(6);
  readonly gpr = Buffer.alloc(128);
  readonly x87 = Buffer.alloc(128);
  readonly ymm = Buffer.alloc(512);
  readonly memory = Buffer.alloc(DATA_BYTES);
}

/** Data memory before any case. */
export const TEMPLATE: Uint8Array = Uint8Array.from({ length: DATA_BYTES }, (_, i) => templateByte(i));
