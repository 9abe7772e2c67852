/**
 * A whole virtual machine: vCPUs, memory with EPT, VMM, platform, virtual time and history. Deterministic: the same image, the
 * same inputs at the same instruction counts, the same run.
 */
import { bootGuest, type BootRequest, type BootResult } from './boot/boot';
import type { EntryState } from './boot/boot';
import { biosCall } from './boot/biosServices';
import { biosResumeOffset, biosVector } from './boot/biosRom';
import { MemoryDisk } from './boot/biosDisk';
import type { BiosMachine } from './boot/biosMachine';
import { AssistContext } from './cpu/assistContext';
import { ASSISTS } from './cpu/assists';
import { stateAssists } from './cpu/assists/xstate';
import { biosRegisters } from './cpu/biosRegisters';
import { Core, type CoreHost } from './cpu/core';
import { cpuid, cr4Allowed, makeCpuModel, type CpuModel, type CpuVendor } from './cpu/cpuid';
import type { CodeBreakpoints } from './cpu/debugRegisters';
import { Delivery } from './cpu/delivery';
import { abortInstruction, completeInstruction } from './cpu/instructionEnd';
import { PageState } from './cpu/memoryPath';
import { Monitors } from './cpu/monitor';
import { msrView } from './cpu/msrView';
import type { MsrCpu } from './cpu/msrs';
import { miscEnable, resetMsrs, setFirmwareMtrrs } from './cpu/msrs';
import { PAGE, SegmentIndex, State, type SegmentName } from './cpu/layout';
import { Abandon, GuestFault, Vcpu, Vector, pendingOf, type PendingException } from './cpu/vcpu';
import { Platform } from './devices/platform';
import type { Assist } from './cpu/assists/operands';
import { Mmu, PointerLoad } from './mmu/mmu';
import { MachineMemory } from './mmu/memory';
import { History } from './time/history';
import type { VmExit } from './virt/exit';
import { transferExits } from './virt/eventExits';
import { exitAssists } from './virt/exitAssists';
import { Vmm } from './virt/vmm';
import { Ept, EptAccess } from './virt/vmx/ept';
import { ExitReason, encodeEptViolationQualification } from './virt/vmx/exitReasons';
import { CODES } from './x86/codes';

export interface MachineOptions {
  /** Bytes of RAM, a multiple of 4 KiB, 1 MiB to 3 GiB. */
  memory: number;
  cpus: number;
  vendor: CpuVendor;
  features: readonly string[];
  /** Named processor model; absent: the default one. */
  model?: string;
  debugExit: boolean;
  /** Wall time at power-on, milliseconds since 1970. */
  startTime: number;
  kernel: Omit<BootRequest, 'memory' | 'cpus'>;
}

export type MachineEnd =
  | { kind: 'power off' }
  | { kind: 'debug exit'; value: number }
  | { kind: 'triple fault'; cpu: number; rip: bigint; text: string }
  | { kind: 'error'; text: string };

/** The debugger's hooks. Each returns true to stop the machine there. All may be called while history is replayed. */
export interface MachineHooks {
  breakpoint(cpu: Vcpu, linear: bigint): boolean;
  /** Page offsets with breakpoints on a linear page; `key` changes with the set. */
  breakpointsOn(linearPage: bigint): { key: string; offsets: ReadonlySet<number> } | undefined;
  exit(cpu: Vcpu, exit: VmExit): boolean;
  watch(cpu: Vcpu, linear: bigint, gpa: number, size: number, write: boolean): boolean;
  console(byte: number): void;
  note(text: string): void;
}

/** Virtual nanoseconds per retired instruction, and the time-stamp counter's rate: one count a nanosecond. */
const NS_PER_INSTRUCTION = 8;
const TSC_HZ = 1e9;
/** Instructions that a vCPU runs before the next one gets its turn. */
const QUANTUM = 20_000;
/** Keys that wait for INT 16h at most. */
const BIOS_KEYS = 256;
/** Idle jumps in one call of run() before it returns, so that it always does. */
const MAX_IDLE_JUMPS = 1000;

/** Something from outside that the guest sees from an instruction count on. Replaying history applies it again. */
interface InputEvent {
  icount: number;
  apply: () => void;
}

export type RunResult = 'budget' | 'stopped' | 'idle' | 'ended';

export class Machine implements CoreHost {
  readonly memory: MachineMemory;
  readonly vcpus: Vcpu[];
  readonly ept: Ept;
  readonly mmu: Mmu;
  readonly core: Core;
  readonly vmm: Vmm;
  readonly platform: Platform;
  readonly history: History;
  readonly model: CpuModel;
  readonly delivery: Delivery;
  boot!: BootResult;
  hooks: MachineHooks;
  /** Why the machine ended; it runs no more. */
  end?: MachineEnd;

