/** Target over the embedded VMM: the machine of emulator-core, run in slices inside the adapter. */
import { Machine, type MachineEnd, type MachineOptions } from '../../emulator-core/machine';
import { prepareMachine, type PreparedMachine } from '../../emulator-core/machine/prepare';
import { registerTable, type RegisterRow } from '../../emulator-core/cpu/registers';
import type { Vcpu } from '../../emulator-core/cpu/vcpu';
import { tableEntries, walk } from '../../emulator-core/mmu/pagingView';
import { EXIT_LOG_SIZE } from '../../emulator-core/virt/exit';
import { describeExit, exitField, exitReason } from '../../emulator-core/virt/vmx/exitReasons';
import { keyBytes } from '../../emulator-core/devices/keyCodes';
import { SnapshotError } from '../../emulator-core/snapshot/snapshotError';
import { makeCpuModel } from '../../emulator-core/cpu/cpuid';
import { MSRS } from '../../emulator-core/cpu/msrs';
import type { Engine, NamedFilter } from '../engine';
import { inSlices, inTurns, turn } from '../introspection/slices';
import { closeNetworks, makeDevices, storeDisks, type LaunchDevices } from './embedded/devices';
import { pagingRegisters, physicalReader, readGuest, writeGuest } from './embedded/guestMemory';
import { exitRecord, Hits } from './embedded/hits';
import { LinkServices } from './embedded/links';
import { machineOptions } from './embedded/machineOptions';
import { exceptionNames, exitNames } from './embedded/offered';
import { Runner } from './embedded/runner';
import { restoreSnapshot, saveSnapshot } from './embedded/snapshots';
import type { EmbeddedLaunch } from './launch';
import type {
  AddressSpace,
  BreakpointSet,
  DecodedField,
  EndReason,
  EngineCounters,
  ExitCounter,
  ExitRecord,
  HypercallInfo,
  PagingEntry,
  PagingWalk,
  RegisterInfo,
  RunRequest,
  Screen,
  SnapshotContents,
  SnapshotWork,
  StopEvent,
  Target,
  TargetCapabilities,
  TargetEvents,
  VcpuInfo,
} from '../target';

/** Wall-clock milliseconds: only for slices, pacing and batching; never seen by the guest. */
const clock = (): number => performance.now();
const EXITS_INTERVAL_MS = 100;
/** Who wants every exit gets them when so many are new. */
const EXITS_AT_ONCE = EXIT_LOG_SIZE / 4;

/** @throws Error that names the attribute of launch.json */
export async function createEmbeddedTarget(launch: EmbeddedLaunch): Promise<Target> {
  try {
    // First of all, before memory is taken: an error names the attribute.
    makeCpuModel(launch.cpu.vendor, launch.cpu.features, launch.cpu.model);
    const late: { target?: EmbeddedTarget } = {};
    const attached = makeDevices(launch, (text) => late.target?.note(text));
    const options = machineOptions(launch, attached, clock);
    // What takes long is done by itself: the client may ask something in between.
    await turn();
    const prepared = await inTurns(prepareMachine(options));
    await turn();
    const target = (late.target = new EmbeddedTarget(launch, attached, options, prepared));
    await turn();
    target.record();
    await target.begin();
    return target;
  } catch (error) {
    for (const { image } of launch.disks) image.close?.();
    closeNetworks(launch);
    throw error;
  }
}

/** What the adapter's programs run guests on. */
export const embeddedEngine: Engine = { exitNames, exceptionNames, create: createEmbeddedTarget };

class EmbeddedTarget implements Target {
  readonly capabilities: TargetCapabilities;
  private readonly machine: Machine;
  private readonly links: LinkServices;
  private readonly hits: Hits;
  private readonly runner: Runner;
  private readonly rows: Map<string, RegisterRow>;
  private readonly infos: RegisterInfo[];
  private events?: TargetEvents;
  private active = false;
  private disposed = false;
  private readonly disposing = new AbortController();
  private console: number[] = [];
  private notes: string[] = [];
  private exitsSent = 0;
  private exitsSentAt = 0;
  /** Of whoever wants every exit. */
  private takeExits?: () => void;
  private stopExit?: ExitRecord;
  /** What the machine has to stand still for: 'a snapshot is being saved'. */
  private busy?: string;
  /** Input that came meanwhile. */
  private waiting: (() => void)[] = [];

