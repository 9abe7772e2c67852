/**
 * The one record of a VM exit, as the architecture reports it, and the log of the newest ones.
 * Source: Intel SDM Vol. 3C, "VM-Exit Information Fields" and "Recording VM-Exit Information".
 */

/** Addresses and registers are unsigned 64-bit bigints; the 32-bit information fields are unsigned numbers. */
export interface VmExit {
  /** Running number of this exit since the machine was made. */
  seq: number;
  /** Retired instructions when the exit happened. */
  icount: number;
  cpu: number;
  /** Exit reason field: basic reason in bits 15:0, bit 31 set for a failed VM entry. */
  reason: number;
  rip: bigint;
  qualification: bigint;
  instructionLength: number;
  instructionInfo: number;
  guestLinear: bigint;
  guestPhysical: bigint;
  interruptionInfo: number;
  interruptionError: number;
  idtVectoringInfo: number;
  idtVectoringError: number;
  /** Guest registers at the exit: what port writes, CPUID, MSR accesses and hypercalls are about. */
  rax: bigint;
  rcx: bigint;
  rdx: bigint;
  /** 1: a VMCALL of the machine's own firmware, no hypercall of the guest's. */
  firmware: number;
  /** Of a hypercall only; 0 otherwise. */
  rbx: bigint;
  rsi: bigint;
}

/** An exit with every field zero, to be filled and reused. */
export function emptyExit(): VmExit {
  return {
    seq: 0,
    icount: 0,
    cpu: 0,
    reason: 0,
    rip: 0n,
    qualification: 0n,
    instructionLength: 0,
    instructionInfo: 0,
    guestLinear: 0n,
    guestPhysical: 0n,
    interruptionInfo: 0,
    interruptionError: 0,
    idtVectoringInfo: 0,
    idtVectoringError: 0,
    rax: 0n,
    rcx: 0n,
    rdx: 0n,
    firmware: 0,
    rbx: 0n,
    rsi: 0n,
  };
}

/** Exits that the log keeps. */
export const EXIT_LOG_SIZE = 65536;
const MASK = EXIT_LOG_SIZE - 1;
/** Basic exit reasons are 16 bits, but the defined ones are far below this. */
const REASONS = 256;

/** What a checkpoint needs of the log: plain data. */
export interface ExitLogState {
  next: number;
  /** Count per basic exit reason; trailing zeros left out. */
  counts: number[];
}

const NUMBERS = [
  'cpu',
  'reason',
  'instructionLength',
  'instructionInfo',
  'interruptionInfo',
  'interruptionError',
  'idtVectoringInfo',
  'idtVectoringError',
  'firmware',
] as const;
const BIGINTS = ['rip', 'qualification', 'guestLinear', 'guestPhysical', 'rax', 'rcx', 'rdx', 'rbx', 'rsi'] as const;
const N = NUMBERS.length;
const B = BIGINTS.length;

/** Ring of the newest 65,536 exits in preallocated arrays, with a counter per basic reason that never forgets. */
export class ExitLog {
  private readonly seqs = new Float64Array(EXIT_LOG_SIZE).fill(-1);
  private readonly icounts = new Float64Array(EXIT_LOG_SIZE);
  private readonly numbers = new Uint32Array(EXIT_LOG_SIZE * N);
  private readonly bigints = new BigUint64Array(EXIT_LOG_SIZE * B);
  private readonly counts = new Float64Array(REASONS);
  private next = 0;

  /** Seq that the next exit gets: the number of exits so far. */
  get nextSeq(): number {
    return this.next;
  }

  /** Copies `exit` into the ring, gives it its `seq` and returns that. Nothing is allocated: pass one object again and again. */
  record(exit: VmExit): number {
    const seq = this.next++;
    const slot = seq & MASK;
    exit.seq = seq;
    this.seqs[slot] = seq;
    this.icounts[slot] = exit.icount;
    const n = slot * N;
    const numbers = this.numbers;
    numbers[n] = exit.cpu;
    numbers[n + 1] = exit.reason;
    numbers[n + 2] = exit.instructionLength;
    numbers[n + 3] = exit.instructionInfo;
    numbers[n + 4] = exit.interruptionInfo;
    numbers[n + 5] = exit.interruptionError;
    numbers[n + 6] = exit.idtVectoringInfo;
    numbers[n + 7] = exit.idtVectoringError;
    numbers[n + 8] = exit.firmware;
    const b = slot * B;
    const bigints = this.bigints;
    bigints[b] = exit.rip;
    bigints[b + 1] = exit.qualification;
    bigints[b + 2] = exit.guestLinear;
    bigints[b + 3] = exit.guestPhysical;
    bigints[b + 4] = exit.rax;
    bigints[b + 5] = exit.rcx;
    bigints[b + 6] = exit.rdx;
    bigints[b + 7] = exit.rbx;
    bigints[b + 8] = exit.rsi;
    this.counts[exit.reason & 0xff]++;
    return seq;
  }