  private readonly context: AssistContext;
  private readonly monitors: Monitors;
  private readonly assists: (Assist | undefined)[] = [];
  private readonly msrViews: MsrCpu[];
  /** Virtual time that passed while all vCPUs were halted. */
  private idleNs = 0;
  private tscOffset: bigint[];
  private turn = 0;
  private quantumEnd = QUANTUM;
  private sliceEnd = Infinity;
  private stopRequested = false;
  private resetRequested = false;
  private inputs: InputEvent[] = [];
  private nextInput = 0;
  /** Counts what made the recorded future another one: changes from outside, and resets. */
  changes = 0;
  private keys: number[] = [];
  /** What INT 16h reads: a machine booted through the BIOS has its console there as well as on COM1. */
  private biosKeys: number[] = [];
  /** Instructions up to which console output has been shown already: replaying does not print it again. */
  private shownUntil = 0;
  private readonly noted = new Set<string>();
  private readonly image: Uint8Array;
  private readonly biosDisk: MemoryDisk;
  private readonly biosMachine: BiosMachine;
  /** Where the debugger resumes from: breakpoints there are passed over once. */
  private passBreakpoints?: { icount: number; linear: bigint[] };
  private recording = false;

  constructor(
    private readonly options: MachineOptions,
    hooks: MachineHooks,
  ) {
    this.hooks = hooks;
    this.memory = new MachineMemory(options.memory, options.cpus);
    this.vcpus = Array.from({ length: options.cpus }, (_, i) => new Vcpu(i, this.memory));
    this.ept = new Ept(this.memory.view, () => this.memory.allocateEptPage());
    this.ept.map(0, this.memory.ramBase, this.memory.ramSize);
    this.model = makeCpuModel(options.vendor, options.features, options.model);
    for (const cpu of this.vcpus) cpu.maxLinearBits = this.model.maxLinearAddress;
    this.mmu = new Mmu(this.memory, this.ept, this.model);
    this.core = new Core(this.memory, this.mmu, this.vcpus, this.model.features, this);
    this.monitors = new Monitors(options.cpus, (page, on) =>
      this.core.memoryPath.setPageState(page, PageState.monitored, on),
    );
    this.tscOffset = this.vcpus.map(() => 0n);
    this.vmm = new Vmm(this.memory, this.vcpus, this.ept, {
      icount: () => this.core.icount,
      stopAtExit: (cpu, exit) => this.stopIf(cpu, this.hooks.exit(cpu, exit)),
    });
    this.platform = new Platform({
      cpus: options.cpus,
      memory: this.memory.ram,
      clock: { now: () => this.now() },
      tscHz: TSC_HZ,
      debugExit: options.debugExit,
      startTime: options.startTime,
      host: {
        console: (byte) => this.print(byte),
        powerOff: () => this.finish({ kind: 'power off' }),
        debugExit: (value) => this.finish({ kind: 'debug exit', value }),
        reset: () => {
          this.resetRequested = true;
          this.attendAll();
        },
        interruptChanged: (cpu) => (this.vcpus[cpu].attention = true),
        init: (cpu) => this.initialize(this.vcpus[cpu]),
        startup: (cpu, vector) => this.startup(this.vcpus[cpu], vector),
        nmi: (cpu) => this.delivery.raiseNmi(this.vcpus[cpu]),
      },
    });
    this.context = new AssistContext(this.core, transferExits(this.vmm), (cpu, cr3) => this.loadPointers(cpu, cr3));
    for (const cpu of this.vcpus) cpu.vendor = options.vendor;
    this.msrViews = this.vcpus.map((cpu) => msrView(cpu, this));
    this.delivery = new Delivery({
      platform: this.platform,
      vmm: this.vmm,
      context: this.context,
      icount: () => this.core.icount,
      stopAtException: () => false,
      tripleFault: (cpu) => this.tripleFault(cpu),
    });
    this.history = new History({
      icount: () => this.core.retired,
      saveState: () => this.saveState(),
      restoreState: (state) => this.restoreState(state),
      ram: this.memory.ram,
      markAllClean: () => this.markAllClean(),
      pageReplaced: (page) => this.core.code.drop(page),
    });
    this.biosDisk = new MemoryDisk(options.kernel.kernel);
    this.biosMachine = this.makeBiosMachine();
    this.collectAssists();
    this.loadGuest();
    this.image = this.memory.ram.slice();
  }

