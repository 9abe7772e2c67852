/**
 * One processor's local APIC: xAPIC registers (memory-mapped at IA32_APIC_BASE) and the same by MSR in x2APIC mode.
 * SDM Vol. 3A, chapter "Advanced Programmable Interrupt Controller (APIC)". Version 14h, six LVT entries.
 */
import { hex, type Field } from '../fields';
import type { EventQueue } from '../time/eventQueue';
import { DeliveryMode, type ApicBus, type ApicMessage } from './apicBus';
import { APIC_REGISTER_AT, APIC_REGISTERS } from './apicRegisters';
import { ApicTimer, apicTimerState, TIMER_TSC_DEADLINE, type ApicTimerState } from './apicTimer';
import type { Device, MmioHandler, VirtualClock } from './device';
import { describeRegisters } from './registers';

const ID = 0x020;
const VERSION = 0x030;
const TPR = 0x080;
const APR = 0x090;
const PPR = 0x0a0;
const EOI = 0x0b0;
const LDR = 0x0d0;
const DFR = 0x0e0;
const SVR = 0x0f0;
const ISR = 0x100;
const TMR = 0x180;
const IRR = 0x200;
const ESR = 0x280;
const ICR = 0x300;
const ICR_HIGH = 0x310;
const LVT_TIMER = 0x320;
const LVT_LINT0 = 0x350;
const LVT_LINT1 = 0x360;
const LVT_ERROR = 0x370;
const INITIAL_COUNT = 0x380;
const CURRENT_COUNT = 0x390;
const DIVIDE = 0x3e0;
const SELF_IPI = 0x3f0;

const VERSION_VALUE = 0x00050014;
const LVT_MASKED = 0x10000;
const SVR_ENABLED = 0x100;
const ESR_SEND_VECTOR = 0x20;
const ESR_RECEIVE_VECTOR = 0x40;
const ESR_REGISTER = 0x80;

const BASE_BSP = 0x100;
const BASE_EXTD = 0x400;
const BASE_ENABLE = 0x800;
/** IA32_APIC_BASE bits that may be set, for 40-bit physical addresses. */
const BASE_VALID = 0xff_ffff_fd00n;
const DEFAULT_BASE = 0xfee00000;

interface LocalApicState {
  /** IA32_APIC_BASE. */
  base: number;
  /** The APIC ID in xAPIC mode, which the guest may change. */
  xapicId: number;
  /** Registers by offset / 16. */
  registers: Uint32Array;
  /** Errors since the last write of ESR. */
  errors: number;
  /** Levels of LINT0 and LINT1. */
  lint: [0 | 1, 0 | 1];
  timer: ApicTimerState;
}

export interface LocalApicOptions {
  /** Initial APIC ID, which is also the processor's number; 0 is the boot processor. */
  id: number;
  apicBus: ApicBus;
  clock: VirtualClock;
  events: EventQueue;
  tscHz: number;
  /** Where the registers are to be kept, 64 of them by offset / 16. Absent: nobody else looks at them. */
  registers?: Uint32Array;
  /** hasInterrupt() or the acceptance of ExtINT may have changed. */
  changed(): void;
  /** IA32_APIC_BASE has changed, so has the place of the registers. */
  moved(): void;
  nmi(): void;
  init(): void;
  startup(vector: number): void;
}

/** The highest vector in a 256-bit register that starts at index `first`, -1 when none. */
function highestVector(registers: Uint32Array, first: number): number {
  for (let i = 7; i >= 0; i--) {
    const word = registers[first + i];
    if (word !== 0) return i * 32 + 31 - Math.clz32(word);
  }
  return -1;
}

export class LocalApic implements Device<LocalApicState>, MmioHandler {
  readonly name: string;
  readonly id: number;
  /**
   * A hypervisor that lets its guest end interrupts without a write to EOI: told before the state is looked at or changed, and
   * of each vector that goes to the processor.
   */
  paravirtualEoi?: { accessed(): void; acknowledged(vector: number): void };
  private base: number;
  /** SDM Vol. 3A, "Local APIC ID": software may write it on some processors. KVM's is one of them. */
  private xapicId: number;
  private readonly registers: Uint32Array;
  private errors = 0;
  private lint: [0 | 1, 0 | 1] = [0, 0];
  private readonly timer: ApicTimer;
  /** The vector that is deliverable now, -1 when none. */
  private deliverable = -1;

  constructor(private readonly options: LocalApicOptions) {
    this.id = options.id;
    this.registers = options.registers ?? new Uint32Array(APIC_REGISTER_AT.length);
    this.name = `apic${options.id}`;
    this.timer = new ApicTimer(`${this.name}.timer`, options.events, () => this.fireLvt(LVT_TIMER));
    this.base = this.resetBase();
    this.xapicId = options.id;
    this.resetRegisters();
  }

