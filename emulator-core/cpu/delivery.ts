/**
 * What happens between instructions: pending exceptions (with the VMM's exception bitmap, #DF and shutdown), external interrupts
 * through VM exit and injection, NMI and the single-step trap.
 */
import type { Platform } from '../devices/platform';
import { InterruptionType, encodeInterruptionInformation, ExitReason } from '../virt/vmx/exitReasons';
import type { Vmm } from '../virt/vmm';
import type { AssistContext } from './assistContext';
import { combine, deliver, hasErrorCode } from './exceptions';
import { DebugStatus, reportDebug } from './debugRegisters';
import { EventWaits, State } from './layout';
import { deliverQuickly } from './quickDelivery';
import type { TableMemory } from './tableMemory';
import { Abandon, GuestFault, Vector, pendingOf, type PendingException, type Vcpu } from './vcpu';

export interface DeliveryHost {
  platform: Platform;
  vmm: Vmm;
  context: AssistContext;
  tables: TableMemory;
  icount(): number;
  /** A guest exception that the exception bitmap intercepts: true to stop before it is delivered. */
  stopAtException(cpu: Vcpu, exception: PendingException): boolean;
  /** The guest cannot go on: triple fault. */
  tripleFault(cpu: Vcpu): void;
}

/** An event that takes effect as a trap: rip points behind the instruction. */
const TRAPS = new Set<number>([Vector.DB, Vector.BP, Vector.OF]);

export interface Injected {
  vector: number;
  type: number;
}

export interface SavedDelivery {
  window: number[];
  nmi: number[];
  injecting: [number, Injected][];
}

export class Delivery {
  /** vCPUs for which the VMM waits until interrupts are enabled (interrupt-window exiting). */
  private readonly window = new Set<number>();
  private readonly nmi = new Set<number>();
  /** Interrupts that the VMM has taken and whose delivery stopped at an exit: vCPU -> vector and type. */
  private readonly injecting = new Map<number, Injected>();
  /** Of each vCPU, what entered() was told last. */
  private readonly lastEntry: (number | undefined)[] = [];
  /** The newest interrupt injected: before which instruction count, and what it interrupted. */
  lastInjection = { icount: -1, cpu: 0, rip: 0n, rsp: 0n };

  constructor(private readonly host: DeliveryHost) {}

  reset(): void {
    this.window.clear();
    this.nmi.clear();
    this.injecting.clear();
  }
  save(): SavedDelivery {
    return { window: [...this.window], nmi: [...this.nmi], injecting: [...this.injecting] };
  }
  restore(state: SavedDelivery): void {
    this.reset();
    state.injecting.forEach(([cpu, event]) => this.injecting.set(cpu, event));
    state.window.forEach((cpu) => this.window.add(cpu));
    state.nmi.forEach((cpu) => this.nmi.add(cpu));
  }

  /** Delivers cpu.pending, or stops before it. */
  exception(cpu: Vcpu): void {
    let current = cpu.pending!;
    cpu.pending = undefined;
    for (;;) {
      if (this.intercepted(cpu, current)) {
        cpu.pending = current;
        cpu.attention = true;
        return;
      }
      if (current.vector === Vector.PF) cpu.set64(State.cr2, current.address ?? 0n);
      const fault = this.attempt(cpu, current);
      if (!fault) return;
      if (fault === 'abandoned') {
        cpu.pending = current;
        return;
      }
      const next = combine(current.vector, fault.vector);
      if (next === 'shutdown') {
        this.host.tripleFault(cpu);
        return;
      }
      if (next === 'double' && fault.vector === Vector.PF) cpu.set64(State.cr2, fault.address ?? 0n);
      current = next === 'double' ? { vector: Vector.DF, error: 0 } : fault;
    }
  }

  /** EXCEPTION_OR_NMI exit by the exception bitmap; true: stop here. */
  private intercepted(cpu: Vcpu, exception: PendingException): boolean {
    const { vmm } = this.host;
    if (!(vmm.exceptionBitmap & (1 << exception.vector))) return false;
    const error = exception.error !== undefined;
    const type =
      exception.vector === Vector.BP || exception.vector === Vector.OF
        ? InterruptionType.softwareException
        : InterruptionType.hardwareException;
    const stop = vmm.tryExit(cpu, ExitReason.exceptionOrNmi, cpu.rip, {
      qualification: exception.vector === Vector.PF ? exception.address : (exception.debug ?? 0),
      interruptionInfo: encodeInterruptionInformation(exception.vector, type, error),
      interruptionError: exception.error ?? 0,
    });
    return stop;
  }

  private attempt(cpu: Vcpu, exception: PendingException): PendingException | 'abandoned' | undefined {
    const { context, tables } = this.host;
    const error = hasErrorCode(exception.vector) ? (exception.error ?? 0) : undefined;
    if (!TRAPS.has(exception.vector) && deliverQuickly(cpu, tables, exception.vector, error ?? -1, true)) {
      this.entered(cpu, 0);
      return undefined;
    }
    const info = encodeInterruptionInformation(
      exception.vector,
      InterruptionType.hardwareException,
      error !== undefined,
    );
    return this.event(cpu, info, error ?? 0, () => {
      // Real mode pushes no error codes.
      const pushed = cpu.protectedMode ? error : undefined;
      const fault = !TRAPS.has(exception.vector) || (exception.debug ?? 0) === DebugStatus.BD;
      if (exception.vector === Vector.DB) reportDebug(cpu, exception.debug ?? 0);
      deliver(context, { vector: exception.vector, error: pushed, software: false, external: true, fault }, cpu.rip);
      this.entered(cpu, 0);
    });
  }