  private collectAssists(): void {
    const vmmAssists = exitAssists({
      vmm: this.vmm,
      monitors: this.monitors,
      features: this.model.features,
      readPort: (port, size) => {
        this.platform.currentCpu = this.context.cpu.index;
        const value = this.platform.bus.readPort(port, size);
        this.afterDeviceAccess();
        return value;
      },
      writePort: (port, value, size) => {
        this.platform.currentCpu = this.context.cpu.index;
        this.platform.bus.writePort(port, value, size);
        this.afterDeviceAccess();
      },
      cpuid: (cpu, leaf, subleaf) => cpuid(this.model, leaf, subleaf, this.cpuidContext(cpu)),
      msrs: (cpu) => {
        this.platform.currentCpu = cpu.index;
        return this.msrViews[cpu.index];
      },
      tsc: (cpu) => this.tsc(cpu.index),
      halt: (cpu) => {
        cpu.activity = 'halted';
        cpu.attention = true;
      },
      firmwareCall: (c) => this.firmwareCall(c.cpu),
      apicTaskPriority: (cpu) => this.platform.apic(cpu.index).cr8,
      setApicTaskPriority: (cpu, value) => (this.platform.apic(cpu.index).cr8 = value),
      loadPointers: (cpu, cr3) => this.loadPointers(cpu, cr3),
      cr4Allowed: cr4Allowed(this.model),
      maxPhysicalAddress: this.model.maxPhysicalAddress,
    });
    const table: Record<string, Assist> = { ...ASSISTS, ...stateAssists(this.model.features), ...vmmAssists };
    for (const info of CODES) {
      if (!info?.row.assist) continue;
      const assist = table[info.row.assist];
      if (!assist) throw new Error(`${info.row.mnemonic}: no assist is named '${info.row.assist}'`);
      this.assists[info.code] = assist;
    }
  }

  cpuidContext(cpu: Vcpu) {
    return {
      apicId: cpu.index,
      cpus: this.vcpus.length,
      cr4: cpu.cr4,
      xcr0: cpu.get32(State.xcr0),
      xss: cpu.get32(State.xss),
      tscHz: TSC_HZ,
      crystalHz: TSC_HZ,
      apicDisabled: !this.platform.apic(cpu.index).enabled,
      miscEnable: miscEnable(this.msrViews[cpu.index]),
    };
  }

  /** PAE page-directory-pointer registers from where `cr3` points; false: malformed. Abandon where there is no memory. */
  loadPointers(cpu: Vcpu, cr3: number): boolean {
    for (;;) {
      const status = this.mmu.loadPointers(cpu, cr3);
      if (status !== PointerLoad.ept) return status === PointerLoad.ok;
      if (!this.eptWalkExit(cpu, 0n, EptAccess.read)) throw new Abandon();
    }
  }

  // ---- power on, reset -------------------------------------------------------------------------------------------

  private loadGuest(): void {
    const { kernel, cpus } = this.options;
    this.boot = bootGuest({ ...kernel, memory: this.memory.ram, cpus });
    this.enterGuest();
  }

  private enterGuest(): void {
    for (const cpu of this.vcpus) {
      cpu.reset();
      resetMsrs(this.msrViews[cpu.index], cpu.index === 0);
      setFirmwareMtrrs(this.msrViews[cpu.index]);
      cpu.activity = cpu.index === 0 ? 'active' : 'wait-for-sipi';
    }
    for (const { port, value } of this.boot.portWrites) this.platform.bus.writePort(port, value, 1);
    applyEntry(this.vcpus[0], this.boot.entry);
    this.core.flushAllTranslations();
  }

  /** Power cycle: memory, devices and vCPUs as after construction. History begins anew if it was recorded. */
  reset(): void {
    this.memory.ram.set(this.image);
    this.core.code.flush();
    // Time first: devices note when they were reset.
    this.core.retired = 0;
    this.idleNs = 0;
    this.platform.reset();
    this.biosDisk.restore([]);
    this.delivery.reset();
    this.vmm.reset();
    this.monitors.reset();
    this.turn = 0;
    this.quantumEnd = QUANTUM;
    this.inputs = [];
    this.nextInput = 0;
    this.keys = [];
    this.biosKeys = [];
    this.shownUntil = 0;
    this.end = undefined;
    this.stopRequested = false;
    this.resetRequested = false;
    this.tscOffset.fill(0n);
    this.enterGuest();
    if (this.recording) this.history.begin();
  }