  constructor(
    private readonly launch: EmbeddedLaunch,
    private readonly attached: LaunchDevices,
    options: MachineOptions,
    prepared: PreparedMachine,
  ) {
    // The hooks are there before the breakpoints that they ask: booting calls them.
    const late: { hits?: Hits } = {};
    this.links = new LinkServices(this.attached.links, {
      receive: (device, message) => {
        this.machine.receive(device, message);
        this.runner.inputArrived();
      },
    });
    this.machine = new Machine(
      options,
      {
        breakpoint: (cpu, linear) => late.hits?.breakpoint(cpu, linear) ?? false,
        breakpointsOn: (page) => late.hits?.breakpointsOn(page),
        watch: (cpu, linear, gpa, size, write) => late.hits?.watchHit(cpu, linear, gpa, size, write) ?? false,
        console: (byte) => this.console.push(byte),
        note: (text) => this.notes.push(text),
        send: (device, message) => this.links.send(device, message),
        linksLost: () => this.links.lost(),
      },
      prepared,
    );
    const rows = registerTable(this.machine);
    this.rows = new Map(rows.map((row) => [row.name, row]));
    this.infos = rows.map(({ read: _read, write: _write, ...info }) => info);
    late.hits = this.hits = new Hits(this.machine, rows);
    this.runner = new Runner(
      this.machine,
      this.hits,
      {
        breathe: () => this.flush(false),
        clock,
        note: (text) => this.notes.push(text),
        expecting: () => this.links.busy,
        ran: () => {
          this.offerExits();
          if (!this.standsFor) this.letInputIn();
        },
      },
      launch.pace ?? false,
    );
    this.capabilities = {
      exits: true,
      ept: true,
      timeTravel: launch.record,
      writeRegisters: true,
      writeMemory: true,
      dataBreakpoints: true,
    };
  }

  /** Tells the user something once. */
  note(text: string): void {
    this.machine.note(text);
  }

  /** Keeps history from here on, if that is wanted. */
  record(): void {
    if (this.launch.record) this.machine.record();
  }

  /** To where the launch says that the machine starts. */
  async begin(): Promise<void> {
    const { from } = this.launch;
    if (!from) return;
    try {
      this.notes.push(...(await this.restore(from)));
    } catch (error) {
      if (error instanceof SnapshotError) error.message = `from: ${error.message}`;
      throw error;
    }
  }

  setEvents(events: TargetEvents): void {
    this.events = events;
    queueMicrotask(() => void this.flush(false));
  }

  vcpus(): VcpuInfo[] {
    return this.machine.vcpus.map((cpu) => ({ index: cpu.index, name: `vCPU ${cpu.index}`, state: this.stateOf(cpu) }));
  }
  private stateOf(cpu: Vcpu): VcpuInfo['state'] {
    if (cpu.activity === 'active') return this.active ? 'running' : 'stopped';
    return cpu.activity;
  }
  retiredBefore(): number {
    return this.machine.retiredBefore;
  }
  icount(): number {
    return this.machine.core.icount;
  }
  lastVcpu(): number {
    return this.machine.core.memoryPath.running?.index ?? 0;
  }
  bitness(cpu: number): 16 | 32 | 64 {
    return this.cpu(cpu).bitness;
  }
  private cpu(index: number): Vcpu {
    const cpu = this.machine.vcpus[index];
    if (!cpu) throw new Error(`there is no vCPU ${index}: the machine has ${this.machine.vcpus.length}`);
    return cpu;
  }

  // ---- running ---------------------------------------------------------------------------------------------------

