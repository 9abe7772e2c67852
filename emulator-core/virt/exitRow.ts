/**
 * Where the log of exits keeps them, in the machine's memory: handlers of instructions that always exit record theirs there by
 * themselves. Numbers of 64 bits are little-endian and lie at multiples of 8.
 */

/** Exits that the log keeps. */
export const EXIT_LOG_SIZE = 65536;

/** Offsets in the log. */
export const ExitLogLayout = {
  /** Exits so far: the seq of the next one. u64 */
  next: 0,
  /** How often each basic reason was, by reason. u64 */
  counts: 8,
  /** A row for each exit that is kept: that of seq is the one at its low bits. */
  rows: 4096,
} as const;

/** Basic exit reasons are 16 bits, but the defined ones are far below this. */
export const EXIT_REASON_COUNT = 256;

/** Offsets in a row. */
export const ExitRow = {
  /** seq + 1; 0: nothing is kept here. u64 */
  number: 0,
  /** Instructions retired before. u64 */
  icount: 8,
  cpu: 16, // u32
  reason: 20, // u32
  instructionLength: 24, // u32
  firmware: 28, // u32
  rip: 32,
  qualification: 40,
  rax: 48,
  rcx: 56,
  rdx: 64,
  instructionInfo: 72, // u32
  interruptionInfo: 76, // u32
  interruptionError: 80, // u32
  idtVectoringInfo: 84, // u32
  idtVectoringError: 88, // u32
  guestLinear: 96,
  guestPhysical: 104,
  rbx: 112,
  rsi: 120,
  size: 128,
} as const;

export const EXIT_LOG_BYTES = ExitLogLayout.rows + EXIT_LOG_SIZE * ExitRow.size;