  /** Starts recording history from here. */
  record(): void {
    this.recording = true;
    this.history.begin();
  }

  private initialize(cpu: Vcpu): void {
    cpu.init();
    cpu.activity = cpu.index === 0 ? 'active' : 'wait-for-sipi';
    this.monitors.disarm(cpu.index);
    this.core.flushTranslations(cpu);
    cpu.attention = true;
  }

  private startup(cpu: Vcpu, vector: number): void {
    if (cpu.activity !== 'wait-for-sipi') return;
    cpu.setSegment(SegmentIndex.cs, vector << 8, BigInt(vector << 12), 0xffff, 0x9b);
    cpu.rip = 0n;
    cpu.activity = 'active';
    cpu.modeChanged();
  }

  // ---- time ------------------------------------------------------------------------------------------------------

  /** Virtual nanoseconds since power-on. */
  now(): number {
    return this.core.icount * NS_PER_INSTRUCTION + this.idleNs;
  }

  tsc(cpu: number): bigint {
    return BigInt.asUintN(64, BigInt(Math.floor((this.now() * TSC_HZ) / 1e9)) + this.tscOffset[cpu]);
  }
  setTsc(cpu: number, value: bigint): void {
    this.tscOffset[cpu] += value - this.tsc(cpu);
  }
  tscOffsetOf(cpu: number): bigint {
    return this.tscOffset[cpu];
  }

  // ---- running ---------------------------------------------------------------------------------------------------

  /** The debugger resumes: breakpoints at the present instruction do not stop again. */
  resume(): void {
    this.stopRequested = false;
    this.passBreakpoints = { icount: this.core.retired, linear: this.vcpus.map((cpu) => codeLinear(cpu)) };
  }

  /** Stops at the next instruction boundary. */
  stop(): void {
    this.stopRequested = true;
    this.attendAll();
  }

  private attendAll(): void {
    for (const cpu of this.vcpus) cpu.attention = true;
  }

  private stopIf(cpu: Vcpu, stop: boolean): boolean {
    if (!stop) return false;
    this.stopRequested = true;
    cpu.attention = true;
    return true;
  }

  private finish(end: MachineEnd): void {
    this.end = end;
    this.attendAll();
  }

  /**
   * Runs at most `count` instructions. 'idle': every vCPU is halted and nothing is due; input may wake it.
   * @param only freeze all other vCPUs
   */
  run(count: number, only?: number): RunResult {
    let until = this.core.retired + count;
    let jumps = 0;
    for (;;) {
      if (this.end) return 'ended';
      if (this.stopRequested) return 'stopped';
      if (this.resetRequested) {
        // Instructions are counted anew from a reset on; the budget is not.
        until -= this.core.retired;
        this.reset();
      }
      this.takeInputs();
      const at = this.core.retired;
      if (at >= until) return 'budget';
      const dead = this.vcpus.find((cpu) => cpu.activity === 'shutdown');
      if (dead) {
        this.endInTripleFault(dead);
        continue;
      }
      this.platform.events.runDue(this.now());
      if (this.recording && this.history.due <= 0) this.history.take();
      const cpu = this.pick(only);
      if (!cpu) {
        const due = this.platform.events.nextDeadline();
        if (due === Infinity || !this.canWake()) return 'idle';
        this.idleNs += Math.max(0, due - this.now());
        if (++jumps >= MAX_IDLE_JUMPS) return 'budget';
        continue;
      }
      let slice = until - at;
      const wait = this.platform.events.nextDeadline() - this.now();
      slice = Math.min(slice, Math.max(1, Math.ceil(wait / NS_PER_INSTRUCTION)), 1 << 30);
      if (this.vcpus.length > 1 && only === undefined) slice = Math.min(slice, Math.max(1, this.quantumEnd - at));
      if (this.recording) slice = Math.min(slice, Math.max(1, this.history.due));
      const input = this.inputs[this.nextInput];
      if (input) slice = Math.min(slice, Math.max(1, input.icount - at));
      this.sliceEnd = this.now() + slice * NS_PER_INSTRUCTION;
      this.platform.currentCpu = cpu.index;
      this.core.run(cpu, slice);
    }
  }

  /** The vCPU whose turn it is; undefined when none can run. */
  private pick(only?: number): Vcpu | undefined {
    if (only !== undefined) return this.runnable(this.vcpus[only]) ? this.vcpus[only] : undefined;
    const { vcpus } = this;
    if (this.core.retired >= this.quantumEnd) this.turn = (this.turn + 1) % vcpus.length;
    for (let i = 0; i < vcpus.length; i++) {
      const index = (this.turn + i) % vcpus.length;
      if (!this.runnable(vcpus[index])) continue;
      if (i > 0 || this.core.retired >= this.quantumEnd) this.quantumEnd = this.core.retired + QUANTUM;
      this.turn = index;
      return vcpus[index];
    }
    return undefined;
  }

