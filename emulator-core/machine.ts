/**
 * A whole virtual machine: vCPUs, memory with EPT, VMM, platform, virtual time and history. Deterministic: the same image, the
 * same inputs at the same instruction counts, the same run.
 */
import type { BootResult } from './boot/boot';
import { applyEntry } from './cpu/applyEntry';
import { AssistContext } from './cpu/assistContext';
import { ASSISTS } from './cpu/assists';
import { stateAssists } from './cpu/assists/xstate';
import { Core, type CoreHost } from './cpu/core';
import { makeCpuModel, type CpuidContext, type CpuModel, signature } from './cpu/cpuid';
import { forgetCpuid } from './cpu/cpuidCache';
import { cpuidContext } from './cpu/cpuidContext';
import type { CodeBreakpoints } from './cpu/debugRegisters';
import { Delivery } from './cpu/delivery';
import { SegmentIndex, State } from './cpu/layout';
import { PageState } from './cpu/memoryPath';
import { Monitors } from './cpu/monitor';
import { msrView } from './cpu/msrView';
import { resetMsrs, setFirmwareMtrrs, type MsrCpu } from './cpu/msrs';
import { Abandon, Vcpu } from './cpu/vcpu';
import { Platform } from './devices/platform';
import type { GuestInterface } from './guest/guestInterface';
import { guestCpuFeatures, makeGuest } from './guest/makeGuest';
import { AssistDispatch } from './machine/assistDispatch';
import { Breakpoints } from './machine/breakpoints';
import { ConsoleKeys } from './machine/consoleKeys';
import { EptExits } from './machine/eptExits';
import { exitHandlers, type ExitParts } from './machine/exitHandlers';
import { Firmware } from './machine/firmware';
import { GuestRam } from './machine/guestRam';
import { restoreMachine, saveMachine, type SavedMachine, type StateParts } from './machine/machineState';
import type { MachineEnd, MachineHooks, MachineOptions, RunResult } from './machine/machineTypes';
import { loadGuest, prepareAtOnce, type PreparedMachine } from './machine/prepare';
import { Scheduler } from './machine/scheduler';
import { Timeline } from './machine/timeline';
import { UserSide } from './machine/userSide';
import type { MachineMemory } from './mmu/memory';
import { Mmu, PointerLoad } from './mmu/mmu';
import { Snapshots, type CheckedSnapshot, type Progress } from './snapshot/snapshots';
import type { SnapshotFile, Turn } from './snapshot/snapshotFile';
import { History } from './time/history';
import { MachineClock, NS_PER_INSTRUCTION, TSC_HZ } from './time/machineClock';
import { transferExits } from './virt/eventExits';
import { exitAssists } from './virt/exitAssists';
import { Vmm } from './virt/vmm';
import { Ept, EptAccess } from './virt/vmx/ept';
import { ExitReason } from './virt/vmx/exitReasons';
import { clear } from './zeros';

export { codeLinear } from './machine/breakpoints';
export type { MachineEnd, MachineHooks, MachineOptions, RunResult } from './machine/machineTypes';

/** Idle jumps in one call of run() before it returns, so that it always does. */
const MAX_IDLE_JUMPS = 1000;
/** Bytes of RAM: as long as a slow step (Core.patience) takes. */
const CLEARED_AT_ONCE = 64 << 10;

export class Machine implements CoreHost {
  readonly memory: MachineMemory;
  readonly vcpus: Vcpu[];
  readonly ept: Ept;
  readonly mmu: Mmu;
  readonly core: Core;
  readonly vmm: Vmm;
  /** Guest RAM as devices and the VMM reach it. */
  readonly guestRam: GuestRam;
  readonly platform: Platform;
  readonly history: History;
  readonly user: UserSide;
  readonly clock: MachineClock;
  readonly model: CpuModel;
  readonly delivery: Delivery;
  readonly scheduler: Scheduler;
  /** What the guest is offered beyond a PC. */
  readonly guest?: GuestInterface;
  readonly boot: BootResult;
  hooks: MachineHooks;
  /** Instructions that retired before the guest reset the machine itself, of all times that it has. */
  retiredBefore = 0;
  /** Why the machine ended; it runs no more. */
  end?: MachineEnd;

