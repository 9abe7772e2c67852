/**
 * The one record of a VM exit, as the architecture reports it, and the log of the newest ones.
 * Source: Intel SDM Vol. 3C, "VM-Exit Information Fields" and "Recording VM-Exit Information".
 */

import {
  EXIT_LOG_BYTES,
  EXIT_LOG_SIZE,
  EXIT_REASON_COUNT,
  ExitAddresses,
  ExitEvent,
  ExitHead,
  ExitHypercall,
  ExitLogLayout,
  ExitPart,
  ExitRow,
} from './exitRow';

export { EXIT_LOG_SIZE } from './exitRow';

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

const MASK = EXIT_LOG_SIZE - 1;

/** What a checkpoint needs of the log: plain data. */
export interface ExitLogState {
  next: number;
  /** Count per basic exit reason; trailing zeros left out. */
  counts: number[];
}

const ROW = ['rip', 'qualification', 'rax', 'rcx', 'rdx'] as const;
const ADDRESSES = ['guestLinear', 'guestPhysical'] as const;
const EVENT = [
  'instructionInfo',
  'interruptionInfo',
  'interruptionError',
  'idtVectoringInfo',
  'idtVectoringError',
] as const;
const HYPERCALL = ['rbx', 'rsi'] as const;

/**
 * Ring of the newest 16,384 exits, with a counter per basic reason that never forgets. It is kept as exitRow.ts says, for whoever
 * records an exit; VmExit objects are made for those who ask.
 */
export class ExitLog {
  /** The log and what it lies in, in words of 32 bits. */
  readonly words: Int32Array;
  /** Index of the log's first word. */
  private readonly at: number;
  private readonly wide: BigUint64Array;

  /**
   * @param buffer holds the log's EXIT_LOG_BYTES, zeros before, from `offset` (a multiple of 8) on
   */
  constructor(buffer: ArrayBuffer = new ArrayBuffer(EXIT_LOG_BYTES), offset = 0) {
    this.words = new Int32Array(buffer);
    this.wide = new BigUint64Array(buffer);
    this.at = offset >> 2;
  }

  /** A 64-bit number, 0 to 2^53, at a word. */
  private number(word: number): number {
    return (this.words[word] >>> 0) + this.words[word + 1] * 0x100000000;
  }
  setNumber(word: number, value: number): void {
    this.words[word] = value;
    this.words[word + 1] = value / 0x100000000;
  }
  private countWord(reason: number): number {
    return this.at + (ExitLogLayout.counts >> 2) + (reason & (EXIT_REASON_COUNT - 1)) * 2;
  }
  private rowWord(seq: number): number {
    return this.row(seq & MASK);
  }

  /** Indices in `words` of what an exit has, by its place in the log. */
  row(place: number): number {
    return this.at + ((ExitLogLayout.rows + place * ExitRow.size) >> 2);
  }
  addresses(place: number): number {
    return this.at + ((ExitLogLayout.addresses + place * ExitAddresses.size) >> 2);
  }
  event(place: number): number {
    return this.at + ((ExitLogLayout.events + place * ExitEvent.size) >> 2);
  }
  hypercall(place: number): number {
    return this.at + ((ExitLogLayout.hypercalls + place * ExitHypercall.size) >> 2);
  }

  private get next(): number {
    return this.number(this.at);
  }
  private set next(value: number) {
    this.setNumber(this.at, value);
  }

  /** Exits from this seq on are for TypeScript alone. */
  set limit(seq: number) {
    this.setNumber(this.at + (ExitLogLayout.limit >> 2), seq);
  }

  /** Seq that the next exit gets: the number of exits so far. */
  get nextSeq(): number {
    return this.next;
  }

  /** Begins to record an exit, and counts it: its place. Of its row number and reason are set, and all else is what was there before. */
  begin(reason: number): number {
    const { words, at } = this;
    const place = words[at] & MASK;
    const row = this.row(place);
    const low = (words[at] + 1) | 0;
    words[at] = low;
    if (low === 0) words[at + 1]++;
    words[row] = low;
    words[row + 1] = words[at + 1];
    words[row + (ExitRow.reason >> 2)] = reason;
    const count = this.countWord(reason);
    words[count]++;
    if (words[count] === 0) words[count + 1]++;
    return place;
  }

  /** Copies `exit` into the ring, gives it its `seq` and returns that. */
  record(exit: VmExit): number {
    const { words, wide } = this;
    const seq = this.next;
    const place = this.begin(exit.reason);
    const row = this.row(place);
    exit.seq = seq;
    this.setNumber(row + (ExitRow.icount >> 2), exit.icount);
    for (const name of ROW) wide[(row + (ExitRow[name] >> 2)) >> 1] = exit[name];
    // All of it: it happens rarely.
    const parts = (exit.firmware ? ExitPart.firmware : 0) | ExitPart.addresses | ExitPart.event | ExitPart.hypercall;
    this.setHead(row, exit.cpu, exit.instructionLength, parts);
    const [addresses, event, hypercall] = [this.addresses(place), this.event(place), this.hypercall(place)];
    for (const name of ADDRESSES) wide[(addresses + (ExitAddresses[name] >> 2)) >> 1] = exit[name];
    for (const name of EVENT) words[event + (ExitEvent[name] >> 2)] = exit[name];
    for (const name of HYPERCALL) wide[(hypercall + (ExitHypercall[name] >> 2)) >> 1] = exit[name];
    return seq;
  }

