/**
 * Writes exits into the log, as exitRow.ts has them: those of instructions under way without BigInts and objects, as they happen often.
 * Handlers do the same by themselves (translate/exitEmitter.ts).
 */
import { carry, highOf, lowOf } from '../cpu/halves';
import { PAGE, State, Uop } from '../cpu/layout';
import type { Vcpu } from '../cpu/vcpu';
import type { ExitLog } from './exit';
import { ExitAddresses, ExitEvent, ExitHypercall, ExitPart, ExitRow } from './exitRow';
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

const NO_FACTS: ExitFacts = {};

export class ExitRecorder {
  /** Event being delivered, for IDT-vectoring information. */
  vectoringInfo = 0;
  vectoringError = 0;

  constructor(private readonly log: ExitLog) {}

  /** Any exit. @param icount instructions retired before */
  event(cpu: Vcpu, reason: number, icount: number, rip: bigint, facts: ExitFacts): void {
    const { log } = this;
    const place = log.begin(reason);
    const row = log.row(place);
    log.setNumber(row + (ExitRow.icount >> 2), icount);
    this.put(row + (ExitRow.rip >> 2), rip);
    this.put(row + (ExitRow.qualification >> 2), BigInt(facts.qualification ?? 0));
    let parts = this.interruption(place, facts);
    if (facts.guestLinear || facts.guestPhysical) {
      const addresses = log.addresses(place);
      this.put(addresses + (ExitAddresses.guestLinear >> 2), facts.guestLinear ?? 0n);
      log.setNumber(addresses + (ExitAddresses.guestPhysical >> 2), facts.guestPhysical ?? 0);
      parts |= ExitPart.addresses;
    }
    this.common(cpu, place, reason, facts.instructionLength ?? 0, parts);
  }

  /**
   * The exit of an instruction under way, by its micro-op.
   * @param low the guest linear address's halves, where there is one
   */
  instruction(cpu: Vcpu, uop: number, reason: number, qualification: number, low = 0, high = 0, firmware = 0): void {
    const { log } = this;
    const place = this.begin(cpu, uop, reason, qualification);
    let parts = this.interruption(place) | (firmware ? ExitPart.firmware : 0);
    if (low || high) {
      this.putAddresses(place, low, high, 0, 0);
      parts |= ExitPart.addresses;
    }
    this.common(cpu, place, reason, log.words[(uop + Uop.length) >> 2], parts);
  }

  /**
   * An instruction's access to guest-physical memory.
   * @param low the linear address's halves
   * @param page the guest-physical page; the offset in it is that of the linear address
   */
  memory(cpu: Vcpu, uop: number, reason: number, qualification: number, low: number, high: number, page: number): void {
    const place = this.begin(cpu, uop, reason, qualification);
    this.putAddresses(place, low, high, (page << 12) | (low & (PAGE - 1)), page / (0x100000000 / PAGE));
    this.common(cpu, place, reason, 0, this.interruption(place) | ExitPart.addresses);
  }

  /** Begins the record of an instruction's exit. Its place in the log. */
  private begin(cpu: Vcpu, uop: number, reason: number, qualification: number): number {
    const { log } = this;
    const place = log.begin(reason);
    const row = log.row(place);
    const { words } = log;
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
    return place;
  }

  private putAddresses(place: number, low: number, high: number, physical: number, physicalHigh: number): void {
    const { words } = this.log;
    const addresses = this.log.addresses(place);
    words[addresses + (ExitAddresses.guestLinear >> 2)] = low;
    words[addresses + (ExitAddresses.guestLinear >> 2) + 1] = high;
    words[addresses + (ExitAddresses.guestPhysical >> 2)] = physical;
    words[addresses + (ExitAddresses.guestPhysical >> 2) + 1] = physicalHigh;
  }

  /** What is said of the event that exits, and of the one being delivered, if anything. ExitPart bits */
  private interruption(place: number, facts: ExitFacts = NO_FACTS): number {
    const { instructionInfo = 0, interruptionInfo = 0, interruptionError = 0 } = facts;
    const { vectoringInfo, vectoringError } = this;
    if (!(instructionInfo | interruptionInfo | interruptionError | vectoringInfo | vectoringError)) return 0;
    const { words } = this.log;
    const event = this.log.event(place);
    words[event + (ExitEvent.instructionInfo >> 2)] = instructionInfo;
    words[event + (ExitEvent.interruptionInfo >> 2)] = interruptionInfo;
    words[event + (ExitEvent.interruptionError >> 2)] = interruptionError;
    words[event + (ExitEvent.idtVectoringInfo >> 2)] = vectoringInfo;
    words[event + (ExitEvent.idtVectoringError >> 2)] = vectoringError;
    return ExitPart.event;
  }

  /** What is known of every exit, and a hypercall's registers. @param known ExitPart bits of what has been written */
  private common(cpu: Vcpu, place: number, reason: number, instructionLength: number, known: number): void {
    const { log } = this;
    const { words } = log;
    const row = log.row(place);
    const own = cpu.base >> 2;
    words[own + (State.lastExit >> 2)] = words[row];
    words[own + (State.lastExit >> 2) + 1] = words[row + 1];
    // rax, rcx and rdx.
    words[row + (ExitRow.rax >> 2)] = words[own];
    words[row + (ExitRow.rax >> 2) + 1] = words[own + 1];
    words[row + (ExitRow.rcx >> 2)] = words[own + 2];
    words[row + (ExitRow.rcx >> 2) + 1] = words[own + 3];
    words[row + (ExitRow.rdx >> 2)] = words[own + 4];
    words[row + (ExitRow.rdx >> 2) + 1] = words[own + 5];
    let parts = known;
    if (reason === ExitReason.vmcall) {
      const hypercall = log.hypercall(place);
      words[hypercall + (ExitHypercall.rbx >> 2)] = words[own + 6];
      words[hypercall + (ExitHypercall.rbx >> 2) + 1] = words[own + 7];
      words[hypercall + (ExitHypercall.rsi >> 2)] = words[own + 12];
      words[hypercall + (ExitHypercall.rsi >> 2) + 1] = words[own + 13];
      parts |= ExitPart.hypercall;
    }
    log.setHead(row, cpu.index, instructionLength, parts);
  }

  private put(word: number, value: bigint): void {
    this.log.words[word] = lowOf(value);
    this.log.words[word + 1] = highOf(value);
  }
}
