/**
 * KVM's interface to its guest: CPUID leaves, MSRs, structures in guest memory, hypercalls. What the guest set up lies in its vCPUs'
 * MSRs and its memory, which checkpoints hold anyway; the rest is save()'s.
 */
import type { CpuidResult } from '../../cpu/cpuid';
import type { CpuContext } from '../../cpu/cpuContext';
import { PAGE } from '../../cpu/layout';
import { Vector, type Vcpu } from '../../cpu/vcpu';
import { hex, type Field } from '../../fields';
import type { Machine } from '../../machine';
import type { VmExit } from '../../virt/exit';
import { EptAccess } from '../../virt/vmx/ept';
import { exitField, ExitReason } from '../../virt/vmx/exitReasons';
import type { GuestInterface } from '../guestInterface';
import type { HypercallInfo } from '../hypercallInfo';
import { AsyncPageFaults, type AsyncPfState } from './asyncPf';
import { describeHandling, exitHandling } from './exitUser';
import { describeFeatures, kvmHas, kvmLeaf } from './features';
import { fixHypercall } from './fixHypercall';
import { GpaRanges } from './gpaRanges';
import { HYPERCALLS, hypercallRow, runHypercall, type HypercallHost } from './hypercalls';
import { KvmMsr, kvmMsrReset } from './msrs';
import { KvmClock } from './pvclock';
import { PvEoi } from './pvEoi';
import { StealTime, type StealState } from './steal';

interface KvmState {
  wallClock: bigint;
  steal: StealState;
  eoi: boolean[];
  asyncPf: AsyncPfState;
  gpaRanges: Uint8Array;
  /** By vCPU: KVM_HC_KICK_CPU came while it was not halted. */
  kicked: boolean[];
  /** Calls by hypercall number. */
  counts: [number, number][];
  unknownCalls: number;
}

/** Registers that are names of others. */
const ALIASES: { readonly [index: number]: number } = {
  [KvmMsr.wallClockOld]: KvmMsr.wallClock,
  [KvmMsr.systemTimeOld]: KvmMsr.systemTime,
};

/** Registers that INIT turns off. */
const IN_MEMORY = [
  KvmMsr.systemTime,
  KvmMsr.stealTime,
  KvmMsr.eoiEnable,
  KvmMsr.asyncPfEnable,
  KvmMsr.asyncPfInterrupt,
];

export class Kvm implements GuestInterface {
  readonly title = 'KVM';
  private readonly clock: KvmClock;
  private readonly steal: StealTime;
  private readonly eoi: PvEoi;
  private readonly asyncPf: AsyncPageFaults;
  private readonly gpaRanges: GpaRanges;
  private readonly host: HypercallHost;
  private kicked: boolean[];
  private counts = new Map<number, number>();
  private unknownCalls = 0;

  /**
   * @param tscHz frequency of the time-stamp counters
   * @param startTime wall time at power-on, milliseconds since 1970
   */
  constructor(
    private readonly machine: Machine,
    tscHz: number,
    startTime: number,
  ) {
    const { vcpus, guestRam: memory } = machine;
    const apic = (cpu: number) => machine.platform.apic(cpu);
    const now = () => machine.clock.now();
    const tsc = (cpu: number) => machine.clock.tsc(cpu);
    this.clock = new KvmClock(
      { vcpus, memory, now, tsc, tscOffsetOf: (cpu) => machine.clock.tscOffsetOf(cpu) },
      tscHz,
      startTime,
    );
    this.steal = new StealTime({
      vcpus,
      memory,
      now,
      flushTranslations: (cpu) => machine.core.flushTranslations(cpu),
      wakes: (cpu) => machine.delivery.wakes(cpu),
    });
    this.eoi = new PvEoi({ vcpus, memory, apic });
    this.asyncPf = new AsyncPageFaults({
      vcpus,
      memory,
      apic,
      now,
      events: machine.platform.events,
      setPresent: (gpa, present) => {
        machine.ept.setPermissions(gpa, PAGE, present ? EptAccess.all : 0);
        machine.mmu.invalidateEpt();
        // Nothing remembers a page that is not there. (The vCPU may be within an instruction, and goes on in its code.)
        if (!present) machine.core.flushAllTranslations();
      },
      interruptible: (cpu) =>
        cpu.interruptsEnabled && cpu.shadowUntil <= machine.core.icount && machine.vmm.recorder.vectoringInfo === 0,
    });
    this.gpaRanges = new GpaRanges(machine.memory.ramSize);
    this.host = {
      vcpus,
      memory,
      apic,
      tsc,
      wallTime: () => BigInt(Math.floor(startTime)) * 1_000_000n + BigInt(Math.floor(machine.clock.now())),
      kick: (cpu) => this.kick(cpu),
      yieldTo: (from, to) => {
        if (to.activity === 'active') machine.scheduler.yieldTo(from, to);
      },
      mapGpaRange: (gpa, pages, attributes) => this.gpaRanges.map(gpa, pages, attributes),
    };
    this.kicked = vcpus.map(() => false);
    // KVM sees undefined instructions first: VMMCALL is one.
    machine.vmm.requireExceptions(1 << Vector.UD);
  }