  run(request: RunRequest): void {
    if (this.active) throw new Error('the guest is running already');
    this.checkIdle();
    if (this.machine.end && !isBackward(request, this.icount()))
      throw new Error('the guest has ended; restart it, or go back');
    if (isBackward(request, this.icount()) && !this.launch.record) {
      throw new Error('no history is recorded: set "record": true in launch.json to go back in time');
    }
    this.active = true;
    this.events?.continued();
    this.runner.run(request).then(
      (stop) => this.finished(stop),
      (error: Error) => this.failed(error),
    );
  }

  private finished(stop: StopEvent | undefined): void {
    if (this.disposed) return;
    this.active = false;
    this.stopExit = stop?.exit;
    void this.flush(true);
    if (stop) this.events?.stopped(stop);
    else this.events?.ended(this.endReason());
  }

  /** A bug of ours must not leave the session hanging. */
  private failed(error: Error): void {
    if (this.disposed) return;
    this.active = false;
    void this.flush(true);
    this.events?.ended({ kind: 'error', text: `internal error: ${error.message}\n${error.stack ?? ''}` });
  }

  private endReason(): EndReason {
    const end: MachineEnd = this.machine.end ?? { kind: 'error', text: 'the machine stopped for no known reason' };
    return end;
  }

  running(): boolean {
    return this.active;
  }
  pause(): void {
    this.runner.pause();
  }
  async restart(): Promise<void> {
    if (this.active) throw new Error('pause the guest before restarting it');
    await this.still('the guest is being restarted', () => inSlices(this.machine.resetInSteps()));
    await this.begin();
    this.stopExit = undefined;
    this.exitsSent = 0;
    void this.flush(true);
  }

  // ---- snapshots -------------------------------------------------------------------------------------------------

  /** What the machine stands still for, if it does. */
  private get standsFor(): string | undefined {
    return this.busy ?? (this.machine.resetting ? 'the guest is resetting the machine' : undefined);
  }
  private checkIdle(): void {
    if (this.standsFor) throw new Error(`${this.standsFor}: wait for its end`);
  }

  /** Keeps the machine still while `work` is under way. */
  private async still<T>(what: string, work: () => Promise<T>): Promise<T> {
    if (this.active) throw new Error('the guest is running; pause it first');
    this.checkIdle();
    this.busy = what;
    try {
      return await work();
    } finally {
      this.busy = undefined;
      this.letInputIn();
    }
  }

  /** Input waits while the machine has to stand still. */
  private whenIdle(input: () => void): void {
    if (this.standsFor) this.waiting.push(input);
    else input();
  }
  private letInputIn(): void {
    for (const input of this.waiting.splice(0)) input();
  }

  async save(write: (data: Uint8Array) => Promise<void>, work: SnapshotWork = {}): Promise<void> {
    await this.still('a snapshot is being saved', () => saveSnapshot(this.machine, write, this.whileAlive(work)));
  }
  async restore(file: SnapshotContents, work: SnapshotWork = {}): Promise<string[]> {
    const remarks = await this.still('a snapshot is being restored', () =>
      restoreSnapshot(this.machine, file, this.whileAlive(work)),
    );
    this.stopExit = undefined;
    this.hits.stop = undefined;
    this.exitsSent = 0;
    this.flush(true);
    return remarks;
  }
  /** The session's end gives the work up as well. */
  private whileAlive(work: SnapshotWork): SnapshotWork {
    const { signal } = this.disposing;
    return { ...work, signal: work.signal ? AbortSignal.any([work.signal, signal]) : signal };
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposing.abort();
    this.runner.pause();
    this.links.close();
    closeNetworks(this.launch);
    this.notes.push(...storeDisks(this.launch, this.attached.disks));
    void this.flush(true);
    this.disposed = true;
  }