  /** A copy of exit `seq`, or undefined when it has left the ring or never happened. */
  get(seq: number): VmExit | undefined {
    if (!this.has(seq)) return undefined;
    const slot = seq & MASK;
    const exit = emptyExit();
    exit.seq = seq;
    exit.icount = this.icounts[slot];
    for (let i = 0; i < N; i++) exit[NUMBERS[i]] = this.numbers[slot * N + i];
    for (let i = 0; i < B; i++) exit[BIGINTS[i]] = this.bigints[slot * B + i];
    return exit;
  }

  /** The newest exits, newest first; at most `count`, and with `before` only those with a smaller seq. */
  newest(count: number, before = this.next): VmExit[] {
    const exits: VmExit[] = [];
    for (let seq = Math.min(before, this.next) - 1; exits.length < count; seq--) {
      const exit = this.get(seq);
      if (!exit) break;
      exits.push(exit);
    }
    return exits;
  }

  /** The newest exit of vCPU `cpu` that is still in the ring. */
  newestOf(cpu: number): VmExit | undefined {
    for (let seq = this.next - 1; this.has(seq); seq--) {
      if (this.numbers[(seq & MASK) * N] === cpu) return this.get(seq);
    }
    return undefined;
  }

  /** Count per basic reason since the machine was made, only reasons that happened, by rising reason. */
  counters(): { reason: number; count: number }[] {
    const list: { reason: number; count: number }[] = [];
    this.counts.forEach((count, reason) => {
      if (count > 0) list.push({ reason, count });
    });
    return list;
  }

  /** Forgets the exits that happened at a later instruction count than `icount`, as far back as the ring reaches. */
  truncate(icount: number): void {
    let seq = this.next;
    while (this.has(seq - 1) && this.icounts[(seq - 1) & MASK] > icount) seq--;
    this.truncateToSeq(seq);
  }

  /** Forgets exit `seq` and all later ones. Exits that already left the ring keep their counters (restore() mends those). */
  truncateToSeq(seq: number): void {
    while (this.next > seq && this.has(this.next - 1)) {
      const slot = (this.next - 1) & MASK;
      this.counts[this.numbers[slot * N + 1] & 0xff]--;
      this.seqs[slot] = -1;
      this.next--;
    }
  }

  /** Forgets everything and starts at seq 0. */
  reset(): void {
    this.seqs.fill(-1);
    this.counts.fill(0);
    this.next = 0;
  }

  /** Counters and position, without the ring. */
  save(): ExitLogState {
    let used = REASONS;
    while (used > 0 && this.counts[used - 1] === 0) used--;
    return { next: this.next, counts: Array.from(this.counts.subarray(0, used)) };
  }

  /** Back to a saved position: exits recorded since are forgotten; of the older ones those still in the ring stay readable. */
  restore(state: ExitLogState): void {
    for (let seq = this.next - 1; seq >= state.next && this.has(seq); seq--) this.seqs[seq & MASK] = -1;
    this.counts.fill(0);
    state.counts.forEach((count, reason) => (this.counts[reason] = count));
    this.next = state.next;
  }

  /** Takes over position and counters of another log, and of its exits those given, newest first, that lead up to the position. */
  adopt(state: ExitLogState, newest: readonly VmExit[]): void {
    this.reset();
    this.next = Math.max(0, state.next - newest.length);
    for (const exit of [...newest].reverse()) this.record({ ...exit });
    this.restore(state);
  }

  private has(seq: number): boolean {
    return seq >= 0 && seq < this.next && this.seqs[seq & MASK] === seq;
  }
}