  /** IA32_APIC_BASE. */
  get apicBase(): bigint {
    return BigInt(this.base);
  }

  /** Where the registers are, undefined when disabled or in x2APIC mode. */
  get mmioBase(): number | undefined {
    return this.enabled && !this.x2apic ? this.base - (this.base % 4096) : undefined;
  }

  /** Globally enabled: IA32_APIC_BASE bit 11. */
  get enabled(): boolean {
    return (this.base & BASE_ENABLE) !== 0;
  }

  get x2apic(): boolean {
    return (this.base & BASE_EXTD) !== 0;
  }

  /** Whether fixed interrupts are accepted: enabled globally and by SVR. */
  get acceptsVectors(): boolean {
    return this.enabled && (this.registers[SVR >> 4] & SVR_ENABLED) !== 0;
  }

  /** PPR. */
  get processorPriority(): number {
    const tpr = this.registers[TPR >> 4];
    const inService = highestVector(this.registers, ISR >> 4);
    return inService >= 0 && (inService & 0xf0) > (tpr & 0xf0) ? inService & 0xf0 : tpr;
  }

  /** CR8: bits 7-4 of TPR. */
  get cr8(): number {
    return this.registers[TPR >> 4] >> 4;
  }

  set cr8(value: number) {
    this.paravirtualEoi?.accessed();
    this.registers[TPR >> 4] = (value & 15) << 4;
    this.update();
  }

  /** Whether an ExtINT from the 8259s through LINT0 reaches the processor. */
  get acceptsExtInt(): boolean {
    if (!this.enabled) return (this.base & BASE_BSP) !== 0;
    return (this.registers[LVT_LINT0 >> 4] & (LVT_MASKED | 0x700)) === DeliveryMode.extInt << 8;
  }

  /** Writes IA32_APIC_BASE. False where hardware gives #GP: reserved bits, or a mode transition that does not exist. */
  writeApicBase(value: bigint): boolean {
    if (value & ~BASE_VALID) return false;
    const next = Number(value);
    const was = this.base & (BASE_ENABLE | BASE_EXTD);
    const is = next & (BASE_ENABLE | BASE_EXTD);
    if (is === BASE_EXTD) return false;
    if (was === (BASE_ENABLE | BASE_EXTD) && is === BASE_ENABLE) return false;
    if (was === 0 && is === (BASE_ENABLE | BASE_EXTD)) return false;
    this.base = next;
    if (was !== is) {
      this.xapicId = this.id;
      if (!(is & BASE_ENABLE)) this.resetRegisters();
      if (is & BASE_EXTD) {
        this.registers[LDR >> 4] = ((this.id >>> 4) << 16) | (1 << (this.id & 15));
        this.registers[ICR_HIGH >> 4] = 0;
      }
    }
    this.options.moved();
    this.update();
    this.options.changed();
    return true;
  }

  /** IA32_TSC_DEADLINE. */
  get tscDeadline(): bigint {
    return this.timer.tscDeadline;
  }

  /** Writes IA32_TSC_DEADLINE; `tscNow` is what RDTSC would give this processor. */
  writeTscDeadline(deadline: bigint, tscNow: bigint): void {
    const ticks = deadline > tscNow ? Number(deadline - tscNow) : 0;
    this.timer.setTscDeadline(deadline, this.options.clock.now() + Math.ceil((ticks * 1e9) / this.options.tscHz));
  }

  /** RDMSR of 800h-8ffh. Undefined where hardware gives #GP. */
  readX2apicMsr(msr: number): bigint | undefined {
    const row = APIC_REGISTER_AT[msr - 0x800];
    if (!this.x2apic || !row?.x2apic || row.x2apic === 'wo') return undefined;
    const low = BigInt(this.readRegister(row.offset));
    return row.offset === ICR ? low | (BigInt(this.registers[ICR_HIGH >> 4]) << 32n) : low;
  }

  /** WRMSR of 800h-8ffh. False where hardware gives #GP. */
  writeX2apicMsr(msr: number, value: bigint): boolean {
    const row = APIC_REGISTER_AT[msr - 0x800];
    if (!this.x2apic || !row?.x2apic || row.x2apic === 'ro') return false;
    const low = Number(value & 0xffffffffn);
    if (row.offset === ICR) this.registers[ICR_HIGH >> 4] = Number((value >> 32n) & 0xffffffffn);
    else if (value >> 32n) return false;
    if (row.offset === EOI && low !== 0) return false;
    // Read-only delivery status and remote IRR bits may be written back.
    if (row.writable !== undefined && low & ~(row.writable | (row.offset >= ICR ? 0x5000 : 0))) return false;
    this.writeRegister(row.offset, low);
    return true;
  }