  private runnable(cpu: Vcpu): boolean {
    if (cpu.activity === 'halted' && (this.delivery.wakes(cpu) || this.monitorWakes(cpu))) {
      cpu.activity = 'active';
      this.monitors.disarm(cpu.index);
    }
    return cpu.activity === 'active';
  }

  /** An interrupt that RFLAGS.IF holds off ends a wait in MWAIT. */
  private monitorWakes(cpu: Vcpu): boolean {
    return this.monitors.wakesOnAnyInterrupt(cpu.index) && this.platform.hasInterrupt(cpu.index);
  }

  /** Some halted vCPU takes interrupts at all. */
  private canWake(): boolean {
    return this.vcpus.some(
      (cpu) => cpu.activity === 'halted' && (cpu.interruptsEnabled || this.monitors.wakesOnAnyInterrupt(cpu.index)),
    );
  }

  // ---- input -----------------------------------------------------------------------------------------------------

  /** Bytes typed on the serial console, from now on. */
  input(data: Uint8Array): void {
    const bytes = data.slice();
    this.change(() => {
      for (const byte of bytes) {
        this.keys.push(byte);
        if (this.boot.protocol === 'bios' && this.biosKeys.length < BIOS_KEYS) this.biosKeys.push(byte);
      }
      this.offerKeys();
    });
  }

  /**
   * A change from outside (typed keys, a debugger's write to a register or memory), applied now and again whenever history is
   * replayed. A change while in the past makes a new future.
   */
  change(apply: () => void): void {
    this.changes++;
    this.inputs.length = this.nextInput;
    this.shownUntil = Math.min(this.shownUntil, this.core.retired);
    this.inputs.push({ icount: this.core.retired, apply });
    this.takeInputs();
  }

  private takeInputs(): void {
    for (; this.nextInput < this.inputs.length; this.nextInput++) {
      const event = this.inputs[this.nextInput];
      if (event.icount > this.core.retired) return;
      event.apply();
    }
  }

  /** The UART takes what its queue holds; the rest waits. */
  private offerKeys(): void {
    const taken = this.platform.consoleInput(Uint8Array.from(this.keys.slice(0, 64)));
    if (taken > 0) this.keys.splice(0, taken);
  }

  private print(byte: number): void {
    if (this.core.icount < this.shownUntil) return;
    this.hooks.console(byte);
  }

  // ---- CoreHost --------------------------------------------------------------------------------------------------

  assist(cpu: Vcpu, uop: number): number {
    const { context } = this;
    context.begin(cpu, uop);
    const code = context.code;
    const assist = this.assists[code];
    try {
      if (!assist) this.undefinedInstruction(cpu, code);
      else assist(context);
    } catch (e) {
      if (e instanceof GuestFault) {
        cpu.pending = pendingOf(e);
        if (e.facts.afterwards) return completeInstruction(cpu, uop, cpu.rip);
      } else if (e instanceof Abandon) cpu.attention = true;
      else throw e;
      abortInstruction(cpu, uop);
      return 1;
    }
    if (context.target !== undefined || cpu.attention || CODES[code]!.row.endsBlock)
      return completeInstruction(cpu, uop, context.target);
    return 0;
  }

  private undefinedInstruction(cpu: Vcpu, code: number): never {
    if (code !== 0) {
      const bytes = this.peekCode(cpu, this.context.rip, this.context.length);
      const text = Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join(' ');
      this.note(`unimplemented instruction at 0x${this.context.rip.toString(16)}: ${text}`);
    }
    throw new GuestFault(Vector.UD);
  }

