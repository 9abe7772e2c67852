/**
 * What happens between instructions: pending exceptions (with the VMM's exception bitmap, #DF and shutdown), external interrupts
 * through VM exit and injection, NMI and the single-step trap.
 */
import type { Platform } from '../devices/platform';
import { InterruptionType, encodeInterruptionInformation, ExitReason } from '../virt/vmx/exitReasons';
import type { Vmm } from '../virt/vmm';
import type { AssistContext } from './assistContext';
import { combine, deliver, hasErrorCode } from './exceptions';
import { State } from './layout';
import { Abandon, GuestFault, Vector, type PendingException, type Vcpu } from './vcpu';

const DR6_SINGLE_STEP = 1n << 14n;

export interface DeliveryHost {
  platform: Platform;
  vmm: Vmm;
  context: AssistContext;
  icount(): number;
  /** A guest exception that the exception bitmap intercepts: true to stop before it is delivered. */
  stopAtException(cpu: Vcpu, exception: PendingException): boolean;
  /** The guest cannot go on: triple fault. */
  tripleFault(cpu: Vcpu): void;
}

/** An event that takes effect as a trap: rip points behind the instruction. */
const TRAPS = new Set<number>([Vector.DB, Vector.BP, Vector.OF]);

export class Delivery {
  /** vCPUs for which the VMM waits until interrupts are enabled (interrupt-window exiting). */
  private readonly window = new Set<number>();
  private readonly nmi = new Set<number>();
  /** The newest interrupt injected: before which instruction count, and what it interrupted. */
  lastInjection = { icount: -1, cpu: 0, rip: 0n, rsp: 0n };

  constructor(private readonly host: DeliveryHost) {}

  reset(): void {
    this.window.clear();
    this.nmi.clear();
  }
  save(): { window: number[]; nmi: number[] } {
    return { window: [...this.window], nmi: [...this.nmi] };
  }
  restore(state: { window: number[]; nmi: number[] }): void {
    this.reset();
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
      qualification: exception.vector === Vector.PF ? exception.address : 0n,
      interruptionInfo: encodeInterruptionInformation(exception.vector, type, error),
      interruptionError: exception.error ?? 0,
    });
    return stop;
  }

  private attempt(cpu: Vcpu, exception: PendingException): PendingException | 'abandoned' | undefined {
    const { vmm, context } = this.host;
    const error = hasErrorCode(exception.vector) ? (exception.error ?? 0) : undefined;
    const info = encodeInterruptionInformation(
      exception.vector,
      InterruptionType.hardwareException,
      error !== undefined,
    );
    return this.event(cpu, info, error ?? 0, () => {
      // Real mode pushes no error codes.
      const pushed = cpu.protectedMode ? error : undefined;
      const fault = !TRAPS.has(exception.vector);
      deliver(context, { vector: exception.vector, error: pushed, software: false, external: true, fault }, cpu.rip);
      vmm.injected(cpu, 0, 0);
    });
  }

  /** Runs a delivery with IDT-vectoring information set; returns the fault it ended in, if any. */
  private event(cpu: Vcpu, info: number, error: number, run: () => void): PendingException | 'abandoned' | undefined {
    const { vmm, context } = this.host;
    context.begin(cpu, 0);
    vmm.vectoringInfo = info;
    vmm.vectoringError = error;
    try {
      run();
      return undefined;
    } catch (e) {
      if (e instanceof GuestFault) return { vector: e.vector, error: e.error, address: e.address };
      if (e instanceof Abandon) return 'abandoned';
      throw e;
    } finally {
      vmm.vectoringInfo = 0;
      vmm.vectoringError = 0;
    }
  }

  raiseNmi(cpu: Vcpu): void {
    this.nmi.add(cpu.index);
    cpu.attention = true;
  }

  /** A halted vCPU has something to wake up for. */
  wakes(cpu: Vcpu): boolean {
    return this.nmi.has(cpu.index) || (cpu.interruptsEnabled && this.host.platform.hasInterrupt(cpu.index));
  }

  /** Injects an NMI or external interrupt when the vCPU can take one. */
  interrupt(cpu: Vcpu): void {
    const { platform, vmm } = this.host;
    const blocked = cpu.shadowUntil > this.host.icount();
    if (this.nmi.has(cpu.index) && !blocked) {
      this.nmi.delete(cpu.index);
      this.inject(cpu, Vector.NMI, InterruptionType.nmi);
      return;
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
    this.inject(cpu, platform.acknowledgeInterrupt(cpu.index), InterruptionType.externalInterrupt);
  }

  private inject(cpu: Vcpu, vector: number, type: number): void {
    const { vmm, context } = this.host;
    const info = encodeInterruptionInformation(vector, type);
    vmm.injected(cpu, info, 0);
    cpu.activity = 'active';
    this.lastInjection = { icount: this.host.icount(), cpu: cpu.index, rip: cpu.rip, rsp: cpu.gpr(4) };
    const fault = this.event(cpu, info, 0, () => {
      deliver(context, { vector, software: false, external: true }, cpu.rip);
    });
    // An abandoned delivery (a stop at an EPT exit of the IDT) loses nothing: the event is pending again as an exception would be.
    if (fault && fault !== 'abandoned') cpu.pending = fault;
  }

  singleStep(cpu: Vcpu): void {
    cpu.set64(State.dr + 6 * 8, cpu.get64(State.dr + 6 * 8) | DR6_SINGLE_STEP);
    cpu.pending = { vector: Vector.DB };
  }
}
