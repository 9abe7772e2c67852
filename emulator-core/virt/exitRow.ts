/**
 * Where the log of exits keeps them, in the machine's memory: handlers of instructions that always exit record theirs there by
 * themselves. Numbers of 64 bits are little-endian and lie at multiples of 8.
 */

/** Exits that the log keeps: more than any client asks for at once, and rows that stay in a processor's second-level cache. */
export const EXIT_LOG_SIZE = 16384;

/** Offsets in a row: what every exit has, in one cache line, as exits can be so frequent that memory is what bounds them. */
export const ExitRow = {
  /** seq + 1; 0: nothing is kept here. u64 */
  number: 0,
  /** Instructions retired before. u64 */
  icount: 8,
  /** One word: vCPU (u16), VM-exit instruction length (u8), ExitPart bits (u8). */
  head: 16,
  reason: 20, // u32
  rip: 24,
  qualification: 32,
  rax: 40,
  rcx: 48,
  rdx: 56,
  size: 64,
} as const;
/** Where the parts of ExitRow.head are: shifts. */
export const ExitHead = { cpu: 0, instructionLength: 16, parts: 24 } as const;

/** Of an exit: it is one of the machine's own firmware; what else is kept of it beside its row. Without the bit that is all zeros. */
export const ExitPart = { firmware: 1, addresses: 2, event: 4, hypercall: 8 } as const;

/** What exits with a bit of ExitPart have. */
export const ExitAddresses = { guestLinear: 0, guestPhysical: 8, size: 16 } as const;
export const ExitEvent = {
  instructionInfo: 0, // u32
  interruptionInfo: 4, // u32
  interruptionError: 8, // u32
  idtVectoringInfo: 12, // u32
  idtVectoringError: 16, // u32
  size: 32,
} as const;
export const ExitHypercall = { rbx: 0, rsi: 8, size: 16 } as const;

const ROWS = 4096;
const ADDRESSES = ROWS + EXIT_LOG_SIZE * ExitRow.size;
const EVENTS = ADDRESSES + EXIT_LOG_SIZE * ExitAddresses.size;
const HYPERCALLS = EVENTS + EXIT_LOG_SIZE * ExitEvent.size;

/** Offsets in the log. */
export const ExitLogLayout = {
  /** Exits so far: the seq of the next one. u64 */
  next: 0,
  /** The seq from which on exits are for TypeScript alone: 0 while the debugger is asked whether to stop. u64 */
  limit: 8,
  /** How often each basic reason was, by reason. u64 */
  counts: 16,
  /** A row for each exit that is kept: that of seq is the one at its low bits. */
  rows: ROWS,
  /** At the same places, what not all exits have. */
  addresses: ADDRESSES,
  events: EVENTS,
  hypercalls: HYPERCALLS,
} as const;
export const EXIT_LOG_BYTES = HYPERCALLS + EXIT_LOG_SIZE * ExitHypercall.size;

/** Basic exit reasons are 16 bits, but the defined ones are far below this. */
export const EXIT_REASON_COUNT = 256;