  private readonly context: AssistContext;
  private readonly monitors: Monitors;
  private readonly assists: AssistDispatch;
  private readonly eptExits: EptExits;
  private readonly breakpoints: Breakpoints;
  private readonly msrViews: MsrCpu[];
  private sliceEnd = Infinity;
  private stopRequested = false;
  private resetRequested = false;
  /** The guest's own reset, when there was no time for all of it. */
  private ownReset?: Generator<void, void>;
  /** Changes from outside, what has been seen already, and the devices' messages. */
  private readonly timeline: Timeline;
  private readonly keys = new ConsoleKeys((bytes) => this.platform.consoleInput(bytes));
  private readonly noted = new Set<string>();
  private readonly firmware: Firmware;
  /** What holds state. Its disks: the image booted as a disk, and those of devices. */
  private readonly parts: StateParts;
  private recording = false;
  private readonly snapshots: Snapshots;

  constructor(
    private readonly options: MachineOptions,
    hooks: MachineHooks,
    prepared: PreparedMachine = prepareAtOnce(options),
  ) {
    this.hooks = hooks;
    this.memory = prepared.memory;
    this.vcpus = Array.from({ length: options.cpus }, (_, i) => new Vcpu(i, this.memory));
    this.ept = new Ept(this.memory.view, () => this.memory.allocateEptPage());
    this.ept.map(0, this.memory.ramBase, this.memory.ramSize);
    const leaf: CpuModel['hypervisorLeaf'] = options.guest && ((l, s) => this.guest!.leaf(l, s));
    const cpuFeatures = guestCpuFeatures(options.guest, options.features);
    this.model = makeCpuModel(options.vendor, cpuFeatures, options.model, leaf);
    for (const cpu of this.vcpus) {
      cpu.maxLinearBits = this.model.maxLinearAddress;
      cpu.signature = signature(this.model);
    }
    this.mmu = new Mmu(this.memory, this.ept, this.model);
    this.core = new Core(this.memory, this.mmu, this.vcpus, this.model.features, this, {
      compile: options.compile,
      now: options.now,
      compiledBytes: options.compiledBytes,
      compiledModules: options.compiledModules,
      compiler: options.compiler,
    });
    this.monitors = new Monitors(options.cpus, (page, on) =>
      this.core.memoryPath.setPageState(page, PageState.monitored, on),
    );
    this.clock = new MachineClock(
      options.cpus,
      () => this.core.icount,
      () => this.guest?.tscChanged(),
    );
    this.vmm = new Vmm(this.memory, this.vcpus, this.ept, {
      icount: () => this.core.icount,
      asksAtExits: () => this.hooks.exit !== undefined,
      gathered: () => this.core.endRun(),
      stopAtExit: (cpu, exit) => this.stopIf(cpu, this.hooks.exit?.(cpu, exit) ?? false),
    });
    this.guestRam = new GuestRam(this.memory.ram, this.core.memoryPath);
    this.timeline = new Timeline({
      retired: () => this.core.retired,
      icount: () => this.core.icount,
      now: () => this.clock.now(),
      recording: () => this.recording,
      beginHistory: () => this.history.begin(),
      note: (text) => this.note(text),
      send: (device, message) => this.hooks.send?.(device, message),
      receive: (device, message) => this.platform.receive(device, message),
      outsideLost: () => this.hooks.linksLost?.(),
      devicesLost: () => this.platform.linksLost(),
    });
    this.platform = new Platform({
      cpus: options.cpus,
      memory: this.memory.ram,
      ports: this.memory.ports,
      apicRegisters: (id) => new Uint32Array(this.memory.wasm.buffer, this.vcpus[id].base + State.apic, 64),
      guestMemory: this.guestRam,
      virtio: options.virtio,
      virtioConsole: options.virtioConsole,
      clock: this.clock,
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
        interruptChanged: (cpu) => {
          this.vcpus[cpu].attention = true;
          this.guest?.interruptChanged(this.vcpus[cpu]);
        },
        init: (cpu) => this.initialize(this.vcpus[cpu]),
        startup: (cpu, vector) => this.startup(this.vcpus[cpu], vector),
        nmi: (cpu) => this.delivery.raiseNmi(this.vcpus[cpu]),
        send: (device, message) => this.timeline.send(device, message),
      },
    });
    this.context = new AssistContext(
      this.core,
      transferExits(this.vmm),
      (cpu, cr3) => this.loadPointers(cpu, cr3),
      (cpu) => this.platform.hasInterrupt(cpu.index),
    );
    for (const cpu of this.vcpus) cpu.vendor = options.vendor;
    this.msrViews = this.vcpus.map((cpu) => msrView(cpu, this));
    this.delivery = new Delivery({
      platform: this.platform,
      vmm: this.vmm,
      context: this.context,
      tables: this.core.tables,
      icount: () => this.core.icount,
      stopAtException: () => false,
      tripleFault: (cpu) => this.tripleFault(cpu),
    });
    this.scheduler = new Scheduler(this.vcpus, this.core, this.delivery, this.monitors, this.platform);
    this.guest = makeGuest(options.guest, this, TSC_HZ, options.startTime);
    this.breakpoints = new Breakpoints(this.core, {
      hooks: () => this.hooks,
      stopIf: (cpu, stop) => this.stopIf(cpu, stop),
    });
    this.eptExits = new EptExits(this.core, this.ept, this.vmm, this.platform, {
      afterDeviceAccess: () => this.afterDeviceAccess(),
      swapIn: (cpu, gpa) => this.guest?.swapIn?.(cpu, gpa) ?? false,
      error: (text) => this.finish({ kind: 'error', text }),
    });
    this.history = new History({
      icount: () => this.core.retired,
      saveState: () => saveMachine(this.parts, this.end),
      restoreState: (state) => this.restoreState(state as SavedMachine),
      ram: this.memory.ram,
      markAllClean: () => this.markAllClean(),
      pageReplaced: (page) => this.core.code.drop(page),
    });
    this.firmware = new Firmware(this.context, this.memory, options.kernel.kernel, {
      writePhysical: (gpa, data) => this.writePhysical(gpa, data),
      key: (take) => this.keys.biosKey(take),
      console: (byte) => this.print(byte),
      cmos: (index) => {
        this.platform.bus.writePort(0x70, index, 1);
        return this.platform.bus.readPort(0x71, 1);
      },
      note: (text) => this.note(text),
    });
    this.user = new UserSide({
      platform: this.platform,
      keys: this.keys,
      timeline: this.timeline,
      ram: this.memory.ram,
      boot: () => this.boot,
    });
    const { memory, core, mmu, clock, scheduler, timeline, keys, vcpus, vmm, delivery, guest, monitors, platform } =
      this;
    const disks = [this.firmware.disk, ...(options.disks ?? [])];
    this.parts = {
      memory,
      core,
      mmu,
      clock,
      scheduler,
      inputs: timeline.changes,
      keys,
      vcpus,
      vmm,
      delivery,
      guest,
      monitors,
      platform,
      disks,
    };
    const { features } = this.model;
    const table = { ...ASSISTS, ...stateAssists(features), ...exitAssists(exitHandlers(this, this.exitParts())) };
    this.assists = new AssistDispatch(this.context, table, (text) => this.note(text));
    this.boot = prepared.boot;
    this.firmware.drive = this.boot.protocol === 'bios' ? this.firmware.disk : options.disks?.[0];
    this.enterGuest();
    this.snapshots = new Snapshots(this.parts, { options, model: this.model, boot: this.boot });
  }

  private exitParts(): ExitParts {
    const { monitors, context, msrViews, firmware } = this;
    return {
      monitors,
      context,
      msrViews,
      firmware,
      afterDeviceAccess: () => this.afterDeviceAccess(),
      afterMsrWrite: () => this.afterMsrWrite(),
    };
  }

  cpuidContext(cpu: Vcpu): CpuidContext {
    return cpuidContext(cpu, this, this.msrViews[cpu.index], TSC_HZ);
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
    clear(this.memory.ram);
    this.powerOn(false);
  }

  /**
   * reset() in small steps, some twenty microseconds each but the last, for a caller that has other things to do between them. Nobody else
   * may touch the machine.
   * @param own the guest's own reset, over which disks keep what was written, and the log its exits
   */
  *resetInSteps(own = false): Generator<void, void> {
    const { ram } = this.memory;
    for (let at = 0; at < ram.length; at += CLEARED_AT_ONCE) {
      clear(ram, at, Math.min(ram.length, at + CLEARED_AT_ONCE));
      yield;
    }
    this.powerOn(own);
  }

  /** The guest is resetting the machine, and run() had no patience for all of it: only run() may touch the machine, which goes on with it. */
  get resetting(): boolean {
    return this.ownReset !== undefined;
  }

  /** The guest has asked for a reset, which is to be done before anything else. */
  get resetPending(): boolean {
    return this.resetRequested;
  }

  /** Does it, and nothing else: as much as so many slow steps allow. */
  resetNow(patience: number): RunResult {
    this.core.patience = patience;
    this.resetMore();
    return 'budget';
  }

  /** Goes on with the guest's own reset as long as patience lasts. Whether it is done. */
  private resetMore(): boolean {
    this.ownReset ??= this.resetInSteps(true);
    const { retired } = this.core;
    while (!this.ownReset.next().done) if (--this.core.patience < 0) return false;
    this.retiredBefore += retired;
    return true;
  }

  private powerOn(own: boolean): void {
    loadGuest(this.options, this.memory.ram);
    this.core.code.flush();
    // Time first: devices note when they were reset.
    this.core.retired = 0;
    this.clock.reset();
    this.platform.reset();
    if (!own) for (const disk of this.parts.disks) disk.reset();
    this.delivery.reset();
    this.vmm.reset(own);
    this.monitors.reset();
    this.scheduler.reset();
    this.guest?.reset();
    this.keys.reset();
    this.end = undefined;
    this.stopRequested = false;
    this.forgetReset();
    this.timeline.reset();
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
    this.guest?.vcpuReset(cpu);
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

  // ---- running ---------------------------------------------------------------------------------------------------

  /** The debugger resumes: breakpoints at the present instruction do not stop again. */
  resume(): void {
    this.stopRequested = false;
    this.breakpoints.passOver(this.vcpus);
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
   * @param idleUntil virtual time in ns up to which halted vCPUs may let it pass at once
   * @param patience slow steps (Core.patience) behind which it returns 'budget' before `count`, at least 2
   */
  run(count: number, only?: number, idleUntil = Infinity, patience = Infinity): RunResult {
    let until = this.core.retired + count;
    this.core.patience = patience;
    let jumps = 0;
    const { timeline } = this;
    this.vmm.update();
    for (;;) {
      if (this.end) return 'ended';
      if (this.stopRequested) return 'stopped';
      if (this.resetRequested) {
        // Where all have run, it is the beginning of what comes next: what goes back to this very place must not go over it.
        const { retired } = this.core;
        if (retired >= until && !this.ownReset) return 'budget';
        // Instructions are counted anew from a reset on; the budget is not.
        if (!this.resetMore()) return 'budget';
        until -= retired;
      }
      timeline.applyDue();
      timeline.deliver();
      const at = this.core.retired;
      if (at >= until || this.core.patience <= 0) return 'budget';
      timeline.idle = false;
      const dead = this.vcpus.find((cpu) => cpu.activity === 'shutdown');
      if (dead) {
        this.endInTripleFault(dead);
        continue;
      }
      this.platform.events.runDue(this.clock.now());
      if (this.recording && this.history.due <= 0) this.history.take();
      const cpu = this.scheduler.pick(only);
      this.guest?.scheduled(cpu);
      if (!cpu) {
        timeline.idle = true;
        if (timeline.applyDue()) continue;
        const input = timeline.changes.nextIdle(at);
        const due = this.scheduler.canWake() ? Math.min(this.platform.events.nextDeadline(), input) : input;
        if (due === Infinity) return 'idle';
        if (due > idleUntil) {
          this.clock.skipTo(idleUntil);
          return 'ahead';
        }
        this.clock.skipTo(due);
        timeline.idle = false;
        if (++jumps >= MAX_IDLE_JUMPS) return 'budget';
        continue;
      }
      let slice = until - at;
      const wait = this.platform.events.nextDeadline() - this.clock.now();
      slice = Math.min(slice, Math.max(1, Math.ceil(wait / NS_PER_INSTRUCTION)), 1 << 30);
      if (this.vcpus.length > 1 && only === undefined) slice = Math.min(slice, this.scheduler.left);
      if (this.recording) slice = Math.min(slice, Math.max(1, this.history.due));
      slice = Math.min(slice, Math.max(1, timeline.changes.nextDue - at));
      this.sliceEnd = this.clock.now() + slice * NS_PER_INSTRUCTION;
      this.platform.currentCpu = cpu.index;
      // Whatever the debugger, other vCPUs or history changed since this one ran.
      forgetCpuid(cpu);
      this.placeApic(cpu);
      this.core.run(cpu, slice);
    }
  }

  // ---- changes from outside ------------------------------------------------------------------------------------

  /**
   * A change from outside (typed keys, a debugger's write to a register or memory), applied now and again whenever history is
   * replayed. A change while in the past makes a new future.
   * @param bytes memory that `apply` holds
   */
  change(apply: () => void, bytes = 0): void {
    this.timeline.change(apply, bytes);
  }

  /** A message from outside for a device: MachineHooks.send has its question. It gets it when the guest runs. */
  receive(device: string, message: Uint8Array): void {
    this.timeline.arrived(device, message);
  }

  /** How many changes there were: a recorded future is another one after each. */
  get changes(): number {
    return this.timeline.changes.count;
  }

  private print(byte: number): void {
    if (!this.timeline.repeats) this.hooks.console(byte);
  }

  // ---- CoreHost --------------------------------------------------------------------------------------------------

  assist(cpu: Vcpu, uop: number): number {
    return this.assists.run(cpu, uop);
  }

  /** Tells the user something once. */
  note(text: string): void {
    if (this.noted.has(text) || this.noted.size > 1000) return;
    this.noted.add(text);
    this.hooks.note(text);
  }

  eptExit(cpu: Vcpu, page: number, low: number, high: number, size: number, write: boolean): boolean {
    return this.eptExits.access(cpu, page, low, high, size, write);
  }
  eptWalkExit(cpu: Vcpu, linear: bigint, access: number): boolean {
    return this.eptExits.walk(cpu, linear, access);
  }

  /**
   * An access to a device or to a local APIC's MSR may have asserted an interrupt, ended the machine, or made something due earlier than
   * the slice's end.
   */
  private afterDeviceAccess(): void {
    if (this.platform.events.nextDeadline() < this.sliceEnd) this.shortenSlice();
    if (this.keys.waiting) this.keys.offer();
  }

  private afterMsrWrite(): void {
    for (const cpu of this.vcpus) {
      forgetCpuid(cpu);
      this.placeApic(cpu);
    }
    this.afterDeviceAccess();
  }

  /** Where handlers find the local APIC's registers: IA32_APIC_BASE may have been written. */
  private placeApic(cpu: Vcpu): void {
    cpu.set32(State.plainPage, this.platform.plainApicPage(cpu.index));
  }

  /** Something is due before the slice's end: the slice ends then, without one's leaving the core where that can be. */
  private shortenSlice(): void {
    const now = this.clock.now();
    const due = this.platform.events.nextDeadline();
    const count = Math.ceil((due - now) / NS_PER_INSTRUCTION);
    if (count > 0 && this.core.shorten(count)) this.sliceEnd = now + count * NS_PER_INSTRUCTION;
    else this.attendAll();
  }

  watchHit(cpu: Vcpu, linear: bigint, gpa: number, size: number, write: boolean): boolean {
    return this.breakpoints.data(cpu, linear, gpa, size, write);
  }
  pageDirtied(page: number): void {
    this.history.pageDirtied(page);
  }
  monitoredWrite(page: number, offset: number, size: number): void {
    for (const index of this.monitors.written(page, offset, size)) this.vcpus[index].activity = 'active';
  }
  breakpointHit(cpu: Vcpu, linear: bigint): boolean {
    return this.breakpoints.instruction(cpu, linear);
  }
  breakpointsOn(cpu: Vcpu, linearPage: number): CodeBreakpoints | undefined {
    return this.breakpoints.on(cpu, linearPage);
  }
  deliver(cpu: Vcpu): void {
    this.delivery.exception(cpu);
  }

  service(cpu: Vcpu): boolean {
    cpu.attention = false;
    if (this.end || this.stopRequested || this.resetRequested || this.scheduler.switches) return true;
    const due = this.platform.events.nextDeadline();
    // A slice of which nothing retired ends for what became due earlier, but not for what it was made for.
    const earlier = due > this.clock.now() && due + NS_PER_INSTRUCTION <= this.sliceEnd;
    if (due < this.sliceEnd && (earlier || this.core.icount > this.core.retired)) return true;
    this.delivery.debugTraps(cpu);
    if (cpu.activity === 'active' && !cpu.pending) this.delivery.interrupt(cpu);
    cpu.set32(State.eventWaits, this.delivery.waits(cpu));
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
    this.breakpoints.passOverNone();
    this.vmm.forgetPassing();
  }

  /** Some vCPU runs, or can be woken by an interrupt; false: only input, NMI or reset could go on. */
  get alive(): boolean {
    return this.vcpus.some((cpu) => cpu.activity === 'active') || this.scheduler.canWake();
  }

  // ---- memory from outside ---------------------------------------------------------------------------------------

  /** Writes guest RAM as a device or the debugger does: checkpoints and decoded code see it. Returns bytes written. */
  writePhysical(gpa: number, data: Uint8Array): number {
    return this.guestRam.write(gpa, data);
  }

  // ---- snapshots -------------------------------------------------------------------------------------------------

  /**
   * All of the machine as sections of a snapshot's file (snapshot/format.ts), with undefined between them where a while has passed. The
   * machine must not change before the last one. Error when the guest has ended: nothing could go on from there.
   */
  snapshot(progress?: Progress): Generator<Uint8Array | undefined, void> {
    if (this.end) throw new Error('the guest has ended');
    if (this.resetRequested) throw new Error('the guest is about to reset the machine: a step further it has');
    return this.snapshots.sections(progress);
  }

  /** Checks a snapshot's file in every part, without a change to the machine. @throws SnapshotError */
  checkSnapshot(file: SnapshotFile, turn: Turn, progress?: Progress): Promise<CheckedSnapshot> {
    return this.snapshots.check(file, turn, progress);
  }

  /**
   * Takes up the state of a snapshot that this machine has checked. Must not run before that has resolved. History begins anew.
   * @throws SnapshotError when it can't; the machine is then as before
   */
  async loadSnapshot(snapshot: CheckedSnapshot, turn: Turn): Promise<void> {
    await this.snapshots.load(snapshot, turn);
    this.end = undefined;
    this.stopRequested = false;
    this.forgetReset();
    // What comes from here on has not been seen before, and those outside know nothing of what was under way.
    this.timeline.reset();
    this.platform.linksLost();
    if (this.recording) this.history.begin();
  }

  // ---- state -----------------------------------------------------------------------------------------------------

  private markAllClean(): void {
    const { pageState } = this.core.memoryPath;
    for (let i = 0; i < pageState.length; i++) pageState[i] |= PageState.clean;
    // All that is cached, as when it is gone back to: what INVLPG forgets depends on what was cached before.
    this.core.flushAllTranslations();
  }

  private restoreState(saved: SavedMachine): void {
    this.timeline.leaving();
    restoreMachine(this.parts, saved);
    this.end = saved.end;
    this.timeline.idle = false;
    this.stopRequested = false;
    this.forgetReset();
  }

  private forgetReset(): void {
    this.resetRequested = false;
    this.ownReset = undefined;
  }
}