  /** Sends what has gathered: console bytes, notes, exits (at most ten times a second unless the machine stops). */
  private flush(stopped: boolean): Promise<void> | undefined {
    const { events } = this;
    if (!events || this.disposed) return undefined;
    let taken: Promise<void> | undefined;
    if (this.console.length) {
      const data = Uint8Array.from(this.console);
      this.console = [];
      taken = events.console(data);
    }
    const notes = this.notes;
    this.notes = [];
    for (const note of notes) events.note(note);
    const seq = this.machine.vmm.log.nextSeq;
    const due = stopped || clock() - this.exitsSentAt >= EXITS_INTERVAL_MS;
    if (due && seq !== this.exitsSent) {
      this.exitsSent = seq;
      this.exitsSentAt = clock();
      events.exitsChanged();
    }
    return taken;
  }

  // ---- breakpoints -----------------------------------------------------------------------------------------------

  setBreakpoints(set: BreakpointSet): void {
    this.hits.use(set);
  }
  exitNames(): NamedFilter[] {
    return exitNames();
  }
  exceptionNames(): NamedFilter[] {
    return exceptionNames();
  }

  /** MSRs and hypercalls by name, for conditions such as msr == IA32_LSTAR. */
  constants(): ReadonlyMap<string, bigint> {
    const named = [
      ...MSRS.map((row) => [row.name, row.index] as const),
      ...this.hypercalls().map((h) => [h.name, h.number] as const),
    ];
    return new Map(named.map(([name, number]) => [name, BigInt(number)]));
  }

  // ---- registers and memory --------------------------------------------------------------------------------------

  registerInfo(): readonly RegisterInfo[] {
    return this.infos;
  }
  private row(name: string): RegisterRow {
    const row = this.rows.get(name);
    if (!row) throw new Error(`no register is named '${name}'`);
    return row;
  }
  async readRegister(cpu: number, name: string): Promise<bigint> {
    return this.row(name).read(this.cpu(cpu));
  }
  async writeRegister(cpu: number, name: string, value: bigint): Promise<void> {
    const row = this.row(name);
    this.checkIdle();
    if (!row.writable || !row.write) throw new Error(`${name} cannot be written`);
    if (value < 0n || value >> BigInt(row.width))
      throw new Error(`${name} is ${row.width} bits wide: 0x${value.toString(16)} does not fit`);
    const target = this.cpu(cpu);
    this.machine.change(() => row.write!(target, value));
    this.machine.vmm.forgetPassing();
  }
  async readMemory(space: AddressSpace, cpu: number, address: bigint, length: number): Promise<Uint8Array> {
    return readGuest(this.machine, this.cpu(cpu), space, address, length);
  }
  async writeMemory(space: AddressSpace, cpu: number, address: bigint, data: Uint8Array): Promise<number> {
    this.checkIdle();
    return writeGuest(this.machine, this.cpu(cpu), space, address, data);
  }

  // ---- exits and structures --------------------------------------------------------------------------------------

  lastExit(cpu: number): ExitRecord | undefined {
    if (this.stopExit?.cpu === cpu) return this.stopExit;
    const exit = this.machine.vmm.lastExit(cpu);
    return exit && exitRecord(exit, this.machine.guest);
  }
  describeExit(exit: ExitRecord): DecodedField[] {
    const full = this.machine.vmm.log.get(exit.seq);
    const { guest } = this.machine;
    return full ? [...describeExit(full, guest?.summary(full)), ...(guest?.describeExit(full) ?? [])] : [];
  }
  exitField(exit: ExitRecord, name: string): bigint | undefined {
    const full = this.machine.vmm.log.get(exit.seq);
    return full && exitField(full, name);
  }
  exits(count: number, before?: number): ExitRecord[] {
    return this.machine.vmm.log.newest(count, before).map((exit) => exitRecord(exit, this.machine.guest));
  }
  beforeExitsAreLost(take: () => void): void {
    this.takeExits = take;
    this.machine.vmm.gather(EXITS_AT_ONCE);
  }
  private offerExits(): void {
    const { vmm } = this.machine;
    if (!this.takeExits || !vmm.hasGathered) return;
    this.takeExits();
    vmm.gather(EXITS_AT_ONCE);
  }
  engineCounters(): EngineCounters {
    const { core } = this.machine;
    const { regions, instructions, bytes, evicted, dropped, milliseconds, longest } = core.compiled.statistics;
    return {
      compiled: core.compiledInstructions,
      regions,
      regionInstructions: instructions,
      regionBytes: Math.round(bytes),
      evictedRegions: evicted,
      droppedRegions: dropped,
      compileMilliseconds: milliseconds,
      longestCompileMilliseconds: longest,
      tlbMisses: core.memoryPath.tlbMisses,
    };
  }

