/**
 * The embedded virtual machine monitor: VMX root operation in TypeScript. The guest runs in VMX non-root operation; what exits is
 * decided by its VMCS's controls, every exit fills the architectural fields, and the handlers work from there.
 * SDM Vol. 3C, chapters "VMX Non-Root Operation", "VM Exits", "VM Entries".
 */
import { GUEST_FIELDS } from './guestState';
import { ExitLog, type VmExit } from './exit';
import { ExitRecorder, type ExitFacts } from './exitRecorder';
import { DEFAULT1, Entry, Exit, Pin, Primary, Secondary } from './vmx/controls';
import { ExitReason, exitReason } from './vmx/exitReasons';
import { Field, Vmcs } from './vmx/vmcs';
import type { Ept } from './vmx/ept';
import { State } from '../cpu/layout';
import { Abandon, Cr0, Cr4, type Vcpu } from '../cpu/vcpu';
import type { MachineMemory } from '../mmu/memory';
import type { Field as DecodedField } from '../fields';

export interface SavedVmm {
  log: ReturnType<ExitLog['save']>;
  lastSeq: number[];
  passing?: PassedExits;
}

/** Exits that were stopped at: when their instruction runs again, they are not new exits. `next`: of those, not passed over yet. */
interface PassedExits {
  cpu: number;
  icount: number;
  reasons: number[];
  next: number;
}

export interface VmmHost {
  /** Instructions retired before the current one. */
  icount(): number;
  /** Whether stopAtExit has to be asked at all. */
  asksAtExits(): boolean;
  /** A recorded exit: true when the debugger wants to stop before it is handled. */
  stopAtExit(cpu: Vcpu, exit: VmExit): boolean;
  /** So many exits have gathered as Vmm.gather says: the run is to end soon. */
  gathered(): void;
}

/** CR0 and CR4 bits that the guest owns: writes to them alone do not exit. The rest is the VMM's. */
const CR0_GUEST_OWNED = Cr0.TS;
const CR4_GUEST_OWNED = Cr4.PVI | Cr4.TSD | Cr4.DE | Cr4.PCE | Cr4.OSFXSR | Cr4.OSXMMEXCPT | Cr4.PGE;

/** MSRs whose accesses need not exit: the processor switches them itself. */
const PASSED_THROUGH = [
  0x174, 0x175, 0x176, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
];

export class Vmm {
  readonly log: ExitLog;
  readonly vmcs: Vmcs[];
  /** Cached controls, the same for all vCPUs. */
  primary = 0;
  secondary = 0;
  exceptionBitmap = 0;
  /** Bitmap of the exceptions that the VMM itself has to see. */
  private ownExceptions = 0;
  cr0Mask = 0;
  cr4Mask = 0;
  /** Has the event being delivered, for IDT-vectoring information. */
  readonly recorder: ExitRecorder;
  private readonly msrBitmap: number;
  /** Accesses to MSRs that need not exit do so nevertheless. */
  private wantedMsrExits = { reads: false, writes: false };
  private passing?: PassedExits;
  /** stopAtExit has to be asked. */
  private asks = true;
  /** Of whoever wants every exit: how many are to gather, and the seq at which they have. */
  private gathers = Infinity;
  private gatheredAt = Infinity;

  constructor(
    private readonly memory: MachineMemory,
    private readonly vcpus: readonly Vcpu[],
    readonly ept: Ept,
    private readonly host: VmmHost,
  ) {
    this.vmcs = vcpus.map(() => new Vmcs());
    this.log = new ExitLog(memory.wasm.buffer as ArrayBuffer, memory.exitLogBase);
    this.recorder = new ExitRecorder(this.log);
    for (const cpu of vcpus) {
      cpu.set32(State.exitLog, memory.exitLogBase);
      cpu.set32(State.index, cpu.index);
      cpu.set32(State.ports, memory.portBase);
    }
    this.msrBitmap = memory.allocateEptPage();
    this.configure(new Set());
  }