  private peekCode(cpu: Vcpu, rip: bigint, length: number): Uint8Array {
    const base = cpu.bitness === 64 ? 0n : cpu.segmentBase(SegmentIndex.cs);
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i++) {
      try {
        out[i] = Number(this.context.readSystem(rip + base + BigInt(i), 1));
      } catch {
        return out.subarray(0, i);
      }
    }
    return out;
  }

  /** Tells the user something once. */
  note(text: string): void {
    if (this.noted.has(text) || this.noted.size > 1000) return;
    this.noted.add(text);
    this.hooks.note(text);
  }

  eptExit(cpu: Vcpu, gpa: number, linear: bigint, size: number, write: boolean): boolean {
    const access = write ? EptAccess.write : EptAccess.read;
    const misconfigured = this.mmu.eptMisconfiguration;
    const reason = misconfigured ? ExitReason.eptMisconfig : ExitReason.eptViolation;
    const qualification = misconfigured
      ? 0
      : encodeEptViolationQualification(access, this.ept.result.permissions, 'page');
    const facts = { qualification, guestLinear: linear, guestPhysical: gpa };
    if (this.vmm.tryExit(cpu, reason, this.exitRip(cpu), facts)) return false;
    const { platform } = this;
    const { memoryPath } = this.core;
    platform.currentCpu = cpu.index;
    const step = Math.min(size, 4);
    if (write) {
      platform.bus.writeMmio(gpa, memoryPath.mmioLow, step);
      if (size === 8) platform.bus.writeMmio(gpa + 4, memoryPath.mmioHigh, 4);
    } else {
      memoryPath.mmioLow = platform.bus.readMmio(gpa, step);
      memoryPath.mmioHigh = size === 8 ? platform.bus.readMmio(gpa + 4, 4) : 0;
    }
    this.afterDeviceAccess();
    return true;
  }

  /** rip of the instruction that a slow path serves. */
  private exitRip(cpu: Vcpu): bigint {
    return this.core.instructionRip(cpu);
  }

  eptWalkExit(cpu: Vcpu, linear: bigint, access: number): boolean {
    const { mmu } = this;
    const qualification = encodeEptViolationQualification(
      mmu.eptAccess,
      this.ept.result.permissions,
      mmu.eptDuringWalk ? 'paging structure' : 'page',
    );
    const reason = mmu.eptMisconfiguration ? ExitReason.eptMisconfig : ExitReason.eptViolation;
    const facts = { qualification, guestLinear: linear, guestPhysical: mmu.eptGpa };
    if (this.vmm.tryExit(cpu, reason, this.exitRip(cpu), facts)) return false;
    const what = mmu.eptDuringWalk
      ? 'its page tables lie'
      : access === EptAccess.execute
        ? 'it executes'
        : 'it accesses';
    this.finish({
      kind: 'error',
      text:
        `vCPU ${cpu.index} at 0x${this.exitRip(cpu).toString(16)}: ${what} outside of memory, at guest-physical 0x${mmu.eptGpa.toString(16)} ` +
        `(linear 0x${linear.toString(16)}); RAM ends at 0x${this.memory.ramSize.toString(16)}`,
    });
    return false;
  }

  /** A device access may have asserted an interrupt, ended the machine, or made something due earlier than the slice's end. */
  private afterDeviceAccess(): void {
    if (this.platform.events.nextDeadline() < this.sliceEnd) this.attendAll();
    if (this.keys.length) this.offerKeys();
  }

  watchHit(cpu: Vcpu, linear: bigint, gpa: number, size: number, write: boolean): boolean {
    const hits = cpu.debug.data(linear, size, write);
    cpu.debugHits |= hits;
    return this.stopIf(cpu, this.hooks.watch(cpu, linear, gpa, size, write)) || hits !== 0;
  }
  pageDirtied(page: number): void {
    this.history.pageDirtied(page);
  }
  monitoredWrite(page: number, offset: number, size: number): void {
    for (const index of this.monitors.written(page, offset, size)) this.vcpus[index].activity = 'active';
  }
  breakpointHit(cpu: Vcpu, linear: bigint): boolean {
    const pass = this.passBreakpoints;
    const passed = pass && pass.icount === this.core.icount && pass.linear[cpu.index] === linear;
    if (!passed && this.stopIf(cpu, this.hooks.breakpoint(cpu, linear))) return true;
    if (cpu.resumeAt === this.core.icount) return false;
    // Behind MOV SS and POP SS. SDM Vol. 3B, "Instruction-Breakpoint Exception Condition"; the APM makes no such exception.
    if (cpu.vendor === 'intel' && cpu.shadowsTraps && cpu.shadowUntil > this.core.icount) return false;
    const debug = cpu.debug.instruction(linear);
    if (debug) cpu.pending = { vector: Vector.DB, debug };
    return debug !== 0;
  }
  breakpointsOn(cpu: Vcpu, linearPage: bigint): CodeBreakpoints | undefined {
    const debuggers = this.hooks.breakpointsOn(linearPage);
    const guests = cpu.debug.codeOn(linearPage);
    if (!debuggers || !guests) return debuggers ?? guests;
    return { key: `${debuggers.key} ${guests.key}`, offsets: new Set([...debuggers.offsets, ...guests.offsets]) };
  }
  deliver(cpu: Vcpu): void {
    this.delivery.exception(cpu);
  }

  service(cpu: Vcpu): boolean {
    cpu.attention = false;
    if (this.end || this.stopRequested || this.resetRequested) return true;
    if (this.platform.events.nextDeadline() < this.sliceEnd && this.core.icount > this.core.retired) return true;
    this.delivery.debugTraps(cpu);
    if (cpu.activity === 'active' && !cpu.pending) this.delivery.interrupt(cpu);
    return this.stopRequested || this.end !== undefined;
  }

  private tripleFault(cpu: Vcpu): void {
    const rip = cpu.rip;
    cpu.activity = 'shutdown';
    if (this.vmm.tryExit(cpu, ExitReason.tripleFault, rip, {})) return;
    this.endInTripleFault(cpu);
  }

  private endInTripleFault(cpu: Vcpu): void {
    const text = `triple fault on vCPU ${cpu.index} at 0x${cpu.rip.toString(16)}`;
    this.finish({ kind: 'triple fault', cpu: cpu.index, rip: cpu.rip, text });
  }

  /** Breakpoints at the present instruction stop, too: for arriving somewhere anew. */
  resumeHere(): void {
    this.resume();
    this.passBreakpoints = undefined;
    this.vmm.forgetPassing();
  }

  /** Some vCPU runs, or can be woken by an interrupt; false: only input, NMI or reset could go on. */
  get alive(): boolean {
    return this.vcpus.some((cpu) => cpu.activity === 'active') || this.canWake();
  }

  /** VMCALL from the firmware's stubs: a BIOS service. */
  private firmwareCall(cpu: Vcpu): boolean {
    if (cpu.bitness !== 16) return false;
    const vector = biosVector(Number(cpu.segmentBase(SegmentIndex.cs) + this.context.rip));
    if (vector === undefined) return false;
    const outcome = biosCall(vector, biosRegisters(cpu), this.biosMachine);
    this.context.jump(this.context.rip + BigInt(biosResumeOffset(outcome)));
    return true;
  }

  /** What the BIOS services work on; the disk is the image that was booted. */
  private makeBiosMachine(): BiosMachine {
    return {
      memorySize: this.memory.ramSize,
      readMemory: (gpa, length) => this.memory.ram.slice(gpa, gpa + length),
      writeMemory: (gpa, data) => this.writePhysical(gpa, data),
      disk: this.biosDisk,
      key: (take) => {
        const ascii = this.biosKeys[0];
        if (ascii === undefined) return undefined;
        if (take) this.biosKeys.shift();
        return { ascii, scanCode: 0 };
      },
      console: (byte) => this.print(byte),
      note: (text) => this.note(text),
    };
  }

  // ---- memory from outside ---------------------------------------------------------------------------------------

  /** Writes guest RAM as a device or the debugger does: checkpoints and decoded code see it. Returns bytes written. */
  writePhysical(gpa: number, data: Uint8Array): number {
    const length = Math.max(0, Math.min(data.length, this.memory.ramSize - gpa));
    for (let at = gpa; at < gpa + length;) {
      const page = Math.floor(at / PAGE);
      const count = Math.min(gpa + length - at, PAGE - (at % PAGE));
      this.core.memoryPath.beforeWrite(page, at % PAGE, count);
      this.memory.ram.set(data.subarray(at - gpa, at - gpa + count), at);
      at += count;
    }
    return length;
  }

  // ---- state -----------------------------------------------------------------------------------------------------

  private markAllClean(): void {
    const { pageState } = this.core.memoryPath;
    for (let i = 0; i < pageState.length; i++) pageState[i] |= PageState.clean;
    for (const cpu of this.vcpus) cpu.flushTlb();
  }

  private saveState(): unknown {
    const { memory } = this;
    return {
      retired: this.core.retired,
      idleNs: this.idleNs,
      turn: this.turn,
      quantumEnd: this.quantumEnd,
      tscOffset: [...this.tscOffset],
      nextInput: this.nextInput,
      keys: [...this.keys],
      biosKeys: [...this.biosKeys],
      vcpus: this.vcpus.map((cpu) => ({
        bytes: memory.u8.slice(cpu.base, cpu.base + State.scratch),
        activity: cpu.activity,
        shadowUntil: cpu.shadowUntil,
        shadowLeft: cpu.shadowLeft,
        shadowsTraps: cpu.shadowsTraps,
        debugTraps: cpu.debugTraps,
        nmiBlocked: cpu.nmiBlocked,
        faultsInRow: { ...cpu.faultsInRow },
        pending: cpu.pending && { ...cpu.pending },
        msrs: [...cpu.msrs],
      })),
      ept: memory.u8.slice(memory.eptBase, memory.eptUsedEnd),
      vmm: this.vmm.save(),
      delivery: this.delivery.save(),
      monitors: this.monitors.save(),
      disk: this.biosDisk.save(),
      platform: structuredClone(this.platform.save()),
      end: this.end,
    };
  }

  private restoreState(saved: unknown): void {
    const s = structuredClone(saved) as SavedState;
    const { memory, core } = this;
    this.shownUntil = Math.max(this.shownUntil, core.retired);
    core.retired = s.retired;
    this.idleNs = s.idleNs;
    this.turn = s.turn;
    this.quantumEnd = s.quantumEnd;
    this.tscOffset = s.tscOffset;
    this.nextInput = s.nextInput;
    this.keys = s.keys;
    this.biosKeys = s.biosKeys;
    memory.u8.set(s.ept, memory.eptBase);
    for (const [i, cpu] of this.vcpus.entries()) {
      const v = s.vcpus[i];
      memory.u8.set(v.bytes, cpu.base);
      cpu.activity = v.activity;
      cpu.shadowUntil = v.shadowUntil;
      cpu.shadowLeft = v.shadowLeft;
      cpu.shadowsTraps = v.shadowsTraps;
      cpu.debugTraps = v.debugTraps;
      cpu.debugHits = 0;
      cpu.resumeAt = -1;
      cpu.nmiBlocked = v.nmiBlocked;
      Object.assign(cpu.faultsInRow, v.faultsInRow);
      cpu.pending = v.pending;
      cpu.msrs.clear();
      for (const [k, value] of v.msrs) cpu.msrs.set(k, value);
      cpu.attention = true;
      cpu.modeChanged();
    }
    this.vmm.restore(s.vmm);
    this.delivery.restore(s.delivery);
    this.monitors.restore(s.monitors);
    this.biosDisk.restore(s.disk);
    this.platform.restore(s.platform);
    this.mmu.invalidateEpt();
    core.flushAllTranslations();
    this.end = s.end;
    this.stopRequested = false;
    this.resetRequested = false;
  }
}