  has(feature: string): boolean {
    return kvmHas(feature);
  }
  leaf(leaf: number): CpuidResult {
    return kvmLeaf(leaf);
  }

  // ---- MSRs ----

  readMsr(cpu: Vcpu, index: number): bigint | undefined {
    const register = ALIASES[index] ?? index;
    if (register === KvmMsr.wallClock) return this.clock.wallClock;
    return this.holder(cpu, register).msrs.get(register) ?? kvmMsrReset(register);
  }

  writeMsr(cpu: Vcpu, index: number, value: bigint): boolean {
    const register = ALIASES[index] ?? index;
    switch (register) {
      case KvmMsr.wallClock:
        this.clock.writeWallClock(value);
        return true;
      case KvmMsr.eoiEnable:
        if (!this.eoi.accepts(value)) return false;
        this.eoi.settle(cpu);
        break;
      case KvmMsr.asyncPfEnable:
        if (!this.asyncPf.accepts(value)) return false;
        break;
      case KvmMsr.asyncPfAcknowledge:
        this.asyncPf.acknowledged(cpu, value);
        return true;
    }
    this.holder(cpu, register).msrs.set(register, value);
    if (register === KvmMsr.systemTime) this.clock.update(cpu);
    if (register === KvmMsr.stealTime) this.steal.enabled(cpu);
    if (register === KvmMsr.asyncPfEnable) this.asyncPf.changed(cpu);
    return true;
  }

  /** The register of live migration is one for all vCPUs. */
  private holder(cpu: Vcpu, register: number): Vcpu {
    return register === KvmMsr.migrationControl ? this.machine.vcpus[0] : cpu;
  }

  // ---- hypercalls ----

  hypercall(cpu: Vcpu): void {
    const row = runHypercall(cpu, this.host);
    if (row) this.counts.set(row.number, (this.counts.get(row.number) ?? 0) + 1);
    else this.unknownCalls++;
  }

  foreignHypercall(c: CpuContext): void {
    fixHypercall(c, this.machine.vmm);
  }

  private kick(cpu: Vcpu): void {
    if (cpu.activity !== 'halted') {
      this.kicked[cpu.index] = true;
      return;
    }
    this.machine.scheduler.wake(cpu);
    this.steal.waits(cpu);
  }

  halts(cpu: Vcpu): boolean {
    const kicked = this.kicked[cpu.index];
    this.kicked[cpu.index] = false;
    return !kicked;
  }

  // ---- memory ----

  swapOut(gpa: number): void {
    this.asyncPf.swapOut(gpa);
  }
  swapIn(cpu: Vcpu, gpa: number): boolean {
    return this.asyncPf.fault(cpu, gpa);
  }

  // ---- what happens to vCPUs ----

  scheduled(cpu: Vcpu | undefined): void {
    this.steal.scheduled(cpu);
  }
  interruptChanged(cpu: Vcpu): void {
    this.steal.waits(cpu);
  }
  tscChanged(): void {
    for (const cpu of this.machine.vcpus) this.clock.update(cpu);
  }

  /** INIT turns off what the vCPU has in memory; the rest of its MSRs stay. */
  vcpuReset(cpu: Vcpu): void {
    for (const index of IN_MEMORY) cpu.msrs.delete(index);
    this.asyncPf.forget(cpu);
    this.eoi.forget(cpu);
    this.steal.forget(cpu);
    this.kicked[cpu.index] = false;
  }