  /**
   * Sets the controls: the VMM's own needs, and what the exits in `wanted` (names) need on top, so that exits nobody asked for do
   * not happen. `exceptions`: vectors that must exit.
   */
  configure(wanted: ReadonlySet<string>, exceptions: Iterable<number> = []): void {
    const want = (name: string): boolean => wanted.has(name);
    let primary: number =
      DEFAULT1.primary |
      Primary.hltExiting |
      Primary.unconditionalIoExiting |
      Primary.useMsrBitmaps |
      Primary.cr8LoadExiting |
      Primary.cr8StoreExiting;
    // DEFAULT1 holds the CR3 exiting bits; processors with TRUE controls let them be 0.
    primary &= ~(Primary.cr3LoadExiting | Primary.cr3StoreExiting);
    if (want('INVLPG') || want('INVPCID')) primary |= Primary.invlpgExiting;
    if (want('RDPMC')) primary |= Primary.rdpmcExiting;
    if (want('RDTSC') || want('RDTSCP')) primary |= Primary.rdtscExiting;
    if (want('CR_ACCESS')) primary |= Primary.cr3LoadExiting | Primary.cr3StoreExiting;
    if (want('MOV_DR')) primary |= Primary.movDrExiting;
    if (want('PAUSE')) primary |= Primary.pauseExiting;
    if (want('MONITOR')) primary |= Primary.monitorExiting;
    if (want('MWAIT')) primary |= Primary.mwaitExiting;
    this.primary = (primary | Primary.activateSecondary) >>> 0;
    this.secondary =
      Secondary.enableEpt |
      Secondary.enableRdtscp |
      Secondary.enableVpid |
      Secondary.unrestrictedGuest |
      Secondary.enableInvpcid;
    if (want('WBINVD')) this.secondary |= Secondary.wbinvdExiting;
    if (want('RDRAND')) this.secondary |= Secondary.rdrandExiting;
    if (want('RDSEED')) this.secondary |= Secondary.rdseedExiting;
    this.exceptionBitmap = want('EXCEPTION_OR_NMI') ? 0xffffffff : this.ownExceptions;
    for (const vector of exceptions) this.exceptionBitmap |= 1 << vector;
    this.exceptionBitmap >>>= 0;
    const all = want('CR_ACCESS');
    this.cr0Mask = all ? 0xffffffff : ~CR0_GUEST_OWNED >>> 0;
    this.cr4Mask = all ? 0xffffffff : ~CR4_GUEST_OWNED >>> 0;
    this.wantedMsrExits = { reads: want('MSR_READ'), writes: want('MSR_WRITE') };
    this.fillMsrBitmap();
    for (const [i, vmcs] of this.vmcs.entries()) this.writeControls(this.vcpus[i], vmcs);
  }

  /** Guest exceptions in `bitmap` exit from now on, whatever the debugger wants. */
  requireExceptions(bitmap: number): void {
    this.ownExceptions = bitmap;
    this.configure(new Set());
  }

  private fillMsrBitmap(): void {
    const { reads: allReads, writes: allWrites } = this.wantedMsrExits;
    const { u8 } = this.memory;
    u8.fill(0xff, this.msrBitmap, this.msrBitmap + 4096);
    const clear = (base: number, index: number): void => {
      u8[this.msrBitmap + base + (index >> 3)] &= ~(1 << (index & 7));
    };
    for (const msr of PASSED_THROUGH) {
      const high = msr >= 0xc0000000;
      const index = msr & 0x1fff;
      if (!allReads) clear(high ? 0x400 : 0, index);
      if (!allWrites) clear(high ? 0xc00 : 0x800, index);
    }
  }

  /** MSR bitmaps: read low, read high, write low, write high, 1 KiB each. MSRs in neither range always exit. */
  msrExits(index: number, write: boolean): boolean {
    const high = index >= 0xc0000000;
    const number = high ? index - 0xc0000000 : index;
    if (number > 0x1fff) return true;
    const base = (write ? 0x800 : 0) + (high ? 0x400 : 0);
    return (this.memory.u8[this.msrBitmap + base + (number >> 3)] & (1 << (number & 7))) !== 0;
  }

  private writeControls(cpu: Vcpu, vmcs: Vmcs): void {
    vmcs.write(Field.PIN_BASED_CONTROLS, DEFAULT1.pin | Pin.externalInterruptExiting | Pin.nmiExiting);
    vmcs.write(Field.PRIMARY_CONTROLS, this.primary);
    cpu.set32(State.pauseExits, this.primary & Primary.pauseExiting);
    vmcs.write(Field.SECONDARY_CONTROLS, this.secondary);
    vmcs.write(Field.EXCEPTION_BITMAP, this.exceptionBitmap);
    vmcs.write(
      Field.EXIT_CONTROLS,
      DEFAULT1.exit |
        Exit.hostAddressSpaceSize |
        Exit.acknowledgeInterrupt |
        Exit.saveEfer |
        Exit.loadEfer |
        Exit.savePat |
        Exit.loadPat,
    );
    vmcs.write(Field.VPID, cpu.index + 1);
    vmcs.write(Field.EPT_POINTER, this.ept.eptp);
    vmcs.write(Field.MSR_BITMAPS, BigInt(this.msrBitmap));
    vmcs.write(Field.CR0_MASK, this.cr0Mask);
    vmcs.write(Field.CR4_MASK, this.cr4Mask);
    vmcs.write(Field.VMCS_LINK_POINTER, 0xffffffffffffffffn);
    vmcs.write(Field.HOST_CR0, 0x80050033n);
    vmcs.write(Field.HOST_CR4, BigInt(Cr4.PAE | Cr4.VMXE | Cr4.OSFXSR));
    vmcs.write(Field.HOST_IA32_EFER, 0xd01n);
    vmcs.write(Field.HOST_IA32_PAT, 0x0007040600070406n);
    vmcs.write(Field.HOST_CS_SELECTOR, 0x10);
    for (const s of ['SS', 'DS', 'ES'] as const) vmcs.write(Field[`HOST_${s}_SELECTOR`], 0x18);
    vmcs.write(Field.HOST_TR_SELECTOR, 0x40);
  }