  exitCounters(): ExitCounter[] {
    const counters = this.machine.vmm.log.counters();
    return counters.map(({ reason, count }) => ({ name: exitReason(reason).name, reason, count }));
  }
  vmcs(cpu: number): DecodedField[] {
    return this.machine.vmm.describeVmcs(this.cpu(cpu), this.machine.clock.tscOffsetOf(cpu));
  }
  ept(_cpu: number, table?: { address: bigint; level: number; base: bigint }): PagingEntry[] {
    return this.machine.ept.entries(table);
  }
  eptWalk(_cpu: number, gpa: bigint): PagingWalk {
    return this.machine.ept.describeWalk(gpa);
  }
  pageTables(cpu: number, table?: { address: bigint; level: number; base: bigint }): PagingEntry[] {
    return tableEntries(pagingRegisters(this.machine, this.cpu(cpu)), physicalReader(this.machine), table);
  }
  pageWalk(cpu: number, gva: bigint): PagingWalk {
    return walk(pagingRegisters(this.machine, this.cpu(cpu)), physicalReader(this.machine), gva);
  }
  devices(): DecodedField[] {
    return this.machine.platform.describe();
  }
  guestInterface(cpu: number): { name: string; fields(): DecodedField[] } | undefined {
    const { guest } = this.machine;
    return guest && { name: guest.title, fields: () => guest.describe(this.cpu(cpu)) };
  }
  swapOut(gpa: bigint): void {
    const { guest, memory } = this.machine;
    if (!guest?.swapOut) throw new Error('this machine never swaps: launch it with "mode": "kvm"');
    if (gpa >= BigInt(memory.ramSize))
      throw new Error(`guest-physical 0x${gpa.toString(16)} is no RAM, which ends at 0x${memory.ramSize.toString(16)}`);
    this.checkIdle();
    this.machine.change(() => guest.swapOut!(Number(gpa)));
  }
  hypercalls(): HypercallInfo[] {
    return this.machine.guest?.hypercalls() ?? [];
  }
  consoleInput(data: Uint8Array): boolean {
    let taken = true;
    this.whenIdle(() => (taken = this.machine.user.type(data)));
    this.runner.inputArrived();
    return taken;
  }
  consoleSize(cols: number, rows: number): boolean {
    const known = this.machine.user.consoleSize(cols, rows);
    if (known) this.runner.inputArrived();
    return known;
  }
  powerButton(): boolean {
    this.checkIdle();
    const listens = this.machine.user.powerButton();
    this.runner.inputArrived();
    return listens;
  }
  screen(): Screen {
    return this.machine.user.screen();
  }
  key(code: string, down: boolean): boolean {
    const known = keyBytes(code, down) !== undefined;
    if (known) this.whenIdle(() => this.machine.user.key(code, down));
    if (known) this.runner.inputArrived();
    return known;
  }
  pointer(dx: number, dy: number, wheel: number, buttons: number): boolean {
    // What a hand does meanwhile is not worth keeping.
    if (this.standsFor) return false;
    const listens = this.machine.user.pointer(dx, dy, wheel, buttons);
    if (listens) this.runner.inputArrived();
    return listens;
  }
}

function isBackward(request: RunRequest, icount: number): boolean {
  if (request.kind === 'gotoIcount') return request.icount < icount;
  return (
    request.kind === 'reverseContinue' || request.kind === 'stepBackInstructions' || request.kind === 'stepBackRange'
  );
}