  reset(): void {
    this.clock.wallClock = 0n;
    this.steal.reset();
    this.eoi.reset();
    this.asyncPf.reset();
    this.gpaRanges.reset();
    this.kicked.fill(false);
    this.counts.clear();
    this.unknownCalls = 0;
  }
  save(): KvmState {
    return {
      wallClock: this.clock.wallClock,
      steal: this.steal.save(),
      eoi: this.eoi.save(),
      asyncPf: this.asyncPf.save(),
      gpaRanges: this.gpaRanges.save(),
      kicked: [...this.kicked],
      counts: [...this.counts],
      unknownCalls: this.unknownCalls,
    };
  }
  restore(state: unknown): void {
    const saved = state as KvmState;
    this.clock.wallClock = saved.wallClock;
    this.steal.restore(saved.steal);
    this.eoi.restore(saved.eoi);
    this.asyncPf.restore(saved.asyncPf);
    this.gpaRanges.restore(saved.gpaRanges);
    this.kicked = [...saved.kicked];
    this.counts = new Map(saved.counts);
    this.unknownCalls = saved.unknownCalls;
  }

  // ---- for the debugger ----

  describe(cpu: Vcpu): Field[] {
    const polls = (this.readMsr(cpu, KvmMsr.pollControl) ?? 0n) & 1n;
    const migrates = (this.readMsr(cpu, KvmMsr.migrationControl) ?? 0n) & 1n;
    return [
      ...this.clock.describe(cpu),
      this.steal.describe(cpu),
      this.eoi.describe(cpu),
      this.asyncPf.describe(cpu),
      { name: 'Poll control', value: String(polls), text: polls ? 'the host may poll on HLT' : 'no polling on HLT' },
      {
        name: 'Migration control',
        value: String(migrates),
        text: migrates ? 'the host may migrate the guest' : 'no live migration',
      },
      this.gpaRanges.describe(),
      {
        name: 'Kick pending',
        value: this.kicked[cpu.index] ? 'yes' : 'no',
        ...(this.kicked[cpu.index] ? { text: 'the next HLT ends at once' } : {}),
      },
      { name: 'Hypercalls that KVM does not have', value: String(this.unknownCalls), text: 'called' },
      ...describeFeatures(),
    ];
  }

  hypercalls(): HypercallInfo[] {
    return HYPERCALLS.map(({ number, name, arguments: args, text }) => ({
      number,
      name,
      arguments: args,
      text,
      count: this.counts.get(number) ?? 0,
    }));
  }

  summary(exit: VmExit): string | undefined {
    const number = hypercallNumber(exit);
    const row = number === undefined ? undefined : hypercallRow(number);
    return row && `${row.name}(${callArguments(exit, row.arguments).join(', ')})`;
  }

  describeExit(exit: VmExit): Field[] {
    const { platform, memory } = this.machine;
    const fields: Field[] = [{ name: 'KVM', value: describeHandling(exitHandling(exit, platform, memory.ramSize)) }];
    const number = hypercallNumber(exit);
    if (number === undefined) return fields;
    const row = hypercallRow(number);
    const values = argumentsOf(exit);
    return [
      ...fields,
      {
        name: 'Hypercall',
        value: row?.name ?? hex(exit.rax, 64),
        text: row?.text ?? 'KVM has no hypercall of this number',
        children: (row?.arguments ?? []).map((name, i) => ({ name, value: hex(values[i], 64) })),
      },
    ];
  }
}

/** Number of the guest's hypercall; undefined: the exit is none. */
function hypercallNumber(exit: VmExit): bigint | undefined {
  return (exit.reason & 0xffff) === ExitReason.vmcall ? exitField(exit, 'nr') : undefined;
}

const argumentsOf = (exit: VmExit): bigint[] => [exit.rbx, exit.rcx, exit.rdx, exit.rsi];

function callArguments(exit: VmExit, names: readonly string[]): string[] {
  const values = argumentsOf(exit);
  return names.map((name, i) => `${name} 0x${values[i].toString(16)}`);
}