  /** Runs a delivery with IDT-vectoring information set; returns the fault it ended in, if any. */
  private event(cpu: Vcpu, info: number, error: number, run: () => void): PendingException | 'abandoned' | undefined {
    const { context } = this.host;
    context.begin(cpu, 0);
    try {
      context.exits.delivering(info, error, run);
      return undefined;
    } catch (e) {
      if (e instanceof GuestFault) return pendingOf(e);
      if (e instanceof Abandon) return 'abandoned';
      throw e;
    }
  }

  /** Makes debug traps that are due the pending exception, unless MOV SS or POP SS holds them off. */
  debugTraps(cpu: Vcpu): void {
    cpu.debugTraps |= cpu.debugHits;
    cpu.debugHits = 0;
    if (!cpu.debugTraps || (cpu.shadowsTraps && cpu.shadowUntil > this.host.icount())) return;
    cpu.pending = { vector: Vector.DB, debug: cpu.debugTraps };
    cpu.debugTraps = 0;
    cpu.activity = 'active';
  }

  raiseNmi(cpu: Vcpu): void {
    this.nmi.add(cpu.index);
    cpu.attention = true;
  }

  /** A halted vCPU has something to wake up for. */
  wakes(cpu: Vcpu): boolean {
    if (this.injecting.has(cpu.index) || cpu.debugTraps) return true;
    return (
      (this.nmi.has(cpu.index) && !cpu.nmiBlocked) ||
      (cpu.interruptsEnabled && this.host.platform.hasInterrupt(cpu.index))
    );
  }

  /** What is held off now, or would be: EventWaits bits. */
  waits(cpu: Vcpu): number {
    const other = cpu.nmiBlocked || this.nmi.has(cpu.index) || this.injecting.has(cpu.index);
    const interrupt = this.host.platform.hasInterrupt(cpu.index);
    return (other ? EventWaits.other : 0) | (interrupt ? EventWaits.interrupt : 0);
  }

  /** Injects an NMI or external interrupt when the vCPU can take one. */
  interrupt(cpu: Vcpu): void {
    const { platform, vmm } = this.host;
    const unfinished = this.injecting.get(cpu.index);
    if (unfinished) return this.inject(cpu, unfinished);
    const blocked = cpu.shadowUntil > this.host.icount();
    if (this.nmi.has(cpu.index) && !blocked && !cpu.nmiBlocked) {
      this.nmi.delete(cpu.index);
      return this.inject(cpu, { vector: Vector.NMI, type: InterruptionType.nmi });
    }
    if (!platform.hasInterrupt(cpu.index)) return;
    if (blocked || !cpu.interruptsEnabled) {
      if (!this.window.has(cpu.index)) {
        this.window.add(cpu.index);
        vmm.setInterruptWindow(cpu, true);
      }
      return;
    }
    const waited = this.window.has(cpu.index);
    const reason = waited ? ExitReason.interruptWindow : ExitReason.externalInterrupt;
    // With "acknowledge interrupt on exit" the vector is in the exit's interruption information; it is taken after a stop.
    if (vmm.tryExit(cpu, reason, cpu.rip, {})) return;
    if (waited) {
      this.window.delete(cpu.index);
      vmm.setInterruptWindow(cpu, false);
    }
    const vector = platform.acknowledgeInterrupt(cpu.index);
    this.inject(cpu, { vector, type: InterruptionType.externalInterrupt });
  }

  /** The VM-entry interruption information is `info`. It is 0 most of the time. */
  private entered(cpu: Vcpu, info: number): void {
    if (info === 0 && this.lastEntry[cpu.index] === 0) return;
    this.lastEntry[cpu.index] = info;
    this.host.vmm.injected(cpu, info, 0);
  }

  private inject(cpu: Vcpu, event: Injected): void {
    const { context, tables } = this.host;
    const { vector, type } = event;
    const info = encodeInterruptionInformation(vector, type);
    this.entered(cpu, info);
    cpu.activity = 'active';
    this.lastInjection = { icount: this.host.icount(), cpu: cpu.index, rip: cpu.rip, rsp: cpu.gpr(4) };
    const quick = deliverQuickly(cpu, tables, vector, -1, false);
    const fault = quick
      ? undefined
      : this.event(cpu, info, 0, () => {
          deliver(context, { vector, software: false, external: true }, cpu.rip);
        });
    // A stop at an exit of the delivery itself (an EPT violation at the IDT): the VMM injects the event again, as the exit's
    // IDT-vectoring information tells it to.
    if (fault === 'abandoned') {
      this.injecting.set(cpu.index, event);
      cpu.attention = true;
      return;
    }
    this.injecting.delete(cpu.index);
    if (type === InterruptionType.nmi) cpu.nmiBlocked = true;
    if (fault) cpu.pending = fault;
  }
}