interface SavedState {
  retired: number;
  idleNs: number;
  turn: number;
  quantumEnd: number;
  tscOffset: bigint[];
  nextInput: number;
  keys: number[];
  biosKeys: number[];
  vcpus: {
    bytes: Uint8Array;
    activity: Vcpu['activity'];
    shadowUntil: number;
    shadowLeft: number;
    shadowsTraps: boolean;
    debugTraps: number;
    nmiBlocked: boolean;
    faultsInRow: Vcpu['faultsInRow'];
    pending?: PendingException;
    msrs: [number, bigint][];
  }[];
  ept: Uint8Array;
  vmm: unknown;
  delivery: ReturnType<Delivery['save']>;
  monitors: ReturnType<Monitors['save']>;
  disk: ReturnType<MemoryDisk['save']>;
  platform: ReturnType<Platform['save']>;
  end?: MachineEnd;
}

/** Linear address of the next instruction. */
export function codeLinear(cpu: Vcpu): bigint {
  return cpu.bitness === 64 ? cpu.rip : (cpu.rip + cpu.segmentBase(SegmentIndex.cs)) & 0xffffffffn;
}

/** Gives the boot processor the state that the boot protocol demands. */
export function applyEntry(cpu: Vcpu, entry: EntryState): void {
  const gpr = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'] as const;
  gpr.forEach((name, i) => cpu.setGpr(i, BigInt(entry.registers[name] ?? 0)));
  cpu.set64(State.cr0, BigInt(entry.cr0 >>> 0));
  cpu.set64(State.cr3, BigInt(entry.cr3));
  cpu.set64(State.cr4, BigInt(entry.cr4));
  cpu.set64(State.efer, BigInt(entry.efer));
  cpu.set64(State.gdtrBase, BigInt(entry.gdtr.base));
  cpu.set64(State.gdtrLimit, BigInt(entry.gdtr.limit));
  cpu.set64(State.idtrBase, BigInt(entry.idtr.base));
  cpu.set64(State.idtrLimit, BigInt(entry.idtr.limit));
  for (const [name, s] of Object.entries(entry.segments)) {
    cpu.setSegment(SegmentIndex[name as SegmentName], s.selector, BigInt(s.base), s.limit, s.attributes);
  }
  cpu.rflags = entry.rflags;
  cpu.rip = BigInt(entry.rip);
  cpu.modeChanged();
}