  /** Sets a row's head: vCPU, VM-exit instruction length, ExitPart bits. */
  setHead(row: number, cpu: number, instructionLength: number, parts: number): void {
    const length = (instructionLength & 0xff) << ExitHead.instructionLength;
    this.words[row + (ExitRow.head >> 2)] = (cpu & 0xffff) | length | (parts << ExitHead.parts);
  }
  private cpuOf(row: number): number {
    return this.words[row + (ExitRow.head >> 2)] & 0xffff;
  }

  /** A copy of exit `seq`, or undefined when it has left the ring or never happened. */
  get(seq: number): VmExit | undefined {
    if (!this.has(seq)) return undefined;
    const { words, wide } = this;
    const place = seq & MASK;
    const row = this.row(place);
    const head = words[row + (ExitRow.head >> 2)];
    const parts = head >>> ExitHead.parts;
    const [addresses, event, hypercall] = [this.addresses(place), this.event(place), this.hypercall(place)];
    const address = (offset: number): bigint =>
      parts & ExitPart.addresses ? wide[(addresses + (offset >> 2)) >> 1] : 0n;
    const information = (offset: number): number => (parts & ExitPart.event ? words[event + (offset >> 2)] >>> 0 : 0);
    const argument = (offset: number): bigint =>
      parts & ExitPart.hypercall ? wide[(hypercall + (offset >> 2)) >> 1] : 0n;
    // Spelled out: a trace makes very many.
    return {
      seq,
      icount: this.number(row + (ExitRow.icount >> 2)),
      cpu: this.cpuOf(row),
      reason: words[row + (ExitRow.reason >> 2)] >>> 0,
      rip: wide[(row + (ExitRow.rip >> 2)) >> 1],
      qualification: wide[(row + (ExitRow.qualification >> 2)) >> 1],
      instructionLength: (head >>> ExitHead.instructionLength) & 0xff,
      instructionInfo: information(ExitEvent.instructionInfo),
      guestLinear: address(ExitAddresses.guestLinear),
      guestPhysical: address(ExitAddresses.guestPhysical),
      interruptionInfo: information(ExitEvent.interruptionInfo),
      interruptionError: information(ExitEvent.interruptionError),
      idtVectoringInfo: information(ExitEvent.idtVectoringInfo),
      idtVectoringError: information(ExitEvent.idtVectoringError),
      rax: wide[(row + (ExitRow.rax >> 2)) >> 1],
      rcx: wide[(row + (ExitRow.rcx >> 2)) >> 1],
      rdx: wide[(row + (ExitRow.rdx >> 2)) >> 1],
      firmware: parts & ExitPart.firmware,
      rbx: argument(ExitHypercall.rbx),
      rsi: argument(ExitHypercall.rsi),
    };
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
      if (this.cpuOf(this.rowWord(seq)) === cpu) return this.get(seq);
    }
    return undefined;
  }

  /** Count per basic reason since the machine was made, only reasons that happened, by rising reason. */
  counters(): { reason: number; count: number }[] {
    const list: { reason: number; count: number }[] = [];
    for (let reason = 0; reason < EXIT_REASON_COUNT; reason++) {
      const count = this.number(this.countWord(reason));
      if (count > 0) list.push({ reason, count });
    }
    return list;
  }

  /** Forgets the exits that happened at a later instruction count than `icount`, as far back as the ring reaches. */
  truncate(icount: number): void {
    let seq = this.next;
    while (this.has(seq - 1) && this.number(this.rowWord(seq - 1) + (ExitRow.icount >> 2)) > icount) seq--;
    this.truncateToSeq(seq);
  }

  /** Forgets exit `seq` and all later ones. Exits that already left the ring keep their counters (restore() mends those). */
  truncateToSeq(seq: number): void {
    while (this.next > seq && this.has(this.next - 1)) {
      const row = this.rowWord(this.next - 1);
      const count = this.countWord(this.words[row + (ExitRow.reason >> 2)]);
      this.setNumber(count, this.number(count) - 1);
      this.setNumber(row, 0);
      this.next--;
    }
  }

  /** Forgets everything and starts at seq 0. */
  reset(): void {
    for (let seq = this.next - 1; seq >= 0 && seq >= this.next - EXIT_LOG_SIZE; seq--)
      this.setNumber(this.rowWord(seq), 0);
    this.setCounts([]);
    this.next = 0;
  }

  private setCounts(counts: readonly number[]): void {
    for (let reason = 0; reason < EXIT_REASON_COUNT; reason++)
      this.setNumber(this.countWord(reason), counts[reason] ?? 0);
  }

  /** Counters and position, without the ring. */
  save(): ExitLogState {
    const counts: number[] = [];
    for (const { reason, count } of this.counters()) {
      while (counts.length < reason) counts.push(0);
      counts.push(count);
    }
    return { next: this.next, counts };
  }

  /** Back to a saved position: exits recorded since are forgotten; of the older ones those still in the ring stay readable. */
  restore(state: ExitLogState): void {
    for (let seq = this.next - 1; seq >= state.next && this.has(seq); seq--) this.setNumber(this.rowWord(seq), 0);
    this.setCounts(state.counts);
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
    return seq >= 0 && seq < this.next && this.number(this.rowWord(seq)) === seq + 1;
  }
}