  readMmio(gpa: number, size: number): number {
    const offset = gpa & 0xfff;
    const value = this.readRegister(offset & ~0x0f);
    // Only the first four bytes of each sixteen hold the register.
    return (offset & 15) + size <= 4 ? value >>> (8 * (offset & 3)) : 0;
  }

  writeMmio(gpa: number, value: number, size: number): void {
    if (size === 4 && (gpa & 15) === 0) this.writeRegister(gpa & 0xfff, value);
  }

  /** Reads the register at an xAPIC offset (a multiple of 16). An absent one reads 0 and sets ESR. */
  readRegister(offset: number): number {
    this.paravirtualEoi?.accessed();
    const row = APIC_REGISTER_AT[offset >> 4];
    if (!row || (offset === SELF_IPI && !this.x2apic)) {
      this.error(ESR_REGISTER);
      return 0;
    }
    return this.peek(offset);
  }

  /** Writes the register at an xAPIC offset. An absent or read-only one sets ESR. */
  writeRegister(offset: number, value: number): void {
    this.paravirtualEoi?.accessed();
    const row = APIC_REGISTER_AT[offset >> 4];
    if (!row || (offset === SELF_IPI && !this.x2apic)) {
      this.error(ESR_REGISTER);
      return;
    }
    if (row.access === 'ro') return;
    if (row.writable !== undefined) value = (value & row.writable) >>> 0;
    const registers = this.registers;
    const index = offset >> 4;
    switch (offset) {
      case ID:
        this.xapicId = value >>> 24;
        return;
      case EOI:
        this.endOfInterrupt();
        return;
      case TPR:
        registers[index] = value;
        this.update();
        return;
      case DFR:
        registers[index] = value | 0x0fffffff;
        return;
      case SVR:
        registers[index] = value;
        if (!(value & SVR_ENABLED)) {
          for (let lvt = LVT_TIMER; lvt <= LVT_ERROR; lvt += 16) registers[lvt >> 4] |= LVT_MASKED;
        }
        this.update();
        this.options.changed();
        return;
      case ESR:
        registers[index] = this.errors;
        this.errors = 0;
        return;
      case ICR:
        registers[index] = value;
        this.send(value);
        return;
      case SELF_IPI:
        this.acceptVector(value, false);
        return;
      case INITIAL_COUNT:
        this.timer.start(value, this.options.clock.now());
        return;
      case DIVIDE:
        this.timer.setDivide(value, this.options.clock.now());
        return;
      case LVT_TIMER:
      case LVT_TIMER + 0x10:
      case LVT_TIMER + 0x20:
      case LVT_LINT0:
      case LVT_LINT1:
      case LVT_ERROR:
        this.writeLvt(offset, value);
        return;
      default:
        registers[index] = value;
    }
  }

  /** Whether a message on the APIC bus is for this one. SDM Vol. 3A, "Determining IPI Destination". */
  isDestination(message: ApicMessage): boolean {
    if (!this.enabled) return false;
    const { destination } = message;
    if (destination === (message.wide ? 0xffffffff : 0xff)) return true;
    if (!message.logical) return destination === (this.x2apic ? this.id : this.xapicId);
    const ldr = this.registers[LDR >> 4];
    if (this.x2apic) return destination >>> 16 === ldr >>> 16 && (destination & ldr & 0xffff) !== 0;
    const logicalId = ldr >>> 24;
    if (this.registers[DFR >> 4] >>> 28 === 0xf) return (destination & logicalId) !== 0;
    const cluster = (destination >> 4) & 15;
    return (cluster === 15 || cluster === logicalId >> 4) && (destination & logicalId & 15) !== 0;
  }

  /** Takes a message addressed to this one. False if it cannot. */
  accept(message: ApicMessage): boolean {
    if (!this.enabled) return false;
    switch (message.mode) {
      case DeliveryMode.fixed:
      case DeliveryMode.lowest:
        return this.acceptVector(message.vector, message.level);
      case DeliveryMode.nmi:
        this.options.nmi();
        return true;
      case DeliveryMode.init:
        this.init();
        this.options.init();
        return true;
      case DeliveryMode.startup:
        this.options.startup(message.vector);
        return true;
      default:
        return false; // SMI: there is no SMM. ExtINT comes by the LINT0 pin.
    }
  }