  /**
   * The guest exits: records it with its fields. Throws Abandon when the debugger wants to stop before it is handled; when the
   * instruction runs again the exit is passed over.
   */
  exit(cpu: Vcpu, reason: number, rip: bigint, facts: ExitFacts = {}): void {
    if (this.tryExit(cpu, reason, rip, facts)) throw new Abandon();
  }

  /** As exit(), but returns true to stop. */
  tryExit(cpu: Vcpu, reason: number, rip: bigint, facts: ExitFacts): boolean {
    if (this.passing && this.passesOver(cpu.index, reason)) return false;
    this.recorder.event(cpu, reason, this.host.icount(), rip, facts);
    return this.recorded(cpu, reason);
  }

  /**
   * tryExit() of an instruction under way, by its micro-op.
   * @param low the guest linear address's halves, where there is one
   */
  tryInstructionExit(cpu: Vcpu, uop: number, reason: number, qualification: number, low = 0, high = 0): boolean {
    if (this.passing && this.passesOver(cpu.index, reason)) return false;
    this.recorder.instruction(cpu, uop, reason, qualification, low, high);
    return this.recorded(cpu, reason);
  }

  /** A VMCALL. `firmware`: of the machine's own */
  tryHypercallExit(cpu: Vcpu, uop: number, firmware: boolean): boolean {
    const reason = ExitReason.vmcall;
    if (this.passing && this.passesOver(cpu.index, reason)) return false;
    this.recorder.instruction(cpu, uop, reason, 0, 0, 0, firmware ? 1 : 0);
    return this.recorded(cpu, reason);
  }

  /**
   * An instruction's access to guest-physical memory.
   * @param low the linear address's halves
   * @param page the guest-physical page; the offset in it is that of the linear address
   */
  tryMemoryExit(
    cpu: Vcpu,
    uop: number,
    reason: number,
    qualification: number,
    low: number,
    high: number,
    page: number,
  ): boolean {
    if (this.passing && this.passesOver(cpu.index, reason)) return false;
    this.recorder.memory(cpu, uop, reason, qualification, low, high, page);
    return this.recorded(cpu, reason);
  }

  /** An exit has been recorded: whether to stop at it. */
  private recorded(cpu: Vcpu, reason: number): boolean {
    if (this.hasGathered) this.host.gathered();
    return this.asks && this.ask(cpu, reason);
  }

  /** Whether the debugger wants to stop at the newest exit. */
  private ask(cpu: Vcpu, reason: number): boolean {
    const icount = this.host.icount();
    if (!this.host.stopAtExit(cpu, this.log.get(this.log.nextSeq - 1)!)) return false;
    this.passing ??= { cpu: cpu.index, icount, reasons: [], next: 0 };
    this.passing.reasons.push(reason);
    this.passing.next = 0;
    this.update();
    return true;
  }

  /** From now on host.gathered() is called when `count` exits have been recorded, and for each one behind them until this is called anew. */
  gather(count: number): void {
    this.gathers = count;
    this.gatheredAt = this.log.nextSeq + count;
    this.update();
  }

  /** As many exits have been recorded as gather() said. */
  get hasGathered(): boolean {
    return this.log.nextSeq >= this.gatheredAt;
  }

  /** Before the guest runs: whether exits are asked about may have changed. */
  update(): void {
    this.asks = this.host.asksAtExits();
    this.log.limit = this.asks || this.passing ? 0 : Math.min(this.gatheredAt - 1, Number.MAX_SAFE_INTEGER);
  }

  /** Newest exit of a vCPU (seq), -1: none. */
  private lastSeq(cpu: Vcpu): number {
    return (cpu.get32(State.lastExit) >>> 0) + (cpu.get32(State.lastExit + 4) >>> 0) * 0x100000000 - 1;
  }
  private setLastSeq(cpu: Vcpu, seq: number): void {
    cpu.set32(State.lastExit, (seq + 1) >>> 0);
    cpu.set32(State.lastExit + 4, Math.floor((seq + 1) / 0x100000000));
  }

