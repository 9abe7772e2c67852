/**
 * Writes exits into the log, as exitRow.ts has them: those of instructions under way without BigInts and objects, as they happen often.
 * Handlers do the same by themselves (translate/exitEmitter.ts).
 */
import { carry, highOf, lowOf } from '../cpu/halves';
import { PAGE, State, Uop } from '../cpu/layout';
import type { Vcpu } from '../cpu/vcpu';
import type { ExitLog } from './exit';
import { ExitRow } from './exitRow';
import { ExitReason } from './vmx/exitReasons';

/** What the manual calls the fields of an exit, as given by whoever causes it. */
export interface ExitFacts {
  qualification?: bigint | number;
  instructionLength?: number;
  instructionInfo?: number;
  guestLinear?: bigint;
  guestPhysical?: number;
  interruptionInfo?: number;
  interruptionError?: number;
}

export class ExitRecorder {
  /** Event being delivered, for IDT-vectoring information. */
  vectoringInfo = 0;
  vectoringError = 0;

  constructor(private readonly log: ExitLog) {}

  /** Any exit. @param icount instructions retired before */
  event(cpu: Vcpu, reason: number, icount: number, rip: bigint, facts: ExitFacts): void {
    const { log } = this;
    const { words } = log;
    const row = log.begin(reason);
    log.setNumber(row + (ExitRow.icount >> 2), icount);
    this.put(row + (ExitRow.rip >> 2), rip);
    this.put(row + (ExitRow.qualification >> 2), BigInt(facts.qualification ?? 0));
    this.common(cpu, row, reason);
    words[row + (ExitRow.instructionLength >> 2)] = facts.instructionLength ?? 0;
    words[row + (ExitRow.firmware >> 2)] = 0;
    words[row + (ExitRow.instructionInfo >> 2)] = facts.instructionInfo ?? 0;
    words[row + (ExitRow.interruptionInfo >> 2)] = facts.interruptionInfo ?? 0;
    words[row + (ExitRow.interruptionError >> 2)] = facts.interruptionError ?? 0;
    this.put(row + (ExitRow.guestLinear >> 2), facts.guestLinear ?? 0n);
    log.setNumber(row + (ExitRow.guestPhysical >> 2), facts.guestPhysical ?? 0);
  }

  /**
   * The exit of an instruction under way, by its micro-op.
   * @param low the guest linear address's halves, where there is one
   */
  instruction(cpu: Vcpu, uop: number, reason: number, qualification: number, low = 0, high = 0, firmware = 0): void {
    const row = this.begin(cpu, uop, reason, qualification);
    const { words } = this.log;
    words[row + (ExitRow.instructionLength >> 2)] = words[(uop + Uop.length) >> 2];
    words[row + (ExitRow.firmware >> 2)] = firmware;
    words[row + (ExitRow.guestLinear >> 2)] = low;
    words[row + (ExitRow.guestLinear >> 2) + 1] = high;
  }

  /**
   * An instruction's access to guest-physical memory.
   * @param low the linear address's halves
   * @param page the guest-physical page; the offset in it is that of the linear address
   */
  memory(cpu: Vcpu, uop: number, reason: number, qualification: number, low: number, high: number, page: number): void {
    const row = this.begin(cpu, uop, reason, qualification);
    const { words } = this.log;
    words[row + (ExitRow.guestLinear >> 2)] = low;
    words[row + (ExitRow.guestLinear >> 2) + 1] = high;
    words[row + (ExitRow.guestPhysical >> 2)] = (page << 12) | (low & (PAGE - 1));
    words[row + (ExitRow.guestPhysical >> 2) + 1] = page / (0x100000000 / PAGE);
  }

  /** Begins the record of an instruction's exit. Its first word in the log. */
  private begin(cpu: Vcpu, uop: number, reason: number, qualification: number): number {
    const row = this.log.begin(reason);
    const { words } = this.log;
    const own = cpu.base >> 2;
    const icount = own + (State.icountEnd >> 2);
    const ahead = words[own + (State.budget >> 2)] + words[(uop + Uop.left) >> 2];
    const low = words[icount];
    words[row + (ExitRow.icount >> 2)] = low - ahead;
    words[row + (ExitRow.icount >> 2) + 1] = low >>> 0 < ahead ? words[icount + 1] - 1 : words[icount + 1];
    const base = own + (State.ripBase >> 2);
    const rip = (words[base] + words[(uop + Uop.ip) >> 2]) | 0;
    words[row + (ExitRow.rip >> 2)] = rip;
    words[row + (ExitRow.rip >> 2) + 1] = cpu.bitness === 64 ? carry(words[base], words[base + 1], rip) : 0;
    words[row + (ExitRow.qualification >> 2)] = qualification;
    words[row + (ExitRow.qualification >> 2) + 1] = 0;
    words[row + (ExitRow.instructionLength >> 2)] = 0;
    words[row + (ExitRow.firmware >> 2)] = 0;
    words[row + (ExitRow.instructionInfo >> 2)] = 0;
    words[row + (ExitRow.interruptionInfo >> 2)] = 0;
    words[row + (ExitRow.interruptionError >> 2)] = 0;
    words[row + (ExitRow.guestLinear >> 2)] = 0;
    words[row + (ExitRow.guestLinear >> 2) + 1] = 0;
    words[row + (ExitRow.guestPhysical >> 2)] = 0;
    words[row + (ExitRow.guestPhysical >> 2) + 1] = 0;
    this.common(cpu, row, reason);
    return row;
  }

  /** What is known of every exit. */
  private common(cpu: Vcpu, row: number, reason: number): void {
    const { words } = this.log;
    const own = cpu.base >> 2;
    words[own + (State.lastExit >> 2)] = words[row];
    words[own + (State.lastExit >> 2) + 1] = words[row + 1];
    words[row + (ExitRow.cpu >> 2)] = cpu.index;
    // rax, rcx and rdx.
    words[row + (ExitRow.rax >> 2)] = words[own];
    words[row + (ExitRow.rax >> 2) + 1] = words[own + 1];
    words[row + (ExitRow.rcx >> 2)] = words[own + 2];
    words[row + (ExitRow.rcx >> 2) + 1] = words[own + 3];
    words[row + (ExitRow.rdx >> 2)] = words[own + 4];
    words[row + (ExitRow.rdx >> 2) + 1] = words[own + 5];
    const hypercall = reason === ExitReason.vmcall;
    words[row + (ExitRow.rbx >> 2)] = hypercall ? words[own + 6] : 0;
    words[row + (ExitRow.rbx >> 2) + 1] = hypercall ? words[own + 7] : 0;
    words[row + (ExitRow.rsi >> 2)] = hypercall ? words[own + 12] : 0;
    words[row + (ExitRow.rsi >> 2) + 1] = hypercall ? words[own + 13] : 0;
    words[row + (ExitRow.idtVectoringInfo >> 2)] = this.vectoringInfo;
    words[row + (ExitRow.idtVectoringError >> 2)] = this.vectoringError;
  }

  private put(word: number, value: bigint): void {
    this.log.words[word] = lowOf(value);
    this.log.words[word + 1] = highOf(value);
  }
}