  /** LINT0 (the 8259s' INT) or LINT1 (NMI). */
  setLint(pin: 0 | 1, level: 0 | 1): void {
    const was = this.lint[pin];
    this.lint[pin] = level;
    if (!this.enabled) return;
    const offset = pin ? LVT_LINT1 : LVT_LINT0;
    const lvt = this.registers[offset >> 4];
    const fixed = ((lvt >> 8) & 7) === DeliveryMode.fixed;
    if (level && (!was || (fixed && lvt & 0x8000))) this.fireLvt(offset);
  }

  /** Whether a vector is deliverable: pending with a priority class above PPR's. */
  hasInterrupt(): boolean {
    return this.deliverable >= 0;
  }

  /** Moves the deliverable vector from IRR to ISR and returns it; the spurious vector if there is none. */
  acknowledge(): number {
    const vector = this.deliverable;
    if (vector < 0) return this.registers[SVR >> 4] & 0xff;
    this.clear(IRR, vector);
    this.set(ISR, vector);
    this.update();
    this.paravirtualEoi?.acknowledged(vector);
    return vector;
  }

  /** INIT: everything but the APIC ID and IA32_APIC_BASE as after power-on. */
  init(): void {
    this.resetRegisters();
    this.options.changed();
  }

  reset(): void {
    this.base = this.resetBase();
    this.xapicId = this.id;
    this.lint = [0, 0];
    this.init();
    this.options.moved();
  }

  save(): LocalApicState {
    const { base, xapicId, errors, lint } = this;
    // A copy of its own: cloned, it would take along all that it lies in.
    const registers = this.registers.slice();
    return structuredClone({ base, xapicId, registers, errors, lint, timer: this.timer.state });
  }

  restore(state: LocalApicState): void {
    const { base, xapicId, registers, errors, lint, timer } = structuredClone(state);
    this.registers.set(registers);
    Object.assign(this, { base, xapicId, errors, lint });
    this.timer.load(timer);
    this.options.moved();
    this.update();
    this.options.changed();
  }

  describe(): Field[] {
    const mode = !this.enabled ? 'disabled' : this.x2apic ? 'x2APIC' : 'xAPIC';
    return [
      { name: 'IA32_APIC_BASE', value: hex(this.base, 64), text: mode },
      ...describeRegisters(APIC_REGISTERS, (row) => {
        if (row.access === 'wo') return undefined;
        const value = this.peek(row.offset);
        return row.offset >= ISR && row.offset < ESR && value === 0 ? undefined : value;
      }),
      { name: 'timer deadline', value: this.timer.state.deadline < 0 ? 'none' : `${this.timer.state.deadline} ns` },
    ];
  }

  private resetBase(): number {
    return DEFAULT_BASE + BASE_ENABLE + (this.id === 0 ? BASE_BSP : 0);
  }

  private resetRegisters(): void {
    this.registers.fill(0);
    this.registers[DFR >> 4] = 0xffffffff;
    this.registers[SVR >> 4] = 0xff;
    for (let lvt = LVT_TIMER; lvt <= LVT_ERROR; lvt += 16) this.registers[lvt >> 4] = LVT_MASKED;
    if (this.x2apic) this.registers[LDR >> 4] = ((this.id >>> 4) << 16) | (1 << (this.id & 15));
    this.errors = 0;
    this.timer.load(apicTimerState());
    this.deliverable = -1;
  }

  /** A register's value, without side effects. */
  private peek(offset: number): number {
    switch (offset) {
      case ID:
        return this.x2apic ? this.id : (this.xapicId << 24) >>> 0;
      case VERSION:
        return VERSION_VALUE;
      case APR:
      case PPR:
        return this.processorPriority;
      case CURRENT_COUNT:
        return this.timer.currentCount(this.options.clock.now());
      case INITIAL_COUNT:
        return this.timer.state.initialCount;
      case DIVIDE:
        return this.timer.state.divide;
      default:
        return this.registers[offset >> 4];
    }
  }

  private set(bank: number, vector: number): void {
    this.registers[(bank >> 4) + (vector >> 5)] |= 1 << (vector & 31);
  }

  private clear(bank: number, vector: number): void {
    this.registers[(bank >> 4) + (vector >> 5)] &= ~(1 << (vector & 31));
  }

  private writeLvt(offset: number, value: number): void {
    const registers = this.registers;
    if (!(registers[SVR >> 4] & SVR_ENABLED)) value |= LVT_MASKED;
    registers[offset >> 4] = value | (value & 0x8000 ? registers[offset >> 4] & 0x4000 : 0);
    if (offset === LVT_TIMER) {
      const mode = (value >> 17) & 3;
      this.timer.setMode(mode > TIMER_TSC_DEADLINE ? TIMER_TSC_DEADLINE : mode);
    } else if (offset === LVT_LINT0 || offset === LVT_LINT1) {
      const pin = offset === LVT_LINT1 ? 1 : 0;
      if (this.lint[pin] && (value & 0x8700) === 0x8000) this.fireLvt(offset);
      this.options.changed();
    }
  }