  /** An instruction that exits more than once is stopped at once for each: it does the same again up to the newest. */
  private passesOver(cpu: number, reason: number): boolean {
    const { passing } = this;
    if (!passing || passing.cpu !== cpu) return false;
    const icount = this.host.icount();
    const found = passing.icount === icount ? passing.reasons.indexOf(reason, passing.next) : -1;
    if (found >= 0) passing.next = found + 1;
    else if (passing.icount !== icount) {
      this.passing = undefined;
      this.update();
    }
    return found >= 0;
  }

  /** The vCPU's last exit, if it is still in the ring. */
  lastExit(cpu: number): VmExit | undefined {
    return this.log.get(this.lastSeq(this.vcpus[cpu])) ?? this.log.newestOf(cpu);
  }

  /** The event that the next VM entry injects, as the VM-entry interruption-information field holds it. */
  injected(cpu: Vcpu, info: number, error: number): void {
    const vmcs = this.vmcs[cpu.index];
    vmcs.write(Field.ENTRY_INTERRUPTION_INFO, info);
    vmcs.write(Field.ENTRY_EXCEPTION_ERROR, error);
  }

  setInterruptWindow(cpu: Vcpu, on: boolean): void {
    const controls = on ? this.primary | Primary.interruptWindowExiting : this.primary;
    this.vmcs[cpu.index].write(Field.PRIMARY_CONTROLS, controls >>> 0);
  }

  /** All VMCS fields, brought up to date with the vCPU and its last exit. */
  describeVmcs(cpu: Vcpu, tscOffset: bigint): DecodedField[] {
    const vmcs = this.vmcs[cpu.index];
    for (const [encoding, read] of GUEST_FIELDS) vmcs.write(encoding, read(cpu));
    vmcs.write(Field.TSC_OFFSET, BigInt.asUintN(64, tscOffset));
    vmcs.write(Field.CR0_SHADOW, cpu.get64(State.cr0));
    vmcs.write(Field.CR4_SHADOW, cpu.get64(State.cr4));
    vmcs.write(
      Field.ENTRY_CONTROLS,
      DEFAULT1.entry | Entry.loadEfer | Entry.loadPat | (cpu.longMode ? Entry.ia32eModeGuest : 0),
    );
    const exit = this.lastExit(cpu.index);
    if (exit) {
      vmcs.write(Field.EXIT_REASON, exit.reason);
      vmcs.write(Field.EXIT_QUALIFICATION, exit.qualification);
      vmcs.write(Field.EXIT_INSTRUCTION_LENGTH, exit.instructionLength);
      vmcs.write(Field.EXIT_INSTRUCTION_INFO, exit.instructionInfo);
      vmcs.write(Field.EXIT_INTERRUPTION_INFO, exit.interruptionInfo);
      vmcs.write(Field.EXIT_INTERRUPTION_ERROR, exit.interruptionError);
      vmcs.write(Field.IDT_VECTORING_INFO, exit.idtVectoringInfo);
      vmcs.write(Field.IDT_VECTORING_ERROR, exit.idtVectoringError);
      vmcs.write(Field.GUEST_LINEAR_ADDRESS, exit.guestLinear);
      vmcs.write(Field.GUEST_PHYSICAL_ADDRESS, exit.guestPhysical);
    }
    return vmcs.describe();
  }

  save(): SavedVmm {
    return {
      log: this.log.save(),
      lastSeq: this.vcpus.map((cpu) => this.lastSeq(cpu)),
      passing: structuredClone(this.passing),
    };
  }
  restore(s: SavedVmm): void {
    this.log.restore(s.log);
    this.gatheredAt = this.log.nextSeq + this.gathers;
    s.lastSeq.forEach((seq, i) => this.setLastSeq(this.vcpus[i], seq));
    this.passing = s.passing;
    this.update();
    // The bitmap lies among the structures that the machine restores; what exits is for the debugger to say, now as then.
    this.fillMsrBitmap();
  }
  /** @param own the guest has reset itself: what it did before stays in the log, and its last exits in the VMCSs */
  reset(own: boolean): void {
    if (!own) {
      this.log.reset();
      this.gatheredAt = this.gathers;
      for (const cpu of this.vcpus) this.setLastSeq(cpu, -1);
    }
    this.passing = undefined;
    this.update();
  }

  /** The debugger moved rip or time: the next exit is a new one. */
  forgetPassing(): void {
    this.passing = undefined;
    this.update();
  }

  static reasonName(reason: number): string {
    return exitReason(reason).name;
  }
}