  /** A local interrupt source speaks up. */
  private fireLvt(offset: number): void {
    const lvt = this.registers[offset >> 4];
    if (lvt & LVT_MASKED) return;
    const mode = offset === LVT_TIMER || offset === LVT_ERROR ? DeliveryMode.fixed : (lvt >> 8) & 7;
    const lint = offset === LVT_LINT0 || offset === LVT_LINT1;
    const level = lint && mode === DeliveryMode.fixed && (lvt & 0x8000) !== 0;
    if (level) {
      if (lvt & 0x4000) return;
      this.registers[offset >> 4] |= 0x4000;
    }
    if (mode === DeliveryMode.extInt) this.options.changed();
    else this.accept({ destination: this.id, logical: false, mode, vector: lvt & 0xff, level });
  }

  private acceptVector(vector: number, level: boolean): boolean {
    this.paravirtualEoi?.accessed();
    if (!this.acceptsVectors) return false;
    if (vector < 16) {
      this.error(ESR_RECEIVE_VECTOR);
      return true;
    }
    this.set(IRR, vector);
    if (level) this.set(TMR, vector);
    else this.clear(TMR, vector);
    this.update();
    return true;
  }

  /** Nobody waits for the end of `vector`, the highest in service: no other is requested, and it is edge-triggered. */
  endsUnnoticed(vector: number): boolean {
    const level = this.registers[(TMR >> 4) + (vector >> 5)] & (1 << (vector & 31));
    return !level && highestVector(this.registers, IRR >> 4) < 0;
  }

  /** EOI: ends the interrupt with the highest vector in service. */
  endOfInterrupt(): void {
    const vector = highestVector(this.registers, ISR >> 4);
    if (vector < 0) return;
    this.clear(ISR, vector);
    this.update();
    if (!(this.registers[(TMR >> 4) + (vector >> 5)] & (1 << (vector & 31)))) return;
    for (const pin of [0, 1] as const) {
      const index = (pin ? LVT_LINT1 : LVT_LINT0) >> 4;
      const lvt = this.registers[index];
      if ((lvt & 0x47ff) !== (0x4000 | vector)) continue;
      this.registers[index] = lvt & ~0x4000;
      if (this.lint[pin]) this.fireLvt(index << 4);
    }
    this.options.apicBus.broadcastEoi(vector);
  }

  /** ICR: sends an interprocessor interrupt. */
  private send(icr: number): void {
    const { apicBus } = this.options;
    const mode = (icr >> 8) & 7;
    const vector = icr & 0xff;
    const high = this.registers[ICR_HIGH >> 4];
    // INIT level de-assert does nothing on processors since the Pentium 4.
    if (mode === DeliveryMode.init && (icr & 0xc000) === 0x8000) return;
    if ((mode === DeliveryMode.fixed || mode === DeliveryMode.lowest) && vector < 16) {
      this.error(ESR_SEND_VECTOR);
      return;
    }
    const message: ApicMessage = {
      destination: this.x2apic ? high : high >>> 24,
      wide: this.x2apic,
      logical: (icr & 0x800) !== 0,
      mode,
      vector,
      level: false, // IPIs are edge-triggered
    };
    switch ((icr >> 18) & 3) {
      case 0:
        apicBus.deliver(message);
        break;
      case 1:
        // The self shorthand is for fixed interrupts.
        if (mode === DeliveryMode.fixed) this.accept(message);
        break;
      case 2:
        apicBus.deliverTo(apicBus.apics, message);
        break;
      default:
        apicBus.deliverTo(
          apicBus.apics.filter((apic) => apic !== this),
          message,
        );
    }
  }

  private error(bit: number): void {
    const known = this.errors & bit;
    this.errors |= bit;
    const vector = this.registers[LVT_ERROR >> 4] & 0xff;
    if (!known && vector >= 16) this.fireLvt(LVT_ERROR);
  }

  /** Works out what is deliverable and tells if that has changed. */
  private update(): void {
    let next = -1;
    if (this.enabled) {
      const pending = highestVector(this.registers, IRR >> 4);
      if (pending >= 0 && (pending & 0xf0) > (this.processorPriority & 0xf0)) next = pending;
    }
    if (next === this.deliverable) return;
    this.deliverable = next;
    this.options.changed();
  }
}
